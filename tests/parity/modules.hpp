// What the parity tests of single modules share: weights of a golden as a loadable table, a run on one backend, every place a module runs on, axis order.
// Data flow: parity/golden.hpp -> here -> decoder_test.cpp, med3d_test.cpp. Deliberately absent: whole models through the public classes (networks_test.cpp).
#pragma once
#include "parity/golden.hpp"

#include <sampan/models/any_model.hpp>

namespace sampan::test {

/// Sizes of a SAM-Med3D golden from its `config`, under the family's contract.
inline weights::Contract med3d_contract(const nlohmann::json& c) {
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::sam_vit_3d;
  n.image_size = c["img"], n.grid = n.image_size / 16, n.out_channels = c["out"], n.decoder_mlp = kUsualDecoderMlp, n.iou_hidden = kUsualIouHidden;
  n.sam_vit = {.patch = 16,
               .embed_dim = c["embed"],
               .depth = c["depth"],
               .heads = c["heads"],
               .mlp_dim = c["mlp"],
               .window = c["window"],
               .global_blocks = c["global_blocks"].get<std::vector<int>>()};
  return random_contract("sam_med3d", n);
}

/// The tensors of a golden as a loadable table, values from the generator.
struct Weights {
  TempFolder folder;
  std::unique_ptr<weights::Safetensors> file;
  explicit Weights(const Golden& g) {
    const std::string path = folder.file("weights.safetensors");
    NamedShapes tensors;
    for (const auto& t : g.weight_shapes())
      if (t.name.find("norm_head") == std::string::npos && t.name.rfind("image_encoder.head", 0) != 0) tensors.push_back(t);
    const Status s = write_unconverted(path, tensors, g.meta("seed").get<std::uint64_t>());
    REQUIRE_MESSAGE(s, s.error().what());
    auto opened = weights::Safetensors::open(path);
    REQUIRE_MESSAGE(opened, opened.error().what());
    file = std::make_unique<weights::Safetensors>(std::move(*opened));
  }
};

template <class B, class F>
auto load_with(const B& backend, const Weights& w, F&& make) {
  TensorTable table(*w.file);
  typename Loader<B>::Load load{table, backend, {}, {}, {}};
  Loader<B> loader(load);
  auto module = make(loader);
  const Status s = loader.status();
  REQUIRE_MESSAGE(s, s.error().what());
  return module;
}

template <class B, class F>
void run(const B& backend, F&& forward, Trace* trace = nullptr) {
  ThreadPool pool(2);
  const auto p = plan(backend, pool, forward, trace);
  REQUIRE_MESSAGE(p, p.error().what());
  Arena arena;
  REQUIRE(arena.reserve(p->arena_bytes));
  Context<B> ctx(backend, pool, arena);
  ctx.trace = trace;
  forward(ctx);
  const Status s = ctx.status();
  REQUIRE_MESSAGE(s, s.error().what());
}

template <class F>
void for_each_place(F&& f) {
  f(std::string("reference"), Reference{});
  for (const auto& isa : available_isas()) {
    auto cpu = models::make_cpu(isa);
    REQUIRE(cpu);
    f(isa, *cpu);
  }
}

inline std::vector<std::int64_t> ints(const nlohmann::json& j) { return j.get<std::vector<std::int64_t>>(); }
inline std::string text(const nlohmann::json& j) { return j.get<std::string>(); }

inline std::vector<float> input(const Golden& g, const std::string& name) {
  const auto info = g.meta("inputs").at(name);
  return hash_fill(g.meta("seed").get<std::uint64_t>(), name, info["shape"].get<std::vector<std::int64_t>>(), info["add"], info["scale"]);
}

/// [1, c, h, w] -> [h, w, c]; any number of axes between.
inline std::vector<float> channels_last(const std::vector<float>& v, Index c) {
  const Index n = Index(v.size()) / c;
  std::vector<float> out(v.size());
  for (Index k = 0; k < c; ++k)
    for (Index i = 0; i < n; ++i) out[std::size_t(i * c + k)] = v[std::size_t(k * n + i)];
  return out;
}
inline std::vector<float> channels_first(const std::vector<float>& v, Index c) { return channels_last(v, Index(v.size()) / c); }

}  // namespace sampan::test
