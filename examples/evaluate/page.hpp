// Pieces of a self-contained HTML page: escaping, pictures as data URIs, and small plots as inline SVG. Data flow: cli/evaluate_html.hpp -> here -> report.html.
// The page asks nothing of the network and has no script; colours are CSS variables that follow the reader's light or dark setting; every mark has a title, which browsers show.
// Colours of series are those of Okabe and Ito (2008), darkened or lightened for the background, in an order that keeps neighbours apart for colour-blind readers.
// Deliberately absent: interaction, fonts, logarithmic axes.
#pragma once
#include <sampan/core/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sampan::inline SAMPAN_ABI::evaluate {

inline std::string escaped(std::string_view s) {
  std::string out;
  for (const char c : s) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

inline std::string base64(std::span<const std::uint8_t> b) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((b.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < b.size(); i += 3) {
    const std::uint32_t v = std::uint32_t(b[i]) << 16 | (i + 1 < b.size() ? std::uint32_t(b[i + 1]) << 8 : 0) | (i + 2 < b.size() ? b[i + 2] : 0u);
    out += kDigits[v >> 18];
    out += kDigits[v >> 12 & 63];
    out += i + 1 < b.size() ? kDigits[v >> 6 & 63] : '=';
    out += i + 2 < b.size() ? kDigits[v & 63] : '=';
  }
  return out;
}

inline std::string decimal(double v, int digits = 3) {
  if (!std::isfinite(v)) return "-";
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  return text;
}

inline constexpr std::size_t kSeriesColours = 6;
/// The CSS class of the i-th series.
inline std::string series_class(std::size_t i) { return cat("s", i % kSeriesColours); }

inline constexpr const char* kPageStyle = R"(
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #1c1d1f; --soft: #62656b; --line: #dcd9d2; --band: #f1efe9;
  --c0: #0072b2; --c1: #c45300; --c2: #007a5a; --c3: #a34f86; --c4: #8a6d00; --c5: #4c6a78; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e8e6e1; --soft: #9a9ea6; --line: #34383e; --band: #1e2125;
  --c0: #56b4e9; --c1: #ee9a4d; --c2: #35c39a; --c3: #d993bd; --c4: #d9c24a; --c5: #9db8c4; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 74rem; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 2.8rem 0 .2rem; }
p { margin: .2rem 0 1rem; max-width: 48rem; }
.soft, figcaption, caption { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .32rem .8rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody tr:hover { background: var(--band); }
td small { color: var(--soft); }
.bad { color: var(--bad); }
tr.sum td { border-top: 1.5px solid var(--soft); }
svg { display: block; max-width: 100%; height: auto; }
.wide > svg { min-width: 44rem; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .name { fill: var(--ink); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .mean { stroke-width: 2.5; stroke-linecap: round; }
svg .dot { fill-opacity: .5; stroke: none; }
svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .range { fill-opacity: .14; stroke: none; }
)"
                                          R"(
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); } .s4 { --c: var(--c4); } .s5 { --c: var(--c5); }
svg .curve, svg .mean { stroke: var(--c); } svg .dot, svg .range, svg .key { fill: var(--c); } svg .whisker { stroke: var(--c); stroke-width: 1.2; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .3rem 0 .6rem; padding: 0; list-style: none; font-size: .9rem; }
.legend li::before { content: ""; display: inline-block; width: .75rem; height: .75rem; margin-right: .45rem; border-radius: 50%; background: var(--c); vertical-align: -.05rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(13rem, 45%), 1fr)); gap: 1.4rem 1.2rem; margin-top: 1rem; }
figure { margin: 0; }
figure img { display: block; width: 100%; border-radius: 3px; image-rendering: pixelated; background: #000; }
figcaption { font-size: .85rem; line-height: 1.4; margin-top: .4rem; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 33rem)); gap: 2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .9rem; margin: .6rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: 1rem 0; } summary { cursor: pointer; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .85rem; }
)";

/// One curve: points with a range around them (an interval; NaN: none).
struct Curve {
  std::string name;
  struct Point {
    double x, y, low, high;
    std::string title;
  };
  std::vector<Point> points;
};

/// A line plot of values from 0 to 1 over x. `ticks` are shown under the axis with the unit behind the last.
inline std::string line_plot(const std::vector<Curve>& curves, std::vector<double> ticks, std::string_view unit, std::string_view x_name) {
  constexpr double w = 560, h = 300, left = 40, right = 16, top = 12, bottom = 42;
  double x0 = ticks.front(), x1 = ticks.back(), lowest = 1;
  for (const Curve& c : curves)
    for (const auto& p : c.points) lowest = std::min(lowest, std::isnan(p.low) ? p.y : p.low);
  const double y0 = std::max(0.0, std::floor(lowest * 10 - 0.5) / 10);
  if (!(x1 > x0)) x1 = x0 + 1;
  const auto px = [&](double x) { return left + (x - x0) / (x1 - x0) * (w - left - right); };
  const auto py = [&](double y) { return top + (1 - y) / (1 - y0) * (h - top - bottom); };
  const auto n = [](double v) { return decimal(v, 1); };
  std::string s = cat("<svg viewBox=\"0 0 ", int(w), " ", int(h), "\" role=\"img\">");
  const double step = 1 - y0 > 0.6 ? 0.2 : 0.1;
  for (double y = 1; y > y0 - 1e-9; y -= step) s += cat("<line class=\"grid\" x1=\"", n(left), "\" x2=\"", n(w - right), "\" y1=\"", n(py(y)), "\" y2=\"", n(py(y)), "\"/><text x=\"", n(left - 6), "\" y=\"", n(py(y) + 4), "\" text-anchor=\"end\">", decimal(y, 1), "</text>");
  // Only as many labels as fit, the ends always.
  const std::size_t every = ticks.size() / 12 + 1;
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    if (i % every != 0 && i + 1 != ticks.size()) continue;
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", ticks[i]);
    s += cat("<text x=\"", n(px(ticks[i])), "\" y=\"", n(h - bottom + 18), "\" text-anchor=\"middle\">", text, i + 1 == ticks.size() ? std::string(unit) : std::string(), "</text>");
  }
  s += cat("<text x=\"", n((left + w - right) / 2), "\" y=\"", n(h - 6), "\" text-anchor=\"middle\">", escaped(x_name), "</text>");
  for (std::size_t i = 0; i < curves.size(); ++i) {
    const auto& c = curves[i];
    std::string line, there, back;
    for (const auto& p : c.points) {
      line += cat(line.empty() ? "M" : "L", n(px(p.x)), " ", n(py(p.y)));
      if (std::isnan(p.low)) continue;
      there += cat(there.empty() ? "M" : "L", n(px(p.x)), " ", n(py(p.high)));
      back = cat("L", n(px(p.x)), " ", n(py(p.low)), back);
    }
    s += cat("<g class=\"", series_class(i), "\">");
    if (!there.empty()) s += cat("<path class=\"range\" d=\"", there, back, "Z\"/>");
    s += cat("<path class=\"curve\" d=\"", line, "\"/>");
    for (const auto& p : c.points) s += cat("<circle class=\"key\" cx=\"", n(px(p.x)), "\" cy=\"", n(py(p.y)), "\" r=\"3.5\"><title>", escaped(p.title), "</title></circle>");
    s += "</g>";
  }
  return s + "</svg>";
}

/// Every value as a dot on a line from 0 to 1, the mean as a stroke: rows of groups, one line per series.
struct DotRow {
  std::string name;
  struct Dot {
    double value;
    std::string title;
  };
  std::vector<std::vector<Dot>> series;  ///< by series
};

inline std::string dot_plot(const std::vector<DotRow>& rows) {
  constexpr double line = 15, gap = 12, w = 900, right = 52, top = 22;
  std::size_t longest = 0;
  double height = top;
  for (const DotRow& r : rows) longest = std::max(longest, r.name.size()), height += line * double(r.series.size()) + gap;
  const double left = std::min(260.0, 20 + 6.6 * double(longest));
  const auto px = [&](double v) { return left + v * (w - left - right); };
  const auto n = [](double v) { return decimal(v, 1); };
  std::string s = cat("<svg viewBox=\"0 0 ", int(w), " ", int(height), "\" role=\"img\">");
  for (int i = 0; i <= 10; i += 2) s += cat("<line class=\"grid\" x1=\"", n(px(i / 10.0)), "\" x2=\"", n(px(i / 10.0)), "\" y1=\"", n(top - 6), "\" y2=\"", n(height - 6), "\"/><text x=\"", n(px(i / 10.0)), "\" y=\"11\" text-anchor=\"middle\">", decimal(i / 10.0, 1), "</text>");
  double y = top;
  for (const DotRow& r : rows) {
    std::string name = r.name.size() > 36 ? r.name.substr(0, 35) + "..." : r.name;
    s += cat("<text class=\"name\" x=\"", n(left - 12), "\" y=\"", n(y + line * double(r.series.size()) / 2 + 4), "\" text-anchor=\"end\">", escaped(name), "</text>");
    for (std::size_t i = 0; i < r.series.size(); ++i, y += line) {
      const double c = y + line / 2;
      s += cat("<g class=\"", series_class(i), "\">");
      double sum = 0, count = 0;
      for (const auto& d : r.series[i]) {
        if (!std::isfinite(d.value)) continue;
        sum += d.value, count += 1;
        s += cat("<circle class=\"dot\" cx=\"", n(px(d.value)), "\" cy=\"", n(c), "\" r=\"4\"><title>", escaped(d.title), "</title></circle>");
      }
      if (count > 0) s += cat("<line class=\"mean\" x1=\"", n(px(sum / count)), "\" x2=\"", n(px(sum / count)), "\" y1=\"", n(c - 6), "\" y2=\"", n(c + 6), "\"/><text x=\"", n(w - right + 10), "\" y=\"", n(c + 4), "\">", decimal(sum / count, 3), "</text>");
      s += "</g>";
    }
    y += gap;
  }
  return s + "</svg>";
}

inline std::string legend(const std::vector<std::string>& names) {
  std::string s = "<ul class=\"legend\">";
  for (std::size_t i = 0; i < names.size(); ++i) s += cat("<li class=\"", series_class(i), "\">", escaped(names[i]), "</li>");
  return s + "</ul>";
}

}  // namespace sampan::inline SAMPAN_ABI::evaluate
