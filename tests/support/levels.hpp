// Instruction set levels that are worth running twice: those whose f32 kernels differ. avx2vnni, avx512vnni and avx512bf16 take them from avx2 and avx512 and add
// products of other precisions, which ops/precision_test.cpp and parity/precision_test.cpp run on every level.
// Data flow: for_each_backend.hpp (ops), parity/golden.hpp (whole networks), predict/everything_test.cpp -> here. SAMPAN_ISA names one level to run it alone.
#pragma once
#include <sampan/cpu/cpu.hpp>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

namespace sampan::test {

inline bool same_f32_kernels(const Cpu& a, const Cpu& b) {
  const cpu::Kernels &x = a.kernels(), &y = b.kernels();
  return x.gemm == y.gemm && x.pack_weights == y.pack_weights && x.pack_rows == y.pack_rows && x.layer_norm == y.layer_norm && x.activate == y.activate && x.depthwise == y.depthwise && x.direct_conv == y.direct_conv && x.winograd_rows == y.winograd_rows &&
         x.softmax == y.softmax && x.softmax_groups == y.softmax_groups && x.softmax_columns == y.softmax_columns && x.dot_rows == y.dot_rows && x.gather_rows == y.gather_rows && x.attend_pads == y.attend_pads && x.attend_finish == y.attend_finish &&
         x.pixels == y.pixels;
}

/// Of this machine, worst first.
inline std::vector<Cpu> f32_levels() {
  std::vector<Cpu> levels;
  const char* only = std::getenv("SAMPAN_ISA");
  for (int i = 0; i < kIsaCount; ++i) {
    const Cpu b{.isa = Isa(i)};
    if (!isa_available(b.isa) || (only && std::string(only) != isa_name(b.isa))) continue;
    if (std::none_of(levels.begin(), levels.end(), [&](const Cpu& other) { return same_f32_kernels(other, b); })) levels.push_back(b);
  }
  return levels;
}

}  // namespace sampan::test
