// What stands behind VolumeSession: objects with their prompts and packed masks, the cache of encoded slices, the plan of a propagation, the walk over the slices.
// Data flow: impl/volume.ipp -> here -> predict/session_state.hpp (one slice at a time). Two passes: slices upward for everything that depends on nothing or on the slice
// below, then downward for what depends on the slice above; so each slice's embedding is wanted at most twice, and the second time it is in the cache or the folder.
// Cost of a mask in memory: one bit per pixel of its box.
#pragma once
#include <sampan/core/sha256.hpp>
#include <sampan/predict/prompt_check.hpp>
#include <sampan/predict/session_state.hpp>
#include <sampan/predict/volume_session.hpp>

#include <map>

namespace sampan::inline SAMPAN_ABI::detail {

/// A mask cut to its box, one bit per pixel; each row begins with a byte.
struct PackedMask {
  std::int64_t x0 = 0, y0 = 0, width = 0, height = 0;
  std::vector<std::uint8_t> bits;
  float iou = 0;
  std::int64_t row_bytes() const { return (width + 7) / 8; }

  static std::shared_ptr<const PackedMask> pack(const Candidate& c) {
    auto m = std::make_shared<PackedMask>();
    m->iou = c.predicted_iou;
    if (c.area == 0) return m;
    m->x0 = std::int64_t(c.extent.x0), m->y0 = std::int64_t(c.extent.y0);
    m->width = std::int64_t(c.extent.x1) - m->x0, m->height = std::int64_t(c.extent.y1) - m->y0;
    m->bits.resize(std::size_t(m->row_bytes() * m->height));
    std::uint8_t* to = m->bits.data();
    for (std::int64_t y = 0; y < m->height; ++y) {
      const std::uint8_t* row = c.mask.data.data() + (m->y0 + y) * c.mask.width + m->x0;
      for (std::int64_t x = 0; x < m->width; x += 8, ++to) {
        unsigned eight = 0;
        for (std::int64_t i = 0; i < std::min<std::int64_t>(8, m->width - x); ++i) eight |= unsigned(row[x + i] != 0) << i;
        *to = std::uint8_t(eight);
      }
    }
    return m;
  }
  bool empty() const { return bits.empty(); }
  /// Writes `value` where the mask is; the rest of `out` [.., image_width] stays.
  void paint(std::uint8_t* out, std::int64_t image_width, std::uint8_t value) const {
    const std::uint8_t* from = bits.data();
    for (std::int64_t y = 0; y < height; ++y)
      for (std::int64_t x = 0; x < width; x += 8)
        for (unsigned left = *from++, i = 0; left; left >>= 1, ++i)
          if (left & 1u) out[(y0 + y) * image_width + x0 + x + i] = value;
  }
};

struct VolumeObject {
  int label = 0;
  std::map<std::int64_t, Prompt> prompts;
  std::optional<std::pair<std::int64_t, std::int64_t>> range;
  std::vector<std::shared_ptr<const PackedMask>> masks;  // per slice; null: none
  bool changed = true;
};

/// What an object wants on a slice.
struct SliceTask {
  std::size_t object = 0;
  enum class Kind { prompt, between, below, above } kind = Kind::prompt;  // said; interpolated; from the slice below, above
  std::int64_t origin = 0;                                                // the prompted slice it goes back to
};

struct CachedSlice {
  std::vector<float> embedding;
  std::uint64_t used = 0;
  bool wanted = false;  // by the second pass
};

struct VolumeState {
  SessionState session;
  SliceSource source;
  VolumeOptions options;
  std::string identity;  // of everything but the pixels that an embedding depends on
  std::vector<VolumeObject> objects;
  std::vector<std::vector<VolumeObject>> history;
  std::map<std::int64_t, CachedSlice> cache;
  std::uint64_t clock = 0;
  std::vector<std::uint8_t> pixels, painted, shrunk;  // the slice, and what box_of_neighbour() makes of a mask
  std::vector<Prediction> answers;                    // of a slice; some are kept, with their memory, for the next one
  VolumeStats stats;

  VolumeState(std::shared_ptr<const ModelState> m, const SliceSource& s, const VolumeOptions& o) : session(std::move(m)), source(s), options(o) {}

  static constexpr std::size_t kSteps = 100;  // that undo() knows
  void remember() {
    if (history.size() == kSteps) history.erase(history.begin());
    history.push_back(objects);  // masks are shared, not copied
  }
  VolumeObject* find(int label) {
    for (auto& o : objects)
      if (o.label == label) return &o;
    return nullptr;
  }
  VolumeObject& at(int label) {
    if (VolumeObject* o = find(label)) return *o;
    objects.emplace_back();
    objects.back().label = label;
    objects.back().masks.resize(std::size_t(source.count));
    return objects.back();
  }

  // ---- plan ----
  using Tasks = std::map<std::int64_t, std::vector<SliceTask>>;

  /// What the changed objects want, in the upward and in the downward pass. Error{invalid_argument}: interpolation between prompts without boxes.
  Status plan_tasks(Tasks& up, Tasks& down) const {
    using Kind = SliceTask::Kind;
    for (std::size_t n = 0; n < objects.size(); ++n) {
      const VolumeObject& o = objects[n];
      if (!o.changed || o.prompts.empty()) continue;
      const std::int64_t first = o.range ? o.range->first : 0, last = o.range ? o.range->second : source.count - 1;
      const auto *before = &*o.prompts.begin(), *end = &*o.prompts.rbegin();
      for (std::int64_t z = before->first - 1; z >= first; --z) down[z].push_back({n, Kind::above, before->first});
      for (std::int64_t z = end->first + 1; z <= last; ++z) up[z].push_back({n, Kind::below, end->first});
      for (const auto& here : o.prompts) {
        up[here.first].push_back({n, Kind::prompt, here.first});
        if (&here != before) {
          if (options.interpolate && (!before->second.box || !here.second.box)) return Error(ErrorCode::invalid_argument, cat("object ", o.label, ": interpolation between slices ", before->first, " and ", here.first, " needs a box on both"));
          const std::int64_t middle = (before->first + here.first) / 2;
          for (std::int64_t z = before->first + 1; z < here.first; ++z) {
            if (options.interpolate) up[z].push_back({n, Kind::between, before->first});
            else if (z <= middle) up[z].push_back({n, Kind::below, before->first});
            else down[z].push_back({n, Kind::above, here.first});
          }
        }
        before = &here;
      }
    }
    return {};
  }

  // ---- one slice ----
  template <class B>
  Status load_slice(const models::Network<B>& net, std::int64_t z, bool wanted, const Progress* progress) {
    auto& s = session;
    const std::size_t floats = std::size_t(net.grid() * net.grid() * (net.channels() + 16 * net.detail_channels()));
    const auto ready = [&] {
      s.size = source.size;
      s.frame = predict::make_frame(s.model->contract, {source.size.height, source.size.width});
      s.has_image = true;
      s.image_side_ready = s.embedding_elsewhere = false;
    };
    SAMPAN_CHECK(s.embedding.reserve(net.grid(), net.channels(), net.detail_channels()));
    if (const auto it = cache.find(z); it != cache.end()) {
      std::memcpy(s.embedding.all().data(), it->second.embedding.data(), floats * sizeof(float));
      it->second.used = ++clock;
      it->second.wanted = wanted;
      ++stats.from_memory;
      ready();
      if (!wanted && !options.keep_all) {
        stats.cache_bytes -= floats * sizeof(float);
        cache.erase(it);
      }
      return {};
    }
    const double start = now_ms();
    SAMPAN_CHECK(source.read(source.user, z, pixels.data()));
    stats.read_ms += now_ms() - start;
    std::string path, key;
    bool found = false;
    if (!options.cache_folder.empty()) {
      Sha256 sha;
      sha.update(as_bytes(identity));
      sha.update(Bytes(pixels));
      key = sha.hex();
      path = cat(options.cache_folder, "/", key, ".safetensors");
      found = s.embedding.load(path, key).ok();  // a file of another key or a damaged one counts as none, and is written anew
    }
    if (found) {
      ++stats.from_folder;
      ready();
    } else {
      const double begin = now_ms();
      SAMPAN_CHECK(s.set_image(net, ImageView{pixels.data(), source.size, PixelType::u8, 0}, std::nullopt, progress));
      stats.encode_ms += now_ms() - begin;
      ++stats.encoded;
      if (!path.empty() || wanted || options.keep_all) SAMPAN_CHECK(s.embedding_here(net));
      if (!path.empty()) SAMPAN_CHECK(s.embedding.save(path, source.size, s.frame.resized, key, weights::to_json(s.model->contract)));
    }
    return keep(z, floats, wanted);
  }

  Status keep(std::int64_t z, std::size_t floats, bool wanted) {
    if (!wanted && !options.keep_all) return {};
    const std::uint64_t bytes = floats * sizeof(float);
    while (!cache.empty() && stats.cache_bytes + bytes > options.cache_bytes) {
      auto victim = cache.begin();
      for (auto it = cache.begin(); it != cache.end(); ++it)
        if (std::pair(it->second.wanted, it->second.used) < std::pair(victim->second.wanted, victim->second.used)) victim = it;
      stats.cache_bytes -= bytes;
      cache.erase(victim);
    }
    CachedSlice& c = cache[z];
    const float* from = session.embedding.all().data();
    c.embedding.assign(from, from + floats);
    c.used = ++clock;
    c.wanted = wanted;
    stats.cache_bytes += bytes;
    return {};
  }

  /// The box that a neighbour's mask gives, in model pixels; nothing if the mask is empty.
  template <class B>
  Result<std::optional<Box>> box_of_neighbour(const models::Network<B>& net, const PackedMask& m, int label) {
    if (m.empty()) return std::optional<Box>();
    const auto& c = session.model->contract;
    const auto& f = session.frame;
    const double side = double(f.side), margin = double(options.margin) * side / 256;
    if (c.prompt.coordinates != weights::CoordinateKind::truncate_single_factor) {
      const auto model = [&](std::int64_t v, bool x, double shift) {
        const double first = double(x ? f.left : f.top), size = double(x ? f.resized.width : f.resized.height);
        return std::clamp(double(predict::to_model(c, f, double(v), x)) + shift, first, first + size);
      };
      return std::optional(Box{model(m.x0, true, -margin), model(m.y0, false, -margin), model(m.x0 + m.width - 1, true, margin), model(m.y0 + m.height - 1, false, margin)});
    }
    // The reference shrinks the slice of its label map (values 0 and the label, in uint8) by area means and takes what is left above 0.
    const Index h = source.size.height, w = source.size.width;
    painted.assign(std::size_t(h * w), 0), shrunk.resize(std::size_t(f.resized.height * f.resized.width));
    m.paint(painted.data(), w, std::uint8_t(std::min(label, 255)));
    SAMPAN_CHECK(session.run(net.backend, {4, w, h, 0, 0, 0}, nullptr, [&](Context<B>& ctx) {
      resize_cv2_area(ctx, View<const std::uint8_t, 3>(painted.data(), {h, w, 1}), View<std::uint8_t, 3>(shrunk.data(), {f.resized.height, f.resized.width, 1}));
    }));
    Index x0 = f.resized.width, x1 = -1, y0 = f.resized.height, y1 = -1;
    for (Index y = 0; y < f.resized.height; ++y)
      for (Index x = 0; x < f.resized.width; ++x) {
        const std::uint8_t* at = shrunk.data() + y * f.resized.width + x;
        if (std::uint64_t eight = 0; x + 8 <= f.resized.width && (std::memcpy(&eight, at, 8), eight == 0)) x += 7;  // most of a slice is no object
        else if (*at) x0 = std::min(x0, x), x1 = std::max(x1, x), y0 = std::min(y0, y), y1 = std::max(y1, y);
      }
    if (x1 < 0) return std::optional<Box>();
    return std::optional(Box{std::max(0.0, double(x0) - margin), std::max(0.0, double(y0) - margin), std::min(side, double(x1) + margin), std::min(side, double(y1) + margin)});
  }

  /// Decodes `prompts` (each its own object) on the loaded slice.
  template <class B>
  Status decode_into(const models::Network<B>& net, std::vector<VolumeObject>& work, std::int64_t z, const std::vector<std::size_t>& who, const std::vector<Prompt>& prompts, bool model_boxes) {
    if (prompts.empty()) return {};
    if (answers.size() < prompts.size()) answers.resize(prompts.size());
    const std::span out(answers.data(), prompts.size());
    session.model_boxes = model_boxes;
    const double start = now_ms();
    const auto status = session.decode_all(net, prompts, out, {.multimask = !session.model->info.single_mask, .select = Select::iou});
    session.model_boxes = false;
    SAMPAN_CHECK(status);
    stats.decode_ms += now_ms() - start;
    stats.decoded += std::int64_t(prompts.size());
    for (std::size_t i = 0; i < who.size(); ++i) work[who[i]].masks[std::size_t(z)] = PackedMask::pack(out[i].best());
    if (answers.size() > std::size_t(2 * kPromptBatch)) answers.resize(std::size_t(2 * kPromptBatch));
    return {};
  }

  template <class B>
  Status do_slice(const models::Network<B>& net, std::vector<VolumeObject>& work, std::int64_t z, const std::vector<SliceTask>& tasks) {
    using Kind = SliceTask::Kind;
    std::vector<std::size_t> said_by, grown_by;
    std::vector<Prompt> said, grown;
    for (const SliceTask& t : tasks) {
      const VolumeObject& o = work[t.object];
      const Prompt& origin = o.prompts.at(t.origin);
      if (t.kind == Kind::prompt) {
        said_by.push_back(t.object), said.push_back(origin);
        continue;
      }
      if (t.kind == Kind::between) {
        const auto next = std::next(o.prompts.find(t.origin));
        const double u = double(z - t.origin) / double(next->first - t.origin);
        const Box &a = *origin.box, &b = *next->second.box;
        const auto mix = [u](double p, double q) { return p + u * (q - p); };
        said_by.push_back(t.object), said.push_back({.box = Box{mix(a.x0, b.x0), mix(a.y0, b.y0), mix(a.x1, b.x1), mix(a.y1, b.y1)}});
        continue;
      }
      const auto& neighbour = o.masks[std::size_t(t.kind == Kind::below ? z - 1 : z + 1)];
      if (!neighbour) continue;  // the object has ended
      SAMPAN_TRY(box, box_of_neighbour(net, *neighbour, o.label));
      if (box) grown_by.push_back(t.object), grown.push_back({.box = *box});
      else if (o.range && origin.box) said_by.push_back(t.object), said.push_back({.box = origin.box});
    }
    SAMPAN_CHECK(decode_into(net, work, z, said_by, said, false));
    return decode_into(net, work, z, grown_by, grown, true);
  }

  // ---- all slices ----
  struct Steps {
    const Progress* user;
    double done, all;
    static bool report(void* self, std::string_view stage, double fraction) {
      const auto& s = *static_cast<const Steps*>(self);
      return !s.user->report || s.user->report(s.user->user, stage, std::min(1.0, (s.done + fraction) / s.all));
    }
  };

  template <class B>
  Status propagate(const models::Network<B>& net, const Progress& user) {
    Tasks up, down;
    SAMPAN_CHECK(plan_tasks(up, down));
    std::vector<VolumeObject> work = objects;
    for (auto& o : work)
      if (o.changed) o.masks.assign(std::size_t(source.count), nullptr), o.changed = false;
    Steps steps{&user, 0, double(up.size() + down.size())};
    const Progress inner{Steps::report, &steps};
    const auto visit = [&](std::int64_t z, const std::vector<SliceTask>& tasks, bool wanted) -> Status {
      using Kind = SliceTask::Kind;
      const bool alive = std::any_of(tasks.begin(), tasks.end(), [&](const SliceTask& t) {
        const auto& o = work[t.object];
        if (t.kind == Kind::prompt || t.kind == Kind::between) return true;
        const auto& n = o.masks[std::size_t(t.kind == Kind::below ? z - 1 : z + 1)];
        return n && (!n->empty() || (o.range && o.prompts.at(t.origin).box));
      });
      if (alive) {  // else every object has ended before: the slice is not even read
        if (!Steps::report(&steps, "slice", 0)) return Error(ErrorCode::cancelled, "cancelled between two slices");
        SAMPAN_CHECK(load_slice(net, z, wanted, &inner));
        SAMPAN_CHECK(do_slice(net, work, z, tasks));
      }
      steps.done += 1;
      return {};
    };
    for (const auto& [z, tasks] : up) SAMPAN_CHECK(visit(z, tasks, down.count(z) > 0));
    for (auto it = down.rbegin(); it != down.rend(); ++it) SAMPAN_CHECK(visit(it->first, it->second, false));
    remember();
    objects = std::move(work);
    return {};
  }
};

}  // namespace sampan::inline SAMPAN_ABI::detail
