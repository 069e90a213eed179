// Runs another program and measures it. Data flow: end_to_end.cpp (the command line), compile_time.cpp (the compiler) -> here.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace bench {

struct ProcessResult {
  int exit_code = -1;             ///< -1: ended by a signal
  double wall_ms = 0, cpu_ms = 0; ///< from start to end; user and system time of the program and the children it waited for
  std::size_t peak_bytes = 0;     ///< largest resident size among them; never below this program's own at the start, which Linux counts in
};

/// args[0] is a path or a name in PATH; stdout goes to the file `out`. Ends this program if the other cannot be started.
ProcessResult run_process(const std::vector<std::string>& args, const std::string& out = "/dev/null");

}  // namespace bench
