// What both files of the consumer do with a model, so that their results can be compared; static: each file has its own copy, with its own flags.
// Data flow: app.cpp and second.cpp -> here -> <sampan/sampan.hpp>. Uses the try_ twins, which exist with and without exceptions.
#pragma once
#include <sampan/sampan.hpp>

#include <string>
#include <vector>

/// Segments a synthetic image of 96x64 pixels with one box. `score` and `area` (pixels) are set if the returned error is empty.
static std::string segment(const char* path, float& score, long& area) {
  auto model = sampan::Model::try_load(path, {.threads = 2});
  if (!model) return model.error().message();
  std::vector<std::uint8_t> pixels(96 * 64);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = std::uint8_t(i * 37 % 251);
  sampan::Session session(*model);
  if (auto s = session.try_set_image({pixels.data(), {.width = 96, .height = 64}, sampan::PixelType::u8}); !s) return s.error().message();
  auto p = session.try_predict({.box = sampan::Box{10, 10, 60, 50}});
  if (!p) return p.error().message();
  if (p->mask().data.size() != pixels.size()) return "the mask has not the size of the image";
  score = p->score();
  area = long(p->best().area);
  return {};
}
