// Pictures of a labelled scan for people: a montage of slices in one PNG, and all of them one after another as an animated PNG, which browsers and viewers play.
// Data flow: SliceReader (grey slices), LabelMap -> Album (contours and fills, slice numbers) -> montage() or animation() -> bytes of a file.
// Pixels of slices are made square (the shorter step decides) and at most `side` long; slices go from the first with a label to the last, two more at both ends.
// Source of the format: PNG specification, third edition (acTL, fcTL, fdAT). Cost: one compressed picture per slice; memory of one picture.
// Deliberately absent: video codecs, text but digits, patient data of any kind.
#pragma once
#include "slices.hpp"

#include <sampan/image/check_png.hpp>
#include <sampan/image/mask_codec.hpp>
#include <sampan/image/overlay.hpp>

#include <algorithm>
#include <numeric>

namespace sampan::inline SAMPAN_ABI::medical {

struct AlbumOptions {
  std::int64_t side = 384;  ///< of one slice's picture at most, in pixels
  int columns = 6, rows = 4;  ///< of the montage at most
  int milliseconds = 120;     ///< per picture of the animation, 1 to 60000
};

namespace detail {

/// Digits of 3 x 5 cells, a row in three bits.
inline constexpr std::uint8_t kDigits[10][5] = {{7, 5, 5, 5, 7}, {2, 6, 2, 2, 7}, {7, 1, 7, 4, 7}, {7, 1, 7, 1, 7}, {5, 5, 7, 1, 1}, {7, 4, 7, 1, 7}, {7, 4, 7, 5, 7}, {7, 1, 1, 1, 1}, {7, 5, 7, 5, 7}, {7, 5, 7, 1, 7}};

/// White digits with a dark rim, top left.
inline void draw_number(const View<std::uint8_t, 3>& image, std::int64_t n) {
  const std::string text = std::to_string(n);
  const Index cell = (std::max)(Index(1), image.extent(1) / 100);
  const auto paint = [&](Index y, Index x, std::uint8_t v) {
    if (y >= 0 && x >= 0 && y < image.extent(0) && x < image.extent(1)) image(y, x, 0) = image(y, x, 1) = image(y, x, 2) = v;
  };
  for (const bool rim : {true, false})
    for (std::size_t i = 0; i < text.size(); ++i)
      for (Index r = 0; r < 5; ++r)
        for (Index c = 0; c < 3; ++c) {
          if (!(kDigits[text[i] - '0'][r] >> (2 - c) & 1)) continue;
          const Index y = (2 + r) * cell, x = (2 + 4 * Index(i) + c) * cell, wide = rim ? cell : 0;
          for (Index dy = -wide; dy < cell + wide; ++dy)
            for (Index dx = -wide; dx < cell + wide; ++dx) paint(y + dy, x + dx, rim ? 0 : 255);
        }
}

inline void put_u32(std::vector<std::uint8_t>& out, std::uint32_t v) {
  for (const int shift : {24, 16, 8, 0}) out.push_back(std::uint8_t(v >> shift));
}

/// f(name, data) for each chunk of a PNG that encode_png made; length and name lie before the data, the checksum behind them.
template <class F>
void each_chunk(const std::vector<std::uint8_t>& png, F&& f) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::uint32_t n = sampan::detail::big_endian_32(png.data() + at);
    f(std::string_view(reinterpret_cast<const char*>(png.data()) + at + 4, 4), std::span<const std::uint8_t>(png.data() + at + 8, n));
    at += 12 + n;
  }
}

}  // namespace detail

/// Slices of one plane with their labels drawn in. Reader and labels outlive it.
class Album {
 public:
  Album(const SliceReader& reader, const SlicePlan& plan, const LabelMap& labels, const AlbumOptions& o = {}) : reader_(reader), plan_(plan), labels_(labels), options_(o) {
    const std::int64_t w = plan.size[0], h = plan.size[1];
    const double step = (std::min)(plan.step[0], plan.step[1]), wide = double(w) * plan.step[0] / step, high = double(h) * plan.step[1] / step;
    const double shrink = (std::min)(1.0, double(o.side) / (std::max)(wide, high));
    width_ = (std::max)(std::int64_t(1), std::int64_t(wide * shrink + 0.5)), height_ = (std::max)(std::int64_t(1), std::int64_t(high * shrink + 0.5));
    for (std::int64_t z = 0; z < plan.size[2]; ++z)
      if (labelled(z)) first_ = (std::min)(first_, z), last_ = z;
    if (last_ < 0) first_ = 0, last_ = plan.size[2] - 1;  // nothing was found: all of the scan
    first_ = (std::max)(std::int64_t(0), first_ - 2), last_ = (std::min)(plan.size[2] - 1, last_ + 2);
  }

  std::int64_t width() const { return width_; }
  std::int64_t height() const { return height_; }
  std::int64_t first() const { return first_; }
  std::int64_t last() const { return last_; }

  /// Slice `z` into a picture [height(), width(), 3].
  Status draw(std::int64_t z, const View<std::uint8_t, 3>& out) const {
    const std::int64_t w = plan_.size[0], h = plan_.size[1];
    std::vector<std::uint8_t> grey(reader_.bytes()), mask(std::size_t(width_ * height_));
    std::vector<std::uint16_t> here(mask.size());
    reader_.read(z, grey.data());
    const int c = reader_.channels();
    std::vector<std::uint16_t> present;
    for (std::int64_t y = 0; y < height_; ++y)
      for (std::int64_t x = 0; x < width_; ++x) {  // nearest: a picture to look at
        const std::int64_t sy = y * h / height_, sx = x * w / width_;
        for (int k = 0; k < 3; ++k) out(y, x, k) = grey[std::size_t((sy * w + sx) * c + (c == 3 ? k : 0))];
        const std::uint16_t v = labels_.voxels[std::size_t(plan_.index(sx, sy, z))];
        here[std::size_t(y * width_ + x)] = v;
        if (v && std::find(present.begin(), present.end(), v) == present.end()) present.push_back(v);
      }
    for (const std::uint16_t v : present) {
      std::transform(here.begin(), here.end(), mask.begin(), [v](std::uint16_t l) { return std::uint8_t(l == v); });
      OverlayObject row[std::size(kOverlayColours)];  // colours go by position
      row[(v - 1u) % std::size(row)].mask = {mask.data(), {Index(height_), Index(width_)}};
      SAMPAN_CHECK(draw_overlay(out, row));
    }
    detail::draw_number(out, z);
    return {};
  }

  /// Evenly spaced slices, the first and the last among them, as one PNG.
  Status montage(std::vector<std::uint8_t>& png) const {
    const std::int64_t all = last_ - first_ + 1, most = std::int64_t(options_.columns) * options_.rows, n = (std::min)(all, most);
    const std::int64_t columns = (std::min)(std::int64_t(options_.columns), n), rows = (n + columns - 1) / columns, gap = 4;
    const std::int64_t w = columns * (width_ + gap) - gap, h = rows * (height_ + gap) - gap;
    std::vector<std::uint8_t> page(std::size_t(w * h * 3), 24);
    const View<std::uint8_t, 3> view(page.data(), {Index(h), Index(w), 3});
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t z = n > 1 ? first_ + i * (all - 1) / (n - 1) : first_;
      std::vector<std::uint8_t> tile(std::size_t(width_ * height_ * 3));
      const View<std::uint8_t, 3> t(tile.data(), {Index(height_), Index(width_), 3});
      SAMPAN_CHECK(draw(z, t));
      const std::int64_t x0 = i % columns * (width_ + gap), y0 = i / columns * (height_ + gap);
      for (std::int64_t y = 0; y < height_; ++y) std::memcpy(&view(y0 + y, x0, 0), &t(y, 0, 0), std::size_t(width_ * 3));
    }
    return encode_png({page.data(), {w, h, 3}, PixelType::u8}, png);
  }

  /// All slices of the range as an animated PNG that repeats; `step(fraction)` false stops it. A viewer without animation shows the middle slice.
  template <class Step>
  Status animation(std::vector<std::uint8_t>& out, Step&& step) const {
    std::vector<std::uint8_t> pixels(std::size_t(width_ * height_ * 3)), png;
    const View<std::uint8_t, 3> view(pixels.data(), {Index(height_), Index(width_), 3});
    const std::int64_t all = last_ - first_ + 1;
    std::uint32_t sequence = 0;
    const auto control = [&] {
      std::vector<std::uint8_t> c;
      for (const std::uint32_t v : {sequence++, std::uint32_t(width_), std::uint32_t(height_), 0u, 0u}) detail::put_u32(c, v);
      for (const int v : {options_.milliseconds, 1000}) c.push_back(std::uint8_t(v >> 8)), c.push_back(std::uint8_t(v));
      c.push_back(0), c.push_back(0);
      sampan::detail::append_chunk(out, "fcTL", c);
    };
    const auto encode = [&](std::int64_t z) -> Status {
      SAMPAN_CHECK(draw(z, view));
      return encode_png({pixels.data(), {width_, height_, 3}, PixelType::u8}, png);
    };
    SAMPAN_CHECK(encode((first_ + last_) / 2));
    out.assign(png.begin(), png.begin() + 8);
    detail::each_chunk(png, [&](std::string_view name, std::span<const std::uint8_t> data) {
      if (name == "IEND") return;
      if (name == "IDAT" && sequence == 0) {  // the still picture is no part of the animation: acTL before it, no fcTL
        std::vector<std::uint8_t> frames;
        detail::put_u32(frames, std::uint32_t(all));
        detail::put_u32(frames, 0);  // for ever
        sampan::detail::append_chunk(out, "acTL", frames);
        sequence = 1;
      }
      out.insert(out.end(), data.data() - 8, data.data() + data.size() + 4);  // as it is, with length, name and checksum
    });
    sequence = 0;
    for (std::int64_t z = first_; z <= last_; ++z) {
      if (!step(double(z - first_) / double(all))) return Error(ErrorCode::cancelled, "cancelled between two slices");
      SAMPAN_CHECK(encode(z));
      control();
      detail::each_chunk(png, [&](std::string_view name, std::span<const std::uint8_t> data) {
        if (name != "IDAT") return;
        std::vector<std::uint8_t> numbered;
        detail::put_u32(numbered, sequence++);
        numbered.insert(numbered.end(), data.begin(), data.end());
        sampan::detail::append_chunk(out, "fdAT", numbered);
      });
    }
    sampan::detail::append_chunk(out, "IEND", {});
    return {};
  }

 private:
  bool labelled(std::int64_t z) const {
    for (std::int64_t y = 0; y < plan_.size[1]; ++y)
      for (std::int64_t x = 0; x < plan_.size[0]; ++x)
        if (labels_.voxels[std::size_t(plan_.index(x, y, z))]) return true;
    return false;
  }
  const SliceReader& reader_;
  SlicePlan plan_;
  const LabelMap& labels_;
  AlbumOptions options_;
  std::int64_t width_ = 1, height_ = 1;
  std::int64_t first_ = std::numeric_limits<std::int64_t>::max(), last_ = -1;
};

}  // namespace sampan::inline SAMPAN_ABI::medical
