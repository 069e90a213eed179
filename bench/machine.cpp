// Answers of machine.hpp, from /proc and two system calls. Data flow: harness.cpp, roof_kernels.cpp, encoder.cpp -> here.
#include "machine.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#include <unistd.h>

namespace bench {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  std::string line, name, family, model, stepping;
  while (std::getline(in, line) && !line.empty()) {  // the first processor
    const auto colon = line.find(':');
    if (colon == std::string::npos || colon + 2 > line.size()) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1), value = line.substr(colon + 2);
    if (key == "model name") name = value;
    if (key == "cpu family") family = value;
    if (key == "model") model = value;
    if (key == "stepping") stepping = value;
  }
  if (name.empty()) return "unknown processor";
  return name + " (family " + family + ", model " + model + ", stepping " + stepping + ")";
}

int cpu_count() {
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? int(n) : 1;
}

std::size_t last_level_cache() {
  // The kernel's view: sysconf multiplies by processors that a virtual machine does not have.
  std::size_t bytes = 0;
  for (int index = 0; index < 8; ++index) {
    std::size_t kib = 0;
    if (std::ifstream("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size") >> kib) bytes = std::max(bytes, kib << 10);
  }
  return bytes ? bytes : std::size_t(32) << 20;
}

double load_average() {
  double load = std::numeric_limits<double>::quiet_NaN();
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

double chain_ghz() {
  constexpr int kSteps = 150'000, kCyclesPerMultiply = 3;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 12; ++i) {
    const double start = seconds();
    std::uint64_t x = 3;
    for (int s = 0; s < kSteps; ++s) {
      x *= 0x9E3779B97F4A7C15u;
      asm volatile("" : "+r"(x));  // each step needs the one before it, and none may be folded
    }
    best = std::min(best, seconds() - start);
  }
  return kCyclesPerMultiply * double(kSteps) / best * 1e-9;
}

namespace {
double waited_in_children = 0;
}
void add_waited(double s) { waited_in_children += s; }
double seconds_waited() {
  double sum = waited_in_children;
  std::error_code none;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", none)) {
    double ran = 0, waited = 0;
    if (std::ifstream(task.path() / "schedstat") >> ran >> waited) sum += waited * 1e-9;
  }
  return sum;
}

double seconds_stolen() {
  std::ifstream in("/proc/stat");
  std::string cpu;
  double field[8] = {};  // user nice system idle iowait irq softirq steal
  in >> cpu;
  for (double& f : field) in >> f;
  return in ? field[7] / double(sysconf(_SC_CLK_TCK)) : 0;
}

namespace {
std::size_t status_kib(const char* key) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    std::size_t kib = 0;
    if (words >> name >> kib && name == key) return kib << 10;
  }
  return 0;
}
}  // namespace

std::size_t resident_bytes() { return status_kib("VmRSS:"); }
std::size_t peak_resident_bytes() { return status_kib("VmHWM:"); }
bool reset_peak() {
  std::ofstream out("/proc/self/clear_refs");
  return bool(out << "5" << std::flush);
}

}  // namespace bench
