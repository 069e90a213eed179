// Embedding: what an encoded image leaves for decoding, as a named set of tensors with the sizes and the model they belong to; and its file.
// Data flow: encoder -> here -> mask decoder; `sampan encode` writes it, `segment --embedding` reads it back.
// In memory channels-last [g, g, c]; in the file PyTorch's `image_embedding` [1, c, g, g] in f32 (SAM-HQ: `hq_features` [1, c / 8, 4g, 4g] beside it; DeSAM: `pimm_features`, the values of three maps of several sizes, laid out as one), with the metadata key `sampan.embedding` (versioned JSON).
// A file made by another model, or for another grid, is refused: it would give plausible wrong masks.
#pragma once
#include <sampan/image/image.hpp>
#include <sampan/ops/reference_backend.hpp>
#include <sampan/weights/safetensors.hpp>

namespace sampan::inline SAMPAN_ABI::predict {

inline constexpr const char* kEmbeddingKey = "sampan.embedding";
inline constexpr int kEmbeddingVersion = 1;

class Embedding {
 public:
  /// Room for a grid, and for `detail` channels on a map of four times the grid (SAM-HQ's features, DeSAM's; 0: none). Keeps what fits.
  Status reserve(Index grid, Index channels, Index detail) {
    if (all_.valid() && grid_ == grid && channels_ == channels && detail_ == detail) return {};
    grid_ = grid, channels_ = channels, detail_ = detail;
    all_ = Tensor<float, 1, Reference>({grid * grid * (channels + 16 * detail)});
    if (!all_.valid()) return Error(ErrorCode::out_of_memory, "no memory for the image embedding");
    return {};
  }
  View<float, 3> view() { return map(all_.view(), grid_, channels_, 0); }
  View<const float, 3> view() const { return map(all_.view(), grid_, channels_, 0); }
  /// [4g, 4g, detail], or empty.
  View<float, 3> detail() { return detail_ ? map(all_.view(), 4 * grid_, detail_, grid_ * grid_ * channels_) : View<float, 3>(); }
  View<const float, 3> detail() const { return detail_ ? map(all_.view(), 4 * grid_, detail_, grid_ * grid_ * channels_) : View<const float, 3>(); }
  /// Both, as they lie in memory.
  View<float, 1> all() { return all_.view(); }
  std::uint64_t bytes() const { return all_.valid() ? std::uint64_t(all_.view().size()) * sizeof(float) : 0; }

  /// The embedding in PyTorch's order [1, c, g, g].
  std::vector<float> nchw() const { return nchw(view()); }

  /// `model` identifies the weights (the contract's data digest, or the file's SHA-256), `contract` is the record the encoder ran under.
  Status save(const std::string& path, const ImageSize& original, Extent2 resized, const std::string& model, const std::string& contract) const {
    JsonWriter j;
    j.begin_object().member("version", kEmbeddingVersion).member("width", original.width).member("height", original.height).member("resized_width", resized.width).member("resized_height", resized.height);
    j.member("model", model).end_object();
    std::vector<weights::MetadataEntry> meta{{kEmbeddingKey, j.text()}, {"sampan.contract", contract}};
    std::vector<weights::TensorSpec> specs;
    for (const auto& [name, v] : parts()) specs.push_back({name, DType::f32, {1, v.extent(2), v.extent(0), v.extent(1)}});
    SAMPAN_TRY(file, weights::SafetensorsWriter::create(path, specs, meta));
    for (const auto& [name, v] : parts()) {
      const auto data = nchw(v);
      SAMPAN_CHECK(file.write(std::span<const float>(data)));
    }
    return file.commit();
  }

  /// Fills this embedding (reserved for the model's grid) and gives the original image's size.
  Result<ImageSize> load(const std::string& path, const std::string& model) {
    SAMPAN_TRY(file, weights::Safetensors::open(path));
    const auto refuse = [&](std::string_view what) { return Error(ErrorCode::bad_file, cat(path, ": ", what)); };
    const auto* text = file.metadata(kEmbeddingKey);
    if (!text) return refuse("no sampan.embedding record: not an embedding written by `sampan encode`");
    auto json = Json::parse(*text);
    if (!json) return std::move(json).error().at(cat(path, ": sampan.embedding"));
    const auto number = [&](const char* key) -> std::int64_t {
      const Json* v = json->find(key);
      return v && v->integer() ? *v->integer() : -1;
    };
    if (number("version") != kEmbeddingVersion) return refuse(cat("embedding version ", number("version"), ", this build reads ", kEmbeddingVersion));
    const Json* made_by = json->find("model");
    if (!made_by || !made_by->string() || *made_by->string() != model) return refuse("made by another model than the one given; encode the image again");
    const ImageSize size{number("width"), number("height"), 3};
    if (size.width < 1 || size.height < 1 || size.width > kMaxImageSide || size.height > kMaxImageSide) return refuse("the image size in its record is out of range");
    for (const auto& [name, v] : parts()) {
      const auto* t = file.find(name);
      if (!t || t->dtype != DType::f32 || t->shape != weights::Shape{1, v.extent(2), v.extent(0), v.extent(1)})
        return refuse(cat(name, " must be f32 [1,", v.extent(2), ",", v.extent(0), ",", v.extent(1), "]"));
      std::size_t at = 0;
      for (Index c = 0; c < v.extent(2); ++c)
        for (Index y = 0; y < v.extent(0); ++y)
          for (Index x = 0; x < v.extent(1); ++x, at += sizeof(float)) {
            float f = 0;
            std::memcpy(&f, t->data.data() + at, sizeof(float));
            if (!(f - f == 0)) return refuse(cat(name, " holds NaN or Inf"));
            all_.view()(&v(y, x, c) - all_.view().data()) = f;
          }
    }
    return size;
  }

 private:
  template <class T>
  static View<T, 3> map(const View<T, 1>& all, Index side, Index channels, Index at) {
    return {all.data() + at, {side, side, channels}};
  }
  static std::vector<float> nchw(const View<const float, 3>& v) {
    std::vector<float> out;
    out.reserve(std::size_t(v.size()));
    for (Index c = 0; c < v.extent(2); ++c)
      for (Index y = 0; y < v.extent(0); ++y)
        for (Index x = 0; x < v.extent(1); ++x) out.push_back(v(y, x, c));
    return out;
  }
  /// What the file holds, by name, in the order of the names.
  std::vector<std::pair<std::string, View<const float, 3>>> parts() const {
    std::vector<std::pair<std::string, View<const float, 3>>> p;
    if (detail_ && 8 * detail_ == channels_) p.emplace_back("hq_features", detail());
    p.emplace_back("image_embedding", view());
    if (detail_ && 8 * detail_ != channels_) p.emplace_back("pimm_features", detail());
    return p;
  }

  Tensor<float, 1, Reference> all_;
  Index grid_ = 0, channels_ = 0, detail_ = 0;
};

}  // namespace sampan::inline SAMPAN_ABI::predict
