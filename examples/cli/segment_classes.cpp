// sampan segment with a model of classes (SAMed): no prompts, a class for each pixel. Data flow: segment.cpp -> here -> Session::class_map -> label map, overlay, report.
// Classes are numbers: a checkpoint does not say their names. Deliberately absent: --dump (there is no predicted IoU).
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

std::vector<std::uint8_t> overlay_png(const ClassMap& m, const Image& image, const Options& o) {
  std::vector<std::uint8_t> rgb(m.labels.size() * 3), mask(m.labels.size()), png;
  const View<std::uint8_t, 3> canvas(rgb.data(), {Index(m.height), Index(m.width), 3});
  must(to_rgb8(image.view(), o.window, canvas), Source::arguments);
  for (std::size_t c = 1; c < m.areas.size(); ++c) {
    if (m.areas[c] == 0) continue;
    std::transform(m.labels.begin(), m.labels.end(), mask.begin(), [&](std::uint8_t v) { return std::uint8_t(v == c); });
    std::array<OverlayObject, std::size(kOverlayColours)> row{};  // colours go by position
    row[(c - 1) % row.size()].mask = {mask.data(), {Index(m.height), Index(m.width)}};
    must(draw_overlay(canvas, row), Source::arguments);
  }
  must(encode_png({rgb.data(), {m.width, m.height, 3}, PixelType::u8}, png), Source::arguments);
  return png;
}

}  // namespace

void segment_classes(const Options& o, const Model& model, Session& session, const Image* image, Times& t) {
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
  if (!o.overlay.empty()) files.bytes(o.overlay, overlay_png(m, *image, o));
  files.commit();
  t.write = now_ms() - start;
  Report objects = Report::array();
  const auto boxes = extents_of(m);
  for (std::size_t c = 1; c < m.areas.size(); ++c)
    objects.push_back({{"label", c}, {"box", m.areas[c] ? Report::array({boxes[c].x0, boxes[c].y0, boxes[c].x1, boxes[c].y1}) : Report(nullptr)}, {"area", m.areas[c]}});
  if (o.json) print(run_report(o, model, t, objects));
  for (std::size_t c = 1; c < m.areas.size(); ++c) note(o, cat("class ", c, ": ", m.areas[c], " pixels"));
}

}  // namespace sampan::cli
