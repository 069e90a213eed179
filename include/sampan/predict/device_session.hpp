// A session's side on a device: the encoded image, what its prompts share, buffers at both ends, and the recorded parts of its calls.
// Data flow: predict/session_state.hpp -> here -> predict/device_pixels.hpp, models/any_model.hpp on Cuda, predict/device_masks.hpp.
// A call has two parts, each a graph that copies in, computes and copies out: what depends on the image's size (pixels before the network, masks behind it) and the
// network, which does not. A part is recorded at its first use and launched ever after, without an allocation; the kKeptParts last used are kept. Graphs hold addresses,
// so that those of a buffer that must grow are dropped. Sessions of one model run one after the other (cuda::Device::busy).
// The embedding stays on the device; it is copied to the host where a file or a volume's cache asks for it.
#pragma once
#include <sampan/predict/device_masks.hpp>
#include <sampan/predict/device_pixels.hpp>
#include <sampan/predict/session_state.hpp>

namespace sampan::inline SAMPAN_ABI::detail {

/// Recorded parts that a session keeps: sizes of images and shapes of prompts that take turns.
inline constexpr std::size_t kKeptParts = 24;

/// Memory of the device and its counterpart that the host reads and writes.
struct DeviceBuffer {
  Tensor<std::uint8_t, 1, Cuda> there;
  cuda::Pinned here;
  std::uint8_t* device() { return there.view().data(); }
  float* device_floats() { return reinterpret_cast<float*>(device()); }
  template <class T = std::uint8_t>
  T* host() const {
    return reinterpret_cast<T*>(here.floats());
  }
};
using PartKey = std::array<Index, 6>;
struct DeviceCopy {
  DeviceBuffer* buffer = nullptr;
  Index bytes = 0;
};
/// A part of a call: forward(ctx) between a copy to the device and one back; `key` stands for everything that it depends on.
template <class F>
struct DevicePart {
  PartKey key;
  DeviceCopy in, out;
  F forward;
};
template <class F>
DevicePart(PartKey, DeviceCopy, DeviceCopy, F) -> DevicePart<F>;

struct DeviceSession {
  explicit DeviceSession(std::shared_ptr<cuda::Device> d) : device(std::move(d)) {}
  DeviceSession(const DeviceSession&) = delete;
  DeviceSession& operator=(const DeviceSession&) = delete;
  ~DeviceSession() {
    for (auto& r : recorded) cuda::destroy_graph(r.graph);
  }

  /// At least `bytes` at both ends; what was there is lost if it must grow.
  Status reserve(const SessionState& s, DeviceBuffer& b, Index bytes) {
    if (bytes <= Index(b.here.bytes()) && bytes <= b.there.view().size()) return {};
    SAMPAN_CHECK(s.check_memory(arena.capacity(), held() + (bytes - b.there.view().size()) / 4));
    drop_graphs([&](const Recorded& r) { return r.in == &b || r.out == &b || &b == &results; });  // masks are made from results as well
    b.there = {};
    b.there = Tensor<std::uint8_t, 1, Cuda>({bytes});
    if (!b.there.valid()) return cuda::with_cause(Error(ErrorCode::out_of_memory, cat("CUDA: no memory for a buffer of ", bytes >> 20, " MiB")));
    return b.here.reserve(std::size_t(bytes));
  }

  /// Runs the parts one after the other, and waits. Everything is planned, allocated and recorded before the first is launched.
  template <class... F>
  Status run(const SessionState& s, const Cuda& backend, const DevicePart<F>&... parts) {
    const std::lock_guard lock(device->busy());
    Status status = make_room(s, backend, parts...);
    const auto each = [&](auto&& step) { (void)((status = step(parts), status.ok()) && ...); };
    if (status) each([&](const auto& p) { return record(s, backend, p); });
    if (!status) return status;
    each([&](const auto& p) { return cuda::checked(cuda::launch_graph(find(p.key)->graph, device->stream())); });
    const Status done = cuda::checked(cuda::synchronize(device->stream()));  // also after a failure: nothing may use the buffers any more
    return status ? done : status;
  }
  /// Plans parts that run later, so that the room for them is not made between others, whose recordings it would cost.
  template <class... F>
  Status expect(const SessionState& s, const Cuda& backend, const DevicePart<F>&... parts) {
    const std::lock_guard lock(device->busy());
    return make_room(s, backend, parts...);
  }

  /// Room for n inputs and embeddings; graphs that read smaller ones are dropped.
  Status reserve_batch(const SessionState& s, Index n, Index pixels, Index g, Index channels) {
    if (batch_input.valid() && batch_embedding.valid() && batch_input.view().extent(0) >= n * pixels) return {};
    SAMPAN_CHECK(s.check_memory(arena.capacity(), held() + n * (3 * pixels * pixels + g * g * channels)));
    drop_graphs([](const Recorded& r) { return r.key[0] == kBatchKey; });
    batch_input = {}, batch_embedding = {};
    batch_input = Tensor<float, 3, Cuda>({n * pixels, pixels, 3});
    batch_embedding = Tensor<float, 3, Cuda>({n * g, g, channels});
    if (!batch_input.valid() || !batch_embedding.valid()) return cuda::with_cause(Error(ErrorCode::out_of_memory, cat("CUDA: no memory for a batch of ", n, " images")));
    return {};
  }
  /// A map to another place on the device, at once.
  Status copy_rows(const SessionState& s, const Cuda& backend, const View<const float, 3>& from, const View<float, 3>& to) {
    const std::lock_guard lock(device->busy());
    Context<Cuda> ctx(backend, s.model->pool, arena);
    copy(ctx, tokens(from), tokens(to));
    const Status done = cuda::checked(cuda::synchronize(device->stream()));
    const Status copied = ctx.status();
    return copied ? done : copied;
  }

  static constexpr Index kBatchKey = 10;
  std::shared_ptr<cuda::Device> device;
  Tensor<float, 3, Cuda> input, embedding, batch_input, batch_embedding;
  Tensor<float, 1, Cuda> side;  // models/mask_decoder.hpp, image_side
  DeviceBuffer image, prompts, results, limits, masks;
  Extent2 tables_of;  // the size whose tables `image` holds on the host

 private:
  struct Recorded {
    PartKey key;
    Plan plan;
    cuda::Graph* graph;
    const DeviceBuffer *in, *out;
    std::uint64_t used;
  };
  template <class F>
  void drop_graphs(F&& which) {
    for (auto& r : recorded)
      if (which(r)) cuda::destroy_graph(std::exchange(r.graph, nullptr));
  }
  Recorded* find(const PartKey& key) {
    for (auto& r : recorded)
      if (r.key == key) return &r;
    return nullptr;
  }
  template <class... F>
  Status make_room(const SessionState& s, const Cuda& backend, const DevicePart<F>&... parts) {
    Status status;
    const std::uint64_t begin = clock;
    std::size_t need = 0;
    (void)((status = plan_part(s, backend, parts, begin, need), status.ok()) && ...);
    return status && arena.capacity() < need ? grow_arena(s, need) : status;
  }
  /// Parts of a call under way were used after `begin` and stay.
  template <class F>
  Status plan_part(const SessionState& s, const Cuda& backend, const DevicePart<F>& p, std::uint64_t begin, std::size_t& need) {
    Recorded* r = find(p.key);
    if (!r) {
      SAMPAN_TRY(planned, plan(backend, s.model->pool, p.forward));
      if (recorded.size() >= kKeptParts) {
        const auto oldest = std::min_element(recorded.begin(), recorded.end(), [](const Recorded& a, const Recorded& b) { return a.used < b.used; });
        if (oldest->used <= begin) cuda::destroy_graph(oldest->graph), recorded.erase(oldest);
      }
      recorded.push_back({p.key, planned, nullptr, p.in.buffer, p.out.buffer, 0});
      r = &recorded.back();
    }
    r->used = ++clock;
    need = std::max(need, r->plan.arena_bytes);
    return {};
  }
  /// Floats of the device beside activations, weights and the embedding.
  Index held() const {
    Index floats = side.view().size() + input.view().size() + batch_input.view().size() + batch_embedding.view().size();
    for (const DeviceBuffer* b : {&image, &prompts, &results, &limits, &masks}) floats += b->there.view().size() / 4;
    return floats;
  }
  Status grow_arena(const SessionState& s, std::size_t bytes) {
    SAMPAN_CHECK(s.check_memory(bytes, held()));
    drop_graphs([](const Recorded&) { return true; });
    if (!arena.reserve<cuda::DeviceMemory>(bytes)) return cuda::with_cause(Error(ErrorCode::out_of_memory, cat("CUDA: no memory for ", bytes >> 20, " MiB of activations")));
    return {};
  }
  template <class F>
  Status record(const SessionState& s, const Cuda& backend, const DevicePart<F>& p) {
    cuda::Graph*& graph = find(p.key)->graph;
    if (graph) return {};
    const auto stream = device->stream();
    Context<Cuda> ctx(backend, s.model->pool, arena);
    SAMPAN_CHECK(cuda::checked(cuda::begin_capture(stream)));
    if (p.in.buffer) cuda::ran(ctx, cuda::copy_in(p.in.buffer->device(), p.in.buffer->host(), std::size_t(p.in.bytes), stream));
    p.forward(ctx);
    if (p.out.buffer && ctx.ok()) cuda::ran(ctx, cuda::copy_out(p.out.buffer->host(), p.out.buffer->device(), std::size_t(p.out.bytes), stream));
    const cuda::Answer ended = cuda::end_capture(stream, graph);  // also after a failure: the stream must leave its recording
    Status status = ctx.status();
    if (status) status = cuda::checked(ended);
    if (!status) cuda::destroy_graph(std::exchange(graph, nullptr));
    return status;
  }

  Arena arena;
  std::vector<Recorded> recorded;
  std::uint64_t clock = 0;
};

/// The session's side on the device, made at its first use.
inline Result<DeviceSession*> device_side(SessionState& s, const models::Network<Cuda>& net) {
  if (s.trace) return Error(ErrorCode::unsupported, "traces are taken on device cpu or reference: cuda's kernels never have most of the named tensors");
  if (s.device) return s.device.get();
  auto made = std::make_shared<DeviceSession>(net.backend.device);
  const Index side = net.image_size(), low = 4 * net.grid();
  made->input = Tensor<float, 3, Cuda>({side, side, 3});
  made->embedding = Tensor<float, 3, Cuda>({net.grid(), net.grid(), net.channels()});
  made->side = Tensor<float, 1, Cuda>({net.mask_decoder.image_side_floats()});
  if (!made->input.valid() || !made->embedding.valid() || !made->side.valid()) return cuda::with_cause(Error(ErrorCode::out_of_memory, "CUDA: no memory for the image embedding"));
  // What does not depend on the image, at its largest, so that no later call drops what was recorded: the embedding, and a batch of prompts with all their logits.
  SAMPAN_CHECK(made->reserve(s, made->results, 4 * std::max(made->embedding.view().size(), kPromptBatch * net.mask_decoder.mask_count(true) * (low * low + 1))));
  SAMPAN_CHECK(made->reserve(s, made->prompts, 4 * (low * low + 64 * net.channels())));
  SAMPAN_CHECK(made->reserve(s, made->limits, 4 * Index(sizeof(float))));
  s.device = std::move(made);
  return s.device.get();
}

/// What the first prompt without a mask would have to make, right behind the embedding.
inline void prepare_side(Context<Cuda>& ctx, DeviceSession& d, const models::Network<Cuda>& net) {
  net.mask_decoder.prepare_image(ctx, std::as_const(d.embedding).view(), net.prompt_encoder.no_mask.view(), net.prompt_encoder.dense_pe.view(), net.mask_decoder.image_side(d.side.view().data()));
}

/// How an image gets into the network's input: from its bytes on the device, or, for a recipe that the device does not have (predict/device_pixels.hpp), from the host.
struct DeviceImage {
  bool there = false;
  predict::DevicePixels pixels;
  Index bytes = 0;
};

/// The host's part: what the device is to copy stands in d.image.
inline Result<DeviceImage> fill_image(SessionState& s, DeviceSession& d, const models::Network<Cuda>& net, SessionState::ImageCall& call) {
  const auto& c = s.model->contract;
  const Index side = net.image_size(), h = s.frame.original.height, w = s.frame.original.width;
  DeviceImage image{.there = predict::pixels_on_device(c), .pixels = {}, .bytes = 4 * side * side * 3};
  if (image.there) image.pixels = predict::DevicePixels::plan(c, s.frame), image.bytes = image.pixels.bytes;
  if (image.bytes > d.image.there.view().size()) d.tables_of = {};
  SAMPAN_CHECK(d.reserve(s, d.image, image.bytes));
  if (image.there && d.tables_of != s.frame.original) {
    d.tables_of = {};
    SAMPAN_CHECK(image.pixels.fill(c, d.image.host()));
    d.tables_of = s.frame.original;
  }
  SAMPAN_CHECK(s.run(host_backend(net.backend), call.key(), call.progress, [&](Context<Cpu>& ctx) {
    call.make(ctx, [&] {
      if (image.there) return predict::raw_pixels(ctx, c, call.image, call.window, View<std::uint8_t, 3>(d.image.host() + image.pixels.pixels, {h, w, 3}));
      predict::prepare_image(ctx, c, call.image, call.window, s.frame, View<float, 3>(d.image.host<float>(), {side, side, 3}));
    });
  }));
  return image;
}
/// The device's part: d.image -> d.input. The arguments outlive what is returned.
inline auto image_part(const SessionState& s, DeviceSession& d, const DeviceImage& image) {
  const Extent2 size = image.there ? s.frame.original : Extent2{};
  return DevicePart{PartKey{2, size.width, size.height, 0, 0, 0}, DeviceCopy{&d.image, image.bytes}, DeviceCopy{}, [&](Context<Cuda>& ctx) {
    if (image.there) return image.pixels.run(ctx, s.model->contract, d.image.device(), d.input.view());
    const Index n = d.input.view().size() / 3;
    copy(ctx, View<const float, 2>(d.image.device_floats(), {n, 3}), View<float, 2>(d.input.view().data(), {n, 3}));
  }};
}
inline Status report_encoder(const Progress* progress, double fraction) {
  if (progress && !progress->report(progress->user, "image_encoder", fraction)) return Error(ErrorCode::cancelled, "cancelled by the caller");
  return {};
}

/// Pixels -> embedding, on the device.
inline Status encode_on_device(SessionState& s, const models::Network<Cuda>& net, SessionState::ImageCall& call) {
  SAMPAN_TRY(d, device_side(s, net));
  SAMPAN_TRY(image, fill_image(s, *d, net, call));
  SAMPAN_CHECK(report_encoder(call.progress, 0.1));
  const auto before = image_part(s, *d, image);
  const DevicePart encoder{PartKey{}, DeviceCopy{}, DeviceCopy{}, [&](Context<Cuda>& ctx) {
    net.encode(ctx, std::as_const(d->input).view(), d->embedding.view());
    prepare_side(ctx, *d, net);
  }};
  SAMPAN_CHECK(d->run(s, net.backend, before, encoder));
  s.image_side_ready = s.embedding_elsewhere = true;
  return report_encoder(call.progress, 1);
}

/// Several images of as many sessions of one model: prepared one by one, encoded together by the first session's device side, which keeps room for them.
inline Status encode_batch_on_device(std::span<SessionState* const> sessions, const models::Network<Cuda>& net, std::span<SessionState::ImageCall> calls) {
  const Index n = Index(sessions.size()), side = net.image_size(), g = net.grid(), c = net.channels();
  const Progress* progress = calls[0].progress;
  SessionState& s0 = *sessions[0];
  SAMPAN_TRY(first, device_side(s0, net));
  SAMPAN_CHECK(first->reserve_batch(s0, n, side, g, c));
  const DevicePart encoder{PartKey{DeviceSession::kBatchKey, n, 0, 0, 0, 0}, DeviceCopy{}, DeviceCopy{}, [&](Context<Cuda>& ctx) {
    net.encode_batch(ctx, std::as_const(first->batch_input).view().slice(0, 0, n * side), first->batch_embedding.view().slice(0, 0, n * g));
  }};
  const auto shared = [&](DeviceSession& d) { return DevicePart{PartKey{11, 0, 0, 0, 0, 0}, DeviceCopy{}, DeviceCopy{}, [&](Context<Cuda>& ctx) { prepare_side(ctx, d, net); }}; };
  SAMPAN_CHECK(first->expect(s0, net.backend, encoder));
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    SessionState& s = *sessions[i];
    SAMPAN_TRY(d, device_side(s, net));
    SAMPAN_TRY(image, fill_image(s, *d, net, calls[i]));
    SAMPAN_CHECK(d->expect(s, net.backend, shared(*d)));
    SAMPAN_CHECK(d->run(s, net.backend, image_part(s, *d, image)));
    SAMPAN_CHECK(first->copy_rows(s0, net.backend, std::as_const(d->input).view(), first->batch_input.view().slice(0, Index(i) * side, side)));
    SAMPAN_CHECK(report_encoder(progress, 0.1 * double(i + 1) / double(n)));
  }
  SAMPAN_CHECK(first->run(s0, net.backend, encoder));
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    SessionState& s = *sessions[i];
    SAMPAN_CHECK(first->copy_rows(s0, net.backend, std::as_const(first->batch_embedding).view().slice(0, Index(i) * g, g), s.device->embedding.view()));
    SAMPAN_CHECK(s.device->run(s, net.backend, shared(*s.device)));
    s.image_side_ready = s.embedding_elsewhere = true;
  }
  return report_encoder(progress, 1);
}

/// An embedding that came from a file or a cache goes to the device.
inline Status embedding_to_device(SessionState& s, DeviceSession& d, const models::Network<Cuda>& net) {
  const View<const float, 3> from = std::as_const(s.embedding).view();
  const Index bytes = 4 * from.size(), n = net.grid() * net.grid();
  SAMPAN_CHECK(d.reserve(s, d.results, bytes));
  std::memcpy(d.results.host(), from.data(), std::size_t(bytes));
  const DevicePart part{{1, 0, 0, 0, 0, 0}, {&d.results, bytes}, {}, [&](Context<Cuda>& ctx) {
    copy(ctx, View<const float, 2>(d.results.device_floats(), {n, net.channels()}), tokens(d.embedding.view()));
    prepare_side(ctx, d, net);
  }};
  SAMPAN_CHECK(d.run(s, net.backend, part));
  s.image_side_ready = true;
  return {};
}

/// The embedding that only the device has also goes to s.embedding.
inline Status embedding_to_host(SessionState& s, DeviceSession& d, const models::Network<Cuda>& net) {
  const Index bytes = 4 * d.embedding.view().size();
  SAMPAN_CHECK(d.reserve(s, d.results, bytes));
  const DevicePart part{{3, 0, 0, 0, 0, 0}, {}, {&d.results, bytes}, [&](Context<Cuda>& ctx) {
    const auto from = tokens(std::as_const(d.embedding).view());
    copy(ctx, from, View<float, 2>(d.results.device_floats(), {from.extent(0), from.extent(1)}));
  }};
  SAMPAN_CHECK(d.run(s, net.backend, part));
  std::memcpy(s.embedding.view().data(), d.results.host(), std::size_t(bytes));
  s.embedding_elsewhere = false;
  return {};
}

/// As SessionState::decode.
inline Status decode_on_device(SessionState& s, const models::Network<Cuda>& net, std::span<const Prompt> prompts, std::span<Prediction> out, const PredictOptions& o) {
  SAMPAN_TRY(d, device_side(s, net));
  const double start = now_ms();
  if (!s.image_side_ready) SAMPAN_CHECK(embedding_to_device(s, *d, net));
  const auto& c = s.model->contract;
  const Prompt& first = prompts[0];
  const Index b = Index(prompts.size()), g = net.grid(), low = 4 * g, channels = net.channels(), masks = net.mask_decoder.mask_count(o.multimask), planes = b * masks;
  const Index each = net.prompt_encoder.token_count(Index(first.points.size()), first.box.has_value()), tokens = b * each * channels;
  const bool ready = first.mask_input.empty(), there = predict::masks_on_device(c);
  const Index in_floats = tokens + (ready ? 0 : low * low);
  SAMPAN_CHECK(d->reserve(s, d->prompts, 4 * in_floats));
  auto key = s.decode_key(prompts, o);
  SAMPAN_CHECK(s.run(host_backend(net.backend), {5, key[1], key[2], 0, 0, 0}, nullptr, [&](Context<Cpu>& ctx) {
    const View<float, 3> sparse(d->prompts.host<float>(), {b, each, channels});
    for (Index i = 0; i < b; ++i) s.encode_prompt(ctx, net, prompts[std::size_t(i)], sparse[i]);
  }));
  if (!ready) std::memcpy(d->prompts.host<float>() + tokens, first.mask_input.data(), std::size_t(low * low) * sizeof(float));
  key[4] = key[5] = 0;  // the image's size matters behind the network only
  key[0] += 3;
  const Index out_floats = planes * (low * low + 1);
  float* const results = d->results.device_floats();
  const DevicePart decoder{key, {&d->prompts, 4 * in_floats}, {&d->results, 4 * out_floats}, [&](Context<Cuda>& ctx) {
    auto scope = ctx.arena.scope();
    const float* in = d->prompts.device_floats();
    const View<const float, 3> embedding = std::as_const(d->embedding).view();
    const auto dense = scope.make<float>(Index(ready ? 0 : 1), g * g, channels);
    models::MaskDecoderInput what{embedding, net.prompt_encoder.dense_pe.view(), View<const float, 3>(in, {b, each, channels}), dense};
    if (ready) {
      what.side = net.mask_decoder.image_side(std::as_const(d->side).view().data());
    } else {
      net.prompt_encoder.encode_dense(ctx, View<const float, 2>(in + tokens, {low, low}), as_map(dense[0], g, g));
    }
    net.mask_decoder.forward(ctx, what, o.multimask, View<float, 3>(results, {b, masks, low * low}), View<float, 2>(results + planes * low * low, {b, masks}));
  }};
  const float* from = d->results.host<float>();
  const View<const float, 3> logits(from, {b, masks, low * low});
  const View<const float, 2> iou(from + logits.size(), {b, masks});
  if (!there) {
    SAMPAN_CHECK(d->run(s, net.backend, decoder));
    const double decoded = now_ms();
    SAMPAN_CHECK(s.run(host_backend(net.backend), {6, b, masks, s.size.width, s.size.height, 0}, nullptr, [&](Context<Cpu>& ctx) { s.finish_predictions(ctx, logits, iou, low, out, o); }));
    s.timings.decode += decoded - start;
    s.timings.postprocess += now_ms() - decoded;
    return {};
  }
  const predict::DeviceMasks made{planes, s.frame.original.height, s.frame.original.width};
  SAMPAN_CHECK(d->reserve(s, d->masks, made.bytes()));
  const auto limits = predict::mask_limits(c, s.stability_offset);
  const float values[4] = {limits.threshold, limits.inner, limits.outer, s.least_iou};
  std::memcpy(d->limits.host(), values, sizeof values);
  const DevicePart behind{{8, planes, made.w, made.h, 0, 0}, {&d->limits, Index(sizeof values)}, {&d->masks, made.bytes()}, [&](Context<Cuda>& ctx) {
    made.run(ctx, c, s.frame, View<const float, 3>(results, {planes, low, low}), results + planes * low * low, d->limits.device_floats(), d->masks.device());
  }};
  SAMPAN_CHECK(d->run(s, net.backend, decoder, behind));
  const double decoded = now_ms();
  s.take_predictions(logits, iou, low, out, o, [&](Index plane, Candidate& slot) { made.take(d->masks.host(), plane, slot); });
  s.timings.decode += decoded - start;
  s.timings.postprocess += now_ms() - decoded;
  return {};
}

}  // namespace sampan::inline SAMPAN_ABI::detail
