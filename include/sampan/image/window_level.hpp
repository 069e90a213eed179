// From any pixels to the RGB bytes that every network of the family starts from: window/level for 16-bit and float, grey to three channels, alpha dropped.
// Data flow: image/image.hpp -> here -> ops/resize_*.hpp. Cost: one division per sample at most; no scratch, no heap.
// Source: utils/pre_CT_MR.py of MedSAM (clip to level +- width/2, (x - low) / (high - low) * 255 in double, cast to uint8 by truncation). MedSAM divides by
//   the range that the clipped volume really has; here it is always the window's, as in DICOM viewers, so a slice does not depend on its neighbours.
// Deliberately absent: DICOM's sigmoid and half-pixel window forms, percentile windows (MR), rescale slope and intercept (readers of medical files apply them).
#pragma once
#include <sampan/core/context.hpp>
#include <sampan/image/image.hpp>

#include <atomic>
#include <cstring>
#include <limits>
#include <optional>

namespace sampan::inline SAMPAN_ABI {

/// A grey-value window: `center` becomes mid-grey, values `width`/2 away become black and white. DICOM calls them Window Center and Window Width.
struct WindowLevel {
  double center = 0, width = 0;
  friend bool operator==(const WindowLevel&, const WindowLevel&) = default;
};

struct WindowPreset {
  const char* name;
  WindowLevel window;  ///< in Hounsfield units
};

/// CT presets. Source: Radiopaedia, "Windowing (CT)" (article that pre_CT_MR.py points to); soft-tissue as in MedSAM's script, level 40, width 400.
inline constexpr WindowPreset kWindowPresets[] = {
    {"soft-tissue", {40, 400}}, {"lung", {-600, 1500}},    {"brain", {40, 80}},  {"bone", {400, 1800}}, {"liver", {30, 150}},
    {"mediastinum", {50, 350}}, {"temporal-bone", {600, 2800}}, {"stroke", {40, 40}}, {"spine", {50, 250}},
};

/// The preset of that name. Error{invalid_argument} lists the names.
inline Result<WindowLevel> window_preset(std::string_view name) {
  std::string names;
  for (const WindowPreset& p : kWindowPresets) {
    if (name == p.name) return p.window;
    names += names.empty() ? "" : ", ";
    names += p.name;
  }
  return Error(ErrorCode::invalid_argument, cat("unknown window preset \"", name, "\"; known: ", names));
}

namespace detail {
/// "40", "-1024", "0.125": as short as std::to_string's six decimals allow.
inline std::string short_number(double v) {
  std::string s = std::to_string(v);
  if (s.find('.') != std::string::npos) {
    while (s.back() == '0') s.pop_back();
    if (s.back() == '.') s.pop_back();
  }
  return s;
}
}  // namespace detail

/// Finite, width above 0, and both ends representable. Error{invalid_argument} otherwise.
inline Status check(const WindowLevel& w) {
  const double low = w.center - w.width / 2, high = w.center + w.width / 2;
  const auto finite = [](double v) { return v - v == 0; };
  if (!finite(w.center) || !finite(w.width) || !(w.width > 0) || !finite(low) || !finite(high) || !(low < high))
    return Error(ErrorCode::invalid_argument, cat("window of level ", detail::short_number(w.center), " and width ", detail::short_number(w.width), ": both must be finite and the width above 0"));
  return {};
}

/// Smallest and largest finite sample; alpha not counted. `finite` is false if some sample is NaN or infinite.
struct ValueRange {
  double low = 0, high = 0;
  bool finite = true;
};

namespace detail {

template <class T>
double load_sample(const std::uint8_t* row, std::int64_t i) {
  T v;
  std::memcpy(&v, row + std::size_t(i) * sizeof(T), sizeof(T));  // callers' pixels need no alignment
  return double(v);
}

/// f(T{}) with the C++ type of the samples.
template <class F>
auto with_sample_type(PixelType t, F&& f) {
  switch (t) {
    case PixelType::u16: return f(std::uint16_t());
    case PixelType::i16: return f(std::int16_t());
    case PixelType::f32: return f(float());
    default: return f(std::uint8_t());
  }
}

/// Channels that carry colour: alpha is the last of two or four.
constexpr int colour_channels(int channels) { return channels >= 3 ? 3 : 1; }

template <class T>
std::uint8_t window_sample(double v, double low, double high) {
  v = v < low ? low : v > high ? high : v;
  return std::uint8_t((v - low) / (high - low) * 255.0);
}

/// Rows [y0, y1) of `in` to RGB. False if a float sample is NaN (its byte is 0 then).
template <class T>
bool rgb_rows(const ImageView& in, const WindowLevel* window, const View<std::uint8_t, 3>& out, std::int64_t y0, std::int64_t y1) {
  const double low = window ? window->center - window->width / 2 : 0, high = window ? window->center + window->width / 2 : 0;
  const int stride = in.size.channels, colours = colour_channels(stride);
  bool numbers = true;
  for (std::int64_t y = y0; y < y1; ++y) {
    const std::uint8_t* from = in.row(y);
    std::uint8_t* to = &out(y, 0, 0);
    const Index step = out.stride(1), channel = out.stride(2);
    for (std::int64_t x = 0; x < in.size.width; ++x, to += step) {
      for (int c = 0; c < colours; ++c) {
        std::uint8_t v;
        if (window) {
          const double s = load_sample<T>(from, x * stride + c);
          numbers = numbers && s == s;
          v = s == s ? window_sample<T>(s, low, high) : std::uint8_t(0);
        } else {
          v = from[x * stride + c];  // only 8-bit images come here
        }
        to[c * channel] = v;
      }
      if (colours == 1) to[channel] = to[2 * channel] = to[0];
    }
  }
  return numbers;
}

}  // namespace detail

/// What the samples of an image span; a window for "all of it" is center (low+high)/2, width high-low.
inline Result<ValueRange> value_range(const ImageView& v) {
  SAMPAN_CHECK(check(v));
  ValueRange r{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), true};
  const int stride = v.size.channels, colours = detail::colour_channels(stride);
  detail::with_sample_type(v.type, [&](auto t) {
    for (std::int64_t y = 0; y < v.size.height; ++y)
      for (std::int64_t x = 0; x < v.size.width; ++x)
        for (int c = 0; c < colours; ++c) {
          const double s = detail::load_sample<decltype(t)>(v.row(y), x * stride + c);
          const bool finite = s - s == 0;
          r.finite = r.finite && finite;
          if (finite && s < r.low) r.low = s;
          if (finite && s > r.high) r.high = s;
        }
  });
  if (r.low > r.high) r.low = r.high = 0;  // no finite sample at all
  return r;
}

/// Whether `to_rgb8` would take these: the view is sound, the window (if any) is sound, and 16-bit or float pixels come with a window.
/// Error{invalid_argument} for the last shows the range of the image, because the right window depends on what the numbers are.
inline Status check_rgb8(const ImageView& in, const WindowLevel* window) {
  SAMPAN_CHECK(check(in));
  if (window) return check(*window);
  if (in.type == PixelType::u8) return {};
  SAMPAN_TRY(r, value_range(in));
  using detail::short_number;
  const std::string all = r.high > r.low ? cat(", or ", short_number((r.low + r.high) / 2), " and ", short_number(r.high - r.low), " for all of it") : std::string();
  return Error(ErrorCode::invalid_argument, cat(to_string(in.type), " image with values from ", short_number(r.low), " to ", short_number(r.high),
                                                " needs a window: pass a level and a width, for example 40 and 400 for soft tissue in CT", all));
}

/// Pixels to RGB bytes.
///
///   in      any size, type and channels; 1 or 2 channels become three equal ones, the alpha of 2 and 4 channels is dropped
///   window  required for 16-bit and float, allowed for 8-bit (then applied to every colour channel)
///   out     [height, width, 3]
///
/// Error{invalid_argument} (in ctx): extents disagree, no window (with the image's range), or a NaN among the samples. Infinities are clipped.
template <class B>
void to_rgb8(Context<B>& ctx, const ImageView& in, const std::optional<WindowLevel>& window, View<std::uint8_t, 3> out) {
  const WindowLevel* w = window ? &*window : nullptr;
  if (Status s = ctx.planning() ? check(in.size) : check_rgb8(in, w); !s) return ctx.fail(s.error());  // a plan has no pixels yet
  if (!ctx.require(out.extent(0) == in.size.height && out.extent(1) == in.size.width && out.extent(2) == 3, "to_rgb8: out must be [height, width, 3] of the image")) return;
  const double samples = double(in.size.width) * double(in.size.height) * detail::colour_channels(in.size.channels);
  if (!ctx.begin({w ? 3 * samples : 0, samples * double(bytes_per_sample(in.type)) + double(out.size())})) return;
  std::atomic<bool> numbers{true};
  constexpr Index kRows = 32;
  ctx.pool.parallel_for((in.size.height + kRows - 1) / kRows, [&](Index block, int) {
    const Index y0 = block * kRows, y1 = y0 + kRows < in.size.height ? y0 + kRows : in.size.height;
    if (!detail::with_sample_type(in.type, [&](auto t) { return detail::rgb_rows<decltype(t)>(in, w, out, y0, y1); })) numbers = false;
  });
  if (!numbers) ctx.fail(Error(ErrorCode::invalid_argument, "image contains NaN: replace those pixels by a number before windowing"));
}

/// The same on the calling thread, for tools that have no Context.
inline Status to_rgb8(const ImageView& in, const std::optional<WindowLevel>& window, View<std::uint8_t, 3> out) {
  const WindowLevel* w = window ? &*window : nullptr;
  SAMPAN_CHECK(check_rgb8(in, w));
  if (out.extent(0) != in.size.height || out.extent(1) != in.size.width || out.extent(2) != 3)
    return Error(ErrorCode::invalid_argument, "to_rgb8: out must be [height, width, 3] of the image");
  if (!detail::with_sample_type(in.type, [&](auto t) { return detail::rgb_rows<decltype(t)>(in, w, out, 0, in.size.height); }))
    return Error(ErrorCode::invalid_argument, "image contains NaN: replace those pixels by a number before windowing");
  return {};
}

}  // namespace sampan::inline SAMPAN_ABI
