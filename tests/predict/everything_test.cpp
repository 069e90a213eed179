// Everything mode: record for record what segment-anything's own generator writes (parity/cases_everything.py), small regions by their definition, refusals, cancellation.
#include "parity/golden.hpp"

#include <sampan/predict/everything.hpp>
#include <sampan/predict/small_regions.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

EverythingOptions options_of(const nlohmann::json& j) {
  EverythingOptions o;
  const auto take = [&](const char* name, auto& field) {
    if (j.contains(name)) j.at(name).get_to(field);
  };
  take("points_per_side", o.points_per_side), take("pred_iou_thresh", o.pred_iou_thresh), take("stability_score_thresh", o.stability_score_thresh);
  take("stability_score_offset", o.stability_score_offset), take("box_nms_thresh", o.box_nms_thresh), take("crop_n_layers", o.crop_n_layers);
  take("crop_nms_thresh", o.crop_nms_thresh), take("crop_n_points_downscale_factor", o.crop_n_points_downscale_factor), take("min_mask_region_area", o.min_mask_region_area);
  return o;
}

std::array<std::int64_t, 4> four(const nlohmann::json& j) { return {j[0].get<std::int64_t>(), j[1].get<std::int64_t>(), j[2].get<std::int64_t>(), j[3].get<std::int64_t>()}; }

/// Pixels in which two masks differ.
std::int64_t difference(const RunLengths& a, const RunLengths& b) {
  const auto x = mask_of(a).value(), y = mask_of(b).value();
  REQUIRE(x.size() == y.size());
  std::int64_t n = 0;
  for (std::size_t i = 0; i < x.size(); ++i) n += x[i] != y[i];
  return n;
}

}  // namespace

TEST_CASE("everything: the records of segment-anything's generator") {
  const Golden golden = Golden::committed("everything_tiny256");
  const TempFolder folder;
  const auto config = golden.meta("config");
  weights::Contract c = tiny_sam({.width = config["embed"].get<int>(),
                                  .depth = config["depth"].get<int>(),
                                  .heads = config["heads"].get<int>(),
                                  .image = config["img"].get<int>(),
                                  .global_blocks = config["global_blocks"].get<std::vector<int>>(),
                                  .channels = kUsualChannels,
                                  .decoder_mlp = kUsualDecoderMlp,
                                  .iou_hidden = kUsualIouHidden});
  c.mask.threshold = golden.meta("mask_threshold").get<double>();
  const auto pixels = golden.bytes("image_u8");
  const auto image = golden.meta("image");
  const ImageView view{pixels.data(), {image["width"].get<std::int64_t>(), image["height"].get<std::int64_t>(), 3}};
  for (const Cpu& level : f32_levels()) {
    const std::string isa = isa_name(level.isa);
    CAPTURE(isa);
    const Model model = load_random(folder, c, {.isa = isa}, std::stoull(golden.file().metadata("seed")->c_str()));
    Session session(model);
    for (const auto& run : golden.meta("everything")) {
      CAPTURE(run["options"].dump());
      const auto found = everything(session, view, options_of(run["options"]));
      const auto& want = run["masks"];
      REQUIRE(found.size() == want.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CAPTURE(i);
        const FoundMask& f = found[i];
        const auto& w = want[i];
        const RunLengths runs = from_coco_text(w["segmentation"].get<std::string>(), view.size.height, view.size.width).value();
        CHECK(difference(f.segmentation, runs) == 0);
        CHECK(f.segmentation == runs);
        CHECK(f.area == w["area"].get<std::int64_t>());
        CHECK(f.bbox == four(w["bbox"]));
        CHECK(f.crop_box == four(w["crop_box"]));
        CHECK(f.point_x == w["point_coords"][0][0].get<double>());
        CHECK(f.point_y == w["point_coords"][0][1].get<double>());
        CHECK(std::abs(double(f.predicted_iou) - w["predicted_iou"].get<double>()) <= 2e-5);  // 20 times PyTorch's own error of a score of size 1
        CHECK(std::abs(double(f.stability_score) - w["stability_score"].get<double>()) <= 1e-4);  // a few pixels of thousands may lie on either side of +-offset
      }
    }
  }
}

TEST_CASE("everything: small regions by hand") {
  using predict::remove_small_regions, predict::SmallRegions;
  const auto mask = [](std::string_view s) {
    std::vector<std::uint8_t> m;
    for (const char c : s) m.push_back(c == '#');
    return m;
  };
  auto m = mask("#####.."
                "#.#.#.#"
                "#####..");  // two holes of one pixel; outside is one component of five and more; an island of one
  CHECK(remove_small_regions(m, 3, 7, 2, SmallRegions::holes));
  CHECK(m == mask("#####.."
                  "#####.#"
                  "#####.."));
  CHECK(remove_small_regions(m, 3, 7, 2, SmallRegions::islands));
  CHECK(m == mask("#####.."
                  "#####.."
                  "#####.."));
  CHECK_FALSE(remove_small_regions(m, 3, 7, 2, SmallRegions::islands));
  m = mask("#..#."
           ".#..#"
           ".....");  // corners touch: two islands of two
  CHECK_FALSE(remove_small_regions(m, 3, 5, 2, SmallRegions::islands));
  CHECK(remove_small_regions(m, 3, 5, 3, SmallRegions::islands));  // both are small: one stays, the first
  CHECK(m == mask("#...."
                  ".#..."
                  "....."));
  m = mask("...#"
           "#..."
           "....");  // of equals cv2 numbers that first whose block of 2 x 2 comes first
  CHECK(remove_small_regions(m, 3, 4, 2, SmallRegions::islands));
  CHECK(m == mask("...."
                  "#..."
                  "...."));
  m = mask("....");
  CHECK_FALSE(remove_small_regions(m, 1, 4, 2, SmallRegions::islands));
  CHECK_FALSE(remove_small_regions(m, 1, 4, 2, SmallRegions::holes));
}

TEST_CASE("everything: refusals, cancellation, and a session that stays usable") {
  const TempFolder folder;
  const auto pixels = test_image(90, 60, 3);
  const ImageView view{pixels.data(), {90, 60, 3}};
  const Model boxes_only = load_random(folder, tiny_lite_medsam());
  Session lite(boxes_only);
  const auto refused = try_everything(lite, view);
  REQUIRE_FALSE(bool(refused));
  CHECK(refused.error().code() == ErrorCode::unsupported);

  const Model model = load_random(folder, tiny_sam());
  Session session(model);
  const auto code = [&](const EverythingOptions& o) {
    const auto r = try_everything(session, view, o);
    REQUIRE_FALSE(bool(r));
    CHECK(r.error().message().find('\n') == std::string::npos);
    return r.error().code();
  };
  CHECK(code({.points_per_side = 0}) == ErrorCode::invalid_argument);
  CHECK(code({.points_per_side = 5000}) == ErrorCode::invalid_argument);
  CHECK(code({.points_per_batch = 0}) == ErrorCode::invalid_argument);
  CHECK(code({.pred_iou_thresh = std::nan("")}) == ErrorCode::invalid_argument);
  CHECK(code({.stability_score_offset = -1}) == ErrorCode::invalid_argument);
  CHECK(code({.crop_n_layers = 7}) == ErrorCode::invalid_argument);
  CHECK(code({.crop_overlap_ratio = 1}) == ErrorCode::invalid_argument);
  CHECK(code({.points_per_side = 2, .crop_n_layers = 2, .crop_n_points_downscale_factor = 2}) == ErrorCode::invalid_argument);
  CHECK(code({.points_per_side = 4096, .crop_n_layers = 3}) == ErrorCode::limit);
  CHECK(code({.min_mask_region_area = -1}) == ErrorCode::invalid_argument);

  struct Seen {
    double last = -1;
    int calls = 0, most = 1 << 30;
    bool falls = false;
  } seen;
  const Progress progress{[](void* user, std::string_view, double fraction) {
                            auto& s = *static_cast<Seen*>(user);
                            s.falls |= fraction < s.last - 1e-9;
                            s.last = fraction;
                            return ++s.calls <= s.most;
                          },
                          &seen};
  const EverythingOptions few{.points_per_side = 3, .points_per_batch = 3, .pred_iou_thresh = 0, .stability_score_thresh = 0, .crop_n_layers = 1, .min_mask_region_area = 10};
  CHECK(bool(try_everything(session, view, few, {}, progress)));
  CHECK_FALSE(seen.falls);
  CHECK(seen.last <= 1);
  CHECK(seen.last > 0.5);
  const int all = seen.calls;
  CHECK(all > 10);
  seen = {};
  seen.most = all / 2;
  const auto stopped = try_everything(session, view, few, {}, progress);
  REQUIRE_FALSE(bool(stopped));
  CHECK(stopped.error().code() == ErrorCode::cancelled);
  // what everything mode asks of the decoder ends with it
  session.set_image(view);
  const auto p = session.predict({.points = {{40, 30, 1}}}, {.multimask = true});
  for (const auto& c : p.candidates) CHECK(c.mask.data.size() == 90 * 60);
}
