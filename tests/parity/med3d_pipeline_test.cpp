// SAM-Med3D's volume pipeline against torchio and MedIM: a scan with oblique axes in another order, its crop voxel by voxel, two clicks, masks on the scan's grid.
// Through the public classes, on every level of the fast backend. And objects larger than the cube, against the rule in NumPy (cases_volumes.py).
#include "parity/modules.hpp"

#include <sampan/predict/crop_3d.hpp>
#include <sampan/predict/model_3d.hpp>
#include <sampan/predict/session_3d_state.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

/// cases_volumes.py, pipeline_volume: as floats, i fastest.
std::vector<float> scan(std::uint64_t seed, const std::array<std::int64_t, 3>& n) {
  const auto noise = hash_noise_u8(seed, "volume", {n[0], n[1], n[2]});
  std::vector<float> out(noise.size());
  const std::int64_t weight[] = {3, 4, 2};
  for (std::int64_t i = 0; i < n[0]; ++i)
    for (std::int64_t j = 0; j < n[1]; ++j)
      for (std::int64_t k = 0; k < n[2]; ++k) {
        const std::int64_t at[] = {i, j, k};
        std::int64_t sum = 0;
        for (std::size_t a = 0; a < 3; ++a) sum += weight[a] * (2 * at[a] - n[a]) * (2 * at[a] - n[a]) * 4096 / (n[a] * n[a]);
        out[std::size_t((k * n[1] + j) * n[0] + i)] = float(noise[std::size_t((i * n[1] + j) * n[2] + k)] / 4 - 20 + (sum < 4096 ? 120 : 0));
      }
  return out;
}

struct Scan {
  std::vector<float> voxels;
  VolumeSource source;
  explicit Scan(const Golden& g) {
    const auto size = g.meta("config").at("size"), affine = g.meta("affine");
    for (std::size_t a = 0; a < 3; ++a) {
      source.size[a] = size[a];
      for (std::size_t c = 0; c < 4; ++c) source.to_world[a][c] = affine[a][c];
    }
    source.integers = true;
    voxels = scan(g.meta("seed").get<std::uint64_t>(), source.size);
    source.user = this;
    source.read = [](void* user, std::int64_t k, float* plane) -> Status {
      const auto& s = *static_cast<Scan*>(user);
      const std::size_t n = std::size_t(s.source.size[0] * s.source.size[1]);
      std::copy_n(s.voxels.data() + std::size_t(k) * n, n, plane);
      return {};
    };
  }
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;
};

Click3d click_of(const nlohmann::json& c) { return {c[0], c[1], c[2], c[3]}; }

/// The golden's network in a file.
std::string write_network(const Golden& g, const TempFolder& folder) {
  const std::string path = folder.file("model.safetensors");
  const Status written = write_model(path, med3d_contract(g.meta("config")), g.meta("seed").get<std::uint64_t>(), g.weight_shapes());
  REQUIRE_MESSAGE(written, written.error().what());
  return path;
}

}  // namespace

TEST_CASE("parity: the crop of a scan, voxel by voxel") {
  const Golden g = Golden::committed("sam_med3d_pipeline64");
  Scan s(g);
  auto grid = predict::make_crop_grid(s.source.size, s.source.to_world, 1.5, 64);
  REQUIRE_MESSAGE(grid, grid.error().what());
  const Click3d first = click_of(g.meta("clicks")[0]);
  predict::centre_crop(*grid, {first.i, first.j, first.k});
  std::vector<float> crop(64 * 64 * 64);
  std::int64_t last = -1;
  int turns = 0;
  REQUIRE(predict::resample_crop(
      *grid, true,
      [&](std::int64_t k, float* plane) {
        turns += last >= 0 && std::abs(k - last) != 1;  // planes come in order, each once
        last = k;
        return s.source.read(s.source.user, k, plane);
      },
      crop.data()));
  CHECK(turns == 0);
  double sum = 0;
  for (const float v : crop) sum += double(v);
  CHECK(sum == g.meta("crop_sum").get<double>());
  const auto* raw = g.find("crop_i16");
  REQUIRE(raw);
  std::vector<std::int16_t> wanted(raw->data.size() / 2);
  std::memcpy(wanted.data(), raw->data.data(), raw->data.size());
  std::size_t at = 0, wrong = 0;
  for (Index a = 0; a < 64; a += 5)
    for (Index b = 0; b < 64; b += 5)
      for (Index c = 0; c < 64; c += 3) wrong += crop[std::size_t((a * 64 + b) * 64 + c)] != float(wanted[at++]);
  CHECK(at == wanted.size());
  CHECK(wrong == 0);
  REQUIRE(predict::normalise_crop(crop.data(), crop.size()));
  check_tensor(g, "crop", crop, {1, 1, 64, 64, 64});
}

TEST_CASE("parity: two clicks in a scan, masks on its grid") {
  const Golden g = Golden::committed("sam_med3d_pipeline64");
  const Scan s(g);
  const auto clicks = g.meta("clicks"), prompts = g.meta("prompts");
  TempFolder folder;
  const std::string path = write_network(g, folder);
  const std::size_t voxels = s.voxels.size();
  for (const Place& place : places(false)) {
    CAPTURE(place.name);
    auto model = Model3d::try_load(path, place.options);
    REQUIRE_MESSAGE(model, model.error().what());
    auto session = Session3d::try_open(*model, s.source);
    REQUIRE_MESSAGE(session, session.error().what());
    for (std::size_t i = 0; i < 2; ++i) {
      const std::string name = "click" + std::to_string(i + 1);
      CAPTURE(name);
      const Status done = session->try_click(click_of(clicks[i]));
      REQUIRE_MESSAGE(done, done.error().what());
      const auto logits = session->low_res_logits();
      const double e =
          check_tensor(g, name + ".low_res_logits", {logits.begin(), logits.end()}, {1, 1, 16, 16, 16}, worst_of_kind(g, ".low_res_logits", "rel_l2"));
      CHECK(e <= 1e-4);
      check_scores(g, name + ".iou_predictions", {session->predicted_iou()});
      std::vector<std::uint8_t> mask(voxels, 7);
      REQUIRE(session->try_mask(mask));
      const auto bits = unpack_bits(g.bytes(name + ".mask_bits"), voxels);
      std::int64_t differ = 0, count = 0;
      const auto& size = s.source.size;
      for (std::int64_t x = 0; x < size[0]; ++x)
        for (std::int64_t y = 0; y < size[1]; ++y)
          for (std::int64_t z = 0; z < size[2]; ++z) {
            const std::uint8_t ours = mask[std::size_t((z * size[1] + y) * size[0] + x)];
            differ += ours != bits[std::size_t((x * size[1] + y) * size[2] + z)], count += ours;
          }
      CHECK(differ <= prompts[name]["near_tie_voxels"].get<std::int64_t>());
      CHECK(std::abs(count - prompts[name]["mask_voxels"].get<std::int64_t>()) <= differ);
      MESSAGE(std::string(place.name + ", " + name + ": " + std::to_string(differ) + " of " + std::to_string(count) + " voxels differ"));
    }
  }
}

namespace {

std::int64_t differing(const Golden& g, const std::string& name, const Scan& s, const std::vector<std::uint8_t>& mask) {
  const auto bits = unpack_bits(g.bytes(name), mask.size());
  const auto& size = s.source.size;
  std::int64_t differ = 0;
  for (std::int64_t x = 0; x < size[0]; ++x)
    for (std::int64_t y = 0; y < size[1]; ++y)
      for (std::int64_t z = 0; z < size[2]; ++z) differ += mask[std::size_t((z * size[1] + y) * size[0] + x)] != bits[std::size_t((x * size[1] + y) * size[2] + z)];
  return differ;
}

}  // namespace

TEST_CASE("parity: an object larger than the cube, by clicks beyond it and by following it") {
  const Golden g = Golden::committed("sam_med3d_beyond64");
  const Scan s(g);
  const auto clicks = g.meta("clicks"), prompts = g.meta("prompts");
  TempFolder folder;
  const std::string path = write_network(g, folder);
  auto model = Model3d::try_load(path);
  REQUIRE_MESSAGE(model, model.error().what());
  auto session = Session3d::try_open(*model, s.source);
  REQUIRE_MESSAGE(session, session.error().what());
  std::vector<std::uint8_t> mask(s.voxels.size());
  const auto check_logits = [&](const std::string& name) {
    CAPTURE(name);
    const auto logits = session->low_res_logits();
    CHECK(check_tensor(g, name, {logits.begin(), logits.end()}, {1, 1, 16, 16, 16}, worst_of_kind(g, ".low_res_logits", "rel_l2")) <= 1e-4);
  };
  for (std::size_t i = 0; i < 3; ++i) {
    const Status done = session->try_click(click_of(clicks[i]));
    REQUIRE_MESSAGE(done, done.error().what());
    check_logits("click" + std::to_string(i + 1) + ".low_res_logits");
  }
  CHECK(session->cubes() == prompts["clicks"]["cubes"].get<std::size_t>());
  REQUIRE(session->try_mask(mask));
  CHECK(differing(g, "clicks.mask_bits", s, mask) <= prompts["clicks"]["near_tie_voxels"].get<std::int64_t>());
  const auto painted = session->try_paint(mask, 1);
  REQUIRE(painted);
  CHECK(*painted == std::count(mask.begin(), mask.end(), 1));

  session->clear();
  REQUIRE(session->try_click(click_of(clicks[0])));
  const auto opened = session->try_cover(5);
  REQUIRE_MESSAGE(opened, opened.error().what());
  const auto& begins = prompts["cover"]["begins"];
  CHECK(std::size_t(*opened) + 1 == begins.size());
  const auto& cubes = sampan::detail::Access3d::state(*session).cubes;
  REQUIRE(cubes.size() == begins.size());
  for (std::size_t n = 0; n < cubes.size(); ++n) CHECK(cubes[n].grid.begin == begins[n].get<std::array<std::int64_t, 3>>());
  check_logits("cover.low_res_logits");
  REQUIRE(session->try_mask(mask));
  CHECK(differing(g, "cover.mask_bits", s, mask) <= prompts["cover"]["near_tie_voxels"].get<std::int64_t>());
}
