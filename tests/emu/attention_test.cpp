// Attention kernels on the emulator against the definition in double, with padding tokens, positions and tables; which barriers they need; their memory accesses.
#include "cases.hpp"

using namespace sampan::emu;

namespace {

struct Case {
  int height, width, heads, head_dim, window;  // window 0: all tokens
  bool positions = true, table = false;
  int side_y() const { return window ? window : height; }
  int side_x() const { return window ? window : width; }
  std::size_t tokens() const { return std::size_t(height * width); }
};

/// Inputs of a case in a kernel's type, and everything that the kernels need on the device.
struct Scene {
  Case c;
  Type type;
  Elements qkv;
  std::vector<float> rel_h, rel_w, bias;
  Buffer<float> d_rel_h, d_rel_w, d_bias, row, column;
  float scale;

  Scene(const Case& k, Type t)
      : c(k), type(t), qkv(t, random_values(1, k.tokens() * std::size_t(3 * k.heads * k.head_dim))), rel_h(random_values(2, std::size_t((2 * k.side_y() - 1) * k.head_dim), 0.3f)),
        rel_w(random_values(3, std::size_t((2 * k.side_x() - 1) * k.head_dim), 0.3f)), bias(random_values(4, std::size_t(k.table ? k.heads * k.side_y() * k.side_x() * k.side_y() * k.side_x() : 1), 2)),
        d_rel_h(rel_h), d_rel_w(rel_w), d_bias(bias), row(k.tokens() * std::size_t(k.heads * k.side_y())), column(k.tokens() * std::size_t(k.heads * k.side_x())),
        scale(1.0f / std::sqrt(float(k.head_dim))) {}

  AttentionParams naive(void* out) {
    return {qkv.data(), out, c.height, c.width, c.heads, c.head_dim, c.window, scale, c.positions ? d_rel_h.data() : nullptr, c.positions ? d_rel_w.data() : nullptr, c.table ? d_bias.data() : nullptr};
  }
  Report make_terms(Order order = Order::forward) {
    const RelPosParams p{qkv.data(), c.height, c.width, c.heads, c.head_dim, c.window, d_rel_h.data(), d_rel_w.data(), row.data(), column.data()};
    return launch({unsigned(c.tokens()), unsigned(c.heads)}, {128}, std::size_t(4 * c.head_dim), rel_pos(p, type), {.order = order});
  }
  AttentionGlobalParams global(void* out) { return {qkv.data(), out, c.height, c.width, c.heads, scale, c.positions ? row.data() : nullptr, c.positions ? column.data() : nullptr}; }
  AttentionWindowParams windowed(void* out) {
    return {qkv.data(), out, c.height, c.width, c.heads, scale, c.positions ? row.data() : nullptr, c.positions ? column.data() : nullptr, c.table ? d_bias.data() : nullptr};
  }
  std::size_t outputs() const { return c.tokens() * std::size_t(c.heads * c.head_dim); }
};

/// The definition in double. worst: |out| if every value had its largest magnitude, per element: sum of weights times |v|.
void definition(const Scene& s, std::vector<double>& out, std::vector<double>& worst) {
  const Case& c = s.c;
  const int rows = c.side_y(), columns = c.side_x(), d = c.head_dim;
  out.assign(s.outputs(), 0), worst.assign(s.outputs(), 0);
  const auto at = [&](int token, int part, int head, int i) { return s.qkv.at(std::size_t(((token * 3 + part) * c.heads + head) * d + i)); };
  for (int token = 0; token < c.height * c.width; ++token)
    for (int head = 0; head < c.heads; ++head) {
      const int qy = token / c.width, qx = token % c.width, y0 = c.window ? qy / rows * rows : 0, x0 = c.window ? qx / columns * columns : 0;
      std::vector<double> score;
      double most = -1e300, sum = 0;
      for (int y = 0; y < rows; ++y)
        for (int x = 0; x < columns; ++x) {
          const bool real = y0 + y < c.height && x0 + x < c.width;
          double v = 0;
          for (int i = 0; i < d; ++i) {
            const double q = at(token, 0, head, i);
            if (real) v += q * at((y0 + y) * c.width + x0 + x, 1, head, i) * double(s.scale);
            if (c.positions) v += q * (double(s.rel_h[std::size_t((qy - y0 - y + rows - 1) * d + i)]) + double(s.rel_w[std::size_t((qx - x0 - x + columns - 1) * d + i)]));
          }
          if (c.table) v += double(s.bias[std::size_t(((head * rows * columns) + (qy - y0) * columns + qx - x0) * rows * columns + y * columns + x)]);
          score.push_back(v);
          most = std::max(most, v);
        }
      for (double& v : score) sum += v = std::exp(v - most);
      for (int key = 0; key < rows * columns; ++key) {
        const int y = y0 + key / columns, x = x0 + key % columns;
        if (y >= c.height || x >= c.width) continue;
        for (int i = 0; i < d; ++i) {
          const double v = at(y * c.width + x, 2, head, i), w = score[std::size_t(key)] / sum;
          out[std::size_t((token * c.heads + head) * d + i)] += w * v;
          worst[std::size_t((token * c.heads + head) * d + i)] += w * std::fabs(v);
        }
      }
    }
}

/// Errors that rounding can explain. Weights: a score is off by its float rounding (d products, the terms) and every weight is rounded once to the type of the
/// operands before it meets V; the output is rounded once. Scores here are below 16 in units of log2, so 2^-20 is more than float loses on them, and as a relative
/// error of a weight 2^-20 too. Tensor cores cut each addend at 2^-24 of the largest: of 80 + 64 addends and in two steps, below 2^-16.
void check_close(const Scene& s, const std::vector<double>& got, const char* what) {
  std::vector<double> want, worst;
  definition(s, want, worst);
  const double u = unit_of(s.type);
  double most = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double limit = (s.type == Type::f32 ? 0 : 2 * u) * worst[i] + 0x1p-16 * worst[i] + u * std::fabs(want[i]) + 1e-7, error = std::fabs(got[i] - want[i]);
    if (!(error <= limit)) most = std::fmax(most, std::isnan(error) ? 1e30 : error / limit);
  }
  CAPTURE(what);
  CAPTURE(most);
  CHECK(most == 0);
}

const Case kWindows[] = {{14, 14, 1, 64, 14}, {15, 17, 1, 32, 14}, {9, 20, 2, 80, 14}, {7, 7, 2, 32, 7}, {8, 10, 1, 64, 7}, {3, 9, 1, 80, 7}, {10, 8, 1, 32, 7, false, true}, {15, 14, 1, 32, 14, false, true}, {5, 6, 1, 32, 14, false}};
const Case kGlobals[] = {{2, 64, 1, 64, 0}, {1, 64, 1, 80, 0}, {3, 64, 2, 32, 0, false}, {9, 7, 1, 64, 0}, {5, 13, 2, 32, 0}, {1, 1, 1, 80, 0}, {10, 13, 1, 64, 0, false}};

}  // namespace

TEST_CASE("attention, naive: the definition, in every type") {
  for (const Case& c : {Case{5, 6, 2, 8, 3}, {4, 4, 1, 16, 0}, {7, 5, 1, 12, 4, false, true}, {3, 3, 1, 8, 0, false}})
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      CAPTURE(name_of(t));
      Scene s(c, t);
      std::vector<double> got;
      run_sound({{unsigned(c.tokens() + 31) / 32, unsigned(c.heads)}, {32}}, t, s.outputs(), got, [&](void* out) { return attention_naive(s.naive(out), t); });
      check_close(s, got, "naive");
    }
}

TEST_CASE("rel_pos: each term is its product, every barrier is needed") {
  const Case c{4, 5, 2, 32, 3};
  Scene s(c, Type::f16);
  const Report r = s.make_terms();
  CHECK_MESSAGE(r.findings.empty(), r.text());
  const auto row = s.row.values(), column = s.column.values();
  for (int head = 0; head < 2; ++head)
    for (int token = 0; token < 20; ++token)
      for (int k = 0; k < 3; ++k) {
        double a = 0, b = 0, size = 0;
        for (int i = 0; i < 32; ++i) {
          const double q = s.qkv.at(std::size_t(token * 3 * 64 + head * 32 + i)) * 1.4426950408889634;
          a += q * double(s.rel_h[std::size_t((token / 5 % 3 - k + 2) * 32 + i)]), b += q * double(s.rel_w[std::size_t((token % 5 % 3 - k + 2) * 32 + i)]);
          size += std::fabs(q) * 0.3;
        }
        CHECK(std::fabs(double(row[std::size_t((head * 20 + token) * 3 + k)]) - a) <= 34 * 0x1p-24 * size);
        CHECK(std::fabs(double(column[std::size_t((head * 20 + token) * 3 + k)]) - b) <= 34 * 0x1p-24 * size);
      }
  const Report mutant = launch({20, 2}, {128}, 128, rel_pos({s.qkv.data(), 4, 5, 2, 32, 3, s.d_rel_h.data(), s.d_rel_w.data(), s.row.data(), s.column.data()}, Type::f16), {.ignore_site = 0});
  CHECK(mutant.findings.empty() == !kEmulated);
}

TEST_CASE("attention_window: windows over the edge, head sizes, positions and tables, both roundings of tensor cores") {
  for (const Case& c : kWindows)
    for (const Type t : {Type::f16, Type::bf16}) {
      CAPTURE(c.height); CAPTURE(c.width); CAPTURE(c.head_dim); CAPTURE(c.window); CAPTURE(name_of(t));
      Scene s(c, t);
      s.make_terms();
      const unsigned windows = unsigned(((c.height + c.window - 1) / c.window) * ((c.width + c.window - 1) / c.window));
      const Launch l{{windows, unsigned(c.heads)}, attention_window_block(c.window), attention_window_shared(c.head_dim, c.window)};
      const auto make = [&](void* out) { return attention_window(s.windowed(out), t, c.head_dim, c.window, c.table); };
      for (const MmaRounding rounding : {MmaRounding::exact, MmaRounding::hardware}) {
        std::vector<double> got;
        const Report r = run_sound(l, t, s.outputs(), got, make, rounding);
        check_close(s, got, "window");
        CHECK(r.count.matrix_wavefronts == r.count.matrix_loads);  // no bank conflicts
      }
    }
}

TEST_CASE("attention_global: full and partial tiles, widths, head sizes, both roundings of tensor cores") {
  for (const Case& c : kGlobals)
    for (const Type t : {Type::f16, Type::bf16}) {
      CAPTURE(c.height); CAPTURE(c.width); CAPTURE(c.head_dim); CAPTURE(name_of(t));
      Scene s(c, t);
      s.make_terms();
      const Launch l{{unsigned(c.tokens() + 63) / 64, unsigned(c.heads)}, {128}, attention_global_shared(c.head_dim)};
      for (const bool row64 : {false, true}) {
        if (row64 && c.width != 64) continue;
        const auto make = [&](void* out) { return attention_global(s.global(out), t, c.head_dim, row64); };
        for (const MmaRounding rounding : {MmaRounding::exact, MmaRounding::hardware}) {
          std::vector<double> got;
          const Report r = run_sound(l, t, s.outputs(), got, make, rounding);
          check_close(s, got, row64 ? "global, rows of 64" : "global");
          CHECK(r.count.matrix_wavefronts == r.count.matrix_loads);
          const std::uint64_t tiles = (c.tokens() + 63) / 64, blocks = tiles * std::uint64_t(c.heads);
          if (!kEmulated) continue;
          CHECK(r.count.mma_flop == blocks * tiles * 4 * 64 * 64 * std::uint64_t(c.head_dim));  // QK and PV of whole tiles, nothing twice
          CHECK(r.count.async_bytes == blocks * c.tokens() * 2 * 2 * std::uint64_t(c.head_dim));  // every key and value once per block of queries
        }
      }
    }
}

TEST_CASE("attention, tiled: full and partial tiles, head sizes, types; the barriers are needed") {
  for (const Case& c : {Case{1, 32, 1, 64, 0}, {9, 5, 1, 32, 0}, {5, 8, 1, 80, 0, false}, {1, 1, 2, 32, 0}})
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      if (t != Type::f32 && c.tokens() > 2) continue;  // it is launched in float
      CAPTURE(c.height); CAPTURE(c.head_dim); CAPTURE(name_of(t));
      Scene s(c, t);
      s.make_terms();
      const Launch l{{unsigned(c.tokens() + 63) / 64, unsigned(c.heads)}, {64}, attention_tiled_shared(c.head_dim)};
      const auto make = [&](void* out) { return attention_tiled(s.global(out), t, c.head_dim); };
      std::vector<double> got;
      run_sound(l, t, s.outputs(), got, make);
      check_close(s, got, "tiled");
      if (c.height == 9 && t == Type::f32) every_sync_is_needed(l, t, s.outputs(), make);
    }
}

TEST_CASE("attention kernels: every barrier and wait is needed") {
  {
    Scene s({3, 64, 1, 32, 0}, Type::f16);
    s.make_terms();
    every_sync_is_needed({{3}, {128}, attention_global_shared(32)}, Type::f16, s.outputs(), [&](void* out) { return attention_global(s.global(out), Type::f16, 32, true); });
  }
  Scene s({9, 8, 1, 32, 7}, Type::f16);
  s.make_terms();
  every_sync_is_needed({{4}, attention_window_block(7), attention_window_shared(32, 7)}, Type::f16, s.outputs(), [&](void* out) { return attention_window(s.windowed(out), Type::f16, 32, 7, false); });
}
