// sampan segment with a model of classes (SAMed): no prompts, a class for each pixel. Data flow: segment.cpp -> here -> Session::class_map -> label map, overlay, report.
// Classes are numbers: a checkpoint does not say their names, --label-names does. Deliberately absent: --dump (there is no predicted IoU).
#include "segment_classes.hpp"

#include <sampan/image/mask_codec.hpp>
#include <sampan/image/overlay.hpp>

#include <array>

namespace sampan::cli {
namespace {

/// First and one past the last pixel of each class; empty where it has none.
std::vector<Box> extents_of(const ClassMap& m) {
  std::vector<Box> boxes(m.areas.size());
  for (std::int64_t y = 0; y < m.height; ++y)
    for (std::int64_t x = 0; x < m.width; ++x) {
      Box& b = boxes[m.labels[std::size_t(y * m.width + x)]];
      if (b.x1 == 0) b = {double(x), double(y), 0, 0};
      b.x0 = std::min(b.x0, double(x)), b.x1 = std::max(b.x1, double(x + 1)), b.y1 = double(y + 1);
    }
  return boxes;
}

std::vector<std::uint8_t> overlay_png(const ClassMap& m, const Image& image, const LabelNames& names, const Options& o) {
  std::vector<std::uint8_t> rgb(m.labels.size() * 3), mask(m.labels.size()), png;
  const View<std::uint8_t, 3> canvas(rgb.data(), {Index(m.height), Index(m.width), 3});
  must(to_rgb8(image.view(), o.window, canvas), Source::arguments);
  for (std::size_t c = 1; c < m.areas.size(); ++c) {
    if (m.areas[c] == 0) continue;
    std::transform(m.labels.begin(), m.labels.end(), mask.begin(), [&](std::uint8_t v) { return std::uint8_t(v == c); });
    std::array<OverlayObject, std::size(kOverlayColours)> row{};  // colours go by position
    OverlayObject& mine = row[(c - 1) % row.size()];
    mine.mask = {mask.data(), {Index(m.height), Index(m.width)}};
    mine.colour = names.colour(int(c));
    must(draw_overlay(canvas, row), Source::arguments);
  }
  must(encode_png({rgb.data(), {m.width, m.height, 3}, PixelType::u8}, png), Source::arguments);
  return png;
}

}  // namespace

void segment_classes(const Options& o, const Model& model, Session& session, const Image* image, const LabelNames& names, Times& t) {
  if (const int most = int(model.info().classes) - 1; names.largest() > most) usage(cat("--label-names: label ", names.largest(), " has a name, ", model.info().name, " gives classes 1 to ", most));
  ClassMap m;
  for (int n = 0; n < o.repeat; ++n) {
    stop_if_interrupted();
    if (o.embedding.empty()) encode_image(session, *image, o, n, t);
    must(session.try_class_map(m), Source::arguments);
    t.decode.push_back(session.timings().decode);
    t.postprocess.push_back(session.timings().postprocess);
  }
  const double start = now_ms();
  OutputFiles files;
  if (!o.output.empty()) {
    const std::vector<std::uint16_t> wide(m.labels.begin(), m.labels.end());
    std::vector<std::uint8_t> png;
    must(encode_labels_png(View<const std::uint16_t, 2>(wide.data(), {Index(m.height), Index(m.width)}), png), Source::arguments);
    files.bytes(o.output, png);
  }
  if (!o.overlay.empty()) files.bytes(o.overlay, overlay_png(m, *image, names, o));
  files.commit();
  t.write = now_ms() - start;
  Report objects = Report::array();
  const auto boxes = extents_of(m);
  for (std::size_t c = 1; c < m.areas.size(); ++c) {
    Report j = {{"label", c}};
    if (const auto name = names.name(int(c), ""); !name.empty()) j["name"] = name;
    j["box"] = m.areas[c] ? Report::array({boxes[c].x0, boxes[c].y0, boxes[c].x1, boxes[c].y1}) : Report(nullptr);
    j["area"] = m.areas[c];
    if (const auto colour = names.colour(int(c))) j["colour"] = *colour;
    objects.push_back(std::move(j));
  }
  if (o.json) print(run_report(o, model, t, objects));
  for (std::size_t c = 1; c < m.areas.size(); ++c) note(o, cat("class ", c, names.name(int(c), "").empty() ? std::string() : cat(" (", names.name(int(c), ""), ")"), ": ", m.areas[c], " pixels"));
}

}  // namespace sampan::cli
