// SAM-Med3D against PyTorch (MedIM): the encoder module by module, dense positions, clicks, masks, logits at low resolution and stretched to the input, with random
// weights; on the scalar definition and on every level of the fast backend.
#include "parity/modules.hpp"

#include <sampan/models/volume_network.hpp>
#include <sampan/ops/resize_torch_trilinear.hpp>
#include <sampan/weights/open.hpp>

#include <set>

using namespace sampan;
using namespace sampan::test;

namespace {

std::vector<models::ModelPoint3d> clicks_of(const nlohmann::json& p) {
  std::vector<models::ModelPoint3d> clicks;
  for (std::size_t i = 0; i < p["points"].size(); ++i) clicks.push_back({{p["points"][i][0], p["points"][i][1], p["points"][i][2]}, p["labels"][i]});
  return clicks;
}

/// Encoder, every module by its name, then fused; then every prompt.
template <class B>
void check_network(const Golden& g, const models::VolumeNetwork<B>& net, const std::string& place, const std::string& title) {
  const auto& backend = net.backend;
  const Index grid = net.grid(), size = net.image_size(), c = net.channels(), cells = grid * grid * grid, low = 4 * grid, voxels = low * low * low;
  const auto volume = input(g, "input.volume"), earlier = input(g, "input.logits");
  const View<const float, 3> in(volume.data(), {size, size, size});
  std::vector<float> embedding(std::size_t(cells * c));
  const View<float, 4> out(embedding.data(), {grid, grid, grid, c});
  std::vector<std::string> names;
  for (const auto& t : g.file().tensors())
    if (t.name.rfind("image_encoder.", 0) == 0) names.push_back(t.name);
  Trace trace(names);
  run(
      backend, [&](Context<B>& ctx) { net.encoder.forward(ctx, in, out); }, &trace);
  std::set<std::string> seen;
  for (const auto& r : trace.records()) {
    seen.insert(r.name);
    check_tensor(g, r.name, r.data, r.shape);
  }
  CHECK(seen.size() == names.size());
  run(backend, [&](Context<B>& ctx) { net.encoder.forward(ctx, in, out); });
  const double e = check_tensor(g, "image_embedding", channels_first(embedding, c), {1, c, grid, grid, grid});
  CHECK(e <= 1e-5);
  const auto pe = net.prompt_encoder.dense_pe.view();
  check_tensor(g, "dense_pe", channels_first({pe.data(), pe.data() + pe.size()}, c), {1, c, grid, grid, grid});

  double worst = 0;
  const auto prompts = g.meta("prompts");
  for (const auto& entry : prompts.items()) {
    const std::string& name = entry.key();
    const auto& p = entry.value();
    CAPTURE(name);
    const auto clicks = clicks_of(p);
    const bool multi = p.value("multi", false);
    const Index tokens = models::PromptEncoder3d<B>::token_count(Index(clicks.size())), m = net.mask_decoder.mask_count(multi);
    const std::vector<float> zeros(std::size_t(voxels), 0.0f);
    const std::string kind = p.value("mask", "");
    const View<const float, 3> mask =
        kind.empty() ? View<const float, 3>() : View<const float, 3>(kind == "zeros" ? zeros.data() : earlier.data(), {low, low, low});
    std::vector<float> sparse(std::size_t(tokens * c)), dense(std::size_t(cells * c)), logits(std::size_t(m * voxels)), iou(static_cast<std::size_t>(m)),
        full(std::size_t(m * size * size * size));
    const View<float, 2> s(sparse.data(), {tokens, c});
    const View<float, 4> d(dense.data(), {grid, grid, grid, c});
    run(backend, [&](Context<B>& ctx) {
      net.prompt_encoder.encode_sparse(ctx, clicks.data(), Index(clicks.size()), s);
      net.prompt_encoder.encode_dense(ctx, mask, d);
      net.mask_decoder.forward(ctx, {out, net.prompt_encoder.dense_pe.view(), s, d}, multi, View<float, 2>(logits.data(), {m, voxels}),
                               View<float, 1>(iou.data(), {m}));
      for (Index i = 0; i < m; ++i)
        resize_torch_trilinear(ctx, View<const float, 3>(logits.data() + i * voxels, {low, low, low}),
                               View<float, 3>(full.data() + i * size * size * size, {size, size, size}));
    });
    if (tokens > 0) check_tensor(g, name + ".sparse", sparse, {1, tokens, c});
    check_tensor(g, name + ".dense", channels_first(dense, c), {1, c, grid, grid, grid}, worst_of_kind(g, ".dense", "rel_l2"));
    const double error = check_tensor(g, name + ".low_res_logits", logits, {1, m, low, low, low}, worst_of_kind(g, ".low_res_logits", "rel_l2"));
    CHECK(error <= 1e-4);
    worst = std::max(worst, error);
    check_scores(g, name + ".iou_predictions", iou);
    check_tensor(g, name + ".full_logits", full, {1, m, size, size, size}, worst_of_kind(g, ".full_logits", "rel_l2"));
  }
  parity_table().push_back({title, place, short_error(e), short_error(worst), "-"});
}

void check_golden(const std::string& golden_name, const std::string& title) {
  CAPTURE(golden_name);
  const Golden g = Golden::committed(golden_name);
  const auto contract = med3d_contract(g.meta("config"));
  TempFolder folder;
  const std::string path = folder.file("model.safetensors");
  const Status written = write_model(path, contract, g.meta("seed").get<std::uint64_t>(), g.weight_shapes());
  REQUIRE_MESSAGE(written, written.error().what());
  for_each_place([&](const std::string& place, const auto& backend) {
    CAPTURE(place);
    auto file = weights::open_model(path);
    REQUIRE_MESSAGE(file, file.error().what());
    auto net = models::VolumeNetwork<std::decay_t<decltype(backend)>>::load(backend, (*file)->contract, (*file)->table);
    REQUIRE_MESSAGE(net, net.error().what());
    check_network(g, *net, place, title);
  });
  const auto as_image_model = Model::try_load(path);
  REQUIRE(!as_image_model);
  CHECK(as_image_model.error().code() == ErrorCode::unsupported);
  CHECK(as_image_model.error().message().find("volumes") != std::string::npos);
}

}  // namespace

TEST_CASE("parity: SAM-Med3D, 64^3, every module") { check_golden("sam_med3d_tiny64", "SAM-Med3D 48x2, 64^3"); }
TEST_CASE("parity: SAM-Med3D, 80^3, windows of 3") { check_golden("sam_med3d_windows80", "SAM-Med3D 32x3, 80^3, windows of 3"); }
