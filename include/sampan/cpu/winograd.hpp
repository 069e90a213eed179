// conv2d with a 3x3 kernel, stride 1, pad 1 on Cpu, as Winograd's F(2x2, 3x3): 16 products for each tile of 2 x 2 outputs instead of 36, and no copies of patches.
// Data flow: cpu/conv.hpp (layers too wide for the direct kernel) -> here -> the level's pack_rows and gemm, and the sums of micro/winograd.inl around them.
//   V = B^T d B of the 4 x 4 pixels d under a tile, U = G g G^T (in double, when packed), M = sum over channels of U V: a product [tiles, in] x [in, out] for each of the
//   16 positions; Y = A^T M A.   B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1], G = [1 0 0; .5 .5 .5; .5 -.5 .5; 0 0 1], A^T = [1 1 1 0; 0 1 -1 -1].
// Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016).   Weights take 16/9 of the memory of the plain form.
// Work cut: blocks of tiles, borders by shape only. Positions go line by line, so that rows and results of four of them are alive (400 KiB with 256 channels, for half an
// L2); sums wait in y itself. 96 tiles are as fast, but leave 11 items of a 64 x 64 map; from 144 on and below 36 it gets slower.
// A pixel that is not finite reaches every output of the tiles whose patch holds it: those of its window, and up to one more line and column around.
#pragma once
#include <sampan/cpu/pack.hpp>
#include <sampan/ops/conv2d.hpp>

#include <array>
#include <cstring>

namespace sampan::inline SAMPAN_ABI::cpu {

inline constexpr Index kWinogradTiles = 48;  ///< of a work item at most: a multiple of every register tile

/// Weights of the 16 positions, [out, in] each.
struct WinogradWeights {
  std::array<PackedMatrix, 16> at;
  bool valid() const {
    for (const PackedMatrix& m : at)
      if (!m.valid() || m.k == 0) return false;
    return true;
  }
  bool present() const { return at[0].k > 0; }
};

/// U of one filter from g [3][3].
inline void transform_filter(const double (&g)[3][3], double (&u)[4][4]) {
  double half[4][3];
  for (int x = 0; x < 3; ++x) half[0][x] = g[0][x], half[1][x] = (g[0][x] + g[1][x] + g[2][x]) / 2, half[2][x] = (g[0][x] - g[1][x] + g[2][x]) / 2, half[3][x] = g[2][x];
  for (int y = 0; y < 4; ++y) {
    const double* h = half[y];
    u[y][0] = h[0], u[y][1] = (h[0] + h[1] + h[2]) / 2, u[y][2] = (h[0] - h[1] + h[2]) / 2, u[y][3] = h[2];
  }
}

/// weight [out, in, 3, 3] with BatchNorm folded.
inline WinogradWeights pack_winograd(const Cpu& b, const ConvParams& p, Precision precision) {
  const Index out = p.weight.extent(0), in = p.weight.extent(1);
  WinogradWeights w;
  Tensor<float, 3, Cpu> u({16, out, in});
  if (!u.valid()) return w;
  for (Index o = 0; o < out; ++o) {
    const double factor = detail::fold_batch_norm(p, o).factor;
    for (Index c = 0; c < in; ++c) {
      double g[3][3], all[4][4];
      for (Index t = 0; t < 9; ++t) g[t / 3][t % 3] = double(p.weight(o, c, t / 3, t % 3)) * factor;
      transform_filter(g, all);
      for (Index i = 0; i < 16; ++i) u.view()(i, o, c) = float(all[i / 4][i % 4]);
    }
  }
  for (Index i = 0; i < 16; ++i) w.at[std::size_t(i)] = pack_matrix(b, u.view()[i], precision);
  return w;
}

/// One convolution of checked arguments: what its work items need.
class WinogradJob {
 public:
  WinogradJob(const Kernels& level, const WinogradWeights& w, const float* bias, const View<const float, 3>& x, const View<float, 3>& y, int activation)
      : level_(level), w_(w), bias_(bias), x_(x), y_(y), activation_(activation), product_(products(level, w.at[0].precision)), in_(w.at[0].k), out_(w.at[0].n),
        across_((x.extent(1) + 1) / 2), tiles_((x.extent(0) + 1) / 2 * across_), block_(block_of(tiles_)), in_place_(w.at[0].precision == Precision::f32 ? level.row_stride(in_) : 0),
        ldv_(in_place_ ? in_place_ : (in_ + 15) / 16 * 16), ldm_((out_ + 15) / 16 * 16 + 16), packed_(in_place_ ? 0 : product_.rows_size(block_, in_)) {}

  Index items() const { return blocks_of(tiles_, block_); }
  Index scratch() const {
    Carver c;
    carve(c);
    return c.used();
  }

  void run(Index item, float* base) const {
    Carver c(base);
    Scratch s = carve(c);
    const Index first = item * block_, m = smaller(block_, tiles_ - first);
    std::memset(s.zeros, 0, std::size_t(in_) * sizeof(float));
    const float* pixels[kWinogradTiles * 8];
    float* outputs[kWinogradTiles * 4];
    for (Index i = 0; i < m; ++i) place(first + i, s.unused, outputs + 4 * i);
    constexpr Index kLines[4][2] = {{0, 2}, {1, 2}, {2, 1}, {1, 3}};  // of a patch: the first one minus (in line 1 of the positions: plus) the second one
    for (int line = 0; line < 4; ++line) {
      for (Index i = 0; i < m; ++i)
        for (Index l = 0; l < 2; ++l) pixels_of(first + i, kLines[line][l], s.zeros, pixels + 8 * i + 4 * l);
      level_.winograd_rows({pixels, m, in_, line != 1, s.v, ldv_, block_ * ldv_});
      for (Index j = 0; j < 4; ++j) multiply(w_.at[std::size_t(line * 4 + j)], m, s.v + j * block_ * ldv_, s.m + j * block_ * ldm_, s);
      level_.winograd_sums({s.m, ldm_, block_ * ldm_, m, out_, line, outputs, bias_, activation_});
    }
  }

 private:
  /// Blocks of about the same size, of whole register tiles.
  static Index block_of(Index tiles) { return smaller(tiles, blocks_of(blocks_of(tiles, blocks_of(tiles, kWinogradTiles)), 12) * 12); }
  struct Scratch {
    float *v, *m, *packed, *zeros, *unused, *sums;
  };
  Scratch carve(Carver& c) const {
    Scratch s;
    s.v = c.take(4 * block_ * ldv_), s.m = c.take(4 * block_ * ldm_), s.packed = c.take(packed_), s.zeros = c.take(in_), s.unused = c.take(out_), s.sums = c.take(product_.gemm_scratch(block_));
    return s;
  }
  /// The four pixels of line `l` of a tile's patch.
  void pixels_of(Index tile, Index l, const float* zeros, const float** to) const {
    const Index iy = tile / across_ * 2 + l - 1, x0 = tile % across_ * 2 - 1;
    for (Index j = 0; j < 4; ++j) {
      const Index ix = x0 + j;
      to[j] = iy >= 0 && iy < x_.extent(0) && ix >= 0 && ix < x_.extent(1) ? x_.data() + iy * x_.stride(0) + ix * x_.stride(1) : zeros;
    }
  }
  /// The outputs of a tile; those outside the map go to `unused`.
  void place(Index tile, float* unused, float** to) const {
    const Index oy = tile / across_ * 2, ox = tile % across_ * 2;
    for (Index i = 0; i < 4; ++i) to[i] = oy + i / 2 < y_.extent(0) && ox + i % 2 < y_.extent(1) ? y_.data() + (oy + i / 2) * y_.stride(0) + (ox + i % 2) * y_.stride(1) : unused;
  }
  void multiply(const PackedMatrix& w, Index m, const float* v, float* to, const Scratch& s) const {
    if (!in_place_) product_.pack_rows(w.rows(v, ldv_, m, s.packed));
    product_.gemm({in_place_ ? v : s.packed, w.get(), m, out_, in_, 0, out_, to, ldm_, s.sums});
  }

  const Kernels& level_;
  const WinogradWeights& w_;
  const float* bias_;
  const View<const float, 3>& x_;
  const View<float, 3>& y_;
  int activation_;
  Products product_;
  Index in_, out_, across_, tiles_, block_, in_place_, ldv_, ldm_, packed_;
};

}  // namespace sampan::inline SAMPAN_ABI::cpu
