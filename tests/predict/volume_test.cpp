// VolumeSession against the rule written out slice by slice with Session; encodings counted; cache, folder, undo, cancellation, interpolation, and what is refused.
#include "support/model_file.hpp"

#include <sampan/predict/volume.hpp>

#include <cmath>

using namespace sampan;
using namespace sampan::test;

namespace {

constexpr std::int64_t kSide = 64, kSlices = 12;

/// A volume that is the same for the same seed: a bright ball over noise.
struct Phantom {
  std::vector<std::vector<std::uint8_t>> slices;
  std::vector<int> reads = std::vector<int>(std::size_t(kSlices), 0);
  int fail_at = -1;

  explicit Phantom(std::uint64_t seed = 3) {
    for (std::int64_t z = 0; z < kSlices; ++z) {
      auto v = hash_noise_u8(seed + std::uint64_t(z), "slice", {kSide, kSide, 1});
      for (std::int64_t y = 0; y < kSide; ++y)
        for (std::int64_t x = 0; x < kSide; ++x) {
          auto& p = v[std::size_t(y * kSide + x)];
          const bool inside = (x - 30 - z) * (x - 30 - z) + (y - 28) * (y - 28) + 9 * (z - 6) * (z - 6) < 350;
          p = std::uint8_t(p / 8 + (inside ? 190 : 40));
        }
      slices.push_back(std::move(v));
    }
  }
  SliceSource source() {
    return {{kSide, kSide, 1}, kSlices,
            [](void* user, std::int64_t z, std::uint8_t* out) -> Status {
              auto& p = *static_cast<Phantom*>(user);
              ++p.reads[std::size_t(z)];
              if (z == p.fail_at) return Error(ErrorCode::io, "the disk is gone");
              std::memcpy(out, p.slices[std::size_t(z)].data(), p.slices[std::size_t(z)].size());
              return {};
            },
            this};
  }
};

using Stack = std::vector<std::vector<std::uint8_t>>;  // one mask per slice; empty: none

Stack masks_of(const VolumeSession& v, int object) {
  Stack out;
  for (std::int64_t z = 0; z < kSlices; ++z) {
    std::vector<std::uint8_t> m(std::size_t(kSide * kSide), 7);
    const auto r = v.try_mask(object, z, m);
    REQUIRE_MESSAGE(r, r.error().message());
    CHECK(std::isnan(v.predicted_iou(object, z)) == !*r);
    if (!*r) CHECK(std::count(m.begin(), m.end(), 0) == kSide * kSide);
    out.push_back(*r ? m : std::vector<std::uint8_t>());
  }
  return out;
}

/// The published loop for one 3D box, with a plain Session. Side and input are equal here, so a pixel of the image is one of the model.
Stack by_hand(const Model& model, Phantom& p, const VolumeBox& b, double margin) {
  Session s(model);
  Stack out{std::size_t(kSlices)};
  const Box first{b.x0, b.y0, b.x1, b.y1};
  const auto one = [&](std::int64_t z, const Box& box) {
    s.set_image({p.slices[std::size_t(z)].data(), {kSide, kSide, 1}});
    out[std::size_t(z)] = s.predict({.box = box}).mask().data;
  };
  const auto grown = [&](const std::vector<std::uint8_t>& m) {
    double x0 = kSide, y0 = kSide, x1 = -1, y1 = -1;
    for (std::int64_t y = 0; y < kSide; ++y)
      for (std::int64_t x = 0; x < kSide; ++x)
        if (m[std::size_t(y * kSide + x)]) x0 = std::min(x0, double(x)), x1 = std::max(x1, double(x)), y0 = std::min(y0, double(y)), y1 = std::max(y1, double(y));
    if (x1 < 0) return first;
    return Box{std::max(0.0, x0 - margin), std::max(0.0, y0 - margin), std::min(double(kSide), x1 + margin), std::min(double(kSide), y1 + margin)};
  };
  const std::int64_t middle = (b.z1 - b.z0) / 2 + b.z0;
  one(middle, first);
  for (std::int64_t z = middle + 1; z <= b.z1; ++z) one(z, grown(out[std::size_t(z - 1)]));
  for (std::int64_t z = middle - 1; z >= b.z0; --z) one(z, grown(out[std::size_t(z + 1)]));
  return out;
}

const VolumeBox kA{18, 14, 48, 44, 2, 9}, kB{5, 30, 30, 60, 4, 11};

struct Models {
  TempFolder folder;
  Model lite = load_random(folder, tiny_lite_medsam(), {.threads = 1});
  Model sam = load_random(folder, tiny_sam({.image = 64}), {.threads = 1});
  Model medsam = load_random(folder, tiny_medsam({.image = 64}), {.threads = 1});
};
const Models& models() {
  static const Models m;
  return m;
}

}  // namespace

TEST_CASE("volume: the published rule, each slice encoded once for all objects") {
  for (const Model* model : {&models().lite, &models().sam, &models().medsam}) {
    CAPTURE(model->info().family);
    Phantom p;
    // 4 pixels of 256 are 1 of 64: whole numbers, which LiteMedSAM's truncation keeps.
    VolumeSession v = VolumeSession::open(*model, p.source(), {.margin = 4});
    v.set_box(1, kA);
    v.set_box(2, kB);
    v.propagate();
    CHECK(masks_of(v, 1) == by_hand(*model, p, kA, 1));
    CHECK(masks_of(v, 2) == by_hand(*model, p, kB, 1));
    CHECK(v.stats().encoded == 10);  // slices 2 to 11
    CHECK(v.stats().decoded == 16);
    for (std::int64_t z = 0; z < kSlices; ++z) CHECK(p.reads[std::size_t(z)] == (z >= 2 ? 1 : 0));
    CHECK(v.objects() == std::vector<int>{1, 2});

    SUBCASE("a third object costs no encoding, and leaves the others alone") {
      const Stack before = masks_of(v, 1);
      const VolumeBox c{10, 10, 40, 40, 3, 8};
      v.set_box(3, c);
      v.propagate();
      CHECK(v.stats().encoded == 10);
      CHECK(masks_of(v, 3) == by_hand(*model, p, c, 1));
      CHECK(masks_of(v, 1) == before);
      CHECK(v.stats().decoded == 22);
    }
    SUBCASE("a cache of one slice gives the same masks for more encodings") {
      VolumeSession w = VolumeSession::open(*model, p.source(), {.cache_bytes = 1, .margin = 4});
      w.set_box(1, kA);
      w.set_box(2, kB);
      w.propagate();
      CHECK(masks_of(w, 1) == masks_of(v, 1));
      CHECK(masks_of(w, 2) == masks_of(v, 2));
      CHECK(w.stats().encoded > 10);
      CHECK(w.stats().cache_bytes == v.stats().cache_bytes / 10);
    }
    SUBCASE("without keep_all only what the way down wants stays in memory, and goes when it was there") {
      VolumeSession w = VolumeSession::open(*model, p.source(), {.margin = 4, .keep_all = false});
      w.set_box(1, kA);
      w.set_box(2, kB);
      w.propagate();
      CHECK(masks_of(w, 1) == masks_of(v, 1));
      CHECK(masks_of(w, 2) == masks_of(v, 2));
      CHECK(w.stats().encoded == 10);
      CHECK(w.stats().from_memory == 2);  // 5 and 6 lie above one middle and below the other
      CHECK(w.stats().cache_bytes == 0);
    }
    SUBCASE("forgotten slices cost an encoding, and nothing else") {
      const Stack before = masks_of(v, 1);
      v.forget_slices();
      CHECK(v.stats().cache_bytes == 0);
      CHECK(masks_of(v, 1) == before);
      v.set_box(2, {10, 10, 40, 40, 3, 8});
      v.propagate();
      CHECK(v.stats().encoded == 16);
    }
  }
}

TEST_CASE("volume: the published margin where a model pixel is not an image pixel") {
  // 64 px slices shown to a 128 px MobileSAM: margins in its own pixels, boxes scaled by two.
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam({.image = 128}), {.threads = 1});
  Phantom p;
  VolumeSession v = VolumeSession::open(model, p.source(), {.margin = 4});  // 2 of 128: 1 of the image's
  v.set_box(1, kA);
  v.propagate();
  CHECK(masks_of(v, 1) == by_hand(model, p, kA, 1));
}

TEST_CASE("volume: a folder keeps encoded slices for the next run; damaged or foreign files are encoded anew") {
  const TempFolder folder;
  Phantom p;
  const VolumeOptions o{.cache_bytes = 1, .cache_folder = folder.file("")};
  VolumeSession first = VolumeSession::open(models().lite, p.source(), o);
  first.set_box(1, kA);
  first.propagate();
  CHECK(first.stats().encoded == 8);
  CHECK(folder.files() == 8);
  VolumeSession second = VolumeSession::open(models().lite, p.source(), o);
  second.set_box(1, kA);
  second.propagate();
  CHECK(second.stats().encoded == 0);
  CHECK(second.stats().from_folder >= 8);
  CHECK(masks_of(second, 1) == masks_of(first, 1));
  // Another model finds nothing of it; a changed slice neither.
  VolumeSession other = VolumeSession::open(models().sam, p.source(), o);
  other.set_box(1, kA);
  other.propagate();
  CHECK(other.stats().encoded == 8);
  p.slices[5][0] ^= 1;
  VolumeSession changed = VolumeSession::open(models().lite, p.source(), o);
  changed.set_box(1, kA);
  changed.propagate();
  CHECK(changed.stats().encoded == 1);
  // Every file cut: all are encoded and written anew.
  for (const auto& e : std::filesystem::directory_iterator(folder.file(""))) std::filesystem::resize_file(e.path(), std::filesystem::file_size(e.path()) / 2);
  VolumeSession damaged = VolumeSession::open(models().lite, p.source(), o);
  damaged.set_box(1, kA);
  damaged.propagate();
  CHECK(damaged.stats().encoded == 8);
  CHECK(masks_of(damaged, 1) == masks_of(changed, 1));
}

TEST_CASE("volume: several prompted slices meet in the middle, or are interpolated; a prompt holds on its slice") {
  Phantom p;
  const Box a{18, 14, 48, 44}, b{22, 10, 50, 40};
  Session s(models().sam);
  const auto alone = [&](std::int64_t z, const Prompt& prompt) {
    s.set_image({p.slices[std::size_t(z)].data(), {kSide, kSide, 1}});
    return s.predict(prompt).mask().data;
  };
  VolumeSession v = VolumeSession::open(models().sam, p.source(), {.margin = 4});
  v.set_prompt(1, 3, {.box = a});
  v.set_prompt(1, 8, {.points = {{30, 30, 1}, {5, 5, 0}}, .box = b});
  v.set_range(1, 2, 9);
  v.propagate();
  const Stack m = masks_of(v, 1);
  CHECK(m[3] == alone(3, {.box = a}));
  CHECK(m[8] == alone(8, {.points = {{30, 30, 1}, {5, 5, 0}}, .box = b}));
  // 4 and 5 come from 3, 7 and 6 from 8: the same as two volumes with one prompt each.
  VolumeSession below = VolumeSession::open(models().sam, p.source(), {.margin = 4}), above = VolumeSession::open(models().sam, p.source(), {.margin = 4});
  below.set_prompt(1, 3, {.box = a});
  below.set_range(1, 2, 9);
  below.propagate();
  above.set_prompt(1, 8, {.points = {{30, 30, 1}, {5, 5, 0}}, .box = b});
  above.set_range(1, 2, 9);
  above.propagate();
  for (const std::size_t z : {2u, 4u, 5u}) CHECK(m[z] == masks_of(below, 1)[z]);
  for (const std::size_t z : {6u, 7u, 9u}) CHECK(m[z] == masks_of(above, 1)[z]);
  for (const std::size_t z : {0u, 1u, 10u, 11u}) CHECK(m[z].empty());

  VolumeSession between = VolumeSession::open(models().sam, p.source(), {.interpolate = true});
  between.set_prompt(1, 3, {.box = a});
  between.set_prompt(1, 8, {.box = b});
  between.set_range(1, 3, 8);
  between.propagate();
  CHECK(masks_of(between, 1)[5] == alone(5, {.box = Box{18 + 0.4 * 4, 14 - 0.4 * 4, 48 + 0.4 * 2, 44 - 0.4 * 4}}));
  between.set_prompt(1, 8, {.points = {{30, 30, 1}}});
  CHECK(between.try_propagate().error().message().find("needs a box on both") != std::string::npos);
}

TEST_CASE("volume: without a range an object ends where nothing is found") {
  Phantom p;
  for (const Model* model : {&models().sam, &models().medsam, &models().lite})
    for (const Box& box : {Box{18, 14, 48, 44}, Box{2, 2, 9, 9}, Box{40, 40, 62, 62}}) {
      VolumeSession v = VolumeSession::open(*model, p.source());
      v.set_prompt(1, 6, {.box = box});
      v.propagate();
      const Stack m = masks_of(v, 1);
      CHECK_FALSE(m[6].empty());
      const auto nothing = [](const std::vector<std::uint8_t>& s) { return std::find(s.begin(), s.end(), 1) == s.end(); };
      for (std::size_t z = 7; z < std::size_t(kSlices); ++z) CHECK(m[z].empty() == nothing(m[z - 1]));
      for (std::size_t z = 6; z-- > 0;) CHECK(m[z].empty() == nothing(m[z + 1]));
      for (std::size_t z = 0; z < std::size_t(kSlices); ++z) CHECK(p.reads[z] <= 9);  // a slice behind the end is not even read
    }
}

TEST_CASE("volume: undo takes steps back, and nothing is encoded again") {
  Phantom p;
  VolumeSession v = VolumeSession::open(models().lite, p.source());
  CHECK_FALSE(v.undo());
  v.set_box(1, kA);
  v.propagate();
  const Stack one = masks_of(v, 1);
  v.set_prompt(1, 4, {.box = Box{20, 20, 40, 40}});
  v.propagate();
  CHECK(masks_of(v, 1) != one);
  CHECK(v.undo());  // the propagation
  CHECK(masks_of(v, 1) == one);
  CHECK(v.undo());  // the prompt
  v.propagate();    // nothing has changed
  CHECK(masks_of(v, 1) == one);
  v.remove(1);
  CHECK(v.objects().empty());
  CHECK(v.undo());
  CHECK(masks_of(v, 1) == one);
  CHECK(v.stats().encoded == 8);
  int steps = 0;
  while (v.undo()) ++steps;
  CHECK(steps == 3);  // propagation of nothing, propagation, box
  CHECK(v.objects().empty());
}

TEST_CASE("volume: progress goes from 0 to 1; a cancelled or failed run changes nothing but the cache") {
  Phantom p;
  VolumeSession v = VolumeSession::open(models().lite, p.source());
  v.set_box(1, kA);
  struct Watch {
    std::vector<double> seen;
    double stop = 2;
  } watch;
  const Progress progress{[](void* user, std::string_view, double f) {
                            auto& w = *static_cast<Watch*>(user);
                            w.seen.push_back(f);
                            return f < w.stop;
                          },
                          &watch};
  watch.stop = 0.5;
  CHECK(v.try_propagate(progress).error().code() == ErrorCode::cancelled);
  CHECK(masks_of(v, 1) == Stack(std::size_t(kSlices)));
  const auto encoded = v.stats().encoded;
  CHECK(encoded >= 3);
  p.fail_at = 8;
  CHECK(v.try_propagate().error().message() == "the disk is gone");
  CHECK(masks_of(v, 1) == Stack(std::size_t(kSlices)));
  p.fail_at = -1;
  watch = {};
  v.propagate(progress);
  CHECK(v.stats().encoded == 8);  // the slices of the stopped runs were not encoded again
  CHECK(masks_of(v, 1) == [&] {
    VolumeSession w = VolumeSession::open(models().lite, p.source());
    w.set_box(1, kA);
    w.propagate();
    return masks_of(w, 1);
  }());
  CHECK(std::is_sorted(watch.seen.begin(), watch.seen.end()));
  CHECK(watch.seen.front() == 0);
  CHECK(watch.seen.back() <= 1);
  CHECK(watch.seen.back() > 0.85);
}

TEST_CASE("volume: what is refused") {
  Phantom p;
  const SliceSource good = p.source();
  const auto open_code = [&](SliceSource s, const VolumeOptions& o = {}) {
    const auto v = VolumeSession::try_open(models().lite, s, o);
    REQUIRE_FALSE(v.ok());
    return v.error().code();
  };
  SliceSource s = good;
  s.count = 0;
  CHECK(open_code(s) == ErrorCode::invalid_argument);
  s = good, s.read = nullptr;
  CHECK(open_code(s) == ErrorCode::invalid_argument);
  s = good, s.size.channels = 2;
  CHECK(open_code(s) == ErrorCode::invalid_argument);
  s = good, s.size.width = 0;
  CHECK(open_code(s) == ErrorCode::invalid_argument);
  s = good, s.size.width = std::int64_t(1) << 40;
  CHECK(open_code(s) == ErrorCode::limit);
  CHECK(open_code(good, {.margin = -1}) == ErrorCode::invalid_argument);
  const auto& info = models().lite.info();
  const std::uint64_t slice = std::uint64_t(info.embedding_grid * info.embedding_grid) * 32 * sizeof(float);  // 32 channels
  const Model small = load_random(models().folder, tiny_lite_medsam(), {.threads = 1, .max_memory = info.weight_bytes + std::max(info.encode_bytes, info.decode_bytes) + 4 * slice}, 1);
  CHECK(VolumeSession::try_open(small, good).error().code() == ErrorCode::limit);
  CHECK(VolumeSession::try_open(small, good, {.cache_bytes = 1}));

  VolumeSession v = VolumeSession::open(models().lite, good);
  const Prompt box{.box = Box{1, 1, 9, 9}};
  const double nan = std::nan("");
  CHECK(v.try_set_prompt(0, 3, box).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_prompt(65536, 3, box).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_prompt(1, -1, box).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_prompt(1, kSlices, box).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_prompt(1, 3, {}).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_prompt(1, 3, {.box = Box{9, 1, 1, 9}}).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_prompt(1, 3, {.box = Box{1, 1, nan, 9}}).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_prompt(1, 3, {.points = {{3, 3, 1}}}).error().code() == ErrorCode::unsupported);  // LiteMedSAM takes boxes only
  CHECK(v.try_set_box(1, {1, 1, 9, 9, 5, 4}).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_box(1, {1, 1, 9, 9, 5, kSlices}).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_box(1, {1, 1, 99, 9, 5, 6}).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_set_range(1, 5, 4).error().code() == ErrorCode::invalid_argument);
  CHECK(v.try_remove(1).error().code() == ErrorCode::invalid_argument);
  CHECK(v.objects().empty());
  CHECK_FALSE(v.undo());  // nothing of it was a step
  v.set_prompt(1, 3, box);
  CHECK(v.try_set_range(1, 4, 9).error().code() == ErrorCode::invalid_argument);
  v.set_range(1, 2, 9);
  CHECK(v.try_set_prompt(1, 10, box).error().code() == ErrorCode::invalid_argument);
  std::vector<std::uint8_t> wrong(10);
  CHECK(v.try_mask(1, 3, wrong).error().code() == ErrorCode::invalid_argument);
  v.propagate();
  CHECK(v.predicted_iou(1, 99) != v.predicted_iou(1, 99));
  VolumeSession empty = VolumeSession::open(models().lite, good);
  empty.propagate();  // no objects: nothing happens
  CHECK(empty.stats().encoded == 0);
}
