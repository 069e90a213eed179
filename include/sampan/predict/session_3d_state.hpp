// What stands behind Model3d and Session3d: contract and network on its backend; the crop, its embedding, the clicks with the logits after each.
// Data flow: impl/session_3d.ipp -> here -> predict/crop_3d.hpp, models/volume_network.hpp. Each call plans first, makes the arena large enough, then runs.
#pragma once
#include <sampan/core/clock.hpp>
#include <sampan/models/volume_network.hpp>
#include <sampan/ops/resize_torch_trilinear.hpp>
#include <sampan/predict/crop_3d.hpp>
#include <sampan/predict/guarded.hpp>
#include <sampan/predict/session_3d.hpp>

#include <limits>

namespace sampan::inline SAMPAN_ABI::detail {

struct Model3dState {
  std::string path;
  weights::Contract contract;
  models::AnyVolumeNetwork network;
  mutable ThreadPool pool;
  Model3dInfo info;
  LoadOptions options;
  Model3dState(std::string p, weights::Contract c, models::AnyVolumeNetwork n, ThreadPool t)
      : path(std::move(p)), contract(std::move(c)), network(std::move(n)), pool(std::move(t)) {}
};

/// After a click: what it gave.
struct Step3d {
  models::ModelPoint3d point;
  std::vector<float> logits;  // [low, low, low]
  float iou = 0;
};

struct Session3dState {
  std::shared_ptr<const Model3dState> model;
  VolumeSource source;
  predict::CropGrid grid;
  bool has_crop = false;
  std::vector<float> embedding;  // [g, g, g, c]
  std::vector<Step3d> steps;
  std::vector<std::uint8_t> mask;  // of the crop, after the last step
  Arena arena;
  Timings timings;

  Session3dState(std::shared_ptr<const Model3dState> m, const VolumeSource& s, const predict::CropGrid& g) : model(std::move(m)), source(s), grid(g) {}

  template <class B, class F>
  Status run(const B& backend, const Progress* progress, F&& forward) {
    SAMPAN_TRY(known, plan(backend, model->pool, forward));
    if (const std::uint64_t limit = model->options.max_memory, have = model->info.weight_bytes; limit && have + known.arena_bytes > limit)
      return Error(ErrorCode::limit,
                   cat("this call needs ", (have + known.arena_bytes) >> 20, " MiB (weights ", have >> 20, "), the memory limit is ", limit >> 20, " MiB"));
    if (!arena.reserve(known.arena_bytes)) return Error(ErrorCode::out_of_memory, cat("no memory for ", known.arena_bytes >> 20, " MiB of activations"));
    Context<B> ctx(backend, model->pool, arena);
    ctx.progress = progress;
    ctx.planned_flop = known.cost.flop;
    forward(ctx);
    return ctx.status();
  }

  template <class B>
  View<float, 4> embedding_view(const models::VolumeNetwork<B>& net) {
    const Index g = net.grid();
    return {embedding.data(), {g, g, g, net.channels()}};
  }

  /// The crop around a voxel of the volume, encoded.
  template <class B>
  Status set_centre(const models::VolumeNetwork<B>& net, const predict::Voxel& at, const Progress* progress) {
    const double start = now_ms();
    predict::CropGrid moved = grid;
    predict::centre_crop(moved, at);
    const Index side = net.image_size(), g = net.grid();
    std::vector<float> crop(std::size_t(side * side * side)), fresh(std::size_t(g * g * g * net.channels()));
    SAMPAN_CHECK(predict::resample_crop(
        moved, source.integers, [&](std::int64_t k, float* plane) { return source.read(source.user, k, plane); }, crop.data()));
    SAMPAN_CHECK(predict::normalise_crop(crop.data(), crop.size()));
    const double prepared = now_ms();
    embedding.swap(fresh);
    const Status encoded = run(net.backend, progress, [&](Context<B>& ctx) {
      net.encoder.forward(ctx, View<const float, 3>(crop.data(), {side, side, side}), embedding_view(net));
    });
    if (!encoded) {
      embedding.swap(fresh);
      return encoded;
    }
    grid = moved, has_crop = true;
    steps.clear();
    mask.clear();
    timings = {prepared - start, now_ms() - prepared, 0, 0};
    return {};
  }

  template <class B>
  Status click(const models::VolumeNetwork<B>& net, const Click3d& c, const Progress* progress) {
    const predict::Voxel p = grid.to_crop({c.i, c.j, c.k});
    models::ModelPoint3d point{{}, c.label};
    for (std::size_t a = 0; a < 3; ++a) {
      const double voxel = std::floor(p[a] + 0.5);  // the pipeline clicks on voxels of the crop
      if (!(voxel >= 0 && voxel < double(grid.side)))
        return Error(ErrorCode::invalid_argument,
                     cat("click ", predict::short_number(c.i), ",", predict::short_number(c.j), ",", predict::short_number(c.k), ": outside the cube of ",
                         model->info.side, " voxels of ", predict::short_number(model->info.spacing), " mm around its centre; set another centre"));
      point.at[a] = float(voxel);
    }
    const double start = now_ms();
    const Index low = Index(model->info.low_res), g = net.grid(), ch = net.channels(), n = Index(steps.size()) + 1, voxels = low * low * low;
    std::vector<models::ModelPoint3d> points;
    for (const Step3d& s : steps) points.push_back(s.point);
    points.push_back(point);
    Step3d step{point, std::vector<float>(std::size_t(voxels)), 0};
    const std::vector<float> zeros(steps.empty() ? std::size_t(voxels) : 0, 0.0f);
    const float* earlier = steps.empty() ? zeros.data() : steps.back().logits.data();
    SAMPAN_CHECK(run(net.backend, progress, [&](Context<B>& ctx) {
      auto scope = ctx.arena.scope();
      const auto sparse = scope.template make<float>(models::PromptEncoder3d<B>::token_count(n), ch);
      const auto dense = scope.template make<float>(g, g, g, ch);
      net.prompt_encoder.encode_sparse(ctx, points.data(), n, sparse);
      net.prompt_encoder.encode_dense(ctx, View<const float, 3>(earlier, {low, low, low}), dense);
      net.mask_decoder.forward(ctx, {embedding_view(net), net.prompt_encoder.dense_pe.view(), sparse, dense}, false,
                               View<float, 2>(step.logits.data(), {1, voxels}), View<float, 1>(&step.iou, {1}));
    }));
    const double decoded = now_ms();
    steps.push_back(std::move(step));
    if (const Status s = make_mask(net.backend); !s) {
      steps.pop_back();
      return s;
    }
    timings.decode = decoded - start, timings.postprocess = now_ms() - decoded;
    return {};
  }

  /// The mask of the crop from the logits of the last step: stretched to the input, then compared.
  template <class B>
  Status make_mask(const B& backend) {
    const Index low = Index(model->info.low_res), side = Index(model->info.side), n = side * side * side;
    std::vector<std::uint8_t> fresh(std::size_t(n), std::uint8_t(0));
    const float threshold = float(model->contract.mask.threshold);
    SAMPAN_CHECK(run(backend, nullptr, [&](Context<B>& ctx) {
      auto scope = ctx.arena.scope();
      const auto wide = scope.template make<float>(side, side, side);
      resize_torch_trilinear(ctx, View<const float, 3>(steps.back().logits.data(), {low, low, low}), wide);
      if (!ctx.begin({double(n), 5.0 * double(n)})) return;
      for (Index i = 0; i < n; ++i) fresh[std::size_t(i)] = wide.data()[i] > threshold;
    }));
    mask.swap(fresh);
    return {};
  }
};

/// Lets the library's own tools and tests reach behind the public classes.
struct Access3d {
  static const std::shared_ptr<const Model3dState>& state(const Model3d& m) { return m.state_; }
  static Model3d make(std::shared_ptr<const Model3dState> s) { return Model3d(std::move(s)); }
  static Session3dState& state(Session3d& s) { return *s.state_; }
};

}  // namespace sampan::inline SAMPAN_ABI::detail
