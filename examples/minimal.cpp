// Segments one box of one image: the program that README shows. Usage: example_minimal MODEL.safetensors IMAGE X0 Y0 X1 Y1 OUT.png
#include <sampan/core/file.hpp>
#include <sampan/image/codec_stb.hpp>
#include <sampan/image/mask_codec.hpp>
#include <sampan/sampan.hpp>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) try {
  if (argc != 8) return std::puts("usage: example_minimal MODEL.safetensors IMAGE X0 Y0 X1 Y1 OUT.png"), 2;
  const auto model = sampan::Model::load(argv[1]);           // once; may be shared between threads
  sampan::Session session(model);                            // one per user or thread
  const auto image = sampan::load_image(argv[2]).value();    // or your own pixels, with no copy
  session.set_image(image.view());                           // encodes once
  const sampan::Box box{std::atof(argv[3]), std::atof(argv[4]), std::atof(argv[5]), std::atof(argv[6])};
  const auto result = session.predict({.box = box});         // milliseconds per prompt
  const auto& mask = result.mask();                          // one byte per pixel, 0 or 1
  std::vector<std::uint8_t> png;
  sampan::encode_mask_png({mask.data.data(), {mask.height, mask.width}}, png).value();
  sampan::write_atomically(argv[7], png).value();
  std::printf("%lld pixels, predicted IoU %.3f\n", static_cast<long long>(result.best().area), double(result.score()));
} catch (const sampan::Error& e) {
  return std::fprintf(stderr, "%s\n", e.what()), 1;
}
