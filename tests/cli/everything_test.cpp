// sampan everything: the library's masks as COCO annotations, label map and overlay; and what it refuses.
#include "cli/program.hpp"

#include <sampan/predict/everything.hpp>

#include <nlohmann/json.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {
constexpr std::int64_t kW = 90, kH = 60;

void write_inputs(const Folder& f) {
  f.rgb("i.png", kH, kW);
  f.model("m.safetensors", tiny_sam(), 5);
}
}  // namespace

TEST_CASE("everything: annotations, label map and overlay of the library's masks") {
  Folder f;
  write_inputs(f);
  const auto pixels = phantom_rgb(kH, kW);
  const Model model = Model::load((f / "m.safetensors").string());
  Session session(model);
  const EverythingOptions o{.points_per_side = 4, .pred_iou_thresh = 0, .stability_score_thresh = 0, .box_nms_thresh = 1};
  const auto found = everything(session, {pixels.data(), {kW, kH, 3}}, o);
  REQUIRE(found.size() > 2);
  const auto run = [&](const char* rle) {
    f.ok({"everything", "i.png", "--model", "m.safetensors", "-o", "o.json", "--points-per-side", "4", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--box-nms-thresh", "1", "--labels", "l.png",
          "--overlay", "v.png", "--rle", rle});
    return nlohmann::json::parse(read_text(f / "o.json"));
  };
  const auto j = run("coco"), plain = run("counts");
  CHECK(j["images"][0]["width"] == kW);
  CHECK(j["images"][0]["file_name"] == "i.png");
  REQUIRE(j["annotations"].size() == found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    const auto& a = j["annotations"][i];
    CHECK(a["id"] == i + 1);
    CHECK(from_coco_text(a["segmentation"]["counts"].get<std::string>(), kH, kW).value() == found[i].segmentation);
    CHECK(plain["annotations"][i]["segmentation"]["counts"] == found[i].segmentation.counts);
    CHECK(a["segmentation"]["size"] == std::vector<std::int64_t>{kH, kW});
    CHECK(a["area"] == found[i].area);
    CHECK(a["bbox"] == found[i].bbox);
    CHECK(a["point_coords"][0][0] == found[i].point_x);
  }
  // the label map holds each mask where no smaller one lies
  const std::vector<int> labels = f.values("l.png");
  std::vector<std::vector<std::uint8_t>> masks;
  for (const auto& m : found) masks.push_back(mask_of(m.segmentation).value());
  for (std::size_t k = 0; k < labels.size(); ++k) {
    std::int64_t smallest = kW * kH + 1;
    for (std::size_t i = 0; i < masks.size(); ++i)
      if (masks[i][k]) smallest = std::min(smallest, found[i].area);
    const int label = labels[k];
    REQUIRE(label <= int(found.size()));
    REQUIRE((label == 0) == (smallest > kW * kH));
    if (label > 0) {
      REQUIRE(masks[std::size_t(label - 1)][k] == 1);
      REQUIRE(found[std::size_t(label - 1)].area == smallest);
    }
  }
  CHECK(f.image("v.png").size() == ImageSize{kW, kH, 3});
}

TEST_CASE("everything: refused calls are one line and leave no file") {
  Folder f;
  write_inputs(f);
  f.model("lite.safetensors", tiny_lite_medsam(), 5);
  check_refused(f.run({"everything", "i.png", "--model", "m.safetensors"}), 2, "-o OUT.json is needed");
  check_refused(f.run({"everything", "--model", "m.safetensors", "-o", "o.json"}), 2, "IMAGE is needed");
  check_refused(f.run({"everything", "i.png", "--model", "m.safetensors", "-o", "o.json", "--points-per-side", "0"}), 2, "points_per_side 0");
  check_refused(f.run({"everything", "i.png", "--model", "m.safetensors", "-o", "o.json", "--pred-iou-thresh", "high"}), 2, "--pred-iou-thresh");
  check_refused(f.run({"everything", "i.png", "--model", "m.safetensors", "-o", "o.json", "--rle", "zip"}), 2, "--rle zip");
  check_refused(f.run({"everything", "i.png", "--model", "m.safetensors", "-o", "o.json", "--overlay", "o.json"}), 2, "writes the same file");
  check_refused(f.run({"everything", "i.png", "--model", "lite.safetensors", "-o", "o.json"}), 2, "clicks");
  CHECK_FALSE(std::filesystem::exists(f / "o.json"));
}
