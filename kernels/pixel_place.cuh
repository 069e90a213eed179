// pixel_place: which pixel a thread of an image kernel has: 256 threads are 32 columns of 8 rows. Data flow: image.cuh, resample.cuh -> here.
#pragma once
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

struct PixelPlace {
  int y, x;
};
SAMPAN_PTX PixelPlace pixel_place() { return {int(block_y() * 8 + thread_x() / 32), int(block_x() * 32 + thread_x() % 32)}; }

}  // namespace sampan::inline SAMPAN_ABI::kernels
