// Trace: look at any intermediate tensor by its PyTorch name, without a rebuild. Data flow: Context holds a pointer to it; layers and whole ops tap it.
// Names equal PyTorch's module names (image_encoder.blocks.3.attn); shapes and axis order too: [1,h,w,c] where PyTorch has it, [1,c,h,w] for its NCHW maps.
// A requested name makes the layer that owns it compute the tensor on its own, before anything is fused behind it; windowed outputs appear in raster
// order without pads. A name met again gets "#2", "#3" (a decoder runs once per prompt). Records keep FLOP, bytes and time of the tapped layer.
#pragma once
#include <sampan/core/view.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sampan::inline SAMPAN_ABI {

/// Work of an op: useful FLOP (2 per multiply-add) and the least bytes that must move.
struct Cost {
  double flop = 0, bytes = 0;
  friend Cost operator-(Cost a, Cost b) { return {a.flop - b.flop, a.bytes - b.bytes}; }
};

struct TraceRecord {
  std::string name;
  std::vector<std::int64_t> shape;  ///< PyTorch's shape, batch axis included
  std::vector<float> data;          ///< row-major in that shape
  double ms = 0;                    ///< time of the layer, sub-layers included
  Cost cost;
};

/// How a channels-last view becomes PyTorch's tensor.
enum class TraceLayout {
  as_is,  ///< [1, extents...]
  batch,  ///< extents as they are; the first axis is already the batch
  nchw,   ///< [h,w,c] -> [1,c,h,w], [d,h,w,c] -> [1,c,d,h,w]
};

class Trace {
 public:
  /// Names to keep; '*' stands for any run of characters. No names: keep everything that is tapped.
  explicit Trace(std::vector<std::string> names = {}) : names_(std::move(names)) {}

  bool wants(std::string_view name) const {
    if (names_.empty()) return true;
    for (const auto& p : names_)
      if (matches(p, name)) return true;
    return false;
  }
  template <int Rank>
  void record(std::string_view name, const View<const float, Rank>& v, TraceLayout layout, double ms = 0, Cost cost = {}) {
    if (!wants(name)) return;
    TraceRecord r;
    r.name = unique(name);
    r.ms = ms;
    r.cost = cost;
    if (layout != TraceLayout::batch) r.shape.push_back(1);
    r.data.reserve(std::size_t(v.size()));
    if constexpr (Rank >= 3) {
      if (layout == TraceLayout::nchw) {
        r.shape.push_back(v.extent(Rank - 1));
        for (int a = 0; a + 1 < Rank; ++a) r.shape.push_back(v.extent(a));
        for (Index c = 0; c < v.extent(Rank - 1); ++c) append(r.data, v.slice(Rank - 1, c, 1));
        records_.push_back(std::move(r));
        return;
      }
    }
    for (int a = 0; a < Rank; ++a) r.shape.push_back(v.extent(a));
    append(r.data, v);
    records_.push_back(std::move(r));
  }

  const std::vector<TraceRecord>& records() const { return records_; }
  const std::vector<std::string>& names() const { return names_; }
  void clear() { records_.clear(); }

 private:
  static bool matches(std::string_view pattern, std::string_view name) {
    std::size_t p = 0, n = 0, star = std::string_view::npos, mark = 0;
    while (n < name.size()) {
      if (p < pattern.size() && pattern[p] == '*') {
        star = p++, mark = n;
      } else if (p < pattern.size() && pattern[p] == name[n]) {
        ++p, ++n;
      } else if (star != std::string_view::npos) {
        p = star + 1, n = ++mark;
      } else {
        return false;
      }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
  }
  std::string unique(std::string_view name) const {
    int seen = 1;
    for (const auto& r : records_) seen += r.name == name || (r.name.size() > name.size() && r.name.compare(0, name.size(), name) == 0 && r.name[name.size()] == '#');
    std::string s(name);
    return seen == 1 ? s : s + "#" + std::to_string(seen);
  }
  template <int Rank>
  static void append(std::vector<float>& out, const View<const float, Rank>& v) {
    for (Index i = 0; i < v.extent(0); ++i) {
      if constexpr (Rank == 1) {
        out.push_back(v(i));
      } else {
        append(out, v[i]);
      }
    }
  }
  std::vector<std::string> names_;
  std::vector<TraceRecord> records_;
};

}  // namespace sampan::inline SAMPAN_ABI
