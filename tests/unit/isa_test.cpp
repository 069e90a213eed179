// Detection of instruction-set levels (cpu/isa.hpp) from raw CPUID and XCR0 words: a level counts only if processor AND operating system have it.
#include <sampan/cpu/isa.hpp>

#include <string>
#include <doctest/doctest.h>

#include <set>

using namespace sampan;

namespace {

constexpr unsigned kFma = 1u << 12, kOsxsave = 1u << 27;                                                  // leaf 1, ecx
constexpr unsigned kAvx2 = 1u << 5, kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;                   // leaf 7, ebx: F, DQ, BW, VL
constexpr unsigned kVnni512 = 1u << 11, kAvxVnni = 1u << 4, kBf16 = 1u << 5;                              // leaf 7 ecx; leaf 7.1 eax
constexpr unsigned kYmm = 0x6, kZmm = 0xE6;                                                               // xcr0

constexpr CpuFeatures everything() { return {kFma | kOsxsave, kAvx2 | kAvx512, kVnni512, kAvxVnni | kBf16, kZmm}; }

std::set<Isa> levels(const CpuFeatures& f) {
  std::set<Isa> s;
  for (int i = 0; i < kIsaCount; ++i)
    if (isa_runs(Isa(i), f)) s.insert(Isa(i));
  return s;
}
using Levels = std::set<Isa>;
const Levels kPlain{Isa::scalar, Isa::portable512};
Levels plus(std::initializer_list<Isa> more) {
  Levels s = kPlain;
  s.insert(more);
  return s;
}

}  // namespace

TEST_CASE("a machine with everything runs everything, one with nothing the portable levels") {
  CHECK(levels(everything()).size() == std::size_t(kIsaCount));
  CHECK(levels({}) == kPlain);
}

TEST_CASE("each level needs each of its instructions") {
  auto without = [](auto member, unsigned bits) {
    CpuFeatures f = everything();
    f.*member &= ~bits;
    return f;
  };
  CHECK(levels(without(&CpuFeatures::leaf1_ecx, kFma)) == kPlain);
  CHECK(levels(without(&CpuFeatures::leaf7_ebx, kAvx2)) == kPlain);
  for (unsigned bit : {16u, 17u, 30u, 31u}) CHECK(levels(without(&CpuFeatures::leaf7_ebx, 1u << bit)) == plus({Isa::avx2, Isa::avx2vnni}));
  CHECK(levels(without(&CpuFeatures::leaf7_ecx, kVnni512)) == plus({Isa::avx2, Isa::avx2vnni, Isa::avx512}));
  CHECK(levels(without(&CpuFeatures::leaf7_1_eax, kBf16)) == plus({Isa::avx2, Isa::avx2vnni, Isa::avx512, Isa::avx512vnni}));
  CHECK(levels(without(&CpuFeatures::leaf7_1_eax, kAvxVnni)) == plus({Isa::avx2, Isa::avx512, Isa::avx512vnni, Isa::avx512bf16}));
}

TEST_CASE("registers that the operating system does not save are not used") {
  CpuFeatures f = everything();
  f.xcr0 = kYmm;
  CHECK(levels(f) == plus({Isa::avx2, Isa::avx2vnni}));
  for (unsigned missing : {0x20u, 0x40u, 0x80u}) {
    f.xcr0 = kZmm & ~missing;
    CHECK(levels(f) == plus({Isa::avx2, Isa::avx2vnni}));
  }
  for (unsigned missing : {0x2u, 0x4u}) {
    f.xcr0 = kZmm & ~missing;
    CHECK(levels(f) == kPlain);
  }
  f = everything();
  f.leaf1_ecx &= ~kOsxsave;
  CHECK(levels(f) == kPlain);
}

TEST_CASE("names and levels correspond; unknown names are refused") {
  std::set<std::string> names;
  for (int i = 0; i < kIsaCount; ++i) {
    names.insert(isa_name(Isa(i)));
    Isa back = Isa::scalar;
    CHECK(parse_isa(isa_name(Isa(i)), back));
    CHECK(back == Isa(i));
  }
  CHECK(names.size() == std::size_t(kIsaCount));
  Isa untouched = Isa::avx2;
  CHECK_FALSE(parse_isa("", untouched));
  CHECK_FALSE(parse_isa("AVX2", untouched));
  CHECK_FALSE(parse_isa("avx", untouched));
  CHECK(untouched == Isa::avx2);
}

TEST_CASE("the best level of this machine is available and is no test level") {
  CHECK(isa_available(Isa::scalar));
  CHECK(isa_available(best_isa()));
  CHECK(best_isa() != Isa::portable512);
  for (int i = int(best_isa()) + 1; i < kIsaCount; ++i) CHECK_FALSE(isa_available(Isa(i)));
}
