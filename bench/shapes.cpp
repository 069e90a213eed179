// bench_shapes: writes bench/shapes/<network>.txt, the op shapes that the other benchmarks take. Data flow: models/any_model.hpp on bench/recorder.hpp -> files.
//   bench_shapes            writes them          bench_shapes --check   exits 1 if a committed file differs from what the networks call now (a test runs it)
// The lists come from the planning pass of the real networks; weights are a zeroed mapping of the right size that nobody reads for its values.
#include "recorder.hpp"

#include "harness.hpp"
#include "networks.hpp"
#include "shape_list.hpp"

#include <sampan/models/volume_network.hpp>
#include <sampan/weights/network_shapes.hpp>

#include <cstring>
#include <fstream>
#include <iterator>

#include <sys/mman.h>

namespace {

using namespace sampan;

/// A safetensors file of zeros in anonymous memory: the header is written, data pages are never allocated (reads meet the system's zero page).
class ZeroWeights {
 public:
  explicit ZeroWeights(const weights::Contract& c) {
    JsonWriter header;
    header.begin_object();
    std::uint64_t at = 0;
    for (const auto& t : weights::expected_tensors(c.network)) {
      const std::uint64_t end = at + std::uint64_t(*weights::element_count(t.shape)) * sizeof(float);
      header.key(t.name).begin_object().member("dtype", "F32").list("shape", t.shape).list("data_offsets", std::initializer_list<std::uint64_t>{at, end}).end_object();
      at = end;
    }
    std::string text = header.end_object().text();
    text.append((8 - text.size() % 8) % 8, ' ');
    const std::uint64_t length = text.size();
    bytes_ = 8 + length + at;
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) bench::die("no address space for " + std::to_string(bytes_) + " bytes of weights");
    auto* p = static_cast<std::uint8_t*>(memory_);
    std::memcpy(p, &length, 8);
    std::memcpy(p + 8, text.data(), length);
  }
  ~ZeroWeights() { munmap(memory_, bytes_); }
  ZeroWeights(const ZeroWeights&) = delete;
  ZeroWeights& operator=(const ZeroWeights&) = delete;
  Bytes bytes() const { return {static_cast<const std::uint8_t*>(memory_), bytes_}; }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

std::string list(const std::string& name, const char* of, const Cost& cost, const ShapeLog& log) {
  char total[160];
  std::snprintf(total, sizeof total, "%.3f GFLOP, %.3f GB if nothing is fused", cost.flop * 1e-9, cost.bytes * 1e-9);
  std::string s = cat("# Op shapes of ", name, ", ", of, ": ", total, ". Written by bench_shapes; bench/shape_list.hpp explains the columns.\n");
  std::size_t op = 0, sizes = 0;
  for (const auto& l : log.lines) op = std::max(op, l.op.size()), sizes = std::max(sizes, l.sizes.size());
  for (const auto& l : log.lines) {
    const std::string times = std::to_string(l.times);
    s += l.op + std::string(op + 2 - l.op.size(), ' ') + times + std::string(5 - std::min<std::size_t>(times.size(), 4), ' ') + l.sizes + std::string(sizes + 2 - l.sizes.size(), ' ') + l.name + "\n";
  }
  return s;
}

using Lists = std::vector<std::pair<std::string, std::string>>;

/// Of a volumetric network: one cube, one click with a mask prompt.
Lists lists_of_volumes(const std::string& name, const weights::Contract& c) {
  const ZeroWeights zeros(c);
  const auto file = bench::take(weights::Safetensors::parse(zeros.bytes(), name));
  TensorTable table(file);
  ShapeLog log;
  const auto net = bench::take(models::VolumeNetwork<Recorder>::load(Recorder{&log}, c, table));
  const Index s = net.image_size(), g = net.grid(), ch = net.channels();
  ThreadPool pool(1);
  log.lines.clear();
  const Plan encoder = bench::take(plan(net.backend, pool, [&](Context<Recorder>& ctx) {
    auto scope = ctx.arena.scope();
    net.encoder.forward(ctx, scope.make<float>(s, s, s), scope.make<float>(g, g, g, ch));
  }));
  Lists out{{name, list(name, "one cube", encoder.cost, log)}};
  log.lines.clear();
  const Plan decoder = bench::take(plan(net.backend, pool, [&](Context<Recorder>& ctx) {
    auto scope = ctx.arena.scope();
    const auto embedding = scope.make<float>(g, g, g, ch), dense = scope.make<float>(g, g, g, ch);
    const auto sparse = scope.make<float>(2, ch), masks = scope.make<float>(1, 64 * g * g * g);
    net.prompt_encoder.encode_dense(ctx, View<const float, 3>(masks.data(), {4 * g, 4 * g, 4 * g}), dense);
    net.mask_decoder.forward(ctx, {embedding, net.prompt_encoder.dense_pe.view(), sparse, dense}, false, masks, scope.make<float>(1));
  }));
  out.emplace_back("decoder_3d", list("the mask decoder of volumes (8x8x8 embedding)", "one click", decoder.cost, log));
  return out;
}

/// The lists of a network's encoder and, on request, of its decoder with one box.
Lists lists_of(const std::string& name, bool with_decoder) {
  const weights::Contract c = bench::network_contract(name);
  if (weights::is_volume(c.network.encoder)) return lists_of_volumes(name, c);
  const ZeroWeights zeros(c);
  const auto file = bench::take(weights::Safetensors::parse(zeros.bytes(), name));
  TensorTable table(file);
  ShapeLog log;
  const auto net = bench::take(models::Network<Recorder>::load(Recorder{&log}, c, table));
  const Index s = net.image_size(), g = net.grid(), ch = net.channels();
  const Index detail = net.detail_channels();
  ThreadPool pool(1);
  log.lines.clear();
  const Plan encoder = bench::take(plan(net.backend, pool, [&](Context<Recorder>& ctx) {
    auto scope = ctx.arena.scope();
    net.encode(ctx, scope.make<float>(s, s, 3), scope.make<float>(g, g, ch), detail ? scope.make<float>(4 * g, 4 * g, detail) : View<float, 3>());
  }));
  Lists out{{name, list(name, "one image", encoder.cost, log)}};
  if (!with_decoder) return out;
  log.lines.clear();
  const Plan decoder = bench::take(plan(net.backend, pool, [&](Context<Recorder>& ctx) {
    auto scope = ctx.arena.scope();
    const auto embedding = scope.make<float>(g, g, ch), sparse = scope.make<float>(1, 2, ch), dense = scope.make<float>(1, g * g, ch), masks = scope.make<float>(1, 1, 16 * g * g);
    const float box[4] = {};
    net.prompt_encoder.encode_sparse(ctx, nullptr, 0, box, sparse[0]);
    net.prompt_encoder.encode_dense(ctx, {}, as_map(dense[0], g, g));
    net.mask_decoder.forward(ctx, {embedding, net.prompt_encoder.dense_pe.view(), sparse, dense}, false, masks, scope.make<float>(1, 1));
  }));
  out.emplace_back("decoder", list("the mask decoder (64x64 embedding)", "one box", decoder.cost, log));
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Harness h(argc, argv, "writes the op shapes of the networks to bench/shapes", {{"--check", "", "writes nothing, exits 1 if a committed list is out of date"}}, false);
  const bool check = !h.option("--check").empty();
  int stale = 0;
  for (const auto& name : bench::network_names())
    for (const auto& [file, text] : lists_of(name, name == "lite_medsam")) {
      const std::string path = std::string(SAMPAN_BENCH_DIR) + "/shapes/" + file + ".txt";
      std::ifstream in(path, std::ios::binary);
      const std::string have{std::istreambuf_iterator<char>(in), {}};
      if (have == text) continue;
      if (check) {
        std::printf("%s.txt differs from what the network calls now; run bench_shapes\n", file.c_str());
        ++stale;
      } else if (!(std::ofstream(path, std::ios::binary) << text << std::flush)) {
        bench::die("cannot write " + path);
      } else {
        std::printf("wrote %s\n", path.c_str());
      }
    }
  if (check && !stale) std::printf("all lists are up to date\n");
  return stale ? 1 : 0;
}
