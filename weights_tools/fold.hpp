// fold_low_rank(): LoRA and FacT matrices that a fine-tune keeps beside frozen weights are added into them, so that the engine runs a plain network.
// Data flow: checkpoint.hpp (one file that has both) or merge.hpp (a base and a file of additions) -> here -> convert.hpp.
// Known layouts, r the rank and D the width:
//   SAMed            w_a_000 [r, D], w_b_000 [D, r], two pairs a block: even index q, odd index v of image_encoder.blocks.{index / 2}.attn.qkv
//   wrapped          PLACE.qkv.linear_a_q.weight and _b_q, _a_v, _b_v beside PLACE.qkv.qkv.weight (SAM-OCTA); PROJ.w_a.weight and PROJ.w_b.weight beside PROJ.proj.weight
//   FacT (MA-SAM)    q_FacTs_000 [r, r] and v_FacTs_000 of each block, one FacTu [r, D] and one FacTv [D, r]: W += FacTv S FacTu
// Sums in double, one rounding to float32 at the end: adding at run time differs by the rounding of its own float32 products only (tests/unit/merge_test.cpp, 1e-6).
// Deliberately absent: alpha / r factors and loralib's merged layers (their files do not say their alpha), and q and v of TinyViT, whose qkv goes head by head; all are refused by name.
#pragma once
#include "checkpoint.hpp"

#include <map>

namespace sampan::inline SAMPAN_ABI::tools {

struct FoldReport {
  int pairs = 0;
  std::int64_t rank = 0;  ///< the largest
};

namespace detail {

inline bool ends_with(std::string_view s, std::string_view end) { return s.size() >= end.size() && s.substr(s.size() - end.size()) == end; }

/// `stem` + digits -> the number; nothing for other names. At most four digits: blocks are few.
inline std::optional<int> numbered(std::string_view name, std::string_view stem) {
  if (name.substr(0, stem.size()) != stem) return std::nullopt;
  const std::string_view digits = name.substr(stem.size());
  if (digits.empty() || digits.size() > 4) return std::nullopt;
  int n = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    n = 10 * n + (c - '0');
  }
  return n;
}

/// One addition: W[first .. first + rows of up) += up middle down; the part 0, 1, 2 of a qkv weight, or -1 for a whole one.
struct LowRank {
  std::string target;
  int part = -1;
  std::size_t down = 0, up = 0;
  std::optional<std::size_t> middle;
};

inline Result<std::vector<double>> matrix(const SourceTensor& t) {
  if (t.shape.size() != 2 || !is_floating(t.dtype)) return Error(ErrorCode::bad_model, cat("tensor ", t.name, " (", t.where, ") is ", to_string(t.dtype), " ", weights::to_string(t.shape), ": a matrix of floating type is needed"));
  std::vector<std::uint8_t> scratch;
  const Bytes b = t.contiguous(scratch);
  std::vector<double> out(t.count());
  if (t.dtype == DType::f64) {
    std::memcpy(out.data(), b.data(), b.size());
  } else {
    std::vector<float> f(t.count());
    weights::convert_to_f32(t.dtype, b.data(), f.size(), f.data());
    out.assign(f.begin(), f.end());
  }
  return out;
}

/// c [n, m] = a [n, k] b [k, m].
inline std::vector<double> product(const std::vector<double>& a, const std::vector<double>& b, std::size_t n, std::size_t k, std::size_t m) {
  std::vector<double> c(n * m);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t p = 0; p < k; ++p)
      for (std::size_t j = 0; j < m; ++j) c[i * m + j] += a[i * k + p] * b[p * m + j];
  return c;
}

/// The rows of additions among `names`, and which names they use up. Error{bad_model} for a matrix without its partner.
inline Status find_low_rank(const std::vector<std::string>& names, std::vector<LowRank>& rows, std::vector<bool>& used) {
  std::map<std::string, std::size_t, std::less<>> at;
  for (std::size_t i = 0; i < names.size(); ++i) at.emplace(names[i], i);
  const auto partner = [&](std::string_view name, const std::string& other) -> Result<std::size_t> {
    const auto it = at.find(other);
    if (it == at.end()) return Error(ErrorCode::bad_model, cat("tensor ", name.substr(0, 200), " has no partner ", other.substr(0, 200)));
    used[it->second] = true;
    return it->second;
  };
  std::optional<std::size_t> fact_u, fact_v;
  for (std::size_t i = 0; i < names.size(); ++i) {  // one shared pair, in the file once per block
    if (names[i].find("FacTu") != std::string::npos) fact_u = fact_u.value_or(i), used[i] = true;
    if (names[i].find("FacTv") != std::string::npos) fact_v = fact_v.value_or(i), used[i] = true;
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i];
    const auto stem = [&](std::string_view end) { return name.substr(0, name.size() - end.size()); };
    if (const auto n = numbered(name, "w_a_")) {
      SAMPAN_TRY(up, partner(name, cat("w_b_", name.substr(4))));
      rows.push_back({cat("image_encoder.blocks.", *n / 2, ".attn.qkv.weight"), *n % 2 == 0 ? 0 : 2, i, up, {}});
      used[i] = true;
    } else if (numbered(name, "w_b_") && !at.count(cat("w_a_", name.substr(4)))) {
      return Error(ErrorCode::bad_model, cat("tensor ", name, " has no partner w_a_", name.substr(4)));
    }
    for (const int part : {0, 2}) {
      const char letter = part == 0 ? 'q' : 'v';
      if (const std::string end = cat(".linear_a_", letter, ".weight"); ends_with(name, end)) {
        SAMPAN_TRY(up, partner(name, cat(stem(end), ".linear_b_", letter, ".weight")));
        rows.push_back({cat(stem(end), ".weight"), part, i, up, {}});
        used[i] = true;
      }
      const auto block = numbered(name, cat(letter, "_FacTs_"));
      if (!block) continue;
      if (!fact_u || !fact_v) return Error(ErrorCode::bad_model, cat("tensor ", name, " has no partners FacTu and FacTv"));
      rows.push_back({cat("image_encoder.blocks.", *block, ".attn.qkv.weight"), part, *fact_u, *fact_v, i});
      used[i] = true;
    }
    if (ends_with(name, "_proj.w_a.weight")) {
      SAMPAN_TRY(up, partner(name, cat(stem(".w_a.weight"), ".w_b.weight")));
      rows.push_back({cat(stem(".w_a.weight"), ".weight"), -1, i, up, {}});
      used[i] = true;
    }
  }
  if (rows.empty() && (fact_u || fact_v)) return Error(ErrorCode::bad_model, "the file holds FacTu or FacTv but no q_FacTs_000 ...");
  return {};
}

/// sum, the values of w, += what `row` says.
inline Status add_low_rank(const Checkpoint& c, const SourceTensor& w, const LowRank& row, std::vector<double>& sum, FoldReport& report) {
  const SourceTensor &down = c.source.tensors[row.down], &up = c.source.tensors[row.up];
  SAMPAN_TRY(a, matrix(down));
  SAMPAN_TRY(b, matrix(up));
  if (row.part >= 0 && w.name.find(".layers.") != std::string::npos)  // TinyViT's rows go head by head, [q k v] of each: a third of them is not q
    return Error(ErrorCode::unsupported, cat("tensors ", down.name, " and ", up.name, " belong to ", w.name, ": LoRA on TinyViT's attention is not folded"));
  const std::int64_t rank = down.shape[0], columns = w.shape[1], rows = row.part < 0 ? w.shape[0] : w.shape[0] / 3;
  if (down.shape[1] != columns || up.shape[0] != rows || up.shape[1] != rank || (row.part >= 0 && w.shape[0] % 3 != 0))
    return Error(ErrorCode::bad_model, cat("tensors ", down.name, " ", weights::to_string(down.shape), " and ", up.name, " ", weights::to_string(up.shape), " do not fit ", w.name, " ", weights::to_string(w.shape)));
  const auto n = std::size_t(rows), m = std::size_t(columns), r = std::size_t(rank);
  if (row.middle) {
    const SourceTensor& s = c.source.tensors[*row.middle];
    SAMPAN_TRY(between, matrix(s));
    if (s.shape != weights::Shape{rank, rank}) return Error(ErrorCode::bad_model, cat("tensor ", s.name, " is ", weights::to_string(s.shape), ", expected [", rank, ",", rank, "]"));
    a = product(between, a, r, r, m);
  }
  const std::vector<double> added = product(b, a, n, r, m);
  const std::size_t first = row.part < 0 ? 0 : std::size_t(row.part) * n * m;
  for (std::size_t i = 0; i < n * m; ++i) sum[first + i] += added[i];
  ++report.pairs;
  report.rank = std::max(report.rank, rank);
  return {};
}

}  // namespace detail

/// Takes wrapper prefixes ("module.", "sam.", ...) off while every name has one.
inline void strip_prefixes(Checkpoint& c) {
  std::vector<std::string> keys;
  for (const SourceTensor& t : c.source.tensors) keys.push_back(t.name);
  const std::size_t prefix = weights::common_prefix_length(keys);
  for (SourceTensor& t : c.source.tensors) t.name.erase(0, prefix);
}

/// Folds what is known and removes the folded matrices; without any, nothing changes. Wrapped layers get their plain names back. Wrapper prefixes must be off.
/// Error{bad_model} naming the tensor that has no partner, no target or a wrong shape, Error{unsupported} for TinyViT's qkv. Folded weights become float32.
inline Result<FoldReport> fold_low_rank(Checkpoint& c) {
  auto& tensors = c.source.tensors;
  std::vector<std::string> names;
  for (const SourceTensor& t : tensors) names.push_back(t.name);
  std::vector<bool> used(tensors.size());
  std::vector<detail::LowRank> rows;
  FoldReport report;
  const auto failed = [&](Error e) { return std::move(e).at(c.label); };
  if (auto s = detail::find_low_rank(names, rows, used); !s) return failed(std::move(s).error());
  if (rows.empty()) return report;
  for (SourceTensor& t : tensors) {
    if (detail::ends_with(t.name, ".qkv.qkv.weight") || detail::ends_with(t.name, ".qkv.qkv.bias")) t.name.erase(t.name.rfind(".qkv"), 4);
    for (std::string_view end : {".proj.weight", ".proj.bias"})
      if (detail::ends_with(t.name, cat("_proj", end))) t.name.erase(t.name.size() - end.size(), 5);
  }
  // Additions into one weight (q and v) stand together, so that it rounds once.
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.target < b.target; });
  for (auto row = rows.begin(); row != rows.end();) {
    const auto w = std::find_if(tensors.begin(), tensors.end(), [&](const SourceTensor& t) { return t.name == row->target; });
    if (w == tensors.end())
      return Error(ErrorCode::bad_model, cat(c.label, ": tensor ", names[row->middle.value_or(row->down)], " belongs to ", row->target, ", which is not among the tensors; a file of additions alone needs its base: sampan-merge BASE ADDITIONS OUT"));
    auto sum = detail::matrix(*w);
    if (!sum) return failed(std::move(sum).error());
    for (; row != rows.end() && row->target == w->name; ++row)
      if (auto s = detail::add_low_rank(c, *w, *row, *sum, report); !s) return failed(std::move(s).error());
    replace_values(c, *w, w->shape, {sum->begin(), sum->end()});
  }
  std::vector<SourceTensor> kept;
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (!used[i]) kept.push_back(std::move(tensors[i]));
  tensors = std::move(kept);
  return report;
}

}  // namespace sampan::inline SAMPAN_ABI::tools
