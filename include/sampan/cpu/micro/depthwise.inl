// Depthwise convolution of neighbouring pixels of one output row. Included inside the namespace of one level, after vmath.inl.
// Data flow: cpu/depthwise.hpp, cpu/mbconv.hpp through the level's table -> here.
// Inner pixels of a 3x3 kernel keep one vector of channels' nine weights in registers and walk over the pixels; borders and other kernels take the tap loop.
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

SAMPAN_KERNEL_INLINE void depthwise_pixel(const DepthwiseRow& p, Index pixel) {
  float* y = p.y + pixel * p.y_stride;
  for (Index c = 0; c < p.c; c += kLanes) {
    const Index n = p.c - c < kLanes ? p.c - c : kLanes;
    const Vec v = activate(depthwise_taps(p, p.x0 + pixel * p.stride, c, n), p.activation);
    if (n == kLanes) {
      store(y + c, v);
    } else {
      store_part(y + c, v, n);
    }
  }
}

/// 3x3, all nine taps inside, pixels [begin, end).
SAMPAN_KERNEL_INLINE void depthwise_3x3(const DepthwiseRow& p, Index begin, Index end) {
  const Index step = p.x_stride;
  for (Index c = 0; c + kLanes <= p.c; c += kLanes) {
    const float* w = p.w + c;
    const Vec w00 = load(w), w01 = load(w + p.c), w02 = load(w + 2 * p.c), w10 = load(w + 3 * p.c), w11 = load(w + 4 * p.c), w12 = load(w + 5 * p.c);
    const Vec w20 = load(w + 6 * p.c), w21 = load(w + 7 * p.c), w22 = load(w + 8 * p.c), bias = load(p.bias + c);
    const float* r0 = p.rows[0] + c;
    const float* r1 = p.rows[1] + c;
    const float* r2 = p.rows[2] + c;
    for (Index i = begin; i < end; ++i) {
      const Index at = (p.x0 + i * p.stride) * step;
      Vec s = bias + load(r0 + at) * w00;
      s += load(r0 + at + step) * w01;
      s += load(r0 + at + 2 * step) * w02;
      s += load(r1 + at) * w10;
      s += load(r1 + at + step) * w11;
      s += load(r1 + at + 2 * step) * w12;
      s += load(r2 + at) * w20;
      s += load(r2 + at + step) * w21;
      s += load(r2 + at + 2 * step) * w22;
      store(p.y + i * p.y_stride + c, activate(s, p.activation));
    }
  }
  if (const Index c = p.c / kLanes * kLanes; c < p.c)
    for (Index i = begin; i < end; ++i) store_part(p.y + i * p.y_stride + c, activate(depthwise_taps(p, p.x0 + i * p.stride, c, p.c - c), p.activation), p.c - c);
}

inline void depthwise_row(const DepthwiseRow& p) {
  Index i = 0;
  if (p.kh == 3 && p.kw == 3 && p.rows[0] && p.rows[1] && p.rows[2]) {
    for (; i < p.count && p.x0 + i * p.stride < p.x_begin; ++i) depthwise_pixel(p, i);
    Index end = i;
    while (end < p.count && p.x0 + end * p.stride + 3 <= p.x_end) ++end;
    constexpr Index kStrip = 8;  // 3 rows x 10 pixels x 256 channels are 30 KiB: the strip's input stays in L1 over all channels
    for (; i < end; i += kStrip) depthwise_3x3(p, i, i + kStrip < end ? i + kStrip : end);
    i = end;
  }
  for (; i < p.count; ++i) depthwise_pixel(p, i);
}
