// What each kernel is told: plain structs, no CUDA syntax. Data flow: include/sampan/cuda (launchers' callers) and tests/emu fill them; kernels/*.cuh read them.
// Pointers are device memory. Sizes count elements; rows are tokens in raster order. Element types: f32, f16, bf16 as the launcher's argument says; statistics,
// bias terms and sums are float.
#pragma once
#include <sampan/core/config.hpp>

#include <cstdint>

namespace sampan::inline SAMPAN_ABI::kernels {

/// y [rows, channels] = (x - mean) / sqrt(variance + eps) * gamma + beta, per row. channels <= 4096.
struct LayerNormParams {
  const float* x;
  void* y;
  const float *gamma, *beta;
  int rows, channels;
  float eps;
  long long x_stride, y_stride;  ///< elements between rows
};

/// gelu is exact: x (1 + erf(x / sqrt 2)) / 2; relu keeps NaN.
enum class Activate { none, relu, gelu };

/// y = activate(x + bias) + factor * residual on rows of `channels`; rows are `stride` elements apart. Row i of y meets row i mod x_rows of x and row i mod
/// residual_rows of the residual. Null pointers leave a term out.
struct FinishParams {
  const float* x;
  long long x_rows, x_stride;
  const float* bias;  ///< [channels]
  const float* residual;  ///< may be y if y is float
  long long residual_rows, residual_stride;
  float factor;
  void* y;
  long long rows, y_stride;
  int channels;
  Activate activate;
};

/// A transposed convolution behind its matrix product: columns [height * width, kernel * kernel, channels] -> y [height * stride, width * stride, channels]
/// = activate(bias + sum of the taps that fall on a pixel). Tap (ky, kx) of input (iy, ix) falls on (iy * stride + ky - pad, ix * stride + kx - pad).
struct ScatterParams {
  const float* columns;
  const float* bias;  ///< [channels], or null
  float* y;
  int height, width, channels, kernel, stride, pad;
  Activate activate;
};

/// mean [channels] of the rows of x; and y = x * sigmoid(gate [channels]).
struct GateParams {
  const float* x;
  const float* gate;
  float *mean, *y;  ///< of the kernel that is launched, one is used
  int rows, channels;
};

/// Map [height, width, channels] <-> windows [windows, window * window, channels], padded below and to the right with `pad` [channels], or zeros if that is null.
struct WindowParams {
  const void* x;
  void* y;
  int height, width, channels, window;
  const void* pad = nullptr;
};

/// Attention of one image: qkv [height * width, 3 * heads * head_dim] -> out [height * width, heads * head_dim].
/// window 0: every token attends to every token. Else windows of window x window tokens from the top left; tokens of the padding are keys and values of zeros
/// (identity 1 of architecture.md: the caller has folded their real value away).
/// score(q, k) = scale q.k + row[q, ky] + column[q, kx], in the definition; row = q . rel_h[qy - ky + n - 1] and column = q . rel_w[qx - kx + n - 1].
struct AttentionParams {
  const void* qkv;
  void* out;
  int height, width, heads, head_dim, window;
  float scale;
  const float *rel_h, *rel_w;  ///< [2 n - 1, head_dim], n = window or the grid's side; null: no positions
  const float* bias;           ///< [heads, n * n, n * n] of one window (TinyViT's table, spread out); null: none
  const float* table = nullptr;  ///< the same as it is stored, [heads, n * n] by distance |dy| * n + |dx|; null: none
  int images = 1;                ///< maps one below the other in qkv and out
};

/// The decomposed position terms in units of log2: row [images, heads, tokens, n], column [images, heads, tokens, n] (see AttentionParams).
struct RelPosParams {
  const void* qkv;
  int height, width, heads, head_dim, window;
  const float *rel_h, *rel_w;
  float *row, *column;
  int images = 1;
};

/// Global attention on tensor cores with the terms of RelPosParams.
struct AttentionGlobalParams {
  const void* qkv;
  void* out;
  int height, width, heads;
  float scale;
  const float *row, *column;  ///< null: no positions
  int images = 1;  ///< the launcher's: a kernel sees one
};

/// Windowed attention on tensor cores. Positions: the terms of RelPosParams, or a table `bias` [heads, n * n, n * n] in the definition's units; null: none.
struct AttentionWindowParams {
  const void* qkv;
  void* out;
  int height, width, heads;
  float scale;
  const float *row, *column;
  const float* bias;
  int images = 1;
};

/// image [height, width, 3] float -> rows [tokens, 3 * patch * patch], in the order of PyTorch's weight [out, channel, y, x]. Sides are multiples of patch.
struct PatchParams {
  const float* image;
  void* rows;
  int height, width, patch;
};

/// Depthwise 3x3 with padding 1 on a map [height, width, channels]; weights [9, channels] and bias [channels] with BatchNorm folded in, then the activation.
struct DepthwiseParams {
  const void* x;
  void* y;  ///< [(height - 1) / stride + 1, (width - 1) / stride + 1, channels]
  const float *weights, *bias;
  int height, width, channels, stride;
  Activate activate;
};

/// Attention between a few tokens and many pixels (the decoder's): q [queries, heads * head_dim], k and v [keys, heads * head_dim] -> out [queries, heads * head_dim].
/// A batch of prompts: those of the next one lie so many elements further; 0 where all share them.
struct CrossAttentionParams {
  const void *q, *k, *v;
  void* out;
  int queries, keys, heads, head_dim;
  float scale;
  int batch = 1;
  long long q_batch = 0, k_batch = 0, v_batch = 0, out_batch = 0;
};

/// masks [count, pixels] = hyper [count, channels] times features [pixels, channels], in float.
struct MaskHeadParams {
  const void* features;
  const float* hyper;
  float* masks;
  int pixels, channels, count;
};

/// Bilinear, align_corners = False, of a plane [height, width] whose rows are `stride` floats apart (a crop of a larger one) to [out_height, out_width].
struct ResizeParams {
  const float* in;
  int height, width, stride;
  float* out;             ///< null: only the mask is wanted
  std::uint8_t* mask;     ///< 1 where the value exceeds the threshold; null: only the values are wanted
  int out_height, out_width;
  float threshold;
};

/// One pass of Pillow's 8-bit resize on RGB bytes, across (columns change) or down (rows change): clip((2^21 + sum of weights in) >> 22).
struct PillowParams {
  const std::uint8_t* in;  ///< [height, width, 3]
  std::uint8_t* out;       ///< across: [height, size, 3]; down: [size, width, 3]
  int height, width, size;
  bool across;
  const std::int32_t *first, *count;  ///< [size]
  const std::int32_t* weights;        ///< [size, taps]
  int taps;
};

/// Resizes of RGB bytes [height, width, 3] to [out_height, out_width, 3] by tables that the host made. Nearest: out(y, x) = in(row[y], column[x]).
struct GatherParams {
  const std::uint8_t* in;
  std::uint8_t* out;
  int width, out_height, out_width;
  const std::int32_t *row, *column;
};

/// Taps of an area sum along one axis: output o weighs inputs from[o], from[o] + 1, ... with weight[begin[o]] to weight[begin[o + 1] - 1].
struct AreaAxis {
  const std::int32_t *begin, *from;
  const float* weight;
};
/// OpenCV's area sums in float, rounded to even: across first, then down.
struct AreaSumParams {
  const std::uint8_t* in;
  std::uint8_t* out;
  int width, out_height, out_width;
  AreaAxis rows, columns;
};
/// OpenCV's area means of whole blocks: block_height x block_width bytes; `quarter`: 2 x 2, in integers.
struct AreaBlockParams {
  const std::uint8_t* in;
  std::uint8_t* out;
  int width, out_height, out_width, block_height, block_width;
  bool quarter;
};
/// OpenCV's bilinear in 11 bits: each axis has {from, next, weight of from, weight of next} per output.
struct AreaLinearParams {
  const std::uint8_t* in;
  std::uint8_t* out;
  int width, out_height, out_width;
  const std::int32_t *rows, *columns;
};

/// One step of scikit-image's cubic resize on lines: values [outer, n, inner], lines along the middle axis. What of it a kernel reads, its file says.
struct CubicParams {
  const void* in;  ///< [outer, n, inner], bytes or doubles
  void* out;       ///< doubles, or bytes of the last step
  int outer, n, inner;
  const double* gauss;  ///< [radius + 1], the centre first
  int radius;
  double pole, pole_n;  ///< z, and z^(n - 1)
  int size;                      ///< outputs of a line
  const std::int32_t* position;  ///< [size] of the first tap, mirrored where it is outside
  const double* weight;          ///< [size, 4]
  const float* range;            ///< least and largest byte of the image: what the result is clipped to
};

/// The least and the largest of n bytes: each of `blocks` blocks writes its pair to partial [blocks, 2].
struct ByteRangeParams {
  const std::uint8_t* in;
  long long n;
  float* partial;
  int blocks;
};
/// From these pairs: range [2], and table [3, 256]: (value - least) / max(largest - least, 1e-8), in double.
struct RangeTableParams {
  const float* partial;
  int blocks;
  float *range, *table;
};

/// RGB bytes [height, width, 3] -> table[channel][value] as float [side, side, 3], at row `top` and column `left`, zero around.
struct MapBytesParams {
  const std::uint8_t* in;
  float* out;
  int height, width, side, top, left;
  const float* table;  ///< [3, 256]
};

/// y = 1 / (1 + exp(-x)).
struct SigmoidParams {
  const float* x;
  float* y;
  long long n;
};

/// Planes [height, width], rows `stride` and planes `plane` floats apart, bilinearly to [out_height, out_width] as ResizeParams; what comes back are bytes, 1 where the value
/// exceeds limits[0], and of each row {pixels above limits[0], above limits[1], above limits[2], first and last column of the mask}.
struct MaskRowsParams {
  const float* in;
  int planes, height, width, stride;
  long long plane;
  int out_height, out_width;
  std::uint8_t* mask;    ///< [planes, out_height, out_width]
  std::int32_t* counts;  ///< [planes, out_height, 5]
  const float* limits;   ///< threshold, inner, outer, least score
  const float* score;    ///< [planes]; a plane whose score is at most limits[3] is left out, nothing of it is written
};

}  // namespace sampan::inline SAMPAN_ABI::kernels
