// Which grey values become black and white: one recipe per kind of scan, chosen by name, by the file's modality, or by numbers; and what was chosen, for the provenance.
// Data flow: Volume + choice -> Recipe -> SliceReader (slices.hpp). The range holds for the whole volume, so that a slice does not depend on its neighbours.
// Source: utils/pre_CT_MR.py of MedSAM: CT by level and width; others from the 0.5th to the 99.5th percentile of the voxels above 0 (numpy's linear percentiles).
//   PET: from 0 to the 99.5th percentile (a hot bladder must not darken the rest). Cost: one pass over the voxels for percentiles, two for floats.
// Exactness: 8- and 16-bit voxels are counted exactly; wider ones in 65536 bins between the extremes. Deliberately absent: SUV factors, histogram matching.
#pragma once
#include "slices.hpp"

namespace sampan::inline SAMPAN_ABI::medical {

struct Recipe {
  std::string name;                    ///< "ct soft-tissue", "percentile", "as is", ...
  std::optional<GreyRange> range = {}; ///< none: 8-bit voxels as they are
};

/// Lowest and highest finite value, and how many are not finite.
struct Extremes {
  double low = 0, high = 0;
  std::size_t odd = 0;
};
inline Extremes extremes(const Volume& v) {
  Extremes e{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), 0};
  for (std::size_t i = 0; i < voxel_count(v.grid.size); ++i) {
    const double x = value_at(v, i);
    if (!finite(x)) ++e.odd;
    else e.low = std::min(e.low, x), e.high = std::max(e.high, x);
  }
  if (e.low > e.high) e.low = e.high = 0;
  return e;
}

/// Values at the given percents of the voxels above `above`; nothing if there is none. numpy.percentile's rule: linear between neighbours in order.
inline std::optional<std::vector<double>> percentiles(const Volume& v, const std::vector<double>& percents, double above) {
  const Extremes e = extremes(v);
  std::vector<std::uint64_t> counts(65536, 0);
  const bool exact = size_of(v.type) <= 2;
  const double width = exact ? 1 : std::max((e.high - std::max(e.low, above)) / 65535, 1e-300);
  std::uint64_t total = 0;
  with_voxel_type(v.type, [&](auto t) {
    using T = decltype(t);
    for (std::size_t i = 0; i < voxel_count(v.grid.size); ++i) {
      std::memcpy(&t, v.data.data() + i * sizeof(T), sizeof(T));
      const double x = v.slope * double(t) + v.intercept;
      if (!finite(x) || !(x > above)) continue;
      std::size_t bin = 0;
      if constexpr (sizeof(T) <= 2) bin = std::size_t(std::int64_t(t) - std::int64_t(std::numeric_limits<T>::min()));  // in order of the stored values
      else bin = std::size_t(std::clamp((x - std::max(e.low, above)) / width, 0.0, 65535.0));
      ++counts[bin];
      ++total;
    }
  });
  if (total == 0) return std::nullopt;
  const auto value_of = [&](std::size_t bin) {
    if (!exact) return std::max(e.low, above) + double(bin) * width;
    const double lowest = with_voxel_type(v.type, [](auto t) { return double(std::numeric_limits<decltype(t)>::min()); });
    return v.slope * (lowest + double(bin)) + v.intercept;
  };
  if (exact && v.slope < 0) std::reverse(counts.begin(), counts.end());  // order of values, not of stored numbers
  const auto bin_at = [&](std::uint64_t rank) {
    std::uint64_t seen = 0;
    for (std::size_t b = 0; b < counts.size(); ++b)
      if ((seen += counts[b]) > rank) return exact && v.slope < 0 ? counts.size() - 1 - b : b;
    return counts.size() - 1;
  };
  std::vector<double> out;
  for (const double p : percents) {
    const double at = p / 100 * double(total - 1), down = std::floor(at);
    const double a = value_of(bin_at(std::uint64_t(down))), b = value_of(bin_at(std::min(total - 1, std::uint64_t(down) + 1)));
    out.push_back(a + (at - down) * (b - a));
  }
  return out;
}

/// What --recipe accepts beside the CT presets of image/window_level.hpp.
inline constexpr std::string_view kRecipes[] = {"auto", "as-is", "percentile", "pet", "full", "file"};

/// `name`: a CT preset or one of kRecipes. "auto": by modality: CT soft-tissue, MR percentile, PT pet; 8-bit voxels as they are; the window in the file; else an error
/// that shows the range, because no recipe would be right for all. Error{invalid_argument}.
inline Result<Recipe> choose_recipe(const Volume& v, const std::string& name, const std::optional<GreyRange>& in_file) {
  if (v.components > 1) return Recipe{"colours as they are"};
  const auto level = [](std::string_view preset) -> Result<Recipe> {
    SAMPAN_TRY(w, window_preset(preset));
    return Recipe{cat("ct ", preset), GreyRange{w.center - w.width / 2, w.center + w.width / 2}};
  };
  const auto ranked = [&](std::string_view word, double first) -> Result<Recipe> {
    const auto p = percentiles(v, {first, 99.5}, 0);
    if (!p) return Error(ErrorCode::invalid_argument, cat("recipe ", word, ": no voxel is above 0"));
    const double low = word == "pet" ? 0 : (*p)[0], high = (*p)[1];
    return Recipe{std::string(word), GreyRange{low, high > low ? high : low + 1}};
  };
  const bool bytes = v.type == VoxelType::u8 && v.slope == 1 && v.intercept == 0;
  if (name == "as-is") {
    if (!bytes) return Error(ErrorCode::invalid_argument, cat("recipe as-is: the voxels are ", to_string(v.type), "; it is for plain 8-bit voxels"));
    return Recipe{"as is"};
  }
  if (name == "percentile") return ranked("percentile", 0.5);
  if (name == "pet") return ranked("pet", 0);
  if (name == "full") {
    const Extremes e = extremes(v);
    return Recipe{"full", GreyRange{e.low, e.high > e.low ? e.high : e.low + 1}};
  }
  if (name == "file") {
    if (!in_file) return Error(ErrorCode::invalid_argument, "recipe file: the file holds no window");
    return Recipe{"window of the file", *in_file};
  }
  if (name != "auto") return level(name);
  if (v.modality == "CT") return level("soft-tissue");
  if (v.modality == "MR") return ranked("percentile", 0.5);
  if (v.modality == "PT") return ranked("pet", 0);
  if (bytes) return Recipe{"as is"};
  if (in_file) return Recipe{"window of the file", *in_file};
  const Extremes e = extremes(v);
  return Error(ErrorCode::invalid_argument, cat(to_string(v.type), " voxels with values from ", detail::real_text(e.low), " to ", detail::real_text(e.high), ": say what they are"));
}

}  // namespace sampan::inline SAMPAN_ABI::medical
