// posix_spawn, waitid and wait4 behind process.hpp. Data flow: see there. Time that the program waited for a core counts as this process's (machine.hpp).
#include "process.hpp"

#include "harness.hpp"
#include "machine.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace bench {

ProcessResult run_process(const std::vector<std::string>& args, const std::string& out) {
  std::vector<char*> argv;
  for (const auto& a : args) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t pid = 0;
  const double start = seconds();
  const int failed = posix_spawnp(&pid, argv[0], &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (failed) die("cannot start " + args[0] + ": " + std::strerror(failed));
  siginfo_t ended{};
  while (waitid(P_PID, id_t(pid), &ended, WEXITED | WNOWAIT) < 0)  // it has ended but can still be asked
    if (errno != EINTR) die("lost the process " + args[0]);
  const double wall = (seconds() - start) * 1e3;
  double ran = 0, waited = 0;  // of its first thread, in nanoseconds
  if (std::ifstream("/proc/" + std::to_string(pid) + "/schedstat") >> ran >> waited) add_waited(waited * 1e-9);
  int status = 0;
  struct rusage use {};
  while (wait4(pid, &status, 0, &use) < 0)
    if (errno != EINTR) die("lost the process " + args[0]);
  ProcessResult r;
  r.wall_ms = wall;
  const auto ms = [](const timeval& t) { return double(t.tv_sec) * 1e3 + double(t.tv_usec) * 1e-3; };
  r.cpu_ms = ms(use.ru_utime) + ms(use.ru_stime);
  r.peak_bytes = std::size_t(use.ru_maxrss) << 10;
  if (WIFEXITED(status)) r.exit_code = WEXITSTATUS(status);
  return r;
}

}  // namespace bench
