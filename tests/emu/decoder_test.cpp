// The decoder's kernels on the emulator: attention between few tokens and many pixels, both ways, and the mask head, against double.
#include "cases.hpp"

using namespace sampan::emu;

namespace {

struct Size {
  int queries, keys, heads, head_dim;
};

/// out and its size: the definition in double.
void attention(const Size& z, const Elements& q, const Elements& k, const Elements& v, double scale, std::vector<double>& out, std::vector<double>& size) {
  const int width = z.heads * z.head_dim;
  out.assign(std::size_t(z.queries * width), 0), size = out;
  for (int i = 0; i < z.queries; ++i)
    for (int h = 0; h < z.heads; ++h) {
      std::vector<double> w(static_cast<std::size_t>(z.keys));
      double most = -1e300, sum = 0;
      for (int j = 0; j < z.keys; ++j) {
        for (int c = 0; c < z.head_dim; ++c) w[std::size_t(j)] += q.at(std::size_t(i * width + h * z.head_dim + c)) * k.at(std::size_t(j * width + h * z.head_dim + c)) * scale;
        most = std::max(most, w[std::size_t(j)]);
      }
      for (double& x : w) sum += x = std::exp(x - most);
      for (int j = 0; j < z.keys; ++j)
        for (int c = 0; c < z.head_dim; ++c) {
          const double x = v.at(std::size_t(j * width + h * z.head_dim + c)), weight = w[std::size_t(j)] / sum;
          out[std::size_t(i * width + h * z.head_dim + c)] += weight * x, size[std::size_t(i * width + h * z.head_dim + c)] += weight * std::fabs(x);
        }
    }
}

}  // namespace

TEST_CASE("cross_attention: naive, tokens ask, pixels ask, in every type; the barriers are needed") {
  for (const Size& z : {Size{7, 300, 2, 16}, {1, 1, 1, 16}, {2, 127, 1, 64}, {3, 128, 2, 32}, {300, 7, 2, 16}, {129, 1, 1, 16}, {128, 13, 1, 64}, {5, 129, 1, 32}, {33, 40, 2, 20}})
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      CAPTURE(z.queries); CAPTURE(z.keys); CAPTURE(z.head_dim); CAPTURE(name_of(t));
      const int width = z.heads * z.head_dim;
      Elements q(t, random_values(1, std::size_t(z.queries * width), 2)), k(t, random_values(2, std::size_t(z.keys * width), 2)), v(t, random_values(3, std::size_t(z.keys * width)));
      const float scale = 1.0f / std::sqrt(float(z.head_dim));
      std::vector<double> want, size;
      attention(z, q, k, v, double(scale), want, size);
      const auto params = [&](void* out) { return CrossAttentionParams{q.data(), k.data(), v.data(), out, z.queries, z.keys, z.heads, z.head_dim, scale}; };
      const auto judge = [&](const std::vector<double>& got) {
        // Scores are below 16 in units of log2: 2^-20 relative per weight covers their rounding and 2^x's; sums of n keys add n u.
        for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::fabs(got[i] - want[i]) <= (0x1p-19 + z.keys * 0x1p-24) * size[i] + unit_of(t) * std::fabs(want[i]));
      };
      std::vector<double> got;
      run_sound({{unsigned(z.queries + 31) / 32, unsigned(z.heads)}, {32}}, t, want.size(), got, [&](void* out) { return cross_attention_naive(params(out), t); });
      judge(got);
      if (z.head_dim == 20) continue;  // of no kernel but the naive one
      const Launch tokens{{unsigned(z.queries), unsigned(z.heads)}, {128}, cross_attention_tokens_shared(z.head_dim)};
      const auto ask_tokens = [&](void* out) { return cross_attention_tokens(params(out), t); };
      if (z.queries <= 64) {
        run_sound(tokens, t, want.size(), got, ask_tokens);
        judge(got);
      }
      const Launch pixels{{unsigned(z.queries + 127) / 128, unsigned(z.heads)}, {128}, cross_attention_pixels_shared(z.keys, z.head_dim)};
      const auto ask_pixels = [&](void* out) { return cross_attention_pixels(params(out), t); };
      if (z.keys <= 64) {
        run_sound(pixels, t, want.size(), got, ask_pixels);
        judge(got);
      }
      if (z.queries == 7 && t == Type::f16) every_sync_is_needed(tokens, t, want.size(), ask_tokens);
      if (z.queries == 300 && t == Type::f16) every_sync_is_needed(pixels, t, want.size(), ask_pixels);
    }
}

TEST_CASE("cross_attention: prompts of a batch get the bits that each gets alone, with keys of their own and shared ones") {
  const int batch = 3, heads = 2, d = 16, width = heads * d;
  for (const Size& z : {Size{7, 140, heads, d}, {150, 7, heads, d}})
    for (const bool shared : {false, true}) {
      CAPTURE(z.queries); CAPTURE(shared);
      const std::size_t nq = std::size_t(z.queries * width), nk = std::size_t(z.keys * width), sets = shared ? 1 : batch;
      Elements q(Type::f32, random_values(1, batch * nq, 2)), k(Type::f32, random_values(2, sets * nk, 2)), v(Type::f32, random_values(3, sets * nk));
      const auto at = [](Elements& e, std::size_t i) { return static_cast<void*>(static_cast<float*>(e.data()) + i); };
      const auto check = [&](Launch l, Work (*kernel)(const CrossAttentionParams&, Type)) {
        std::vector<double> all, one;
        l.grid.z = unsigned(batch);
        run_sound(l, Type::f32, batch * nq, all, [&](void* out) {
          return kernel({q.data(), k.data(), v.data(), out, z.queries, z.keys, heads, d, 0.25f, batch, (long long)nq, shared ? 0 : (long long)nk, shared ? 0 : (long long)nk, (long long)nq}, Type::f32);
        });
        l.grid.z = 1;
        for (std::size_t i = 0; i < batch; ++i) {
          const std::size_t set = shared ? 0 : i;
          run_sound(l, Type::f32, nq, one, [&](void* out) { return kernel({at(q, i * nq), at(k, set * nk), at(v, set * nk), out, z.queries, z.keys, heads, d, 0.25f}, Type::f32); });
          CHECK(std::equal(one.begin(), one.end(), all.begin() + std::ptrdiff_t(i * nq)));
        }
      };
      check({{unsigned(z.queries + 31) / 32, heads}, {32}}, cross_attention_naive);
      if (z.queries <= 64) check({{unsigned(z.queries), heads}, {128}, cross_attention_tokens_shared(d)}, cross_attention_tokens);
      if (z.keys <= 64) check({{unsigned(z.queries + 127) / 128, heads}, {128}, cross_attention_pixels_shared(z.keys, d)}, cross_attention_pixels);
    }
}

TEST_CASE("mask_head: products of hypernetwork and features") {
  for (const auto& [pixels, channels, count] : {std::array<int, 3>{300, 32, 4}, {1, 32, 1}, {128, 20, 16}})
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      const auto hyper = random_values(7, std::size_t(count * channels));
      Elements features(t, random_values(8, std::size_t(pixels * channels)));
      Buffer<float> d_hyper(hyper);
      std::vector<double> got;
      const Launch l{{unsigned(pixels + 127) / 128}, {128}, std::size_t(4 * count * channels)};
      const auto make = [&, n = pixels, c = channels, m = count](void* out) { return mask_head({features.data(), d_hyper.data(), static_cast<float*>(out), n, c, m}, t); };
      run_sound(l, Type::f32, std::size_t(count * pixels), got, make);
      if (t == Type::f16) every_sync_is_needed(l, Type::f32, std::size_t(count * pixels), make);
      for (int m = 0; m < count; ++m)
        for (int i = 0; i < pixels; ++i) {
          double want = 0, size = 0;
          for (int c = 0; c < channels; ++c) {
            const double x = double(hyper[std::size_t(m * channels + c)]) * features.at(std::size_t(i * channels + c));
            want += x, size += std::fabs(x);
          }
          CHECK(std::fabs(got[std::size_t(m * pixels + i)] - want) <= (channels + 1) * 0x1p-24 * size);
        }
    }
}
