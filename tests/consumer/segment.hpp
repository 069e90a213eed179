// What both files of the consumer do with a model, so that their results can be compared; static: each file has its own copy, with its own flags.
// Returns "score S, N pixels of M", or the error.
#pragma once
#include <sampan/sampan.hpp>

#include <string>
#include <vector>

static std::string segment(const char* path) {
  auto model = sampan::Model::try_load(path, {.threads = 2});
  if (!model) return model.error().message();
  std::vector<std::uint8_t> pixels(96 * 64);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = std::uint8_t(i * 37 % 251);
  sampan::Session session(*model);
  if (auto s = session.try_set_image({pixels.data(), {.width = 96, .height = 64}, sampan::PixelType::u8}); !s) return s.error().message();
  auto p = session.try_predict({.box = sampan::Box{10, 10, 60, 50}});
  if (!p) return p.error().message();
  return "score " + std::to_string(p->score()) + ", " + std::to_string(p->best().area) + " pixels of " + std::to_string(p->mask().data.size());
}
