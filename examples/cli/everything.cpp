// sampan everything: an image to all its masks, as COCO annotations. Data flow: Options -> predict/everything.hpp -> COCO JSON, label map, overlay.
// Cheap checks first; nothing is written before everything is computed.
#include "commands.hpp"
#include "report.hpp"

#include <sampan/image/mask_codec.hpp>
#include <sampan/image/overlay.hpp>
#include <sampan/predict/everything.hpp>

#include <array>

namespace sampan::cli {
namespace {

EverythingOptions read_options(const Options& o) {
  const EverythingWords& w = o.everything;
  EverythingOptions e;
  const auto whole = [](const char* name, const std::string& text, int& field) {
    if (!text.empty()) field = whole_number(name, text, 0, 1 << 20);
  };
  const auto real = [](const char* name, const std::string& text, double& field) {
    if (!text.empty()) field = numbers(name, text, "N")[0];
  };
  whole("--points-per-side", w.points_per_side, e.points_per_side);
  whole("--points-per-batch", w.points_per_batch, e.points_per_batch);
  real("--pred-iou-thresh", w.pred_iou_thresh, e.pred_iou_thresh);
  real("--stability-score-thresh", w.stability_score_thresh, e.stability_score_thresh);
  real("--stability-score-offset", w.stability_score_offset, e.stability_score_offset);
  real("--box-nms-thresh", w.box_nms_thresh, e.box_nms_thresh);
  whole("--crop-n-layers", w.crop_n_layers, e.crop_n_layers);
  real("--crop-nms-thresh", w.crop_nms_thresh, e.crop_nms_thresh);
  real("--crop-overlap-ratio", w.crop_overlap_ratio, e.crop_overlap_ratio);
  whole("--crop-n-points-downscale-factor", w.crop_n_points_downscale_factor, e.crop_n_points_downscale_factor);
  int area = 0;
  whole("--min-mask-region-area", w.min_mask_region_area, area);
  e.min_mask_region_area = area;
  must(check(e), Source::arguments);
  return e;
}

/// COCO's format for object detection; the fields beyond it are those of segment-anything's generator.
Report coco(const std::vector<FoundMask>& found, const ImageSize& size, const std::string& file, bool text) {
  Report j;
  j["images"] = Report::array({{{"id", 1}, {"width", size.width}, {"height", size.height}, {"file_name", file}}});
  j["categories"] = Report::array({{{"id", 1}, {"name", "object"}}});
  j["annotations"] = Report::array();
  for (std::size_t i = 0; i < found.size(); ++i) {
    const FoundMask& f = found[i];
    Report a = {{"id", i + 1}, {"image_id", 1}, {"category_id", 1}, {"iscrowd", 0}};
    a["segmentation"] = {{"size", {f.segmentation.height, f.segmentation.width}}};
    if (text) {
      a["segmentation"]["counts"] = to_coco_text(f.segmentation);
    } else {
      a["segmentation"]["counts"] = f.segmentation.counts;
    }
    a["area"] = f.area;
    a["bbox"] = f.bbox;
    a["predicted_iou"] = short_decimal(f.predicted_iou);
    a["stability_score"] = short_decimal(f.stability_score);
    a["point_coords"] = Report::array({{f.point_x, f.point_y}});
    a["crop_box"] = f.crop_box;
    j["annotations"].push_back(std::move(a));
  }
  return j;
}

/// Positions in `found`, large masks first, so that small ones stay visible above them.
std::vector<std::size_t> large_first(const std::vector<FoundMask>& found) {
  std::vector<std::size_t> order(found.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return found[a].area > found[b].area; });
  return order;
}

std::vector<std::uint8_t> label_map(const std::vector<FoundMask>& found, const ImageSize& size) {
  if (found.size() > 65535) throw Failure{Exit::refused, cat("--labels: ", found.size(), " masks, a label map holds 65535; raise --pred-iou-thresh")};
  std::vector<std::uint16_t> map(std::size_t(size.width * size.height));
  for (const std::size_t i : large_first(found)) {
    const auto mask = must(mask_of(found[i].segmentation), Source::arguments);
    for (std::size_t k = 0; k < map.size(); ++k)
      if (mask[k]) map[k] = std::uint16_t(i + 1);
  }
  std::vector<std::uint8_t> png;
  must(encode_labels_png(View<const std::uint16_t, 2>(map.data(), {Index(size.height), Index(size.width)}), png), Source::arguments);
  return png;
}

std::vector<std::uint8_t> overlay(const std::vector<FoundMask>& found, const Image& image, const std::optional<WindowLevel>& window) {
  const Index h = image.size().height, w = image.size().width;
  std::vector<std::uint8_t> rgb(std::size_t(h * w * 3)), png;
  const View<std::uint8_t, 3> view(rgb.data(), {h, w, 3});
  must(to_rgb8(image.view(), window, view), Source::arguments);
  for (const std::size_t i : large_first(found)) {
    const auto mask = must(mask_of(found[i].segmentation), Source::arguments);
    std::array<OverlayObject, std::size(kOverlayColours)> row{};  // the colour goes by the place
    row[i % row.size()].mask = {mask.data(), {h, w}};
    must(draw_overlay(view, row), Source::arguments);
  }
  must(encode_png({rgb.data(), {w, h, 3}, PixelType::u8}, png), Source::arguments);
  return png;
}

}  // namespace

void run_everything(const Options& o) {
  const EverythingOptions options = read_options(o);
  OutputPlan plan;
  plan.input(o.image);
  plan.input(o.model);
  if (!o.output.empty()) plan.output("-o", o.output);
  if (!o.everything.labels.empty()) plan.png("--labels", o.everything.labels);
  if (!o.overlay.empty()) plan.png("--overlay", o.overlay);

  Times t;
  const Image image = read_image(o, t);
  const Model model = read_model(o, t);
  Session session(model);
  const double start = now_ms();
  std::vector<FoundMask> found;
  {
    ProgressSink sink(o, "everything");
    auto result = try_everything(session, image.view(), options, o.window, sink.progress());
    if (!result && result.error().code() == ErrorCode::cancelled) throw Cancelled{};
    found = must(std::move(result), Source::arguments);
  }
  t.decode.push_back(now_ms() - start);

  const double written = now_ms();
  OutputFiles files;
  const std::string name = std::filesystem::path(o.image).filename().string();
  const Report annotations = coco(found, image.size(), name, o.everything.rle == "coco");
  if (!o.output.empty()) {
    const std::string text = annotations.dump(-1, ' ', false, Report::error_handler_t::replace) + "\n";
    files.bytes(o.output, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  }
  if (!o.everything.labels.empty()) files.bytes(o.everything.labels, label_map(found, image.size()));
  if (!o.overlay.empty()) files.bytes(o.overlay, overlay(found, image, o.window));
  files.commit();
  t.write = now_ms() - written;
  if (o.json) {
    Report objects = Report::array();
    for (const auto& a : annotations["annotations"]) objects.push_back({{"label", a["id"]}, {"area", a["area"]}, {"bbox", a["bbox"]}, {"predicted_iou", a["predicted_iou"]}, {"stability", a["stability_score"]}});
    print(run_report(o, model, t, std::move(objects)));
  }
  note(o, found.empty() ? std::string("no mask passed the filters; lower --pred-iou-thresh or --stability-score-thresh") : cat(found.size(), " masks"));
}

}  // namespace sampan::cli
