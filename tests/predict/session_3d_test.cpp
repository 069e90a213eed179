// Model3d and Session3d: axes in every order and direction, clicks that refine, undo, the same bits for any number of threads, 16-bit precisions near f32, and every refusal.
// PyTorch's numbers: parity/med3d_pipeline_test.cpp.
#include "support/model_file.hpp"

#include <sampan/predict/model_3d.hpp>

#include <cmath>

using namespace sampan;
using namespace sampan::test;

namespace {

std::string model_path(const TempFolder& folder) {
  const std::string path = folder.file("med3d.safetensors");
  const Status written = write_model(path, tiny_med3d(), 3);
  REQUIRE_MESSAGE(written, written.error().what());
  return path;
}
Model3d load(const std::string& path, LoadOptions o = {}) {
  auto m = Model3d::try_load(path, o);
  REQUIRE_MESSAGE(m, m.error().what());
  return std::move(*m);
}

/// A volume in world millimetres, RAS, sampled on a grid of its own: steps of `spacing` along canonical axes order[0..2], backwards where flip is set.
struct Scan {
  VolumeSource source;
  std::vector<float> voxels;
  int reads = 0;
  ErrorCode failing = ErrorCode::internal;
  bool fails = false;

  static constexpr std::int64_t kSize[3] = {20, 24, 18};  // along right, anterior, superior
  Scan(const std::array<int, 3>& order = {0, 1, 2}, const std::array<bool, 3>& flip = {false, false, false}, double spacing = 1.5) {
    const auto noise = hash_noise_u8(5, "scan", {kSize[0], kSize[1], kSize[2]});
    source.user = this;
    for (std::size_t n = 0; n < 3; ++n) {
      const std::size_t a = std::size_t(order[n]);
      source.size[n] = kSize[a];
      source.to_world[a][n] = flip[n] ? -spacing : spacing;
      source.to_world[a][3] = flip[n] ? spacing * double(kSize[a] - 1) : 0;
    }
    voxels.resize(std::size_t(kSize[0] * kSize[1] * kSize[2]));
    for (std::int64_t k = 0; k < source.size[2]; ++k)
      for (std::int64_t j = 0; j < source.size[1]; ++j)
        for (std::int64_t i = 0; i < source.size[0]; ++i) {
          const std::int64_t at[] = {i, j, k};
          std::int64_t c[3] = {};
          for (std::size_t n = 0; n < 3; ++n) c[order[n]] = flip[n] ? source.size[n] - 1 - at[n] : at[n];
          const bool inside = std::hypot(double(c[0]) - 9, double(c[1]) - 12, double(c[2]) - 8) < 6;
          voxels[voxel(i, j, k)] = float(noise[std::size_t((c[0] * kSize[1] + c[1]) * kSize[2] + c[2])] / 8 + (inside ? 100 : 0)) - 5;
        }
    source.read = [](void* user, std::int64_t k, float* plane) -> Status {
      auto& s = *static_cast<Scan*>(user);
      ++s.reads;
      if (s.fails) return Error(s.failing, "the disk is gone");
      const std::size_t n = std::size_t(s.source.size[0] * s.source.size[1]);
      std::copy_n(s.voxels.data() + std::size_t(k) * n, n, plane);
      return {};
    };
  }
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;
  std::size_t voxel(std::int64_t i, std::int64_t j, std::int64_t k) const { return std::size_t((k * source.size[1] + j) * source.size[0] + i); }
  /// A canonical voxel as a click in this grid.
  Click3d at(std::array<double, 3> c, int label) const {
    double p[3] = {};
    for (std::size_t n = 0; n < 3; ++n)
      for (std::size_t a = 0; a < 3; ++a)
        if (source.to_world[a][n] != 0) p[n] = source.to_world[a][n] < 0 ? double(source.size[n] - 1) - c[a] : c[a];
    return {p[0], p[1], p[2], label};
  }
};

std::vector<std::uint8_t> mask_of(const Session3d& s, const Scan& scan) {
  std::vector<std::uint8_t> m(scan.voxels.size(), 9);
  const Status done = s.try_mask(m);
  REQUIRE_MESSAGE(done, done.error().what());
  return m;
}

}  // namespace

TEST_CASE("volumes in every order and direction of axes give the same logits, and the same mask in space") {
  const TempFolder folder;
  const Model3d model = load(model_path(folder));
  CHECK(model.info().family == "sam_med3d");
  CHECK(model.info().side == 32);
  CHECK(model.info().low_res == 8);
  CHECK(model.info().encode_flop > 0);
  std::vector<float> wanted;
  std::vector<std::uint8_t> wanted_mask;  // canonical
  std::array<int, 3> order{0, 1, 2};
  do {
    for (int bits = 0; bits < 8; ++bits) {
      const std::array<bool, 3> flip{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
      CAPTURE(order[0] * 100 + order[1] * 10 + order[2]);
      CAPTURE(bits);
      const Scan scan(order, flip);
      auto session = Session3d::try_open(model, scan.source);
      REQUIRE_MESSAGE(session, session.error().what());
      session->click(scan.at({9, 12, 8}, 1));
      session->click(scan.at({2, 20, 15}, 0));
      const auto logits = session->low_res_logits();
      if (wanted.empty()) wanted.assign(logits.begin(), logits.end());
      CHECK(std::equal(logits.begin(), logits.end(), wanted.begin(), wanted.end()));
      const auto mask = mask_of(*session, scan);
      std::vector<std::uint8_t> canonical;
      std::int64_t set = 0;
      for (std::int64_t x = 0; x < Scan::kSize[0]; ++x)
        for (std::int64_t y = 0; y < Scan::kSize[1]; ++y)
          for (std::int64_t z = 0; z < Scan::kSize[2]; ++z) {
            const Click3d p = scan.at({double(x), double(y), double(z)}, 1);
            canonical.push_back(mask[scan.voxel(std::int64_t(p.i), std::int64_t(p.j), std::int64_t(p.k))]);
            set += canonical.back();
          }
      CHECK(set > 0);
      if (wanted_mask.empty()) wanted_mask = canonical;
      CHECK(canonical == wanted_mask);
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("clicks refine, undo takes them back, clear keeps the crop, a new centre reads again; painting adds to a label map") {
  const TempFolder folder;
  const Model3d model = load(model_path(folder));
  Scan scan;
  auto session = Session3d::try_open(model, scan.source);
  REQUIRE(session);
  CHECK_FALSE(session->has_crop());
  CHECK(std::isnan(session->predicted_iou()));
  CHECK(session->low_res_logits().empty());
  CHECK_FALSE(session->undo());
  for (const std::uint8_t v : mask_of(*session, scan)) CHECK(v == 0);
  session->click({9, 12, 8, 1});
  CHECK(session->has_crop());
  const int reads = scan.reads;
  CHECK(reads <= int(scan.source.size[2]));  // each plane once at most
  const auto one = mask_of(*session, scan);
  const std::vector<float> logits(session->low_res_logits().begin(), session->low_res_logits().end());
  const float iou = session->predicted_iou();
  session->click({3, 4, 5, 0});
  CHECK(scan.reads == reads);
  CHECK(session->clicks() == 2);
  CHECK(mask_of(*session, scan) != one);
  CHECK(session->undo());
  CHECK(mask_of(*session, scan) == one);
  CHECK(session->predicted_iou() == iou);
  session->click({3, 4, 5, 0});
  session->clear();
  CHECK(session->clicks() == 0);
  session->click({9, 12, 8, 1});
  CHECK(scan.reads == reads);
  CHECK(std::equal(logits.begin(), logits.end(), session->low_res_logits().begin()));
  std::vector<std::uint8_t> labels(scan.voxels.size(), 5);
  const std::int64_t painted = session->paint(labels, 77);
  std::int64_t set = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    set += one[i];
    CHECK(labels[i] == (one[i] ? 77 : 5));
  }
  CHECK(painted == set);
  session->set_centre(3, 3, 3);
  CHECK(session->clicks() == 0);
  CHECK(scan.reads > reads);
  session->click({4, 4, 4, 0});  // with a centre the first click may lie beside the object
}

TEST_CASE("a click beyond the cube opens another one, undo closes it; following the object is the same on any axes, and all or nothing") {
  const TempFolder folder;
  const Model3d model = load(model_path(folder));
  std::vector<float> wanted;
  std::int64_t set = 0;
  for (const bool flip : {false, true}) {
    Scan wide(flip ? std::array<int, 3>{2, 0, 1} : std::array<int, 3>{0, 1, 2}, {flip, false, flip}, 4.5);  // three voxels of the network for one of the scan
    auto session = Session3d::try_open(model, wide.source);
    REQUIRE_MESSAGE(session, session.error().what());
    session->click(wide.at({9, 12, 8}, 1));
    const auto one = mask_of(*session, wide);
    session->click(wide.at({18, 20, 8}, 1));
    CHECK(session->cubes() == 2);
    CHECK(session->clicks() == 2);
    const auto two = mask_of(*session, wide);
    for (std::size_t i = 0; i < one.size(); ++i) CHECK(two[i] >= one[i]);
    CHECK(two != one);
    session->click(wide.at({17, 20, 8}, 0));  // refines the second
    CHECK(session->cubes() == 2);
    CHECK(session->undo());
    CHECK(mask_of(*session, wide) == two);
    CHECK(session->undo());
    CHECK(session->cubes() == 1);
    CHECK(mask_of(*session, wide) == one);
    wide.fails = true;
    CHECK_FALSE(session->try_cover());
    wide.fails = false;
    CHECK(session->cubes() == 1);
    CHECK(mask_of(*session, wide) == one);
    const std::int64_t opened = session->cover(3);
    CHECK(opened == 2);
    CHECK(session->cubes() == 3);
    const auto logits = session->low_res_logits();
    const auto all = mask_of(*session, wide);
    const auto count = std::count(all.begin(), all.end(), 1);
    CHECK(count > std::count(one.begin(), one.end(), 1));
    if (wanted.empty()) wanted.assign(logits.begin(), logits.end()), set = count;
    double difference = 0, norm = 0;  // the interpolation sums in another order on flipped axes
    for (std::size_t i = 0; i < wanted.size(); ++i)
      difference += std::pow(double(logits[i]) - double(wanted[i]), 2), norm += std::pow(double(wanted[i]), 2);
    CHECK(std::sqrt(difference / norm) < 1e-4);
    CHECK(std::abs(count - set) <= 2);
    session->clear();
    CHECK(session->cubes() == 1);
    CHECK(session->clicks() == 0);
  }
}

TEST_CASE("the same bits for any number of threads; reference, fast and bf16 stay near") {
  const TempFolder folder;
  const std::string path = model_path(folder);
  const Scan scan;
  const auto run = [&](LoadOptions o) {
    auto session = Session3d::try_open(load(path, o), scan.source);
    REQUIRE(session);
    session->click({9, 12, 8, 1});
    session->click({3, 4, 5, 0});
    const auto l = session->low_res_logits();
    return std::vector<float>(l.begin(), l.end());
  };
  const auto wanted = run({.threads = 1});
  for (const int threads : {2, 3}) CHECK(run({.threads = threads}) == wanted);
  const auto error = [&](const std::vector<float>& a) {
    double d = 0, n = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
      d += (double(a[i]) - double(wanted[i])) * (double(a[i]) - double(wanted[i])), n += double(wanted[i]) * double(wanted[i]);
    return std::sqrt(d / n);
  };
  CHECK(error(run({.device = Device::reference})) < 1e-5);
  CHECK(error(run({.precision = Precision::fast})) < 1e-2);
  for (const auto& p : available_precisions())
    if (p == "bf16") CHECK(error(run({.precision = Precision::bf16})) < 5e-2);
}

TEST_CASE("a model, a volume or a click that cannot be is refused, and changes nothing") {
  const TempFolder folder;
  const std::string path = model_path(folder);
  const auto refused = [](const auto& r, ErrorCode code, const char* says) {
    REQUIRE_FALSE(r.ok());
    CHECK(r.error().code() == code);
    CHECK_MESSAGE(r.error().message().find(says) != std::string::npos, r.error().message());
  };
  const std::string flat = folder.file("sam.safetensors");
  REQUIRE(write_model(flat, tiny_sam()));
  refused(Model3d::try_load(flat), ErrorCode::unsupported, "segments images");
  refused(Model::try_load(path), ErrorCode::unsupported, "segments volumes");
  refused(Model3d::try_load(path, {.device = Device::cuda}), ErrorCode::unsupported, "processor only");
  refused(Model3d::try_load(path, {.precision = Precision::f16}), ErrorCode::unsupported, "f16");
  refused(Model3d::try_load(path, {.precision = Precision::fast, .device = Device::reference}), ErrorCode::unsupported, "f32 only");
  refused(Model3d::try_load(path, {.threads = -1}), ErrorCode::invalid_argument, "threads");
  refused(Model3d::try_load(path, {.isa = "avx9"}), ErrorCode::unsupported, "avx9");
  refused(Model3d::try_load(path, {.max_memory = 1000}), ErrorCode::limit, "weights alone");
  refused(Model3d::try_load(folder.file("none")), ErrorCode::io, "none");

  const Model3d model = load(path);
  Scan scan;
  const auto with = [&](auto&& change) {
    VolumeSource s = scan.source;
    change(s);
    return Session3d::try_open(model, s);
  };
  refused(with([](VolumeSource& s) { s.read = nullptr; }), ErrorCode::invalid_argument, "reads it");
  refused(with([](VolumeSource& s) { s.size[1] = 0; }), ErrorCode::invalid_argument, "sides from 1");
  refused(with([](VolumeSource& s) { s.size = {1 << 20, 1 << 20, 1}; }), ErrorCode::limit, "too large");
  refused(with([](VolumeSource& s) { s.to_world[1][1] = 0; }), ErrorCode::invalid_argument, "step of 0 mm");
  refused(with([](VolumeSource& s) { s.to_world[2][2] = std::nan(""); }), ErrorCode::invalid_argument, "more than 0");
  refused(with([](VolumeSource& s) { s.to_world[0][1] = s.to_world[1][1], s.to_world[1][1] = 0; }), ErrorCode::invalid_argument, "do not span space");

  auto session = Session3d::try_open(model, scan.source);
  REQUIRE(session);
  refused(session->try_click({9, 12, 8, 0}), ErrorCode::invalid_argument, "first click must be on the object");
  refused(session->try_click({9, 12, 8, 2}), ErrorCode::invalid_argument, "label 2");
  refused(session->try_click({9, 24, 8, 1}), ErrorCode::invalid_argument, "outside the volume");
  refused(session->try_click({std::nan(""), 12, 8, 1}), ErrorCode::invalid_argument, "outside the volume");
  refused(session->try_set_centre(-1, 0, 0), ErrorCode::invalid_argument, "outside the volume");
  CHECK_FALSE(session->has_crop());
  session->click({9, 12, 8, 1});
  const auto mask = mask_of(*session, scan);
  std::vector<std::uint8_t> small(5);
  refused(session->try_mask(small), ErrorCode::invalid_argument, "room for 5");
  scan.fails = true;
  refused(session->try_set_centre(5, 5, 5), ErrorCode::internal, "the disk is gone");
  scan.fails = false;
  static const Progress stop{[](void*, std::string_view, double) { return false; }, nullptr};
  refused(session->try_set_centre(5, 5, 5, stop), ErrorCode::cancelled, "cancelled");
  CHECK(mask_of(*session, scan) == mask);
  CHECK(session->clicks() == 1);
  std::fill(scan.voxels.begin(), scan.voxels.end(), -1000.0f);
  refused(session->try_set_centre(5, 5, 5), ErrorCode::invalid_argument, "no voxels above 0");
  std::fill(scan.voxels.begin(), scan.voxels.end(), 7.0f);
  refused(session->try_set_centre(5, 5, 5), ErrorCode::invalid_argument, "all equal");

  const Scan wide({0, 1, 2}, {false, false, false}, 5.0);  // 100 x 120 x 90 mm around a cube of 48 mm
  auto far = Session3d::try_open(model, wide.source);
  REQUIRE(far);
  refused(far->try_cover(), ErrorCode::invalid_argument, "clicked on before");
  far->set_centre(9, 12, 8);
  refused(far->try_click({1, 1, 1, 1}), ErrorCode::invalid_argument, "outside the cube of 32 voxels of 1.5 mm");  // nothing to go on from
  far->click({9, 12, 8, 1});
  refused(far->try_click({1, 1, 1, 0}), ErrorCode::invalid_argument, "outside the cube of 32 voxels of 1.5 mm");
  refused(far->try_cover(0), ErrorCode::invalid_argument, "0 cubes");
  CHECK(far->clicks() == 1);
}
