// Fuzz target: any bytes as a challenge's npz case, and as one npy array with its pickled objects. Data flow: bytes -> weights_tools/zip.hpp, pickle.hpp -> examples/medical/npz.hpp.
// What is accepted must hold the reader's promises, else it traps.
#include "support/fuzz_volume.hpp"

#include "examples/medical/npz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sampan::medical;
  using sampan::test::require;
  const sampan::Bytes file(data, size);
  if (const auto a = parse_npy(file, "f")) {
    if (a->object) {
      if (const auto o = NpyObjects::read(*a, "f"))
        for (std::size_t i = 0; i < o->size(); ++i) {
          (void)o->number(o->element(i));
          (void)o->find(o->element(i), "z_min");
        }
    } else if (a->count > 0) {
      require(a->count * size_of(a->type) == a->data.size());
      (void)a->at(0);
      (void)a->at(a->count - 1);
    }
    (void)detail::npz_boxes(*a, false, "f").ok();
    (void)detail::npz_clicks(*a, "f").ok();
  }
  const bool flat = size > 0 && (data[size - 1] & 1);
  const auto c = parse_npz(file, "f", flat, {.max_bytes = std::size_t(1) << 22});
  if (!c) {
    require(c.error().message().rfind("f: ", 0) == 0);
    return 0;
  }
  sampan::test::check_volume(c->image);
  if (c->truth) require(c->truth->voxels.size() == voxel_count(c->image.grid.size));
  return 0;
}
