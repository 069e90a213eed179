// Output files: refused before the work if they cannot be written, complete or absent after it. Data flow: segment.cpp, encode.cpp -> here -> core/file.hpp, weights/safetensors.hpp.
// OutputPlan: every path the run will write, checked against each other, against the inputs, and against the file system (a temporary file is made and removed).
// OutputFiles: everything is written under temporary names first; commit() renames only when all of it is on disk, so that a full disk leaves nothing behind.
// Deliberately absent: creating directories.
#pragma once
#include "console.hpp"

#include <sampan/core/file.hpp>
#include <sampan/weights/safetensors.hpp>

#include <filesystem>

namespace sampan::cli {

class OutputPlan {
 public:
  void input(const std::string& path) {
    if (!path.empty()) inputs_.push_back({"", path});
  }
  /// `option` is how the user named it. Throws Failure{usage} for a path that is already taken, Failure{bad_file} for one that cannot be written.
  void output(const std::string& option, const std::string& path) {
    for (const Row& r : inputs_)
      if (same(r.path, path)) usage(cat(option, " ", path, ": this file is also an input; it would be overwritten"));
    for (const Row& r : outputs_)
      if (same(r.path, path)) usage(cat(option, " ", path, ": ", r.option, " writes the same file"));
    must(AtomicFile::create(path), Source::file);  // removes its temporary file at once
    outputs_.push_back({option, path});
  }
  /// The same, and the name must end in .png: what is written must be what the name says.
  void png(const std::string& option, const std::string& path) {
    output(option, path);
    std::string end = path.size() < 4 ? path : path.substr(path.size() - 4);
    for (char& c : end) c = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
    if (end != ".png") usage(cat(option, " ", path, ": a PNG is written; the name must end in .png"));
  }

 private:
  struct Row {
    std::string option, path;
  };
  static bool same(const std::string& a, const std::string& b) {
    std::error_code error;
    if (std::filesystem::equivalent(a, b, error) && !error) return true;  // both exist: links are seen through
    const auto real = [](const std::string& path) {
      std::error_code failed;
      const auto absolute = std::filesystem::absolute(path, failed);
      return failed ? std::filesystem::path() : std::filesystem::weakly_canonical(absolute, failed);
    };
    const auto pa = real(a);
    return !pa.empty() && pa == real(b);
  }
  std::vector<Row> inputs_, outputs_;
};

class OutputFiles {
 public:
  void bytes(const std::string& path, Bytes content) {
    auto f = must(AtomicFile::create(path), Source::file);
    must(f.write(content), Source::file);
    files_.push_back(std::move(f));
  }

  /// A file that `write` fills: Status write(AtomicFile&).
  template <class F>
  void written(const std::string& path, F&& write) {
    auto f = must(AtomicFile::create(path), Source::file);
    must(write(f), Source::arguments);
    files_.push_back(std::move(f));
  }

  struct TensorOut {
    std::string name;
    weights::Shape shape;
    std::span<const float> data;
  };
  void tensors(const std::string& path, const std::vector<TensorOut>& all, const std::vector<weights::MetadataEntry>& metadata) {
    std::vector<weights::TensorSpec> specs;
    for (const auto& t : all) specs.push_back({t.name, DType::f32, t.shape});
    auto w = must(weights::SafetensorsWriter::create(path, std::move(specs), metadata), Source::file);
    for (const auto& spec : w.specs())
      for (const auto& t : all)
        if (t.name == spec.name) must(w.write(t.data), Source::file);
    tensors_.push_back(std::move(w));
  }

  /// Gives every file its name.
  void commit() {
    stop_if_interrupted();
    for (auto& f : files_) must(f.commit(), Source::file);
    for (auto& t : tensors_) must(t.commit(), Source::file);
  }

 private:
  std::vector<AtomicFile> files_;
  std::vector<weights::SafetensorsWriter> tensors_;
};

}  // namespace sampan::cli
