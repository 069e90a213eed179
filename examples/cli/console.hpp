// What a run says while it works, and how it is stopped. Data flow: Session's Progress -> ProgressSink -> stderr; SIGINT and SIGTERM -> interrupted() -> Progress returns false.
// A bar (with the time left, once it can be told) only on a terminal, JSON lines on request, nothing with --quiet. The bar erases itself, so an error stays the only line.
// A stopped run ends between two layers with Error{cancelled}, leaves no file, and then dies of its signal, as the shell expects. A second signal kills at once.
#pragma once
#include "options.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>

#include <unistd.h>

namespace sampan::cli {

inline double now_ms() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

namespace detail {
inline volatile std::sig_atomic_t caught_signal = 0;
}  // namespace detail

/// The signal that asked to stop, or 0.
inline int interrupted() { return detail::caught_signal; }

inline void catch_signals() {
  struct sigaction a = {};
  a.sa_handler = [](int number) { detail::caught_signal = number; };
  a.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  for (const int s : {SIGINT, SIGTERM}) {
    struct sigaction before = {};
    // A shell that starts a job in the background tells it to ignore SIGINT; that stays so.
    if (sigaction(s, nullptr, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(s, &a, nullptr);
  }
  std::signal(SIGPIPE, SIG_IGN);  // a closed stdout becomes an error with an exit code
}

struct Cancelled {
  std::string left = "nothing was written";  ///< what the run leaves behind
};
inline void stop_if_interrupted() {
  if (interrupted()) throw Cancelled{};
}

/// Shows one thing at a time: "encode 2 of 5". Lives while the work runs.
class ProgressSink {
 public:
  ProgressSink(const Options& o, std::string what) : what_(std::move(what)) {
    if (o.quiet) return;
    if (o.progress == ProgressMode::json) mode_ = Mode::json;
    else if (isatty(STDERR_FILENO)) mode_ = Mode::bar;
  }
  ProgressSink(const ProgressSink&) = delete;
  ProgressSink& operator=(const ProgressSink&) = delete;
  ~ProgressSink() {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }
  Progress progress() { return {report, this}; }

 private:
  enum class Mode { silent, bar, json };

  static bool report(void* user, std::string_view stage, double fraction) {
    auto& s = *static_cast<ProgressSink*>(user);
    const double left = s.seconds_left(fraction);
    if (s.mode_ == Mode::json) {
      nlohmann::ordered_json line = {{"what", s.what_}, {"stage", std::string(stage)}, {"fraction", fraction}};
      if (left >= 0) line["seconds_left"] = std::round(10 * left) / 10;
      std::fprintf(stderr, "%s\n", line.dump().c_str());
    } else if (s.mode_ == Mode::bar && now_ms() - s.last_ > 50) {  // a terminal needs no more than 20 pictures a second
      s.last_ = now_ms();
      s.drawn_ = true;
      constexpr int width = 30;
      const int full = int(std::clamp(fraction, 0.0, 1.0) * width);
      char eta[40] = "";
      if (left >= 0) std::snprintf(eta, sizeof eta, "  %d:%02d left", int(left) / 60, int(left) % 60);
      std::fprintf(stderr, "\r%s [%.*s%*s] %3.0f%%%s\033[K", s.what_.c_str(), full, "##############################", width - full, "", 100 * fraction, eta);
    }
    return !interrupted();
  }

  /// From the time that the work so far took; -1 before there is enough of it.
  double seconds_left(double fraction) const {
    const double spent = (now_ms() - start_) / 1000;
    return spent > 2 && fraction > 0.005 && fraction <= 1 ? std::min(spent / fraction * (1 - fraction), 359'999.0) : -1;
  }

  std::string what_;
  double start_ = now_ms();
  Mode mode_ = Mode::silent;
  double last_ = 0;
  bool drawn_ = false;
};

/// One line on stderr about a result; not with --quiet.
inline void note(const Options& o, const std::string& text) {
  if (!o.quiet) std::fprintf(stderr, "%s\n", one_line(text).c_str());
}

}  // namespace sampan::cli
