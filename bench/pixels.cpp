// bench_pixels: what surrounds the network for one large image: resize, normalise, logits to mask, PNG of the mask.
//   bench_pixels --threads 1,2              bench_pixels --shapes 4000x3000,512x512
// Data flow: generated photograph and logits -> ops/resize_*.hpp, image/normalize.hpp, predict/postprocess.hpp, image/mask_codec.hpp.
// FLOP: as the op plans it (multiply-adds of the definition). Bytes: input and output once. The row "sam, all" is the sum for SAM's contract; a decoder call
// (bench_decoder, cached) is what it must stay below.
// Error: bytes against the same op without kernels (must be 0); mask statistics against a count of the mask.
#include "op_case.hpp"

#include <sampan/image/mask_codec.hpp>
#include <sampan/predict/postprocess.hpp>
#include <sampan/predict/preprocess.hpp>

#include "support/hashgen.hpp"

namespace {
using namespace bench;

struct NoKernels {
  using Memory = HostMemory;
};

struct Scene {
  Extent2 size;
  std::vector<std::uint8_t> pixels;
  std::vector<float> low;  ///< logits of a blob with a wavy border
  weights::Contract contract;
  predict::InputFrame frame;

  explicit Scene(Extent2 s) : size(s), pixels(sampan::test::phantom_rgb(s.height, s.width)), low(256 * 256) {
    for (int y = 0; y < 256; ++y)
      for (int x = 0; x < 256; ++x) {
        const double dx = x - 110, dy = y - 90, r = std::sqrt(dx * dx + dy * dy), a = std::atan2(dy, dx);
        low[std::size_t(y * 256 + x)] = float(60 + 8 * std::sin(9 * a) - r);
      }
    contract.network.image_size = 1024;
    contract.image.keep_aspect = true;
    contract.mask.upsample = weights::UpsampleKind::input_crop_original;
    contract.mask.threshold = 0;
    frame = predict::make_frame(contract, size);
  }
  View<const std::uint8_t, 3> image() const { return {pixels.data(), {size.height, size.width, 3}}; }
  View<const float, 2> logits() const { return {low.data(), {256, 256}}; }
};

/// One variant's outputs.
struct Buffers {
  std::vector<std::uint8_t> resized, png;
  std::vector<float> input;
  Candidate mask;
};

using Step = std::function<void(Context<Cpu>&, const Scene&, Buffers&)>;

template <class B>
void resize(Context<B>& ctx, const Scene& s, Extent2 to, bool area, std::vector<std::uint8_t>& out) {
  out.resize(std::size_t(3 * to.height * to.width));
  const View<std::uint8_t, 3> view(out.data(), {to.height, to.width, 3});
  area ? resize_cv2_area(ctx, s.image(), view) : resize_pillow_bilinear(ctx, s.image(), view);
}

Accuracy against_plain(const Scene& s, Extent2 to, bool area, const std::vector<std::uint8_t>& got) {
  const NoKernels plain;
  ThreadPool pool(1);
  std::vector<std::uint8_t> want;
  const auto op = [&](Context<NoKernels>& ctx) { resize(ctx, s, to, area, want); };
  Arena arena;
  if (!arena.reserve(take(sampan::plan(plain, pool, op)).arena_bytes)) die("no memory for scratch");
  Context<NoKernels> ctx(plain, pool, arena);
  op(ctx);
  return {0, "plain loops", got == want ? "" : "bytes differ from the plain loops"};
}

void run_step(Harness& h, const std::shared_ptr<const Scene>& scene, const std::string& what, const Step& step, const std::function<Accuracy(const Scene&, const Buffers&)>& check) {
  const std::string name = cat(scene->size.width, "x", scene->size.height, " ", what);
  if (!h.wanted(name)) return;
  std::vector<Case> group;
  for (const auto& isa : h.isas())
    for (const int threads : h.threads()) {
      struct Variant {
        Runner runner;
        Buffers buffers;
      };
      const auto v = std::make_shared<Variant>(Variant{Runner(isa, threads), {}});
      const auto op = [=](Context<Cpu>& ctx) { step(ctx, *scene, v->buffers); };
      const Cost cost = v->runner.plan(op);
      const auto run = [=] { return v->runner.time(op); };
      group.push_back({v->runner.row(name, cost), run, [=] {
                         run();
                         return check(*scene, v->buffers);
                       }});
    }
  h.run(std::move(group));
}

void run_scene(Harness& h, Extent2 size) {
  const auto scene = std::make_shared<const Scene>(size);
  const Extent2 small = longest_side_size(size, 256), input = scene->frame.resized;
  const Step to_input = [=](Context<Cpu>& ctx, const Scene& s, Buffers& b) { resize(ctx, s, input, false, b.resized); };
  const Step normalise = [=](Context<Cpu>& ctx, const Scene&, Buffers& b) {
    b.resized.resize(std::size_t(3 * input.height * input.width)), b.input.resize(3 * 1024 * 1024);
    normalize_mean_std(ctx, View<const std::uint8_t, 3>(b.resized.data(), {input.height, input.width, 3}), MeanStd{}, View<float, 3>(b.input.data(), {1024, 1024, 3}));
  };
  const Step finish = [](Context<Cpu>& ctx, const Scene& s, Buffers& b) { predict::finish_mask(ctx, s.contract, s.frame, s.logits(), b.mask); };
  const Step png = [](Context<Cpu>& ctx, const Scene& s, Buffers& b) {
    if (!ctx.begin({0, double(s.size.height * s.size.width)})) return;
    take(encode_mask_png(View<const std::uint8_t, 2>(b.mask.mask.data.data(), {s.size.height, s.size.width}), b.png));
  };
  const auto exact = [](const Scene&, const Buffers&) { return Accuracy{0, "table", ""}; };
  const auto mask_right = [](const Scene&, const Buffers& b) {
    std::int64_t n = 0;
    for (const auto v : b.mask.mask.data) n += v;
    return Accuracy{0, "count", n == b.mask.area && n > 0 ? "" : "area does not agree with the mask"};
  };
  run_step(h, scene, cat("to ", input.width, "x", input.height, " as Pillow"), to_input, [=](const Scene& s, const Buffers& b) { return against_plain(s, input, false, b.resized); });
  run_step(h, scene, cat("to ", small.width, "x", small.height, " as cv2 INTER_AREA"),
           [=](Context<Cpu>& ctx, const Scene& s, Buffers& b) { resize(ctx, s, small, true, b.resized); }, [=](const Scene& s, const Buffers& b) { return against_plain(s, small, true, b.resized); });
  run_step(h, scene, "normalise", normalise, exact);
  run_step(h, scene, "logits to mask", finish, mask_right);
  const Step finish_and_png = [=](Context<Cpu>& ctx, const Scene& s, Buffers& b) { finish(ctx, s, b), png(ctx, s, b); };
  run_step(h, scene, "logits to mask, PNG", finish_and_png, mask_right);
  run_step(h, scene, "sam, all",
           [=](Context<Cpu>& ctx, const Scene& s, Buffers& b) { to_input(ctx, s, b), normalise(ctx, s, b), finish_and_png(ctx, s, b); }, mask_right);
}

Extent2 parse_size(const std::string& text) {
  const auto x = text.find('x');
  const long w = std::strtol(text.c_str(), nullptr, 10), h = x == std::string::npos ? 0 : std::strtol(text.c_str() + x + 1, nullptr, 10);
  if (w < 1 || h < 1 || w > 30000 || h > 30000) die("--shapes: WIDTHxHEIGHT, up to 30000x30000");
  return {h, w};
}

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "pixels before and after the network (--shapes WIDTHxHEIGHT,...)");
  for (const auto& size : h.shapes({"4000x3000", "512x512"})) run_scene(h, parse_size(size));
  return h.report();
}
