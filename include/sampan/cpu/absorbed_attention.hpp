// Cross attention between few tokens and many pixels without projecting the pixels: the projections are absorbed into the tokens' side, which is short.
// Data flow: cpu/cross_attention.hpp chooses the form by its FLOP -> here -> the level's gemm, softmax_columns, softmax_groups.
// Shapes: t tokens, p pixels, c channels, heads of d elements, inner = heads * d. Both forms equal the definition in real arithmetic:
//   absorb_keys     (tokens ask)  scores_h = q_h (Wk_h (K + pe)^T) = (q_h Wk_h) (K + pe)^T: one product [heads t, c] x [c, p]; k_proj's bias adds a constant to all
//                                 scores of a query, which softmax does not see. softmax(scores) (K Wv_h^T + bv) = (softmax(scores) K) Wv_h^T + bv.
//   absorb_queries  (pixels ask)  scores_h = (Q + pe) (k_h Wq_h)^T + bq_h k_h: one product [p, c] x [c, heads t]; out = P VW + bo with VW_h = v_h Wo_h^T.
// Cost: 4 p heads t c FLOP instead of 4 p c inner + 4 p t inner: 0.23 GFLOP instead of 0.55 at p = 4096, t = 7, c = 256, 8 heads of 16. Counts the definition's.
// Memory: packed keys of a block of pixels per thread; absorb_keys keeps heads t rows of c floats per chunk of pixels.
// Deliberately absent: traces of the inner modules, for which the caller takes the composition.
#pragma once
#include <sampan/cpu/gemm.hpp>
#include <sampan/ops/cross_attention.hpp>

#include <algorithm>

namespace sampan::inline SAMPAN_ABI {
namespace cpu {

/// Each head's part of a projection W, packed on its own.
struct HeadWeights {
  Tensor<float, 1, Cpu> data;
  Index n = 0, k = 0, step = 0;
  bool valid() const { return data.valid(); }
  const float* head(Index h) const { return data.view().data() + h * step; }
};
/// x W_h with W_h the head's rows of W; x W_h^T with the same rows; x W_h^T with W_h the head's columns of W.
enum class HeadPart { rows_back, rows, columns };
inline HeadWeights pack_heads(const Cpu& b, const View<const float, 2>& w, Index heads, HeadPart part) {
  const Kernels& level = b.kernels();
  const auto copy = w.stride(1) == 1 ? Tensor<float, 2, Cpu>() : Tensor<float, 2, Cpu>::copy_of(w);
  const View<const float, 2> from = w.stride(1) == 1 ? w : View<const float, 2>(copy.view());
  const Index d = w.extent(part == HeadPart::columns ? 1 : 0) / heads;
  HeadWeights p;
  p.n = part == HeadPart::rows_back ? w.extent(1) : part == HeadPart::rows ? d : w.extent(0);
  p.k = part == HeadPart::rows ? w.extent(1) : d;
  p.step = (level.weights_size(p.n, p.k) + 15) / 16 * 16;
  if (!from.data()) return p;
  p.data = Tensor<float, 1, Cpu>({heads * p.step});
  for (Index h = 0; p.valid() && h < heads; ++h)
    level.pack_weights(from.data() + h * d * (part == HeadPart::columns ? 1 : from.stride(0)), from.stride(0), part == HeadPart::rows_back, p.n, p.k, p.data.view().data() + h * p.step);
  return p;
}

}  // namespace cpu

template <>
struct PackedCrossAttention<Cpu> {
  PackedLinear<Cpu> q_proj, k_proj, v_proj, out_proj;
  cpu::HeadWeights q_back, k_back, v_rows, out_columns;
  Index heads = 0;
  std::string name;
  bool absorbs = false;  ///< the head weights are there
  Precision pixels = Precision::f32;  ///< of the products over pixels
  bool valid() const {
    return q_proj.valid() && k_proj.valid() && v_proj.valid() && out_proj.valid() && (!absorbs || (q_back.valid() && k_back.valid() && v_rows.valid() && out_columns.valid()));
  }
};

inline PackedCrossAttention<Cpu> pack(const Cpu& b, const CrossAttentionParams& p) {
  const Cpu queries = p.pixels == PixelSide::keys ? exact_backend(b) : b, keys = p.pixels == PixelSide::queries ? exact_backend(b) : b;
  PackedCrossAttention<Cpu> w{pack(queries, p.q_proj), pack(keys, p.k_proj), pack(keys, p.v_proj), pack(queries, p.out_proj), {}, {}, {}, {}, p.heads, p.name};
  if (p.pixels != PixelSide::none) w.pixels = integer_backend(b).precision;
  const Index inner = p.q_proj.weight.extent(0);
  w.absorbs = p.heads > 0 && inner > 0 && inner % p.heads == 0 && p.k_proj.weight.extent(0) == inner && p.v_proj.weight.extent(0) == inner && p.out_proj.weight.extent(1) == inner;
  if (!w.absorbs) return w;
  w.q_back = cpu::pack_heads(b, p.q_proj.weight, p.heads, cpu::HeadPart::rows_back);
  w.k_back = cpu::pack_heads(b, p.k_proj.weight, p.heads, cpu::HeadPart::rows_back);
  w.v_rows = cpu::pack_heads(b, p.v_proj.weight, p.heads, cpu::HeadPart::rows);
  w.out_columns = cpu::pack_heads(b, p.out_proj.weight, p.heads, cpu::HeadPart::columns);
  return w;
}

namespace cpu {

/// Pixels that are packed at once (144 x 256 floats twice are 288 KiB of L2; a multiple of every register tile), and pixels of one work item.
inline constexpr Index kPixelBlock = 144, kPixelChunk = 4 * kPixelBlock;

enum class AttentionForm { composed, absorb_keys, absorb_queries };

/// The form with the least FLOP for `prompts` results; ready projections cost nothing.
inline AttentionForm cheapest_form(const PackedCrossAttention<Cpu>& w, const CrossAttentionInput& in, Index prompts) {
  const double b = double(prompts), sets = double(in.k.extent(0)), nq = double(in.q.extent(1)), nk = double(in.k.extent(1)), c = double(in.q.extent(2)), ck = double(in.k.extent(2));
  const double inner = double(w.q_proj.out_features()), heads = double(w.heads);
  const double keys = in.k_ready.empty() ? 4 * sets * nk * ck * inner : 0, queries = (in.q_ready.empty() ? 4 : 2) * b * nq * c * inner;
  const double composed = keys + queries + 4 * b * nq * nk * inner;
  const double no_keys = 4 * b * nq * c * inner + 4 * b * nq * heads * nk * ck + 4 * b * nq * inner * ck;
  const double no_queries = 4 * sets * nk * ck * inner + 2 * b * nq * heads * nk * ((in.q_ready.empty() ? c : inner) + c) + 4 * sets * nk * inner * c;
  if (!w.absorbs || (composed <= no_keys && composed <= no_queries)) return AttentionForm::composed;
  return no_keys < no_queries ? AttentionForm::absorb_keys : AttentionForm::absorb_queries;
}

/// Rows [first, first + n) of batch entry `entry` of x, plus those of pe if there is one, to be packed.
inline PackRows rows_with_pe(const View<const float, 3>& x, const View<const float, 3>& pe, Index entry, Index first, Index n) {
  const auto at = [&](const View<const float, 3>& v) { return v.data() + (v.extent(0) == 1 ? 0 : entry) * v.stride(0) + first * v.stride(1); };
  PackRows r{at(x), x.stride(1), n, x.extent(2), nullptr};
  if (!pe.empty()) r.plus = at(pe), r.ld_plus = pe.stride(1);
  return r;
}

/// y [m, w.n] = x [m, w.k] W_h^T + bias; `scratch` takes product_size(m, w) floats.
inline Index product_size(const Kernels& level, Index m, const HeadWeights& w) { return (level.rows_size(m, w.k) + 15) / 16 * 16 + level.gemm_scratch(m); }
inline void head_product(const Kernels& level, const HeadWeights& w, Index h, const float* x, Index ldx, Index m, float* y, Index ldy, const float* bias, float* scratch) {
  level.pack_rows({x, ldx, m, w.k, scratch});
  Gemm g{scratch, w.head(h), m, w.n, w.k, 0, w.n, y, ldy, scratch + (level.rows_size(m, w.k) + 15) / 16 * 16};
  g.bias = bias;
  level.gemm(g);
}

/// A product whose weights come from the prompts: [n, k], packed where they stand.
struct PromptWeights {
  Products product;
  Index n, k;
  Index size() const { return (product.weights_size(n, k) + 15) / 16 * 16; }
  float levels(const float* packed) const { return product.row_levels ? product.row_levels(packed, n, k) : kFewestRowLevels; }
  void pack_rows(PackRows r, float row_levels, float* out) const {
    r.levels = row_levels, r.out = out;
    product.pack_rows(r);
  }
};
/// n filled up with zero columns that the panels of W hold anyway: whole vectors are finished in registers.
inline Index whole_vectors(const Products& product, Index n, Index k) {
  const Index up = (n + 15) / 16 * 16;
  return product.weights_size(up, k) == product.weights_size(n, k) ? up : n;
}

/// absorb_keys as three rounds of items: queries of a prompt, chunks of pixels, heads of a prompt. Pixels are the rows of the scores' product, so that nothing of the image
/// is transposed; softmax goes down the columns and turns its powers, which are few, into the rows of the second product.
struct KeyAbsorber {
  const Kernels& level;
  const PackedCrossAttention<Cpu>& w;
  const CrossAttentionInput& in;
  View<const float, 3> q;  ///< projected [b, nq, inner]
  View<float, 3> mixed;    ///< [b, nq, inner]
  Products product;        ///< of the scores
  Index sets, nk, c, cv, nq, inner, d, prompts, rows, padded, chunks, part_size;
  PromptWeights queries;   ///< row (head, query) of q_h Wk_h / sqrt(d)
  float *packed = nullptr, *parts = nullptr;

  KeyAbsorber(const Kernels& k, const PackedCrossAttention<Cpu>& weights, const CrossAttentionInput& input, const View<const float, 3>& projected, const View<float, 3>& to)
      : level(k), w(weights), in(input), q(projected), mixed(to), product(products(k, weights.pixels)), sets(in.k.extent(0)), nk(in.k.extent(1)), c(in.k.extent(2)), cv(in.v.extent(2)), nq(q.extent(1)), inner(q.extent(2)),
        d(inner / w.heads), prompts(q.extent(0)), rows(w.heads * nq), padded((rows + 15) / 16 * 16), chunks(blocks_of(nk, kPixelChunk)), part_size((rows * cv + 15) / 16 * 16 + 2 * padded),
        queries{product, whole_vectors(product, rows, c), c} {}

  /// Of one prompt and one chunk of pixels: unnormalised mixed keys [rows, cv], then the largest score and the sum of each row.
  float* part(Index prompt, Index chunk) const { return parts + (prompt * chunks + chunk) * part_size; }
  float* tops(Index prompt, Index chunk) const { return part(prompt, chunk) + part_size - 2 * padded; }
  float* weights_of(Index prompt) const { return packed + prompt * queries.size(); }

  struct Scratch {
    float *scaled, *raw, *heads, *pixels, *values, *scores, *powers, *power_rows, *alpha, *gemm;
    Index used;
    Scratch(float* base, const KeyAbsorber& a) {
      Carver first(base);
      scaled = first.take(a.nq * a.inner), raw = first.take(a.queries.n * a.c);
      heads = first.take(product_size(a.level, a.nq, a.w.k_back));
      Carver second(base);
      const Index block = smaller(kPixelBlock, a.nk), stride = a.power_stride(block), one = a.product.gemm_scratch(block), two = a.level.gemm_scratch(a.rows);
      pixels = second.take(a.product.rows_size(block, a.c)), values = second.take(a.level.weights_size(a.cv, block));
      scores = second.take(block * a.padded), powers = second.take(a.rows * stride), power_rows = second.take(a.level.row_stride(block) ? 0 : a.level.rows_size(a.rows, block));
      alpha = second.take(a.padded), gemm = second.take(one > two ? one : two);
      const Index third = 2 * ((a.nq * a.cv + 15) / 16 * 16) + product_size(a.level, a.nq, a.w.v_rows);
      used = first.used() > second.used() ? first.used() : second.used();
      used = used > third ? used : third;
    }
  };
  Index power_stride(Index n) const { return level.row_stride(n) ? level.row_stride(n) : (n + 15) / 16 * 16; }

  void absorb(Index prompt, const Scratch& s) const {
    const float scale = 1.0f / std::sqrt(float(d));
    for (Index i = 0; i < nq; ++i) level.scale(q.data() + prompt * q.stride(0) + i * q.stride(1), scale, s.scaled + i * inner, inner);
    for (Index h = 0; h < w.heads; ++h) head_product(level, w.k_back, h, s.scaled + h * d, inner, nq, s.raw + h * nq * c, c, nullptr, s.heads);
    std::memset(s.raw + rows * c, 0, std::size_t((queries.n - rows) * c) * sizeof(float));
    product.pack_weights(s.raw, c, false, queries.n, c, weights_of(prompt));
  }

  /// All queries of the prompts that share key set `set` against one chunk of its pixels.
  void attend(Index set, Index chunk, const Scratch& s) const {
    const Index end = smaller(nk, (chunk + 1) * kPixelChunk), each = sets == 1 ? prompts : 1;
    float levels = queries.levels(weights_of(set));
    for (Index j = 1; j < each; ++j) levels = std::min(levels, queries.levels(weights_of(set + j)));
    for (Index first = chunk * kPixelChunk; first < end; first += kPixelBlock) {
      const Index n = smaller(kPixelBlock, end - first);
      queries.pack_rows(rows_with_pe(in.k, in.k_pe, set, first, n), levels, s.pixels);
      level.pack_weights(in.v.data() + set * in.v.stride(0) + first * in.v.stride(1), in.v.stride(1), true, cv, n, s.values);
      for (Index j = 0; j < each; ++j) add_block(set + j, chunk, n, first > chunk * kPixelChunk, s);
    }
  }
  void add_block(Index prompt, Index chunk, Index n, bool more, const Scratch& s) const {
    float* out = part(prompt, chunk);
    float* top = tops(prompt, chunk);
    float* sum = top + padded;
    for (Index i = 0; i < padded && !more; ++i) top[i] = -3.402823466e38f, sum[i] = 0;
    product.gemm({s.pixels, weights_of(prompt), n, queries.n, c, 0, queries.n, s.scores, padded, s.gemm});
    const Index stride = power_stride(n);
    level.softmax_columns({s.scores, padded, n, rows, s.powers, stride, top, sum, s.alpha});
    if (!level.row_stride(n)) level.pack_rows({s.powers, stride, rows, n, s.power_rows});
    Gemm mix{level.row_stride(n) ? s.powers : s.power_rows, s.values, rows, cv, n, 0, cv, out, cv, s.gemm};
    if (more) {
      for (Index i = 0; i < rows; ++i) level.scale(out + i * cv, s.alpha[i], out + i * cv, cv);
      mix.residual = out, mix.ldr = cv;
    }
    level.gemm(mix);
  }

  /// Joins the chunks of one head in order, then Wv_h and its bias.
  void finish(Index prompt, Index head, float* scratch) const {
    float* joined = scratch;
    float* one = joined + (nq * cv + 15) / 16 * 16;
    for (Index i = 0; i < nq; ++i) {
      const Index r = head * nq + i;
      auto top_of = [&](Index chunk) { return tops(prompt, chunk)[r]; };
      float top = top_of(0), sum = 0;
      for (Index k = 1; k < chunks; ++k) top = top < top_of(k) ? top_of(k) : top;
      for (Index k = 0; k < chunks; ++k) sum += std::exp(top_of(k) - top) * tops(prompt, k)[padded + r];
      for (Index k = 0; k < chunks; ++k) {
        level.scale(part(prompt, k) + r * cv, std::exp(top_of(k) - top) / sum, k == 0 ? joined + i * cv : one, cv);
        if (k > 0) level.add(joined + i * cv, one, joined + i * cv, cv);
      }
    }
    head_product(level, w.v_rows, head, joined, cv, nq, mixed.data() + prompt * mixed.stride(0) + head * d, mixed.stride(1), w.v_proj.bias_at(head * d), one + (nq * cv + 15) / 16 * 16);
  }
};

/// FLOP of the definition that the calls of `linear` in an absorbed form do not count themselves.
inline Cost absorbed_cost(const View<const float, 3>& pixels, const View<const float, 3>& pe, double projections, Index b, Index nq, Index nk, Index inner) {
  const double c = double(pixels.extent(2)), adds = pe.empty() ? 0 : double(pixels.size());
  return {2 * projections * double(pixels.extent(0) * pixels.extent(1)) * c * double(inner) + 4.0 * double(b * nq) * double(nk * inner) + adds, 4 * (double(pixels.size()) + double(pe.size()) + projections * c * double(inner))};
}

inline void absorb_keys(Context<Cpu>& ctx, const PackedCrossAttention<Cpu>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual) {
  const Index b = in.q.extent(0), nq = in.q.extent(1), inner = w.q_proj.out_features();
  auto scope = ctx.arena.scope();
  const auto q = scope.make<float>(b, nq, inner), mixed = scope.make<float>(b, nq, inner);
  {
    auto inputs = ctx.arena.scope();
    linear(ctx, w.q_proj, tokens(detail::with_pe(ctx, inputs, in.q, in.q_pe)), tokens(q));
  }
  {
    auto work = ctx.arena.scope();
    KeyAbsorber job(ctx.backend.kernels(), w, in, q, mixed);
    job.packed = work.make<float>(b * job.queries.size()).data();
    job.parts = work.make<float>(b * job.chunks * job.part_size).data();
    const Slots slots(work, ctx.pool, KeyAbsorber::Scratch(nullptr, job).used);
    if (ctx.begin(absorbed_cost(in.k, in.k_pe, 2, b, nq, job.nk, inner))) {
      ctx.pool.parallel_for(b, [&](Index i, int slot) { job.absorb(i, KeyAbsorber::Scratch(slots[slot], job)); });
      // The prompts of a chunk follow one another: its positional encoding is read from memory once for all of them.
      ctx.pool.parallel_for(job.sets * job.chunks, [&](Index i, int slot) { job.attend(i % job.sets, i / job.sets, KeyAbsorber::Scratch(slots[slot], job)); });
      ctx.pool.parallel_for(b * w.heads, [&](Index i, int slot) { job.finish(i / w.heads, i % w.heads, slots[slot]); });
    }
  }
  linear(ctx, w.out_proj, tokens(View<const float, 3>(mixed)), tokens(y), {.residual = residual.empty() ? View<const float, 2>() : tokens(residual)});
}

/// absorb_queries in two rounds of items: the keys of a set, then blocks of pixels.
struct QueryAbsorber {
  const Kernels& level;
  const PackedCrossAttention<Cpu>& w;
  const CrossAttentionInput& in;
  View<const float, 3> k, v;  ///< projected [sets, nk, inner]
  Products product;  ///< over pixels
  Index sets, nk, inner, d, c, out, groups, width, columns, blocks;
  PromptWeights score, mix;
  float *score_weights = nullptr, *mix_weights = nullptr, *bias = nullptr;

  QueryAbsorber(const Kernels& kernels, const PackedCrossAttention<Cpu>& weights, const CrossAttentionInput& input, const View<const float, 3>& keys, const View<const float, 3>& values)
      : level(kernels), w(weights), in(input), k(keys), v(values), product(products(kernels, weights.pixels)), sets(k.extent(0)), nk(k.extent(1)), inner(k.extent(2)), d(inner / w.heads), c(in.q.extent(2)), out(w.out_proj.out_features()), groups(w.heads * nk),
        width(in.q_ready.empty() ? c : inner), columns(whole_vectors(product, groups, width)), blocks(blocks_of(in.q.extent(1), kRowBlock)), score{product, columns, width}, mix{product, out, groups} {}

  struct Scratch {
    float *scaled, *raw, *heads, *rows, *scores, *spread, *gemm;
    Index used;
    Scratch(float* base, const QueryAbsorber& a) {
      Carver first(base);
      scaled = first.take(a.inner), raw = first.take(a.columns * (a.width > a.out ? a.width : a.out));
      const Index p = product_size(a.level, a.nk, a.w.q_back), o = product_size(a.level, a.nk, a.w.out_columns);
      heads = first.take(p > o ? p : o);
      Carver second(base);
      const Index m = smaller(kRowBlock, a.in.q.extent(1)), x = a.product.rows_size(m, a.width), s = a.product.rows_size(m, a.groups);
      rows = second.take(x > s ? x : s);
      scores = second.take(m * a.columns), spread = second.take(a.groups), gemm = second.take(a.product.gemm_scratch(m));
      used = first.used() > second.used() ? first.used() : second.used();
    }
  };

  /// Row (token, head) of k_h Wq_h / sqrt(d), or k_h alone in its place where the queries are projected already.
  void absorb_scores(Index set, const Scratch& s) const {
    const float scale = 1.0f / std::sqrt(float(d));
    const float* keys = k.data() + set * k.stride(0);
    const float* bq = w.q_proj.bias_at(0);
    if (in.q_ready.empty()) {
      for (Index h = 0; h < w.heads; ++h) head_product(level, w.q_back, h, keys + h * d, inner, nk, s.raw + h * c, w.heads * c, nullptr, s.heads);
    } else {
      std::memset(s.raw, 0, std::size_t(groups * width) * sizeof(float));
      for (Index r = 0; r < groups; ++r) std::memcpy(s.raw + r * width + r % w.heads * d, keys + r / w.heads * inner + r % w.heads * d, std::size_t(d) * sizeof(float));
    }
    for (Index r = 0; r < groups; ++r) {
      level.scale(s.raw + r * width, scale, s.raw + r * width, width);
      float dot = 0;
      for (Index e = r % w.heads * d; bq && in.q_ready.empty() && e < r % w.heads * d + d; ++e) dot += bq[e] * keys[r / w.heads * inner + e];
      bias[set * columns + r] = dot * scale;
    }
    for (Index r = groups; r < columns; ++r) std::memset(s.raw + r * width, 0, std::size_t(width) * sizeof(float)), bias[set * columns + r] = 0;
    product.pack_weights(s.raw, width, false, columns, width, score_weights + set * score.size());
  }
  /// Row (token, head) of v_h Wo_h^T.
  void absorb_mix(Index set, const Scratch& s) const {
    for (Index h = 0; h < w.heads; ++h) head_product(level, w.out_columns, h, v.data() + set * v.stride(0) + h * d, inner, nk, s.raw + h * out, w.heads * out, nullptr, s.heads);
    product.pack_weights(s.raw, out, true, out, groups, mix_weights + set * mix.size());
  }

  /// Pixels [first, first + kRowBlock) of one prompt.
  void attend(Index prompt, Index first, const View<float, 3>& y, const View<const float, 3>& residual, const PackedNorm<Cpu>* norm, const Scratch& s) const {
    const Index m = smaller(kRowBlock, in.q.extent(1) - first), set = sets == 1 ? 0 : prompt;
    const float *wanted = score_weights + set * score.size(), *given = mix_weights + set * mix.size();
    score.pack_rows(in.q_ready.empty() ? rows_with_pe(in.q, in.q_pe, prompt, first, m) : rows_with_pe(in.q_ready, {}, prompt, first, m), score.levels(wanted), s.rows);
    Gemm g{s.rows, wanted, m, columns, width, 0, columns, s.scores, columns, s.gemm};
    g.bias = bias + set * columns;
    product.gemm(g);
    level.softmax_groups({s.scores, columns, m, groups, w.heads, s.spread});
    mix.pack_rows({s.scores, columns, m, groups, nullptr}, mix.levels(given), s.rows);
    float* to = y.data() + prompt * y.stride(0) + first * y.stride(1);
    g = {s.rows, given, m, out, groups, 0, out, to, y.stride(1), s.gemm};
    g.bias = w.out_proj.bias_at(0);
    if (!residual.empty()) g.residual = residual.data() + (residual.extent(0) == 1 ? 0 : prompt) * residual.stride(0) + first * residual.stride(1), g.ldr = residual.stride(1);
    product.gemm(g);
    if (norm) level.layer_norm({to, y.stride(1), to, y.stride(1), m, out, norm->weight.view().data(), norm->bias.view().data(), norm->eps, kPlain});
  }
};

/// y = norm(attention + residual); q, its encoding and the residual may have batch 1. y may be q or the residual where they have y's batch.
inline void absorb_queries(Context<Cpu>& ctx, const PackedCrossAttention<Cpu>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual, const PackedNorm<Cpu>* norm = nullptr) {
  const Index b = y.extent(0), nq = y.extent(1), inner = w.q_proj.out_features();
  auto scope = ctx.arena.scope();
  const auto k = scope.make<float>(in.k.extent(0), in.k.extent(1), inner), v = scope.make<float>(in.k.extent(0), in.k.extent(1), inner);
  {
    auto inputs = ctx.arena.scope();
    linear(ctx, w.k_proj, tokens(detail::with_pe(ctx, inputs, in.k, in.k_pe)), tokens(k));
  }
  linear(ctx, w.v_proj, tokens(in.v), tokens(v));
  QueryAbsorber job(ctx.backend.kernels(), w, in, k, v);
  job.score_weights = scope.make<float>(job.sets * job.score.size()).data();
  job.mix_weights = scope.make<float>(job.sets * job.mix.size()).data();
  job.bias = scope.make<float>(job.sets * job.columns).data();
  const Slots slots(scope, ctx.pool, QueryAbsorber::Scratch(nullptr, job).used);
  Cost cost = absorbed_cost(in.q, in.q_ready.empty() ? in.q_pe : View<const float, 3>(), in.q_ready.empty() ? 1 : 0, b, nq, job.nk, inner);
  cost.flop += 2.0 * double(b * nq) * double(inner) * double(job.out) + (norm ? 8.0 * double(y.size()) : 0);
  cost.bytes += 4.0 * double(y.size());
  if (!ctx.begin(cost)) return;
  ctx.pool.parallel_for(2 * job.sets, [&](Index i, int slot) {
    const QueryAbsorber::Scratch s(slots[slot], job);
    i % 2 == 0 ? job.absorb_scores(i / 2, s) : job.absorb_mix(i / 2, s);
  });
  ctx.pool.parallel_for(b * job.blocks, [&](Index i, int slot) { job.attend(i % b, i / b * kRowBlock, y, residual, norm, QueryAbsorber::Scratch(slots[slot], job)); });
}

}  // namespace cpu
}  // namespace sampan::inline SAMPAN_ABI
