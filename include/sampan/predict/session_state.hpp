// What stands behind the public Session: the encoded image, the arena, remembered plans; and the calls that run a network on its backend.
// Data flow: impl/session.ipp -> here -> predict/preprocess.hpp, models/any_model.hpp, predict/postprocess.hpp.
// Each call plans first (the same forward without arithmetic), makes the arena large enough, then runs. Plans of sizes already seen are remembered,
// so the second image of a size and the second prompt of a shape allocate nothing.
// The first prompt of an image also makes what all prompts without a mask share (10 MB, 0.8 GFLOP at a 64x64 grid); its decode time includes that.
#pragma once
#include <sampan/core/sha256.hpp>
#include <sampan/predict/embedding.hpp>
#include <sampan/predict/ensemble.hpp>
#include <sampan/predict/class_map.hpp>
#include <sampan/predict/model_state.hpp>
#include <sampan/predict/postprocess.hpp>
#include <sampan/predict/preprocess.hpp>

#include <array>
#include <limits>

namespace sampan::inline SAMPAN_ABI::detail {

/// Prompts decoded as one batch at most: bounds the decoder's activations (about 5 MB per prompt at a 64x64 grid, and they should stay in the last-level cache).
inline constexpr Index kPromptBatch = 4;

struct DeviceSession;  // what a session holds on a device (predict/device_session.hpp)

struct SessionState {
  std::shared_ptr<const ModelState> model;
  Arena arena;
  Trace* trace = nullptr;
  predict::Embedding embedding;  // of the current image; allocated once
  bool embedding_elsewhere = false;  // only the device has it; embedding_here() brings it
  bool has_image = false;
  Tensor<float, 1, Reference> image_side;  // what all prompts without a mask share (models/mask_decoder.hpp); allocated once
  bool image_side_ready = false;           // made by the first such prompt of an image
  ImageSize size;
  predict::InputFrame frame;
  Timings timings;
  bool model_boxes = false;  // boxes of the next prompts are model pixels already (predict/volume_state.hpp)
  float least_iou = -std::numeric_limits<float>::infinity();  // candidates at or below it are not made at full size: their mask is empty (impl/everything.ipp)
  float stability_offset = 1;
  std::shared_ptr<DeviceSession> device;  // null where the network runs on the host

  struct KnownPlan {
    std::array<Index, 6> key;
    Plan plan;
  };
  std::vector<KnownPlan> plans;

  explicit SessionState(std::shared_ptr<const ModelState> m) : model(std::move(m)) {}

  /// Plans `forward`, reserves the arena, runs it. `key` identifies the shapes of the call.
  template <class B, class F>
  Status run(const B& backend, const std::array<Index, 6>& key, const Progress* progress, F&& forward) {
    Plan known;
    bool found = false;
    for (const auto& p : plans)
      if (!trace && p.key == key) known = p.plan, found = true;
    if (!found) {
      SAMPAN_TRY(fresh, plan(backend, model->pool, forward, trace));
      known = fresh;
      if (!trace) plans.push_back({key, known});
    }
    SAMPAN_CHECK(check_memory(known.arena_bytes, image_side.view().size()));
    if (!arena.reserve(known.arena_bytes)) return Error(ErrorCode::out_of_memory, cat("no memory for ", known.arena_bytes >> 20, " MiB of activations"));
    Context<B> ctx(backend, model->pool, arena);
    ctx.trace = trace;
    ctx.progress = progress;
    ctx.planned_flop = known.cost.flop;
    forward(ctx);
    return ctx.status();
  }

  /// That the session may hold `arena_bytes` of activations and `side` floats of image side beside the weights and the embedding.
  Status check_memory(std::uint64_t arena_bytes, Index side) const {
    const std::uint64_t limit = model->options.max_memory, have = model->info.weight_bytes + embedding.bytes() + std::uint64_t(side) * sizeof(float);
    if (!limit || have + arena_bytes <= limit) return {};
    return Error(ErrorCode::limit, cat("this call needs ", (have + arena_bytes) >> 20, " MiB (weights ", have >> 20, ", activations ", arena_bytes >> 20, "), the memory limit is ", limit >> 20, " MiB"));
  }

  /// What set_image is given, and when its pixels were begun and ready.
  struct ImageCall {
    const ImageView& image;
    const std::optional<WindowLevel>& window;
    const Progress* progress = nullptr;
    double start = 0, prepared = 0;
    std::array<Index, 6> key() const { return {0, image.size.width, image.size.height, image.size.channels, Index(image.type), image.row_stride}; }
    /// f(), which makes the pixels, with its times.
    template <class H, class F>
    void make(Context<H>& ctx, F&& f) {
      start = now_ms();
      ctx.step("preprocess");
      f();
      prepared = now_ms();
    }
  };

  template <class B>
  Status set_image(const models::Network<B>& net, const ImageView& image, const std::optional<WindowLevel>& window, const Progress* progress) {
    ImageCall call{image, window, progress};
    SAMPAN_CHECK(begin_image(net, call));
    if constexpr (on_device<B>) {
      SAMPAN_CHECK(encode_on_device(*this, net, call));
    } else {
      const Index s = net.image_size();
      SAMPAN_CHECK(run(net.backend, call.key(), progress, [&](Context<B>& ctx) {
        auto scope = ctx.arena.scope();
        const auto input = scope.template make<float>(s, s, 3);
        call.make(ctx, [&] { predict::prepare_image(ctx, model->contract, image, window, frame, input); });
        ctx.tap("input", View<const float, 3>(input), TraceLayout::nchw);
        net.encode(ctx, input, embedding.view(), embedding.detail());
      }));
    }
    end_image(call);
    return {};
  }

  /// The session holds no image until end_image().
  template <class B>
  Status begin_image(const models::Network<B>& net, const ImageCall& call) {
    has_image = image_side_ready = embedding_elsewhere = false;
    SAMPAN_CHECK(check(call.image));
    SAMPAN_CHECK(predict::check_window(call.image, call.window));
    frame = predict::make_frame(model->contract, {call.image.size.height, call.image.size.width});
    return embedding.reserve(net.grid(), net.channels(), net.detail_channels());
  }
  void end_image(const ImageCall& call) {
    timings = {call.prepared - call.start, now_ms() - call.prepared, 0, 0};
    size = call.image.size;
    has_image = true;
  }

  Status check_prompt(const Prompt& p, const PredictOptions& o) const;

  /// The embedding of the image in host memory, wherever it was made.
  template <class B>
  Status embedding_here([[maybe_unused]] const models::Network<B>& net) {
    if constexpr (on_device<B>) {
      if (embedding_elsewhere) return embedding_to_host(*this, *device, net);
    }
    return {};
  }

  template <class B>
  Status predict(const models::Network<B>& net, std::span<const Prompt> prompts, std::span<Prediction> out, const PredictOptions& o) {
    if (!has_image) return Error(ErrorCode::invalid_argument, "predict: the session holds no image; call set_image or load_embedding first");
    if (prompts.size() != out.size()) return Error(ErrorCode::invalid_argument, "predict: as many predictions as prompts are needed");
    for (std::size_t i = 0; i < prompts.size(); ++i)
      if (auto s = check_prompt(prompts[i], o); !s) return prompts.size() > 1 ? std::move(s).error().at(cat("prompt ", i + 1)) : std::move(s).error();
    return decode_all(net, prompts, out, o);
  }

  /// Prompts that were checked: alike ones together.
  template <class B>
  Status decode_all(const models::Network<B>& net, std::span<const Prompt> prompts, std::span<Prediction> out, const PredictOptions& o) {
    timings.decode = timings.postprocess = 0;
    const auto alike = [](const Prompt& a, const Prompt& b) { return a.points.size() == b.points.size() && a.box.has_value() == b.box.has_value() && a.mask_input.empty() && b.mask_input.empty(); };
    for (std::size_t i = 0; i < prompts.size();) {
      std::size_t n = 1;
      while (i + n < prompts.size() && n < std::size_t(kPromptBatch) && alike(prompts[i], prompts[i + n])) ++n;
      SAMPAN_CHECK(decode(net, prompts.subspan(i, n), out.subspan(i, n), o));
      i += n;
    }
    return {};
  }

  /// Prompts with the same number of tokens, decoded as one batch.
  template <class B>
  Status decode(const models::Network<B>& net, std::span<const Prompt> prompts, std::span<Prediction> out, const PredictOptions& o) {
    if constexpr (on_device<B>) {
      return decode_on_device(*this, net, prompts, out, o);
    } else {
      return decode_with(net, prompts, o, [&](Context<B>& ctx, const View<const float, 3>& logits, const View<const float, 2>& iou) { finish_predictions(ctx, logits, iou, net.mask_decoder.low_res(), out, o); });
    }
  }

  /// Members in small groups; only sums are kept of them.
  template <class B>
  Status predict_ensemble(const models::Network<B>& net, std::span<const Prompt> members, Ensemble& out, const PredictOptions& o) {
    if (members.size() < 2) return Error(ErrorCode::invalid_argument, cat("predict_ensemble: ", members.size(), " members, two at least are needed"));
    const auto& c = model->contract;
    const Index h = size.height, w = size.width;
    predict::EnsembleSum sum(std::size_t(h * w));
    std::vector<Prediction> some(std::min(members.size(), std::size_t(kPromptBatch)));
    out.predicted_iou.clear();
    Timings all = timings;
    all.decode = all.postprocess = 0;
    for (std::size_t at = 0; at < members.size(); at += some.size()) {
      const std::size_t n = std::min(some.size(), members.size() - at);
      SAMPAN_CHECK(predict(net, members.subspan(at, n), std::span(some).first(n), o));
      const double start = now_ms();
      for (std::size_t i = 0; i < n; ++i) {
        const Prediction& p = some[i];
        const Index low = Index(p.low_res);
        SAMPAN_CHECK(run(host_backend(net.backend), {7, w, h, 0, 0, 0}, nullptr, [&](auto& ctx) {
          auto scope = ctx.arena.scope();
          const auto map = scope.template make<float>(h, w);
          predict::probability_map(ctx, c, frame, View<const float, 2>(p.low_res_logits.data() + Index(p.selected) * low * low, {low, low}), map);
          if (!ctx.planning() && ctx.ok()) sum.add(map.data());
        }));
        out.predicted_iou.push_back(p.best().predicted_iou);
      }
      all.decode += timings.decode, all.postprocess += timings.postprocess + now_ms() - start;
    }
    timings = all;
    out.mask.width = w, out.mask.height = h;
    sum.finish(0.5, out);
    return {};
  }

  /// A model of classes: no prompt, all tokens.
  template <class B>
  Status class_map(const models::Network<B>& net, ClassMap& out) {
    if (!model->info.classes) return Error(ErrorCode::unsupported, cat("class_map: ", model->info.name, " has no token per class; ask it with prompts (predict)"));
    if (!has_image) return Error(ErrorCode::invalid_argument, "class_map: the session holds no image; call set_image or load_embedding first");
    timings.decode = timings.postprocess = 0;
    if constexpr (on_device<B>) {
      return Error(ErrorCode::unsupported, "class_map: runs on device cpu and reference only");  // models of classes are not loaded there
    } else {
      const Prompt none;
      const Index low = net.mask_decoder.low_res();
      return decode_with(net, std::span<const Prompt>(&none, 1), {}, [&](Context<B>& ctx, const View<const float, 3>& logits, const View<const float, 2>&) {
        const View<const float, 3> maps(logits.data(), {logits.extent(1), low, low});
        ctx.tap("low_res_logits", maps);
        predict::finish_labels(ctx, model->contract, frame, maps, out);
      });
    }
  }

  /// Runs the decoder and then finish(ctx, logits [b, masks, low * low], iou [b, masks]).
  template <class B, class F>
  Status decode_with(const models::Network<B>& net, std::span<const Prompt> prompts, const PredictOptions& o, F&& finish) {
    const Prompt& first = prompts[0];
    const Index b = Index(prompts.size()), g = net.grid(), low = net.mask_decoder.low_res(), channels = net.channels();
    const Index tokens_each = net.prompt_encoder.token_count(Index(first.points.size()), first.box.has_value()), masks = net.mask_decoder.mask_count(o.multimask);
    const bool ready = shares_image_side<B>() && first.mask_input.empty() && !net.generator && !net.mask_decoder.plain;
    double start = 0, decoded = 0;
    if (ready) SAMPAN_CHECK(prepare_image_side(net));
    SAMPAN_CHECK(run(net.backend, decode_key(prompts, o), nullptr, [&](Context<B>& ctx) {
      start = now_ms();
      auto scope = ctx.arena.scope();
      const auto logits = scope.template make<float>(b, masks, low * low);
      const auto iou = scope.template make<float>(b, masks);
      {
        auto inner = ctx.arena.scope();
        const auto sparse = inner.template make<float>(b, tokens_each, channels);
        const auto dense = inner.template make<float>(Index(ready ? 0 : 1), g * g, channels);
        for (Index i = 0; i < b; ++i) encode_prompt(ctx, net, prompts[std::size_t(i)], sparse[i]);
        models::MaskDecoderInput in{.embedding = embedding.view(), .dense_pe = net.prompt_encoder.dense_pe.view(), .sparse = sparse, .dense = dense};
        in.detail = embedding.detail();
        in.hq_token_only = o.hq_token_only;
        if (ready) {
          in.side = net.mask_decoder.image_side(std::as_const(image_side).view().data());
        } else {
          net.prompt_encoder.encode_dense(ctx, View<const float, 2>(first.mask_input.data(), {first.mask_input.empty() ? 0 : low, low}), as_map(dense[0], g, g));
        }
        net.decode(ctx, in, o.multimask, logits, iou);
      }
      decoded = now_ms();
      finish(ctx, View<const float, 3>(logits), View<const float, 2>(iou));
    }));
    timings.decode += decoded - start;
    timings.postprocess += now_ms() - decoded;
    return {};
  }

  /// What the arena of a decode depends on.
  std::array<Index, 6> decode_key(std::span<const Prompt> prompts, const PredictOptions& o) const {
    const Prompt& first = prompts[0];
    return {1 + Index(o.multimask), Index(prompts.size()), Index(first.points.size()) * 2 + first.box.has_value(), Index(!first.mask_input.empty()), size.width, size.height};
  }

  /// What a call answers: logits [b, masks, low * low], iou [b, masks], and masks as take(mask of b * masks, candidate) gives them.
  template <class F>
  void take_predictions(const View<const float, 3>& logits, const View<const float, 2>& iou, Index low, std::span<Prediction> out, const PredictOptions& o, F&& take) const {
    const Index masks = logits.extent(1);
    for (Index i = 0; i < logits.extent(0); ++i) {
      Prediction& p = out[std::size_t(i)];
      p.low_res = low;
      p.candidates.resize(std::size_t(masks));
      p.low_res_logits.assign(&logits(i, 0, 0), &logits(i, 0, 0) + masks * low * low);
      for (Index m = 0; m < masks; ++m) {
        Candidate& slot = p.candidates[std::size_t(m)];
        if (wanted(iou(i, m))) {
          take(i * masks + m, slot);
        } else {
          leave_out(slot);
        }
        slot.predicted_iou = iou(i, m);
      }
      p.selected = predict::select(p.candidates, o.select);
    }
  }

  bool wanted(float iou) const { return !(iou <= least_iou); }
  static void leave_out(Candidate& c) { c.mask.data.clear(), c.area = 0, c.extent = {}, c.stability = std::numeric_limits<float>::quiet_NaN(); }

  /// logits [b, masks, low * low] and iou [b, masks] -> masks at full size, on a backend of the host.
  template <class H>
  void finish_predictions(Context<H>& ctx, const View<const float, 3>& logits, const View<const float, 2>& iou, Index low, std::span<Prediction> out, const PredictOptions& o) {
    if (!ctx.ok()) return;
    const auto finish = [&](Index i, Candidate& slot) { predict::finish_mask(ctx, model->contract, frame, View<const float, 2>(logits.data() + i * low * low, {low, low}), slot, stability_offset); };
    if (!ctx.planning()) return take_predictions(logits, iou, low, out, o, finish);
    Candidate unused;
    for (Index i = 0; i < logits.extent(0) * logits.extent(1); ++i) finish(i, unused);
  }

  /// Tokens of one prompt, on a backend of the host.
  template <class H, class B>
  void encode_prompt(Context<H>& ctx, const models::Network<B>& net, const Prompt& p, const View<float, 2>& sparse) {
    auto scope = ctx.arena.scope();
    const auto points = scope.template make<models::ModelPoint>(Index(p.points.size()));
    const auto& c = model->contract;
    if (!ctx.planning() && ctx.ok())
      for (std::size_t i = 0; i < p.points.size(); ++i)
        points(Index(i)) = {predict::to_model(c, frame, p.points[i].x, true), predict::to_model(c, frame, p.points[i].y, false), p.points[i].label};
    float box[4] = {};
    if (p.box && model_boxes) {
      box[0] = float(p.box->x0), box[1] = float(p.box->y0), box[2] = float(p.box->x1), box[3] = float(p.box->y1);
    } else if (p.box) {
      box[0] = predict::to_model(c, frame, p.box->x0, true), box[1] = predict::to_model(c, frame, p.box->y0, false);
      box[2] = predict::to_model(c, frame, p.box->x1, true), box[3] = predict::to_model(c, frame, p.box->y1, false);
    }
    net.prompt_encoder.encode_sparse(ctx, points.data(), Index(p.points.size()), p.box ? box : nullptr, sparse);
  }

 private:
  /// Reference stays literal, and a trace sees every module run.
  template <class B>
  bool shares_image_side() const {
    return !std::is_same_v<B, Reference> && !trace;
  }
  /// Once per image, before its first prompt without a mask.
  template <class B>
  Status prepare_image_side(const models::Network<B>& net) {
    if (image_side_ready) return {};
    const double start = now_ms();
    const Index floats = net.mask_decoder.image_side_floats();
    SAMPAN_CHECK(check_memory(0, floats));
    if (image_side.empty() || image_side.extent(0) != floats) image_side = Tensor<float, 1, Reference>({floats});
    if (!image_side.valid()) return Error(ErrorCode::out_of_memory, "no memory for what the prompts of an image share");
    SAMPAN_CHECK(run(net.backend, {3, 0, 0, 0, 0, 0}, nullptr, [&](Context<B>& ctx) {
      net.mask_decoder.prepare_image(ctx, embedding.view(), net.prompt_encoder.no_mask.view(), net.prompt_encoder.dense_pe.view(), net.mask_decoder.image_side(image_side.view().data()));
    }));
    image_side_ready = true;
    timings.decode += now_ms() - start;
    return {};
  }
};

/// Names the weights in embedding files: the digest in the contract record, or the whole file's for a file that sampan-convert did not write.
inline Result<std::string> model_identity(const ModelState& m) {
  if (!m.contract.data_sha256.empty()) return m.contract.data_sha256;
  SAMPAN_TRY(file, MappedFile::open(m.path));
  return sha256_of_file(file);
}

template <class F>
auto with_network(const SessionState& s, F&& f) {
  return std::visit([&](const auto& net) { return f(net); }, s.model->network);
}

}  // namespace sampan::inline SAMPAN_ABI::detail
