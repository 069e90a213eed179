// What stands behind Model3d and Session3d: contract and network on its backend; the cubes, their embeddings, the clicks with the logits after each, and the way from cube to cube.
// Data flow: impl/session_3d.ipp -> here -> predict/crop_3d.hpp, models/volume_network.hpp. Each call plans first, makes the arena large enough, then runs.
#pragma once
#include <sampan/core/clock.hpp>
#include <sampan/models/volume_network.hpp>
#include <sampan/ops/resize_torch_trilinear.hpp>
#include <sampan/predict/crop_3d.hpp>
#include <sampan/predict/guarded.hpp>
#include <sampan/predict/session_3d.hpp>

#include <limits>
#include <optional>

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

/// A cube of the volume that the network has seen, and what was said and found in it.
struct Cube3d {
  predict::CropGrid grid;
  std::vector<float> embedding;  // [g, g, g, c]
  std::vector<float> earlier;    // mask prompt of its first click [low, low, low]
  bool only_new = false;         // its mask counts only where no cube before it lies
  std::vector<Step3d> steps;
  std::vector<std::uint8_t> mask;  // of the cube, after the last step; empty before the first
};

struct Session3dState {
  std::shared_ptr<const Model3dState> model;
  VolumeSource source;
  predict::CropGrid grid;     // of the volume; its cube stands nowhere
  std::vector<Cube3d> cubes;  // clicks belong to the last
  Arena arena;
  Timings timings;
  Trace* trace = nullptr;

  Session3dState(std::shared_ptr<const Model3dState> m, const VolumeSource& s, const predict::CropGrid& g) : model(std::move(m)), source(s), grid(g) {}

  template <class B, class F>
  Status run(const B& backend, const Progress* progress, F&& forward) {
    SAMPAN_TRY(known, plan(backend, model->pool, forward, trace));
    if (const std::uint64_t limit = model->options.max_memory, have = model->info.weight_bytes; limit && have + known.arena_bytes > limit)
      return Error(ErrorCode::limit,
                   cat("this call needs ", (have + known.arena_bytes) >> 20, " MiB (weights ", have >> 20, "), the memory limit is ", limit >> 20, " MiB"));
    if (!arena.reserve(known.arena_bytes)) return Error(ErrorCode::out_of_memory, cat("no memory for ", known.arena_bytes >> 20, " MiB of activations"));
    Context<B> ctx(backend, model->pool, arena);
    ctx.progress = progress;
    ctx.trace = trace;
    ctx.planned_flop = known.cost.flop;
    forward(ctx);
    return ctx.status();
  }

  template <class B>
  static View<float, 4> embedding_view(const models::VolumeNetwork<B>& net, std::vector<float>& embedding) {
    const Index g = net.grid();
    return {embedding.data(), {g, g, g, net.channels()}};
  }

  /// A cube around a voxel of the volume, encoded; its mask prompt is zeros.
  template <class B>
  Result<Cube3d> encode_cube(const models::VolumeNetwork<B>& net, const predict::Voxel& at, const Progress* progress) {
    const double start = now_ms();
    Cube3d cube;
    cube.grid = grid;
    predict::centre_crop(cube.grid, at);
    const Index side = net.image_size(), g = net.grid(), low = Index(model->info.low_res);
    std::vector<float> crop(std::size_t(side * side * side));
    cube.embedding.resize(std::size_t(g * g * g * net.channels()));
    cube.earlier.assign(std::size_t(low * low * low), 0.0f);
    SAMPAN_CHECK(predict::resample_crop(
        cube.grid, source.integers, [&](std::int64_t k, float* plane) { return source.read(source.user, k, plane); }, crop.data()));
    SAMPAN_CHECK(predict::normalise_crop(crop.data(), crop.size()));
    const double prepared = now_ms();
    SAMPAN_CHECK(run(net.backend, progress, [&](Context<B>& ctx) {
      net.encoder.forward(ctx, View<const float, 3>(crop.data(), {side, side, side}), embedding_view(net, cube.embedding));
    }));
    timings = {prepared - start, now_ms() - prepared, 0, 0};
    return cube;
  }

  template <class B>
  Status set_centre(const models::VolumeNetwork<B>& net, const predict::Voxel& at, const Progress* progress) {
    SAMPAN_TRY(cube, encode_cube(net, at, progress));
    std::vector<Cube3d> fresh;
    fresh.push_back(std::move(cube));
    cubes.swap(fresh);
    return {};
  }

  /// The voxel of the cube that a voxel of the volume lies in; the published pipeline clicks on such voxels. Nothing outside.
  static std::optional<models::ModelPoint3d> point_in(const Cube3d& cube, const Click3d& c) {
    const predict::Voxel p = cube.grid.to_crop({c.i, c.j, c.k});
    models::ModelPoint3d point{{}, c.label};
    for (std::size_t a = 0; a < 3; ++a) {
      const double voxel = std::floor(p[a] + 0.5);
      if (!(voxel >= 0 && voxel < double(cube.grid.side))) return std::nullopt;
      point.at[a] = float(voxel);
    }
    return point;
  }

  /// A click of the user: in the last cube it refines; on the object beyond it, it opens another one.
  template <class B>
  Status click(const models::VolumeNetwork<B>& net, const Click3d& c, const Progress* progress) {
    if (const auto point = point_in(cubes.back(), c)) return decode(net, cubes.back(), *point, progress);
    if (c.label == 0 || cubes.back().steps.empty())
      return Error(ErrorCode::invalid_argument,
                   cat("click ", predict::short_number(c.i), ",", predict::short_number(c.j), ",", predict::short_number(c.k), ": outside the cube of ", model->info.side,
                       " voxels of ", predict::short_number(model->info.spacing), " mm that the last cube covers; set another centre, or click on the object there first"));
    return open_cube(net, {c.i, c.j, c.k}, false, progress);
  }

  /// One more cube: around a voxel on the object, with the mask so far as its mask prompt and one click in its middle.
  template <class B>
  Status open_cube(const models::VolumeNetwork<B>& net, const predict::Voxel& at, bool only_new, const Progress* progress) {
    SAMPAN_TRY(cube, encode_cube(net, at, progress));
    cube.only_new = only_new;
    const Index side = Index(cube.grid.side), low = Index(model->info.low_res), every = side / low;
    for (Index x = 0; x < low; ++x)
      for (Index y = 0; y < low; ++y)
        for (Index z = 0; z < low; ++z) cube.earlier[std::size_t((x * low + y) * low + z)] = found({cube.grid.begin[0] + x * every, cube.grid.begin[1] + y * every, cube.grid.begin[2] + z * every}) ? 1.0f : 0.0f;
    const auto point = point_in(cube, {at[0], at[1], at[2], 1});
    if (!point) return Error(ErrorCode::internal, "the middle of a cube lies outside of it");
    SAMPAN_CHECK(decode(net, cube, *point, progress));
    cubes.push_back(std::move(cube));
    return {};
  }

  /// One click in a cube, with the logits of the one before it as mask prompt.
  template <class B>
  Status decode(const models::VolumeNetwork<B>& net, Cube3d& cube, const models::ModelPoint3d& point, const Progress* progress) {
    const double start = now_ms();
    const Index low = Index(model->info.low_res), g = net.grid(), ch = net.channels(), n = Index(cube.steps.size()) + 1, voxels = low * low * low;
    std::vector<models::ModelPoint3d> points;
    for (const Step3d& s : cube.steps) points.push_back(s.point);
    points.push_back(point);
    Step3d step{point, std::vector<float>(std::size_t(voxels)), 0};
    const float* earlier = cube.steps.empty() ? cube.earlier.data() : cube.steps.back().logits.data();
    SAMPAN_CHECK(run(net.backend, progress, [&](Context<B>& ctx) {
      auto scope = ctx.arena.scope();
      const auto sparse = scope.template make<float>(models::PromptEncoder3d<B>::token_count(n), ch);
      const auto dense = scope.template make<float>(g, g, g, ch);
      net.prompt_encoder.encode_sparse(ctx, points.data(), n, sparse);
      net.prompt_encoder.encode_dense(ctx, View<const float, 3>(earlier, {low, low, low}), dense);
      net.mask_decoder.forward(ctx, {embedding_view(net, cube.embedding), net.prompt_encoder.dense_pe.view(), sparse, dense}, false,
                               View<float, 2>(step.logits.data(), {1, voxels}), View<float, 1>(&step.iou, {1}));
    }));
    const double decoded = now_ms();
    cube.steps.push_back(std::move(step));
    if (const Status s = make_mask(net.backend, cube); !s) {
      cube.steps.pop_back();
      return s;
    }
    timings.decode = decoded - start, timings.postprocess = now_ms() - decoded;
    return {};
  }

  /// The mask of a cube from the logits of its last step: stretched to the input, then compared.
  template <class B>
  Status make_mask(const B& backend, Cube3d& cube) {
    const Index low = Index(model->info.low_res), side = Index(model->info.side), n = side * side * side;
    std::vector<std::uint8_t> fresh(std::size_t(n), std::uint8_t(0));
    const float threshold = float(model->contract.mask.threshold);
    SAMPAN_CHECK(run(backend, nullptr, [&](Context<B>& ctx) {
      auto scope = ctx.arena.scope();
      const auto wide = scope.template make<float>(side, side, side);
      resize_torch_trilinear(ctx, View<const float, 3>(cube.steps.back().logits.data(), {low, low, low}), wide);
      if (!ctx.begin({double(n), 5.0 * double(n)})) return;
      for (Index i = 0; i < n; ++i) fresh[std::size_t(i)] = wide.data()[i] > threshold;
    }));
    if (cube.only_new) {
      std::size_t at = 0;
      for (std::int64_t x = 0; x < side; ++x)
        for (std::int64_t y = 0; y < side; ++y)
          for (std::int64_t z = 0; z < side; ++z, ++at)
            if (fresh[at] && seen({cube.grid.begin[0] + x, cube.grid.begin[1] + y, cube.grid.begin[2] + z}, &cube)) fresh[at] = 0;
    }
    cube.mask.swap(fresh);
    return {};
  }

  // ---- several cubes; positions are resampled voxels along the canonical axes, which all cubes share ----
  using Place = std::array<std::int64_t, 3>;

  static std::optional<std::size_t> voxel_of(const Cube3d& cube, const Place& p) {
    const std::int64_t side = cube.grid.side;
    std::int64_t at = 0;
    for (std::size_t a = 0; a < 3; ++a) {
      const std::int64_t x = p[a] - cube.grid.begin[a];
      if (x < 0 || x >= side) return std::nullopt;
      at = at * side + x;
    }
    return std::size_t(at);
  }
  /// Whether a cube covers p, of those before `end` (of all, if it is none of them).
  bool seen(const Place& p, const Cube3d* end = nullptr) const {
    for (const Cube3d& c : cubes) {
      if (&c == end) return false;
      if (voxel_of(c, p)) return true;
    }
    return false;
  }
  /// Whether p lies in the volume: cubes reach beyond it.
  bool inside(const Place& p) const {
    for (std::size_t a = 0; a < 3; ++a)
      if (p[a] < 0 || p[a] >= grid.resampled[std::size_t(grid.of_axis[a])]) return false;
    return true;
  }
  /// Whether p belongs to the mask of any cube.
  bool found(const Place& p) const {
    if (!inside(p)) return false;
    for (const Cube3d& c : cubes)
      if (const auto at = voxel_of(c, p); at && !c.mask.empty() && c.mask[*at]) return true;
    return false;
  }

  /// Where the object leaves what the cubes cover: the voxel of a cube's face nearest to the middle of those there that are on the object while the next one outside lies
  /// in the volume and in no cube. Cubes and faces in order, the low face of an axis first.
  std::optional<Place> way_out() const {
    for (const Cube3d& c : cubes) {
      if (c.mask.empty()) continue;
      const std::int64_t side = c.grid.side;
      for (std::size_t a = 0; a < 3; ++a)
        for (const std::int64_t step : {std::int64_t(-1), std::int64_t(1)}) {
          const std::size_t u = a == 0 ? 1 : 0, v = a == 2 ? 1 : 2;
          const std::int64_t outside = c.grid.begin[a] + (step < 0 ? -1 : side);
          if (outside < 0 || outside >= c.grid.resampled[std::size_t(c.grid.of_axis[a])]) continue;
          std::vector<Place> leaving;
          Place p{}, sum{};
          p[a] = outside - step;
          for (p[u] = c.grid.begin[u]; p[u] < c.grid.begin[u] + side; ++p[u])
            for (p[v] = c.grid.begin[v]; p[v] < c.grid.begin[v] + side; ++p[v]) {
              if (!c.mask[*voxel_of(c, p)] || !inside(p)) continue;
              Place next = p;
              next[a] = outside;
              if (seen(next)) continue;
              leaving.push_back(p);
              for (std::size_t i = 0; i < 3; ++i) sum[i] += p[i];
            }
          const std::int64_t n = std::int64_t(leaving.size());
          std::optional<Place> best;
          std::int64_t least = 0;
          for (const Place& q : leaving) {  // n times the distance from the mean: whole numbers, so ties are the same everywhere
            std::int64_t far = 0;
            for (std::size_t i = 0; i < 3; ++i) far += (q[i] * n - sum[i]) * (q[i] * n - sum[i]);
            if (!best || far < least) best = q, least = far;
          }
          if (best) return best;
        }
    }
    return std::nullopt;
  }

  /// Opens cubes where the object leaves those there are, until it does not or there are `most`. Returns how many were opened.
  template <class B>
  Result<std::int64_t> cover(const models::VolumeNetwork<B>& net, std::int64_t most, const Progress* progress) {
    const std::size_t before = cubes.size();
    double read = 0, encode = 0, decoded = 0, post = 0;
    while (std::int64_t(cubes.size()) < most) {
      const auto place = way_out();
      if (!place) break;
      if (const Status s = open_cube(net, grid.to_volume(*place), true, progress); !s) {
        cubes.erase(cubes.begin() + std::ptrdiff_t(before), cubes.end());
        return s.error();
      }
      read += timings.preprocess, encode += timings.encode, decoded += timings.decode, post += timings.postprocess;
    }
    timings = {read, encode, decoded, post};
    return std::int64_t(cubes.size() - before);
  }
};

/// Lets the library's own tools and tests reach behind the public classes.
struct Access3d {
  static const std::shared_ptr<const Model3dState>& state(const Model3d& m) { return m.state_; }
  static Model3d make(std::shared_ptr<const Model3dState> s) { return Model3d(std::move(s)); }
  static Session3dState& state(Session3d& s) { return *s.state_; }
};

}  // namespace sampan::inline SAMPAN_ABI::detail
