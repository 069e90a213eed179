// Depthwise convolution of neighbouring pixels of one output row. Included inside the namespace of one level, after activate.inl; the level defines
// kStrip (pixels at once: kStrip sums, 3 weights and one input fit its registers).
// Data flow: cpu/depthwise.hpp, cpu/mbconv.hpp through the level's table -> here.
// Inner pixels of a 3x3 kernel go by strips of kStrip: an input is loaded once per kernel row and feeds up to three sums, which end in registers, activation included.
// Channels are the inner loop, so that a strip reads and writes whole lines of memory in order. Borders and other kernels take the tap loop.
// Cost per output: 9 FMA and (kStrip + 5) * 3 / kStrip loads. Every sum is bias + taps in the order (ky, kx), wherever the pixel lies in a strip.
// Source: torch.nn.Conv2d(groups=c); BatchNorm was folded into w and bias at pack.

/// Any kernel, any border: `n` <= kLanes channels from `c0` of one pixel whose first tap is input column x0.
SAMPAN_KERNEL_INLINE Vec depthwise_taps(const DepthwiseRow& p, Index x0, Index c0, Index n) {
  Vec sum = n == kLanes ? load(p.bias + c0) : load_part(p.bias + c0, n);
  for (Index ky = 0; ky < p.kh; ++ky) {
    if (!p.rows[ky]) continue;
    for (Index kx = 0; kx < p.kw; ++kx) {
      const Index x = x0 + kx;
      if (x < p.x_begin || x >= p.x_end) continue;
      const float* in = p.rows[ky] + x * p.x_stride + c0;
      const float* w = p.w + (ky * p.kw + kx) * p.c + c0;
      sum += n == kLanes ? load(in) * load(w) : load_part(in, n) * load_part(w, n);
    }
  }
  return sum;
}

SAMPAN_KERNEL_INLINE void depthwise_pixel(const DepthwiseRow& p, Index pixel, Index c) {
  float* y = p.y + pixel * p.y_stride;
  for (; c < p.c; c += kLanes) {
    const Index n = p.c - c < kLanes ? p.c - c : kLanes;
    const Vec v = activate(depthwise_taps(p, p.x0 + pixel * p.stride, c, n), p.activation);
    if (n == kLanes) {
      store(y + c, v);
    } else {
      store_part(y + c, v, n);
    }
  }
}

/// 3x3, taps inside: kLanes channels from c of `P` pixels from `pixel` on. `S` is the stride (any stride if P is 1).
template <int P, int S>
SAMPAN_KERNEL_INLINE void depthwise_strip(const DepthwiseRow& p, Index pixel, Index c) {
  Vec sum[P];
  const Vec bias = load(p.bias + c);
  SAMPAN_UNROLL
  for (int i = 0; i < P; ++i) sum[i] = bias;
  const Index at = (p.x0 + pixel * p.stride) * p.x_stride + c;
  for (Index ky = 0; ky < 3; ++ky) {
    if (!p.rows[ky]) continue;
    const float* in = p.rows[ky] + at;
    const float* w = p.w + 3 * ky * p.c + c;
    const Vec w0 = load(w), w1 = load(w + p.c), w2 = load(w + 2 * p.c);
    SAMPAN_UNROLL
    for (int x = 0; x < (P - 1) * S + 3; ++x) {
      const Vec v = load(in + x * p.x_stride);
      if (x % S == 0 && x / S < P) sum[x / S] += v * w0;
      if (x >= 1 && (x - 1) % S == 0 && (x - 1) / S < P) sum[(x - 1) / S] += v * w1;
      if (x >= 2 && (x - 2) % S == 0) sum[(x - 2) / S] += v * w2;
    }
  }
  activate(sum, p.activation);
  SAMPAN_UNROLL
  for (int i = 0; i < P; ++i) store(p.y + (pixel + i) * p.y_stride + c, sum[i]);
}

/// Pixels from `begin` on, as many whole strips as fit below `end`; the first pixel that is left.
template <int P, int S>
SAMPAN_KERNEL_INLINE Index depthwise_strips(const DepthwiseRow& p, Index begin, Index end) {
  for (; begin + P <= end; begin += P) {
    for (Index c = 0; c + kLanes <= p.c; c += kLanes) {
      if (P > 1 && p.next_x && c % 16 == 0) {  // once per line of memory; the next row's input and output are on their way while this one is computed
        const Index x = p.x0 + begin * p.stride;
        SAMPAN_UNROLL
        for (int i = 0; i < P; ++i) {
          __builtin_prefetch(p.next_x + (x + i) * p.x_stride + c, 0, 2);
          __builtin_prefetch(p.next_y + (begin + i) * p.y_stride + c, 1, 2);
        }
      }
      depthwise_strip<P, S>(p, begin, c);
    }
    if (p.c % kLanes)
      for (int i = 0; i < P; ++i) depthwise_pixel(p, begin + i, p.c / kLanes * kLanes);
  }
  return begin;
}

inline void depthwise_row(const DepthwiseRow& p) {
  Index i = 0;
  if (p.kh == 3 && p.kw == 3) {
    for (; i < p.count && p.x0 + i * p.stride < p.x_begin; ++i) depthwise_pixel(p, i, 0);
    Index end = i;
    while (end < p.count && p.x0 + end * p.stride + 3 <= p.x_end) ++end;
    if (p.stride == 1) i = depthwise_strips<kStrip, 1>(p, i, end);
    if (p.stride == 2) i = depthwise_strips<kStrip, 2>(p, i, end);
    i = depthwise_strips<1, 1>(p, i, end);
  }
  for (; i < p.count; ++i) depthwise_pixel(p, i, 0);
}
