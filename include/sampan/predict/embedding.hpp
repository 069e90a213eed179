// Embedding: what an encoded image leaves for decoding, as a named set of tensors with the sizes and the model they belong to; and its file.
// Data flow: encoder -> here -> mask decoder; `sampan encode` writes it, `segment --embedding` reads it back.
// In memory channels-last [g, g, c]; in the file PyTorch's `image_embedding` [1, c, g, g] in f32, with the metadata key `sampan.embedding` (versioned JSON).
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
  /// Room for a grid; keeps what fits.
  Status reserve(Index grid, Index channels) {
    if (map_.valid() && map_.extent(0) == grid && map_.extent(2) == channels) return {};
    map_ = Tensor<float, 3, Reference>({grid, grid, channels});
    if (!map_.valid()) return Error(ErrorCode::out_of_memory, "no memory for the image embedding");
    return {};
  }
  View<float, 3> view() { return map_.view(); }
  View<const float, 3> view() const { return map_.view(); }
  std::uint64_t bytes() const { return map_.valid() ? std::uint64_t(map_.view().size()) * sizeof(float) : 0; }

  /// PyTorch's order [1, c, g, g].
  std::vector<float> nchw() const {
    const auto v = map_.view();
    std::vector<float> out;
    out.reserve(std::size_t(v.size()));
    for (Index c = 0; c < v.extent(2); ++c)
      for (Index y = 0; y < v.extent(0); ++y)
        for (Index x = 0; x < v.extent(1); ++x) out.push_back(v(y, x, c));
    return out;
  }

  /// `model` identifies the weights (the contract's data digest, or the file's SHA-256), `contract` is the record the encoder ran under.
  Status save(const std::string& path, const ImageSize& original, Extent2 resized, const std::string& model, const std::string& contract) const {
    JsonWriter j;
    j.begin_object().member("version", kEmbeddingVersion).member("width", original.width).member("height", original.height).member("resized_width", resized.width).member("resized_height", resized.height);
    j.member("model", model).end_object();
    const auto v = map_.view();
    std::vector<weights::MetadataEntry> meta{{kEmbeddingKey, j.text()}, {"sampan.contract", contract}};
    SAMPAN_TRY(file, weights::SafetensorsWriter::create(path, {{"image_embedding", DType::f32, {1, v.extent(2), v.extent(0), v.extent(1)}}}, meta));
    const auto data = nchw();
    SAMPAN_CHECK(file.write(std::span<const float>(data)));
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
    const auto* t = file.find("image_embedding");
    const auto v = map_.view();
    if (!t || t->dtype != DType::f32 || t->shape != weights::Shape{1, v.extent(2), v.extent(0), v.extent(1)})
      return refuse(cat("image_embedding must be f32 [1,", v.extent(2), ",", v.extent(0), ",", v.extent(1), "]"));
    std::size_t at = 0;
    for (Index c = 0; c < v.extent(2); ++c)
      for (Index y = 0; y < v.extent(0); ++y)
        for (Index x = 0; x < v.extent(1); ++x, at += sizeof(float)) {
          float f = 0;
          std::memcpy(&f, t->data.data() + at, sizeof(float));
          if (!(f - f == 0)) return refuse("image_embedding holds NaN or Inf");
          v(y, x, c) = f;
        }
    return size;
  }

 private:
  Tensor<float, 3, Reference> map_;
};

}  // namespace sampan::inline SAMPAN_ABI::predict
