// A session's side on a device: the encoded image, what its prompts share, buffers at both ends, and one recorded graph per shape of call.
// Data flow: predict/session_state.hpp -> here -> models/any_model.hpp on Cuda. Pixels before the network and masks behind it are the host's (host_backend).
// A call is copy in, network, copy out in one graph: recorded at its first use, launched ever after, without an allocation. Graphs hold addresses, so that all are
// dropped when a buffer must grow. Sessions of one model run one after the other (cuda::Device::busy).
// The embedding is copied to the host as well (4 MB at 64 x 64 x 256): files and the slices of a volume come from there.
#pragma once
#include <sampan/predict/session_state.hpp>

namespace sampan::inline SAMPAN_ABI::detail {

struct DeviceSession {
  explicit DeviceSession(std::shared_ptr<cuda::Device> d) : device(std::move(d)) {}
  DeviceSession(const DeviceSession&) = delete;
  DeviceSession& operator=(const DeviceSession&) = delete;
  ~DeviceSession() { drop_graphs(); }

  /// Host memory that the next run copies in; for at least `floats`.
  Result<float*> input(Index floats) {
    SAMPAN_CHECK(grow(in, host_in, std::size_t(floats) * sizeof(float)));
    return host_in.floats();
  }

  Status reserve_output(Index floats) { return grow(out, host_out, std::size_t(floats) * sizeof(float)); }

  /// Copies `in_floats` in, runs forward(ctx, in, out), copies `out_floats` out to host_out. `key` stands for everything that the forward depends on.
  template <class F>
  Status run(const SessionState& s, const Cuda& backend, const std::array<Index, 6>& key, Index in_floats, Index out_floats, F&& forward) {
    const std::lock_guard lock(device->busy());
    ThreadPool& pool = s.model->pool;
    SAMPAN_CHECK(reserve_output(out_floats));
    Recorded* call = nullptr;
    for (auto& r : recorded)
      if (r.key == key) call = &r;
    if (!call) {
      SAMPAN_TRY(p, plan(backend, pool, [&](Context<Cuda>& ctx) { forward(ctx, in.view().data(), out.view().data()); }));
      recorded.push_back({key, p, nullptr});
      call = &recorded.back();
    }
    if (arena.capacity() < call->plan.arena_bytes) {
      SAMPAN_CHECK(s.check_memory(call->plan.arena_bytes, side.view().size() + in.view().size() + out.view().size()));
      drop_graphs();
      if (!arena.reserve<cuda::DeviceMemory>(call->plan.arena_bytes)) return Error(ErrorCode::out_of_memory, cat("CUDA: no memory for ", call->plan.arena_bytes >> 20, " MiB of activations"));
    }
    if (!call->graph) SAMPAN_CHECK(record(*call, backend, pool, in_floats, out_floats, forward));
    SAMPAN_CHECK(cuda::checked(cuda::launch_graph(call->graph, device->stream())));
    return cuda::checked(cuda::synchronize(device->stream()));
  }

  std::shared_ptr<cuda::Device> device;
  Tensor<float, 3, Cuda> embedding;
  Tensor<float, 1, Cuda> side;  // models/mask_decoder.hpp, image_side
  cuda::Pinned host_in, host_out;

 private:
  struct Recorded {
    std::array<Index, 6> key;
    Plan plan;
    cuda::Graph* graph;
  };
  void drop_graphs() {
    for (auto& r : recorded) cuda::destroy_graph(std::exchange(r.graph, nullptr));
  }
  Status grow(Tensor<float, 1, Cuda>& there, cuda::Pinned& here, std::size_t bytes) {
    if (bytes <= here.bytes() && bytes <= std::size_t(there.view().size()) * sizeof(float)) return {};
    drop_graphs();
    there = Tensor<float, 1, Cuda>({Index(bytes / sizeof(float))});
    if (!there.valid()) return Error(ErrorCode::out_of_memory, cat("CUDA: no memory for a buffer of ", bytes >> 20, " MiB"));
    return here.reserve(bytes);
  }
  template <class F>
  Status record(Recorded& call, const Cuda& backend, ThreadPool& pool, Index in_floats, Index out_floats, F&& forward) {
    const auto stream = device->stream();
    Context<Cuda> ctx(backend, pool, arena);
    SAMPAN_CHECK(cuda::checked(cuda::begin_capture(stream)));
    if (in_floats > 0) cuda::ran(ctx, cuda::copy_in(in.view().data(), host_in.floats(), std::size_t(in_floats) * sizeof(float), stream));
    forward(ctx, in.view().data(), out.view().data());
    if (out_floats > 0 && ctx.ok()) cuda::ran(ctx, cuda::copy_out(host_out.floats(), out.view().data(), std::size_t(out_floats) * sizeof(float), stream));
    const cuda::Answer ended = cuda::end_capture(stream, call.graph);  // also after a failure: the stream must leave its recording
    Status s = ctx.status();
    if (s) s = cuda::checked(ended);
    if (!s) cuda::destroy_graph(std::exchange(call.graph, nullptr));
    return s;
  }

  Arena arena;
  Tensor<float, 1, Cuda> in, out;
  std::vector<Recorded> recorded;
};

/// The session's side on the device, made at its first use.
inline Result<DeviceSession*> device_side(SessionState& s, const models::Network<Cuda>& net) {
  if (s.trace) return Error(ErrorCode::unsupported, "traces are taken on device cpu or reference: cuda's kernels never have most of the named tensors");
  if (s.device) return s.device.get();
  auto made = std::make_shared<DeviceSession>(net.backend.device);
  made->embedding = Tensor<float, 3, Cuda>({net.grid(), net.grid(), net.channels()});
  made->side = Tensor<float, 1, Cuda>({net.mask_decoder.image_side_floats()});
  if (!made->embedding.valid() || !made->side.valid()) return Error(ErrorCode::out_of_memory, "CUDA: no memory for the image embedding");
  // The largest of both ends at once, so that no later call drops what was recorded: an image in, a batch of prompts with all their masks out.
  const Index side = net.image_size(), low = 4 * net.grid();
  SAMPAN_CHECK(made->input(side * side * 3));
  SAMPAN_CHECK(made->reserve_output(std::max<Index>(net.grid() * net.grid() * net.channels(), kPromptBatch * net.mask_decoder.mask_count(true) * (low * low + 1))));
  s.device = std::move(made);
  return s.device.get();
}

/// What the first prompt without a mask would have to make, right behind the embedding.
inline void prepare_side(Context<Cuda>& ctx, DeviceSession& d, const models::Network<Cuda>& net) {
  net.mask_decoder.prepare_image(ctx, std::as_const(d.embedding).view(), net.prompt_encoder.no_mask.view(), net.prompt_encoder.dense_pe.view(), net.mask_decoder.image_side(d.side.view().data()));
}

/// Pixels -> embedding, on the device and in s.embedding. prepare(ctx, input) fills the network's input on the host.
template <class F>
Status encode_on_device(SessionState& s, const models::Network<Cuda>& net, const std::array<Index, 6>& key, const Progress* progress, F&& prepare) {
  SAMPAN_TRY(d, device_side(s, net));
  const Index side = net.image_size(), floats = s.embedding.view().size();
  SAMPAN_TRY(input, d->input(side * side * 3));
  SAMPAN_CHECK(s.run(host_backend(net.backend), key, progress, [&](Context<Cpu>& ctx) { prepare(ctx, View<float, 3>(input, {side, side, 3})); }));
  if (progress && !progress->report(progress->user, "image_encoder", 0.1)) return Error(ErrorCode::cancelled, "cancelled by the caller");
  SAMPAN_CHECK(d->run(s, net.backend, {0, 0, 0, 0, 0, 0}, side * side * 3, floats, [&](Context<Cuda>& ctx, float* in, float* out) {
    const View<float, 3> embedding = d->embedding.view();
    net.encode(ctx, View<const float, 3>(in, {side, side, 3}), embedding);
    prepare_side(ctx, *d, net);
    copy(ctx, tokens(View<const float, 3>(embedding)), View<float, 2>(out, {embedding.extent(0) * embedding.extent(1), embedding.extent(2)}));
  }));
  std::memcpy(s.embedding.view().data(), d->host_out.floats(), std::size_t(floats) * sizeof(float));
  s.image_side_ready = true;
  if (progress && !progress->report(progress->user, "image_encoder", 1)) return Error(ErrorCode::cancelled, "cancelled by the caller");
  return {};
}

/// An embedding that came from a file or a cache goes to the device.
inline Status embedding_to_device(SessionState& s, DeviceSession& d, const models::Network<Cuda>& net) {
  const View<const float, 3> from = s.embedding.view();
  SAMPAN_TRY(input, d.input(from.size()));
  std::memcpy(input, from.data(), std::size_t(from.size()) * sizeof(float));
  SAMPAN_CHECK(d.run(s, net.backend, {1, 0, 0, 0, 0, 0}, from.size(), 0, [&](Context<Cuda>& ctx, float* in, float*) {
    copy(ctx, View<const float, 2>(in, {from.extent(0) * from.extent(1), from.extent(2)}), tokens(d.embedding.view()));
    prepare_side(ctx, d, net);
  }));
  s.image_side_ready = true;
  return {};
}

/// As SessionState::decode.
inline Status decode_on_device(SessionState& s, const models::Network<Cuda>& net, std::span<const Prompt> prompts, std::span<Prediction> out, const PredictOptions& o) {
  SAMPAN_TRY(d, device_side(s, net));
  const double start = now_ms();
  if (!s.image_side_ready) SAMPAN_CHECK(embedding_to_device(s, *d, net));
  const Prompt& first = prompts[0];
  const Index b = Index(prompts.size()), g = net.grid(), low = 4 * g, channels = net.channels(), masks = net.mask_decoder.mask_count(o.multimask);
  const Index each = net.prompt_encoder.token_count(Index(first.points.size()), first.box.has_value()), tokens = b * each * channels;
  const bool ready = first.mask_input.empty();
  const Index in_floats = tokens + (ready ? 0 : low * low), out_floats = b * masks * (low * low + 1);
  SAMPAN_TRY(input, d->input(in_floats));
  auto key = s.decode_key(prompts, o);
  SAMPAN_CHECK(s.run(host_backend(net.backend), {5, key[1], key[2], 0, 0, 0}, nullptr, [&](Context<Cpu>& ctx) {
    const View<float, 3> sparse(input, {b, each, channels});
    for (Index i = 0; i < b; ++i) s.encode_prompt(ctx, net, prompts[std::size_t(i)], sparse[i]);
  }));
  if (!ready) std::memcpy(input + tokens, first.mask_input.data(), std::size_t(low * low) * sizeof(float));
  key[4] = key[5] = 0;  // the image's size matters behind the network only
  ++key[0];
  SAMPAN_CHECK(d->run(s, net.backend, key, in_floats, out_floats, [&](Context<Cuda>& ctx, float* in, float* to) {
    auto scope = ctx.arena.scope();
    const View<const float, 3> embedding = std::as_const(d->embedding).view();
    const auto dense = scope.make<float>(Index(ready ? 0 : 1), g * g, channels);
    models::MaskDecoderInput what{embedding, net.prompt_encoder.dense_pe.view(), View<const float, 3>(in, {b, each, channels}), dense};
    if (ready) {
      what.side = net.mask_decoder.image_side(std::as_const(d->side).view().data());
    } else {
      net.prompt_encoder.encode_dense(ctx, View<const float, 2>(in + tokens, {low, low}), as_map(dense[0], g, g));
    }
    net.mask_decoder.forward(ctx, what, o.multimask, View<float, 3>(to, {b, masks, low * low}), View<float, 2>(to + b * masks * low * low, {b, masks}));
  }));
  const double decoded = now_ms();
  const float* from = d->host_out.floats();
  const View<const float, 3> logits(from, {b, masks, low * low});
  const View<const float, 2> iou(from + logits.size(), {b, masks});
  SAMPAN_CHECK(s.run(host_backend(net.backend), {6, b, masks, s.size.width, s.size.height, 0}, nullptr, [&](Context<Cpu>& ctx) { s.finish_predictions(ctx, logits, iou, low, out, o); }));
  s.timings.decode += decoded - start;
  s.timings.postprocess += now_ms() - decoded;
  return {};
}

}  // namespace sampan::inline SAMPAN_ABI::detail
