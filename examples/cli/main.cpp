// The program `sampan`: splits into commands, and turns every failure into one line on stderr and an exit code (failure.hpp).
// Data flow: argv -> options.cpp -> segment.cpp, encode.cpp, volume.cpp, everything.cpp, info.cpp, metrics.cpp or evaluate.cpp. Start reading at segment.cpp: it is the way of one image.
#include "commands.hpp"
#include "console.hpp"

#include <cstdio>
#include <exception>
#include <new>

namespace {

using namespace sampan::cli;

void run(int argc, char** argv) {
  const Options o = parse_arguments(argc, argv);
  switch (o.command) {
    case Command::none: return;
    case Command::segment: return run_segment(o);
    case Command::encode: return run_encode(o);
    case Command::volume: return run_volume(o);
    case Command::everything: return run_everything(o);
    case Command::info: return run_info(o);
    case Command::metrics: return run_metrics(o);
    case Command::evaluate: return run_evaluate(o);
  }
}

int fail(Exit code, const std::string& message) {
  std::fprintf(stderr, "sampan: %s\n", one_line(message).c_str());
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  catch_signals();
  try {
    run(argc, argv);
    return static_cast<int>(Exit::ok);
  } catch (const Failure& f) {
    return fail(f.code, f.message);
  } catch (const Cancelled& c) {
    const int number = interrupted();
    fail(Exit::ok, sampan::cat("stopped by ", number == SIGINT ? "SIGINT, " : "SIGTERM, ", c.left));
    std::signal(number, SIG_DFL);
    std::raise(number);
    return 128 + number;  // only if the signal is blocked
  } catch (const std::bad_alloc&) {
    return fail(Exit::out_of_memory, "the system gave no memory");
  } catch (const std::exception& e) {
    return fail(Exit::bad_model, sampan::cat("internal error, please report: ", e.what()));
  }
}
