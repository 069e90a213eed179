// What a run of `sampan evaluate` has finished, on disk, so that a stopped run continues: one JSON line per mask and per image, appended when it is done.
// Data flow: evaluate.cpp -> journal.jsonl -> evaluate.cpp of the next call, and the tables, which are always made from what the journal holds.
// The first line holds every setting that changes a number. A file with other settings is refused with the first difference; a last line that was cut off (a crash) is
// dropped; anything else that is no journal is an error. One run at a time: the file is locked.
// Deliberately absent: hashes of images and masks; whoever changes a file of the data set starts anew (--restart).
#pragma once
#include "evaluate_run.hpp"
#include "report.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace sampan::cli {

/// What is known of one mask.
struct EvaluateResult {
  std::size_t image = 0;  ///< position in the data set
  std::string label;
  int instance = 1;
  std::int64_t area = 0;
  std::string skipped;  ///< why there are no rows
  std::vector<EvaluateRow> rows;
};

class Journal {
 public:
  /// Continues the file at `path`, or begins it. `images` of the data set and `scores` of a row bound what it may hold. Throws Failure{usage} if its settings are others.
  Journal(const std::string& path, const Report& settings, bool restart, std::size_t images, std::size_t scores) : path_(path), image_count_(images), score_count_(scores) {
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0) fail(cat("cannot write ", path, ": ", sampan::detail::errno_text(errno)));
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) fail(cat(path, ": another run writes it; wait for its end or choose another folder"));
    if (restart && ::ftruncate(fd_, 0) != 0) fail(cat("cannot write ", path, ": ", sampan::detail::errno_text(errno)));
    read(settings);
  }
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  ~Journal() {
    if (fd_ >= 0) ::close(fd_);
  }

  bool image_done(std::size_t image) const { return done_.count(image) != 0; }
  bool has(std::size_t image, const std::string& label, int instance) const { return keys_.count({image, label, instance}) != 0; }
  const std::vector<EvaluateResult>& results() const { return results_; }
  std::uint64_t drawn() const { return drawn_; }
  std::size_t images() const { return done_.size(); }
  const std::vector<double>& encode_ms() const { return encode_ms_; }

  /// `drawn`: numbers taken so far from the one stream of a protocol that has one.
  void add(EvaluateResult r, std::uint64_t drawn) {
    Report j = {{"image", r.image}, {"label", r.label}, {"instance", r.instance}, {"area", r.area}, {"drawn", drawn}};
    if (!r.skipped.empty()) j["skipped"] = r.skipped;
    Report rows = Report::array();
    for (const EvaluateRow& w : r.rows) {
      Report scores = Report::array();
      for (const double v : w.scores) scores.push_back(number(v));
      rows.push_back({w.prompt, w.repetition, w.step, evaluate::to_string(w.rule), w.candidate, number(w.predicted_iou), number(w.stability), w.area, scores, w.said, w.rle});
    }
    if (!rows.empty()) j["rows"] = std::move(rows);
    append(j);
    keep(std::move(r), drawn);
  }
  /// Milliseconds of encoding; below 0: it came from the cache, or was not needed.
  void image(std::size_t image, double encode_ms) {
    append({{"image", image}, {"done", true}, {"encode_ms", encode_ms}});
    done_.insert(image);
    if (encode_ms >= 0) encode_ms_.push_back(encode_ms);
  }

  static Report number(double v) { return std::isnan(v) ? Report(nullptr) : std::isinf(v) ? Report(v > 0 ? "inf" : "-inf") : Report(v); }

 private:
  [[noreturn]] void fail(std::string message) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    throw Failure{Exit::bad_file, std::move(message)};
  }
  [[noreturn]] void damaged(std::size_t line) { fail(cat(path_, ": line ", line, " is no line of a journal; --restart begins anew")); }

  void append(const Report& j) {
    const std::string line = j.dump(-1, ' ', false, Report::error_handler_t::replace) + "\n";
    for (std::size_t at = 0; at < line.size();) {
      const ssize_t n = ::write(fd_, line.data() + at, line.size() - at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(cat("cannot write ", path_, ": ", sampan::detail::errno_text(errno)));
      at += std::size_t(n);
    }
  }

  void keep(EvaluateResult r, std::uint64_t drawn) {
    keys_.insert({r.image, r.label, r.instance});
    drawn_ = drawn;
    results_.push_back(std::move(r));
  }

  void read(const Report& settings) {
    std::string text;
    char block[1 << 16];
    for (ssize_t n; (n = ::read(fd_, block, sizeof block)) != 0;) {
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(cat(path_, ": ", sampan::detail::errno_text(errno)));
      text.append(block, std::size_t(n));
    }
    const std::size_t whole = text.rfind('\n') + 1;  // 0 if there is no line
    if (whole < text.size() && (::ftruncate(fd_, off_t(whole)) != 0 || ::lseek(fd_, 0, SEEK_END) < 0)) fail(cat("cannot write ", path_, ": ", sampan::detail::errno_text(errno)));
    text.resize(whole);
    if (text.empty()) return append({{"settings", settings}});
    std::size_t number = 0;
    for (std::string_view rest = text; !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(line.size() + 1);
      ++number;
      try {
        const Report j = Report::parse(line);
        if (number == 1) compare(j.at("settings"), settings);
        else if (j.contains("done")) {
          const auto image = j.at("image").get<std::size_t>();
          if (image >= image_count_) damaged(number);
          done_.insert(image);
          if (const double ms = j.at("encode_ms").get<double>(); ms >= 0) encode_ms_.push_back(ms);
        } else {
          if (!read_mask(j)) damaged(number);
        }
      } catch (const nlohmann::json::exception&) {
        damaged(number);
      }
    }
  }

  void compare(const Report& before, const Report& now) {
    for (const auto& item : now.items())
      if (!before.contains(item.key()) || before[item.key()] != item.value())
        throw_usage(cat(path_, " belongs to a run with another ", item.key(), " (", before.contains(item.key()) ? before[item.key()].dump() : "none", ", now ", item.value().dump(), "): choose another folder with -o, or --restart to begin anew"));
    if (before.size() != now.size()) throw_usage(cat(path_, " belongs to a run of another version: choose another folder with -o, or --restart to begin anew"));
  }
  [[noreturn]] void throw_usage(std::string message) {
    ::close(fd_);
    fd_ = -1;
    usage(std::move(message));
  }

  static double value(const Report& j) { return j.is_null() ? std::numeric_limits<double>::quiet_NaN() : j.is_string() ? (j == "inf" ? 1 : -1) * std::numeric_limits<double>::infinity() : j.get<double>(); }

  bool read_mask(const Report& j) {
    EvaluateResult r{j.at("image").get<std::size_t>(), j.at("label").get<std::string>(), j.at("instance").get<int>(), j.at("area").get<std::int64_t>(), j.value("skipped", ""), {}};
    if (j.contains("rows"))
      for (const Report& w : j["rows"]) {
        EvaluateRow row{w.at(0).get<std::string>(), w.at(1).get<int>(), w.at(2).get<int>(), Rule::single, w.at(4).get<int>(), value(w.at(5)), value(w.at(6)), w.at(7).get<std::int64_t>(), {}, w.at(9).get<std::string>(), w.at(10).get<std::string>()};
        for (std::size_t i = 0; i < std::size(evaluate::kRuleNames); ++i)
          if (w.at(3) == evaluate::kRuleNames[i]) row.rule = Rule(i);
        for (const Report& s : w.at(8)) row.scores.push_back(value(s));
        if (row.scores.size() != score_count_) return false;
        r.rows.push_back(std::move(row));
      }
    if (r.image >= image_count_) return false;
    const auto drawn = j.at("drawn").get<std::uint64_t>();
    keep(std::move(r), drawn);
    return true;
  }

  std::string path_;
  std::size_t image_count_, score_count_;
  int fd_ = -1;
  std::vector<EvaluateResult> results_;
  std::set<std::tuple<std::size_t, std::string, int>> keys_;
  std::set<std::size_t> done_;
  std::vector<double> encode_ms_;
  std::uint64_t drawn_ = 0;
};

}  // namespace sampan::cli
