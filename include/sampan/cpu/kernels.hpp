// Kernels: the table of tile arithmetic that one instruction-set level offers. Everything above it (cutting, threads, scratch, epilogue choice) is common.
// Data flow: cpu/gemm.hpp, attention.hpp, conv.hpp, ... -> ctx.backend.kernels() -> cpu/scalar.hpp or cpu/x86/*.hpp.
// Units: all sizes count floats or elements; m rows (tokens, pixels), n output columns, k input columns.
// A kernel works on one thread's tile, takes plain pointers, allocates nothing, touches nothing outside the sizes it is given, and keeps NaN.
// Deliberately absent: threads, views, error handling; arguments were checked by the op.
#pragma once
#include <sampan/core/precision.hpp>
#include <sampan/ops/params.hpp>
#include <sampan/ops/pixel_kernels.hpp>

namespace sampan::inline SAMPAN_ABI::cpu {

/// Rows of one GEMM work item: a multiple of every level's register tile (4, 6, 8, 12 rows); with k = 768 the packed rows (288 KiB) stay in L2.
inline constexpr Index kRowBlock = 96;
/// Columns may be cut at multiples of this: a multiple of every level's panel (12, 16, 48, 64 columns).
inline constexpr Index kColumnBlock = 192;
/// Keys per step of attention: 64 x 256 scores are 64 KiB.
inline constexpr Index kKeyBlock = 256;

/// Activation as the kernels take it.
inline constexpr int kPlain = 0, kRelu = 1, kGelu = 2, kGeluTanh = 3, kGeluShort = 4;
constexpr int kernel_activation(Activation a) { return a == Activation::relu ? kRelu : a == Activation::gelu_erf ? kGelu : a == Activation::gelu_tanh ? kGeluTanh : kPlain; }
/// The activation of a hidden layer that a product of precision `next` takes in: before its rounding to whole numbers, 7.7e-6 are exact enough (micro/gelu_short.inl).
constexpr int hidden_activation(Activation a, Precision next) { return a == Activation::gelu_erf && next == Precision::fast ? kGeluShort : kernel_activation(a); }

/// Of a row in `fast`, whatever it is multiplied with.
inline constexpr float kFewestRowLevels = 4095;

/// x [m, k] -> the level's row format; with gamma, LayerNorm on the way; with `plus` (never both), x + plus.
struct PackRows {
  const float* x;
  Index ldx, m, k;
  float* out;  ///< rows_size(m, k) floats, 64-byte aligned
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float eps = 0;
  float levels = kFewestRowLevels;  ///< `fast`: PackedMatrix::row_levels of the weights that follow
  const float* plus = nullptr;
  Index ld_plus = 0;
};

/// Columns of a product that become keys of attention: stored as pack_keys would store them, so that no pass over K follows. For levels with keys_from_products.
struct KeyColumns {
  Index begin, end;  ///< columns of W; column begin + h d + i is channel i of head h
  Index d;
  Index keys;        ///< of all blocks: the rows of the whole product
  float* panels;     ///< of head 0, block 0
  Index head_step, block_step;  ///< floats from a head, and from kKeyBlock keys, to the next
};

/// y [m, columns n0 .. n0 + count of W] = act(x W^T + bias) + residual. n0 is a multiple of kColumnBlock; so is count unless it reaches n.
struct Gemm {
  const float* x;  ///< packed rows
  const float* w;  ///< packed weights [n, k]
  Index m, n, k, n0, count;
  float* y;  ///< at column n0
  Index ldy;
  float* scratch;                  ///< gemm_scratch(m) floats
  const float* bias = nullptr;     ///< [count], at column n0; may be null
  const float* residual = nullptr; ///< [m, count], at column n0; may be y; may be null
  Index ldr = 0;
  int activation = kPlain;
  const KeyColumns* keys = nullptr;  ///< these columns go there, the others side by side to y, which then is at column 0; plain products in f32 only
  Index first_key = 0;               ///< of row 0
};

struct NormRows {
  const float* x;
  Index ldx;
  float* y;  ///< may be x
  Index ldy, m, c;
  const float* gamma;
  const float* beta;
  float eps;
  int activation;
};

/// Neighbouring keys (ky, kx ..) of a block of scores, from column `at` on.
struct BiasRun {
  Index ky, kx, at, n;
};

/// scores[i][at + j] = b[i][ky * b_stride + kx + j] + a[i][ky] for every run.
struct BiasTile {
  float* scores;
  Index ld, m;
  const BiasRun* runs;
  Index run_count;
  const float* const* a;  ///< [m]; null: nothing
  const float* const* b;  ///< [m]
  Index b_stride;
};

/// Rows of one head in the order of its keys or queries.
struct HeadRows {
  const float* const* rows;  ///< [count], d floats each
  Index count, d;
  const float* shift;  ///< [d], added to each row; may be null
};

/// Distance of the rows of scores: a block, and one vector that may be written too much.
inline constexpr Index kScoreRow = kKeyBlock + 16;
/// Rows of scores that AttendBlock needs: the largest register tile.
inline constexpr Index kScoreRows = 8;

/// Queries of one head against one block of keys: out = alpha out + 2^(q K^T + bias - top) V, top and sum as in SoftmaxBlock, in units of log2.
/// Bias of query i and the j-th key of a run: b[i][ky * b_stride + kx + j] + a[i][ky]; up to 15 floats behind a run of b are read as well.
struct AttendBlock {
  const float* q;  ///< [m, d]; packed rows in 16-bit precisions
  Index q_row;     ///< floats from one row to the next
  Index m, d;
  const float* k;  ///< panels of K [n, d]
  const float* v;  ///< panels of V^T [d, n]
  Index n;         ///< <= kKeyBlock
  const BiasRun* runs;
  Index run_count;
  const float* const* a;  ///< [m]; null: nothing
  const float* const* b;  ///< [m]; null: no bias
  Index b_stride;
  const float* table;  ///< [m, table_row]: the bias of every pair instead of runs, readable for whole vectors; null: see b
  Index table_row;
  bool first;  ///< out holds nothing yet
  float* out;  ///< [m, d]
  float* top;
  float* sum;
  float* scores;  ///< kScoreRows * kScoreRow floats
};

/// One step of online softmax over a block of scores, per row: top' = max(top, scores), alpha = e^(top - top'), scores = e^(scores - top'), sum = sum alpha + scores.
struct SoftmaxBlock {
  float* scores;
  Index ld, m, n;
  float* top;
  float* sum;
  float* alpha;
};

/// Softmax of interleaved groups, per row: entry (t, h) is scores[t * groups + h], and each h is normalised over its t.
struct SoftmaxGroups {
  float* scores;
  Index ld, m, n;  ///< n = entries * groups
  Index groups;
  float* scratch;  ///< [n]
};

/// One step of online softmax over n rows of scores whose columns are the queries, as SoftmaxBlock says per query; the powers end as rows of queries: out[j * ldo + i] for
/// query j < m and row i. Scores, top, sum and alpha are readable and writable up to whole vectors of 16 queries.
struct SoftmaxColumns {
  float* scores;
  Index ld, n, m;
  float* out;
  Index ldo;
  float* top;
  float* sum;
  float* alpha;
};

/// y[k * ldy + i] = x[i] w[k] for rows of c elements: many x (n), few w (m).
struct DotRows {
  const float* x;
  Index ldx, n, c;
  const float* w;
  Index ldw, m;
  float* y;
  Index ldy;
};

/// `count` neighbouring pixels of one output row of a depthwise convolution.
struct DepthwiseRow {
  const float* const* rows;  ///< [kh] start of each input row (column 0 of the map); null: outside, counts as zeros
  Index x_stride;            ///< floats between input pixels
  Index x_begin, x_end;      ///< input columns that exist; the others count as zeros
  Index x0;                  ///< input column of tap 0 of the first output pixel; may lie outside
  Index kh, kw, stride, c, count;
  const float* w;     ///< [kh * kw, c]
  const float* bias;  ///< [c]
  float* y;
  Index y_stride;
  int activation;
  const float* next_x;  ///< the input row that the next call reads first, to be prefetched; null: nothing is
  float* next_y;        ///< and its output row
};

/// `count` neighbouring pixels of one output row of a convolution: y [count, n] = act(bias + sum over ky of rows[ky] + i * step, `run` floats, times W).
struct DirectConv {
  const float* const* rows;  ///< [kh] the run of the first pixel; null: counts as zeros
  Index kh, run, step;       ///< run: kw * in floats side by side; step: from a pixel to the next one
  const float* w;            ///< packed weights [n, kh * run]
  Index n, count;
  const float* bias;  ///< [n]
  float* y;
  Index y_stride;
  int activation;
};

/// One of the four lines of positions that a Winograd convolution multiplies, of `count` tiles: from two lines of the 4 x 4 pixels under each.
struct WinogradRows {
  const float* const* pixels;  ///< [count][2][4], c floats each
  Index count, c;
  bool minus;  ///< the second line is subtracted, else added
  float* v;    ///< [4][count][c]
  Index ld, step;  ///< floats from a tile, and from a position, to the next
};

/// What the products of these positions add to the outputs of each tile; the last line that an output needs brings bias and activation.
struct WinogradSums {
  const float* m;  ///< [4][count][n]
  Index ld, step, count, n;
  int line;         ///< 0 to 3, in this order
  float* const* y;  ///< [count][2][2], n floats each
  const float* bias;
  int activation;
};

/// Matrix products of one precision. Packed rows and weights are opaque to the callers; sizes count floats.
struct Products {
  Index (*weights_size)(Index n, Index k);
  void (*pack_weights)(const float* w, Index ld, bool transposed, Index n, Index k, float* out);
  Index (*rows_size)(Index m, Index k);
  void (*pack_rows)(const PackRows&);
  Index (*gemm_scratch)(Index m);
  void (*gemm)(const Gemm&);
  float (*row_levels)(const float* packed_weights, Index n, Index k) = nullptr;  ///< of `fast`: PackRows::levels
};

/// Attention of one precision: panels of keys and values of n keys with d channels, and the step over one block of them.
struct AttendProducts {
  Index (*keys_size)(Index n, Index d);
  void (*pack_keys)(const HeadRows&, float* panels);
  Index (*values_size)(Index n, Index d);
  void (*pack_values)(const HeadRows&, float* panels);
  void (*attend)(const AttendBlock&);
};

struct Kernels {
  const char* name;
  Index (*weights_size)(Index n, Index k);
  /// W [n, k] with row stride ld, or with `transposed` W^T [k, n] with row stride ld.
  void (*pack_weights)(const float* w, Index ld, bool transposed, Index n, Index k, float* out);
  Index (*rows_size)(Index m, Index k);
  void (*pack_rows)(const PackRows&);
  Index (*gemm_scratch)(Index m);
  void (*gemm)(const Gemm&);
  void (*layer_norm)(const NormRows&);
  void (*activate)(int activation, const float* x, float* y, Index n);
  void (*add)(const float* a, const float* b, float* y, Index n);
  void (*scale)(const float* x, float factor, float* y, Index n);
  void (*bias)(const BiasTile&);
  void (*softmax)(const SoftmaxBlock&);
  void (*depthwise)(const DepthwiseRow&);
  Index (*row_stride)(Index k);            ///< rows at this distance are in the level's row format (f32) as they are; 0: only pack_rows makes it
  void (*direct_conv)(const DirectConv&);  ///< null: the level has none
  void (*winograd_rows)(const WinogradRows&);
  void (*winograd_sums)(const WinogradSums&);
  void (*softmax_groups)(const SoftmaxGroups&);
  void (*softmax_columns)(const SoftmaxColumns&);
  void (*dot_rows)(const DotRows&);
  void (*gather_rows)(const HeadRows&, float factor, float* out);
  void (*attend_pads)(const AttendBlock&);  ///< keys without panels: only top and sum change
  void (*attend_finish)(const AttendBlock&, const float* plus, float* const* to);  ///< to[i] = out / sum + plus
  AttendProducts attend;
  Products fast;  ///< int16, the same bits on every level
  AttendProducts fast_attend;
  Products bf16;  ///< null where the level has no such instruction
  AttendProducts bf16_attend;
  const PixelKernels* pixels;
  bool keys_from_products = false;  ///< gemm knows Gemm::keys

  Products f32() const { return {weights_size, pack_weights, rows_size, pack_rows, gemm_scratch, gemm}; }
  constexpr Kernels with_fast(const char* level, const Products& p, const AttendProducts& a) const {
    Kernels k = *this;
    k.name = level, k.fast = p, k.fast_attend = a;
    return k;
  }
  constexpr Kernels with_bf16(const char* level, const Products& p, const AttendProducts& a) const {
    Kernels k = *this;
    k.name = level, k.bf16 = p, k.bf16_attend = a;
    return k;
  }
};

}  // namespace sampan::inline SAMPAN_ABI::cpu
