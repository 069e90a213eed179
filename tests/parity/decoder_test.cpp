// Modules on their own against PyTorch, with generated inputs: prompt encoder (points, boxes, masks, batches), mask decoder (all four masks, every module of the
// two-way transformer), and TinyViT with both stems (every module). On the scalar definition and on every level of the fast backend.
#include "parity/modules.hpp"

using namespace sampan;
using namespace sampan::test;

TEST_CASE("parity: prompt encoder") {
  const Golden g = Golden::committed("prompt_encoder");
  const Weights w(g);
  const auto config = g.meta("config"), prompts = g.meta("prompts");
  for_each_place([&](const std::string& place, const auto& backend) {
    using B = std::decay_t<decltype(backend)>;
    CAPTURE(place);
    for (const auto& [kind, sizes] : config.items()) {
      const models::PromptEncoderSizes s{.channels = 256, .grid = sizes["grid"], .image_size = sizes["input_size"]};
      const auto encoder = load_with(backend, w, [&](const Loader<B>& l) { return models::PromptEncoder<B>::load(l / "prompt_encoder", s); });
      if (g.find(kind + ".dense_pe")) {
        const auto pe = encoder.dense_pe.view();
        check_tensor(g, kind + ".dense_pe", channels_first({pe.data(), pe.data() + pe.size()}, 256), {1, 256, s.grid, s.grid});
      }
      for (const auto& entry : prompts.items()) {
        const std::string& name = entry.key();
        const auto& p = entry.value();
        if (name.rfind(kind + ".", 0) != 0) continue;
        CAPTURE(name);
        const std::size_t batch = p.contains("points") ? p["points"].size() : p.contains("boxes") ? p["boxes"].size() : 0;
        std::vector<float> sparse;
        Index tokens = 0;
        for (std::size_t b = 0; b < batch; ++b) {
          std::vector<models::ModelPoint> points;
          if (p.contains("points"))
            for (std::size_t i = 0; i < p["points"][b].size(); ++i) points.push_back({p["points"][b][i][0], p["points"][b][i][1], p["labels"][b][i]});
          float box[4] = {};
          if (p.contains("boxes"))
            for (std::size_t i = 0; i < 4; ++i) box[i] = p["boxes"][b][i];
          tokens = encoder.token_count(Index(points.size()), p.contains("boxes"));
          std::vector<float> out(std::size_t(tokens * 256));
          run(backend, [&](Context<B>& ctx) { encoder.encode_sparse(ctx, points.data(), Index(points.size()), p.contains("boxes") ? box : nullptr, View<float, 2>(out.data(), {tokens, 256})); });
          sparse.insert(sparse.end(), out.begin(), out.end());
        }
        if (g.find(name + ".sparse")) check_tensor(g, name + ".sparse", sparse, {std::int64_t(batch), tokens, 256});
        if (g.find(name + ".dense")) {
          const auto shape = ints(g.meta("tensors").at(name + ".dense").at("shape"));
          const auto masks = input(g, "input.mask");
          std::vector<float> dense;
          for (std::int64_t b = 0; b < shape[0]; ++b) {
            std::vector<float> out(std::size_t(s.grid * s.grid * 256));
            const Index side = 4 * s.grid;
            run(backend, [&](Context<B>& ctx) { encoder.encode_dense(ctx, View<const float, 2>(masks.data() + b * side * side, {side, side}), View<float, 3>(out.data(), {s.grid, s.grid, 256})); });
            const auto first = channels_first(out, 256);
            dense.insert(dense.end(), first.begin(), first.end());
          }
          check_tensor(g, name + ".dense", dense, shape);
        }
      }
    }
  });
}

TEST_CASE("parity: mask decoder, every module") {
  const Golden g = Golden::committed("mask_decoder");
  const Weights w(g);
  const Index grid = g.meta("config")["grid"], c = 256, low = 4 * grid;
  const auto embedding = channels_last(input(g, "input.image_embedding"), c), dense = channels_last(input(g, "input.dense"), c);
  const auto prompts = g.meta("prompts");
  for_each_place([&](const std::string& place, const auto& backend) {
    using B = std::decay_t<decltype(backend)>;
    CAPTURE(place);
    const models::PromptEncoderSizes ps{.channels = c, .grid = grid, .image_size = g.meta("config")["input_size"]};
    const auto encoder = load_with(backend, w, [&](const Loader<B>& l) { return models::PromptEncoder<B>::load(l / "prompt_encoder", ps); });
    const auto decoder = load_with(backend, w, [&](const Loader<B>& l) { return models::MaskDecoder<B>::load(l / "mask_decoder", models::MaskDecoderSizes{.channels = c, .grid = grid}); });
    for (const auto& entry : prompts.items()) {
      const std::string& name = entry.key();
      const auto& p = entry.value();
      CAPTURE(name);
      const Index batch = p["batch"], tokens = p["tokens"];
      const auto sparse = tokens ? input(g, text(p["sparse"])) : std::vector<float>();
      std::vector<std::string> names;
      const std::string prefix = name + ".mask_decoder.";
      for (const auto& t : g.file().tensors())
        if (t.name.rfind(prefix, 0) == 0) names.push_back(t.name.substr(name.size() + 1));
      for (const bool multi : {false, true}) {
        const Index m = decoder.mask_count(multi), first = multi ? 1 : 0;
        std::vector<float> masks(std::size_t(batch * m * low * low)), iou(std::size_t(batch * m));
        Trace trace(names);
        run(
            backend,
            [&](Context<B>& ctx) {
              decoder.forward(ctx, {View<const float, 3>(embedding.data(), {grid, grid, c}), encoder.dense_pe.view(), View<const float, 3>(sparse.data(), {batch, tokens, c}), View<const float, 3>(dense.data(), {1, grid * grid, c})},
                              multi, View<float, 3>(masks.data(), {batch, m, low * low}), View<float, 2>(iou.data(), {batch, m}));
            },
            names.empty() ? nullptr : &trace);
        // Only the hypernetworks of the requested masks run; everything else must be there in both modes.
        const auto runs = [&](const std::string& n) {
          const auto at = n.find("output_hypernetworks_mlps.");
          return at == std::string::npos || (n.substr(at + 26, 1) == "0") == !multi;
        };
        CHECK(Index(trace.records().size()) == std::count_if(names.begin(), names.end(), runs));
        for (const auto& r : trace.records()) check_tensor(g, name + "." + r.name, r.data, r.shape);
        // The same with what the prompts of an image share made beforehand. (The golden's dense map stands where no_mask_embed does in a session.)
        std::vector<float> kept(std::size_t(decoder.image_side_floats())), kept_masks(masks.size()), kept_iou(iou.size());
        run(backend, [&](Context<B>& ctx) {
          decoder.prepare_image(ctx, View<const float, 3>(embedding.data(), {grid, grid, c}), View<const float, 2>(dense.data(), {grid * grid, c}), encoder.dense_pe.view(), decoder.image_side(kept.data()));
        });
        run(backend, [&](Context<B>& ctx) {
          decoder.forward(ctx, {{}, encoder.dense_pe.view(), View<const float, 3>(sparse.data(), {batch, tokens, c}), {}, decoder.image_side(std::as_const(kept).data())}, multi, View<float, 3>(kept_masks.data(), {batch, m, low * low}),
                          View<float, 2>(kept_iou.data(), {batch, m}));
        });
        // The golden holds all four masks [b, 4, l, l]; ours are token 0 or tokens 1..3 of them.
        const auto all = g.floats(name + ".low_res_logits"), scores = g.floats(name + ".iou_predictions");
        const double bound = 3 * worst_of_kind(g, ".low_res_logits", "rel_l2") + kFloor, score_bound = 3 * worst_of_kind(g, ".iou_predictions", "max_abs") + kFloor;
        const auto info = g.meta("tensors").at(name + ".low_res_logits");
        if (ints(info["stride"]) == std::vector<std::int64_t>{1, 1, 1, 1}) {
          std::vector<float> wanted;
          for (Index b = 0; b < batch; ++b) wanted.insert(wanted.end(), all.begin() + (b * 4 + first) * low * low, all.begin() + (b * 4 + first + m) * low * low);
          CHECK(relative_error(masks, wanted) <= bound);
          CHECK(relative_error(kept_masks, wanted) <= bound);
        } else {
          const auto stride = ints(info["stride"]);
          const auto got = strided(masks, {batch, m, low, low}, {1, 1, stride[2], stride[3]}), kept_got = strided(kept_masks, {batch, m, low, low}, {1, 1, stride[2], stride[3]});
          REQUIRE(stride[0] == 1);
          REQUIRE(stride[1] == 1);
          const std::size_t plane = all.size() / std::size_t(batch * 4);
          std::vector<float> wanted;
          for (Index b = 0; b < batch; ++b)
            wanted.insert(wanted.end(), all.begin() + std::ptrdiff_t(std::size_t(b * 4 + first) * plane), all.begin() + std::ptrdiff_t(std::size_t(b * 4 + first + m) * plane));
          CHECK(relative_error(got, wanted) <= bound);
          CHECK(relative_error(kept_got, wanted) <= bound);
        }
        for (Index b = 0; b < batch; ++b)
          for (Index i = 0; i < m; ++i) {
            CHECK(std::abs(double(iou[std::size_t(b * m + i)]) - double(scores[std::size_t(b * 4 + first + i)])) <= score_bound);
            CHECK(std::abs(double(kept_iou[std::size_t(b * m + i)]) - double(scores[std::size_t(b * 4 + first + i)])) <= score_bound);
          }
      }
    }
  });
}

TEST_CASE("parity: TinyViT, both stems, every module") {
  for (const std::string name : {"tinyvit_stem3x3", "tinyvit_stem1x1"}) {
    CAPTURE(name);
    const Golden g = Golden::committed(name);
    const Weights w(g);
    const auto config = g.meta("config");
    const bool wide = config["stem"] == "3x3_s2";
    models::TinyVitSizes s;
    s.image_size = config["img"];
    s.stem_kernel = wide ? 3 : 1, s.stem_stride = wide ? 2 : 1, s.stem_pad = wide ? 1 : 0;
    s.dims = config["dims"].get<std::vector<Index>>();
    s.depths = config["depths"].get<std::vector<Index>>();
    s.heads = config["heads"].get<std::vector<Index>>();
    s.windows = config["windows"].get<std::vector<Index>>();
    const auto grids = config["grids"].get<std::vector<Index>>();
    for (std::size_t i = 1; i < grids.size(); ++i) s.strides.push_back(grids[i] == grids[i - 1] ? 1 : 2);
    const auto image = channels_last(input(g, "input.image"), 3);
    std::vector<std::string> names;
    for (const auto& t : g.file().tensors())
      if (t.name.rfind("image_encoder.", 0) == 0) names.push_back(t.name);
    for_each_place([&](const std::string& place, const auto& backend) {
      using B = std::decay_t<decltype(backend)>;
      CAPTURE(place);
      const auto encoder = load_with(backend, w, [&](const Loader<B>& l) { return models::TinyVit<B>::load(l / "image_encoder", s); });
      const Index out = s.grid();
      CHECK(out == grids.back());
      std::vector<float> embedding(std::size_t(out * out * 256));
      for (Trace trace(names); Trace* t : {&trace, static_cast<Trace*>(nullptr)}) {
        run(backend, [&](Context<B>& ctx) { encoder.forward(ctx, View<const float, 3>(image.data(), {s.image_size, s.image_size, 3}), View<float, 3>(embedding.data(), {out, out, 256})); }, t);
        check_tensor(g, "image_embedding", channels_first(embedding, 256), {1, 256, out, out});
        if (!t) continue;
        std::map<std::string, int> seen;
        for (const auto& r : trace.records()) {
          ++seen[r.name];
          check_tensor(g, r.name, r.data, r.shape);
        }
        for (const auto& n : names) {
          CAPTURE(n);
          CHECK(seen[n] == 1);
        }
      }
    });
  }
}
