// Loader<B>: walks a weight file by PyTorch's names, checks every shape, and packs each layer once for backend B.
// Data flow: weights/safetensors.hpp -> here -> nn/, models/ (`Linear` at "blocks" / 3 / "attn.qkv") -> pack() of the backend.
// Errors are sticky: the first ones are collected (a message can name several missing tensors), and from then on nothing is read or packed, so layers need no
// checks; the caller asks `status()` once. Every tensor that was asked for is marked; `check_all_used()` makes surplus tensors an error.
// Views given out live until release(): f32 data in the file is used in place, other types and misaligned data are converted to scratch memory.
#pragma once
#include <sampan/ops/volume_backend.hpp>
#include <sampan/weights/safetensors.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace sampan::inline SAMPAN_ABI {

inline constexpr Index kAnyExtent = -1;

/// A file's tensors under the project's names (a key map may have renamed them), and what was used of them.
class TensorTable {
 public:
  TensorTable(const weights::Safetensors& file) : file_(&file) {
    for (const auto& t : file.tensors()) rows_.push_back({t.name, &t, false});
    sort();
  }
  struct Row {
    std::string name;
    const weights::TensorEntry* entry;
    bool used;
  };
  TensorTable(const weights::Safetensors& file, std::vector<Row> renamed) : file_(&file), rows_(std::move(renamed)) { sort(); }

  const weights::TensorEntry* use(std::string_view name) {
    Row* r = find(name);
    if (!r) return nullptr;
    r->used = true;
    return r->entry;
  }
  bool has(std::string_view name) const { return const_cast<TensorTable*>(this)->find(name) != nullptr; }
  const weights::Safetensors& file() const { return *file_; }
  const std::vector<Row>& rows() const { return rows_; }

 private:
  void sort() {
    std::sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) { return a.name < b.name; });
  }
  Row* find(std::string_view name) {
    auto it = std::lower_bound(rows_.begin(), rows_.end(), name, [](const Row& r, std::string_view n) { return r.name < n; });
    return it != rows_.end() && it->name == name ? &*it : nullptr;
  }
  const weights::Safetensors* file_;
  std::vector<Row> rows_;
};

/// How a convolution stands in the file.
struct ConvShape {
  bool bias = true;
  int stride = 1, pad = 0;
};

template <Backend B>
class Loader {
 public:
  /// What a load shares: the table, the backend, scratch and errors.
  struct Load {
    TensorTable& table;
    const B& backend;
    std::vector<Tensor<float, 1, Reference>> scratch;
    std::vector<const weights::TensorEntry*> touched;
    std::string problems;
    int problem_count = 0;
    ErrorCode code = ErrorCode::bad_model;
    B exact = exact_backend(backend), integer = integer_backend(backend);
  };

  explicit Loader(Load& load) : load_(&load) {}
  Loader operator/(std::string_view child) const { return Loader(*load_, path(child), as_); }
  /// The same place; what is packed from here on is f32, whatever precision the backend has.
  Loader exact() const { return Loader(*load_, prefix_, As::exact); }
  /// The same place; what is packed from here on is `fast` if the backend's precision is `fast`, else f32.
  Loader integer() const { return Loader(*load_, prefix_, As::integer); }
  Loader operator/(Index child) const { return *this / std::string_view(std::to_string(child)); }

  std::string path() const { return prefix_; }
  std::string path(std::string_view child) const { return prefix_.empty() ? std::string(child) : cat(prefix_, ".", child); }
  bool ok() const { return load_->problem_count == 0; }
  bool has(std::string_view name) const { return load_->table.has(path(name)); }
  const B& backend() const { return as_ == As::exact ? load_->exact : as_ == As::integer ? load_->integer : load_->backend; }

  /// A tensor of exactly this shape (kAnyExtent: free), as float32. Missing or other shape: recorded, and a view of zero size comes back.
  template <int R>
  View<const float, R> tensor(std::string_view name, const std::array<Index, std::size_t(R)>& shape) const {
    const std::string full = path(name);
    const auto* t = load_->table.use(full);
    if (!t) return problem(cat("tensor ", full, " is missing")), View<const float, R>();
    bool fits = t->shape.size() == std::size_t(R);
    for (std::size_t i = 0; fits && i < std::size_t(R); ++i) fits = shape[i] == kAnyExtent || shape[i] == t->shape[i];
    if (!fits) {
      std::string want = "[";
      for (std::size_t i = 0; i < std::size_t(R); ++i) want += cat(i ? "," : "", shape[i] == kAnyExtent ? std::string("any") : std::to_string(shape[i]));
      return problem(cat("tensor ", full, " is ", weights::to_string(t->shape), ", expected ", want, "]")), View<const float, R>();
    }
    if (!ok()) return {};
    std::array<Index, std::size_t(R)> extents{};
    std::size_t count = 1;
    for (std::size_t i = 0; i < std::size_t(R); ++i) extents[i] = Index(t->shape[i]), count *= std::size_t(t->shape[i]);
    load_->touched.push_back(t);
    if (const auto bad = first_non_finite(*t); bad != t->data.size()) return problem(cat("tensor ", full, " holds NaN or Inf at byte ", t->file_offset + bad)), View<const float, R>();
    const auto address = reinterpret_cast<std::uintptr_t>(t->data.data());
    if (t->dtype == DType::f32 && address % alignof(float) == 0) return {reinterpret_cast<const float*>(t->data.data()), extents};
    const auto copy = scratch<1>({Index(count)});
    if (!ok()) return {};
    weights::convert_to_f32(t->dtype, t->data.data(), count, copy.data());
    return {copy.data(), extents};
  }

  /// Memory that lives until release(), for converted or resampled tables.
  template <int R>
  View<float, R> scratch(const std::array<Index, std::size_t(R)>& extents) const {
    View<float, R> shape(nullptr, extents);
    load_->scratch.emplace_back(std::array<Index, 1>{shape.size()});
    if (!load_->scratch.back().valid()) return problem(cat("no memory for ", shape.size() * 4, " bytes of weights"), ErrorCode::out_of_memory), View<float, R>();
    return {load_->scratch.back().view().data(), extents};
  }

  LinearParams linear(std::string_view name, Index in, Index out, bool bias = true) const {
    const Loader w = *this / name;
    return {w.template tensor<2>("weight", {out, in}), bias ? w.template tensor<1>("bias", {out}) : View<const float, 1>(), w.path()};
  }
  NormParams norm(std::string_view name, Index c, float eps) const {
    const Loader w = *this / name;
    return {w.template tensor<1>("weight", {c}), w.template tensor<1>("bias", {c}), eps, w.path()};
  }
  ConvParams conv(std::string_view name, Index out, Index in, Index kh, Index kw, ConvShape s = {}) const {
    const Loader w = *this / name;
    return {w.template tensor<4>("weight", {out, in, kh, kw}), s.bias ? w.template tensor<1>("bias", {out}) : View<const float, 1>(), {}, s.stride, s.pad, w.path()};
  }
  /// Transposed: PyTorch stores [in, out, kh, kw]. Without a shape: stride = kernel.
  ConvParams conv_transpose(std::string_view name, Index in, Index out, Index kernel) const { return conv_transpose(name, in, out, kernel, {.stride = int(kernel)}); }
  ConvParams conv_transpose(std::string_view name, Index in, Index out, Index kernel, ConvShape s) const {
    const Loader w = *this / name;
    return {w.template tensor<4>("weight", {in, out, kernel, kernel}), s.bias ? w.template tensor<1>("bias", {out}) : View<const float, 1>(), {}, s.stride, s.pad, w.path()};
  }
  /// Of volumes: a cubic kernel.
  Conv3dParams conv3d(std::string_view name, Index out, Index in, Index kernel, ConvShape s = {}) const {
    const Loader w = *this / name;
    return {w.template tensor<5>("weight", {out, in, kernel, kernel, kernel}), s.bias ? w.template tensor<1>("bias", {out}) : View<const float, 1>(), s.stride, s.pad, w.path()};
  }
  Conv3dParams conv_transpose3d(std::string_view name, Index in, Index out, Index kernel) const {
    const Loader w = *this / name;
    return {w.template tensor<5>("weight", {in, out, kernel, kernel, kernel}), w.template tensor<1>("bias", {out}), int(kernel), 0, w.path()};
  }
  /// TinyViT's Conv2d_BN: convolution `c` without bias, BatchNorm `bn`; traced under the module's own name, which is the output of its BatchNorm.
  ConvParams conv_bn(std::string_view name, Index out, Index in, Index kernel, int stride, int pad, float eps) const {
    const Loader w = *this / name, n = w / "bn";
    ConvParams p = w.conv("c", out, in, kernel, kernel, {.bias = false, .stride = stride, .pad = pad});
    p.bn = {n.template tensor<1>("weight", {out}), n.template tensor<1>("bias", {out}), n.template tensor<1>("running_mean", {out}), n.template tensor<1>("running_var", {out}), eps, w.path()};
    return p;
  }

  template <class P>
  auto pack(const P& p) const {
    using sampan::pack;  // unqualified calls, here and below: the overload of a backend that is included behind this header is found as well
    return packed<decltype(pack(backend(), p))>([&] { return pack(backend(), p); });
  }
  PackedLinear<B> pack(const LinearParams& p) const {
    return packed<PackedLinear<B>>([&] { using sampan::pack; return pack(backend(), p, NormParams{}); });
  }
  PackedConv<B> pack_conv(const ConvParams& p) const {
    return packed<PackedConv<B>>([&] { using sampan::pack_conv; return pack_conv(backend(), p); });
  }
  PackedDepthwise<B> pack_depthwise(const ConvParams& p) const {
    return packed<PackedDepthwise<B>>([&] { using sampan::pack_depthwise; return pack_depthwise(backend(), p); });
  }
  PackedConvTranspose<B> pack_conv_transpose(const ConvParams& p) const {
    return packed<PackedConvTranspose<B>>([&] { using sampan::pack_conv_transpose; return pack_conv_transpose(backend(), p); });
  }
  PackedConv3d<B> pack_conv3d(const Conv3dParams& p) const
    requires VolumeBackend<B>
  {
    return packed<PackedConv3d<B>>([&] { using sampan::pack_conv3d; return pack_conv3d(backend(), p); });
  }
  PackedConvTranspose3d<B> pack_conv_transpose3d(const Conv3dParams& p) const
    requires VolumeBackend<B>
  {
    return packed<PackedConvTranspose3d<B>>([&] { using sampan::pack_conv_transpose3d; return pack_conv_transpose3d(backend(), p); });
  }
  /// A copy in the memory of the backend, or of another one that is named.
  template <class Where = B, int R>
  Tensor<float, R, Where> keep(const View<const float, R>& v) const {
    if (!ok()) return {};
    auto t = Tensor<float, R, Where>::copy_of(v);
    if (!t.valid()) problem("no memory for weights", ErrorCode::out_of_memory);
    return t;
  }

  /// Gives scratch and the mapped pages of packed tensors back; views from tensor() end here.
  void release() const {
    for (const auto* t : load_->touched) load_->table.file().release(*t);
    load_->touched.clear();
    load_->scratch.clear();
  }

  void problem(std::string text, ErrorCode code = ErrorCode::bad_model) const {
    if (load_->problem_count == 0) load_->code = code;
    if (load_->problem_count++ < 3) load_->problems += cat(load_->problems.empty() ? "" : "; ", text);
  }
  Status status() const {
    if (ok()) return {};
    const int more = load_->problem_count - 3;
    return Error(load_->code, cat(load_->table.file().path(), ": ", load_->problems, more > 0 ? cat("; and ", more, " more") : std::string()));
  }
  /// Every tensor of the file must have been asked for.
  void check_all_used() const {
    for (const auto& r : load_->table.rows())
      if (!r.used) problem(cat("tensor ", r.name, " belongs to no layer of this network"));
  }

 private:
  enum class As { backend, exact, integer };
  Loader(Load& load, std::string prefix, As as) : load_(&load), prefix_(std::move(prefix)), as_(as) {}
  /// Byte position inside the tensor of the first value whose exponent is all ones; data.size() if there is none. One pass at memory speed.
  static std::size_t first_non_finite(const weights::TensorEntry& t) {
    switch (t.dtype) {
      case DType::f32: return scan_exponent<std::uint32_t>(t.data, 0x7f800000u);
      case DType::f16: return scan_exponent<std::uint16_t>(t.data, 0x7c00u);
      case DType::bf16: return scan_exponent<std::uint16_t>(t.data, 0x7f80u);
      case DType::f64: return scan_exponent<std::uint64_t>(t.data, 0x7ff0000000000000u);
      default: return t.data.size();
    }
  }
  template <class U>
  static std::size_t scan_exponent(Bytes data, U mask) {
    constexpr std::size_t kBlock = 1024;
    const std::size_t count = data.size() / sizeof(U);
    for (std::size_t at = 0; at < count; at += kBlock) {
      const std::size_t n = std::min(kBlock, count - at);
      U block[kBlock];
      std::memcpy(block, data.data() + at * sizeof(U), n * sizeof(U));
      unsigned hit = 0;  // no early exit inside: the compiler turns this loop into vector code
      for (std::size_t i = 0; i < n; ++i) hit |= (block[i] & mask) == mask;
      for (std::size_t i = 0; hit && i < n; ++i)
        if ((block[i] & mask) == mask) return (at + i) * sizeof(U);
    }
    return data.size();
  }

  template <class W, class F>
  W packed(F&& make) const {
    if (!ok()) return {};
    W w = make();
    if (!w.valid()) problem(cat("no memory to pack ", w.name), ErrorCode::out_of_memory);
    return w;
  }
  Load* load_;
  std::string prefix_;
  As as_ = As::backend;
};

}  // namespace sampan::inline SAMPAN_ABI
