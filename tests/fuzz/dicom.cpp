// Fuzz target: any bytes as a DICOM file: elements, sequences, functional groups, pixel format, every frame. Data flow: bytes -> examples/medical/dicom_parse.hpp -> dicom_pixels.hpp.
// What is accepted must hold the reader's promises: views inside the memory, frames of the announced size; else it traps.
#include "support/fuzz_volume.hpp"

#include "examples/medical/dicom_series.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sampan::medical;
  using sampan::test::require;
  const auto d = parse_dicom({data, size}, "f", {.max_elements = 20'000, .max_bytes = std::size_t(1) << 22});
  if (!d) {
    require(d.error().message().rfind("f: ", 0) == 0);
    return 0;
  }
  const auto inside = [&](sampan::Bytes b) {
    const auto in = [&](const std::uint8_t* from, std::size_t n) { return b.empty() || (b.data() >= from && b.data() + b.size() <= from + n); };
    return in(data, size) || in(d->inflated.data(), d->inflated.size());
  };
  require(inside(d->pixels));
  for (const auto* item : {&d->top, &d->shared})
    for (const auto& e : item->elements) require(inside(e.value));
  double numbers[6];
  for (const std::uint32_t t : kWanted) {
    (void)dicom_decimals(d->find(t, 0), numbers, 6);
    (void)dicom_is(d->find(t, 1));
  }
  if (const auto patient = dicom_patient(*d))
    for (const auto& [t, text] : *patient) require(detail::is_utf8(text));  // it goes into files that say so
  const auto f = pixel_format(*d, "f", {.max_bytes = std::size_t(1) << 20});
  if (!f) return 0;
  const auto r = FrameReader::make(*d, *f, "f");
  if (!r) return 0;
  std::vector<std::uint8_t> frame(f->frame_bytes);
  for (std::int64_t n = 0; n < std::min<std::int64_t>(f->frames, 8); ++n) (void)r->read(n, frame.data()).ok();
  return 0;
}
