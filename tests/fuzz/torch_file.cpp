// Fuzz target: any bytes as a .pth, .pt or wheel, and the same bytes as a bare pickle and as a bare zip archive. Data flow: bytes -> weights_tools/checkpoint.hpp.
// What is accepted is used: every tensor is gathered, the network recognised. In libFuzzer builds zip checksums are not compared (zip.hpp).
// Bare pickles get storages of zeros, so that the checks of offsets and strides are reached without a zip around them.
#include "weights_tools/checkpoint.hpp"
#include "tests/fuzz/require.hpp"

using namespace sampan;
using namespace sampan::tools;
using fuzz::require;

namespace {
void use(const std::vector<SourceTensor>& tensors) {
  std::vector<std::uint8_t> scratch;
  std::uint64_t sum = 0;
  std::size_t budget = std::size_t(16) << 20;  // many tensors may share one storage; a fuzzer needs no more of them
  for (const SourceTensor& t : tensors) {
    if (t.byte_size() > budget) return;
    budget -= t.byte_size();
    const Bytes b = t.contiguous(scratch);
    require(b.size() == t.byte_size());
    for (std::uint8_t v : b) sum += v;
  }
  const volatile std::uint64_t sink = sum;
  (void)sink;
}

void use_pickle(Bytes bytes) {
  const PickleLimits limits{.max_bytes = 1 << 20, .max_values = 20'000, .max_stack = 10'000, .max_marks = 64, .max_memo = 20'000, .max_rank = 8};
  const auto p = Unpickler::read(bytes, "f", limits);
  if (!p) return;
  require(p->end <= bytes.size() && p->root < p->values.size());
  static const std::vector<std::uint8_t> zeros(1 << 16);
  std::vector<Bytes> storages;
  for (const PickleStorage& s : p->storages) {
    std::uint64_t n = 0;
    if (__builtin_mul_overflow(static_cast<std::uint64_t>(s.elements), size_of(s.dtype), &n) || n > zeros.size()) return;
    storages.push_back(Bytes(zeros).first(static_cast<std::size_t>(n)));
  }
  SourceTensors out;
  if (tools::detail::first_of_key(*p, "f") && tools::detail::collect_tensors(*p, storages, "f", out)) use(out.tensors);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes(data, size);
  use_pickle(bytes);
  const ZipLimits limits{.max_members = 1000, .max_inflated_bytes = 1 << 20};
  if (const auto zip = ZipArchive::open(bytes, "f", limits))
    for (const ZipMember& m : zip->members())
      if (const auto content = zip->read(m)) {
        require(content->bytes.size() == m.size);
        use_pickle(content->bytes);
      }
  Checkpoint c;
  c.label = "f";
  if (tools::detail::read_bytes(bytes, c, false)) {
    use(c.source.tensors);
    (void)recognise(c).ok();
  }
  return 0;
}
