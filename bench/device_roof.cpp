// The roofs of a CUDA device: roof.hpp. Data flow: harness.cpp -> here -> device_case.hpp.
// Operands are random: a device draws less power, and clocks higher, on zeros.
#include "device_case.hpp"

namespace bench {

#if defined(SAMPAN_CUDA)

namespace {
constexpr int kRounds = 10;

double best_ms(DeviceRunner& r) {
  double best = r.time();
  for (int i = 1; i < kRounds; ++i) best = std::fmin(best, r.time());
  return best;
}
}  // namespace

DeviceRoof measure_device_roof(const std::vector<std::string>& precisions, long side) {
  const Index n = side;
  DeviceRoof roof;
  const auto& info = the_device()->info();
  roof.device = cat(info.name, " (compute capability ", info.major, ".", info.minor, ")"), roof.versions = info.versions;
  const std::vector<float> values = random_floats(1, n * n);
  const DeviceBuffers x(values), y(values);
  const View<const float, 2> square(x.floats(0), {n, n});
  for (const auto& precision : precisions) {
    const cuda::Element type = cuda::element_of(device_precision(precision));
    const DeviceBuffers operand(values.data(), std::size_t(n * n * cuda::bytes_of(type)), 1);
    DeviceRunner convert(precision, [&](Context<Cuda>& ctx, std::size_t) { cuda::finish(ctx, square, {}, operand.at(0), n, n, type); });
    convert.time();
    DeviceRunner product(precision, [&](Context<Cuda>& ctx, std::size_t) { cuda::multiply(ctx, {operand.at(0), n, n, n}, {operand.at(0), n, n, type}, nullptr, {}, {y.at(0), n}); });
    roof.peaks.emplace_back(precision, 2.0 * double(n) * double(n) * double(n) / best_ms(product) * 1e-6);
  }
  DeviceRunner copy("f32", [&](Context<Cuda>& ctx, std::size_t) {
    if (ctx.begin({0, 8.0 * double(n) * double(n)})) cuda::ran(ctx, cuda::copy_across(y.at(0), x.at(0), std::size_t(n * n) * sizeof(float), cuda::stream_of(ctx)));
  });
  roof.copy_gbs = 8.0 * double(n) * double(n) / best_ms(copy) * 1e-6;
  return roof;
}

#else

DeviceRoof measure_device_roof(const std::vector<std::string>&, long) { die("device cuda: this build has no CUDA backend (configure with -DSAMPAN_CUDA=ON); use device cpu"); }

#endif

}  // namespace bench
