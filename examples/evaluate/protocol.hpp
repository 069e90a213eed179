// Protocols: which prompts are simulated for a mask, and the small print of the studies they come from. Data flow: words of the command line -> here -> cli/evaluate_run.hpp.
// A prompt is a word such as box, box-jitter:10%x5 or clicks:9 (kPromptHelp lists them); a profile is a published study: its prompts, its random numbers, what it leaves out, and
// the peculiarities of its code as named quirks, on by default, because the published numbers have them.
// Deliberately absent: prompts of volumes; studies whose prompts nobody can make again.
#pragma once
#include "simulators.hpp"

#include <sampan/core/error.hpp>

#include <charconv>
#include <string>
#include <string_view>

namespace sampan::inline SAMPAN_ABI::evaluate {

/// Which of the candidates of one forward pass counts. `single`: the model gave one mask. `oracle`: the best Dice, which nobody has without the ground truth.
enum class Rule { single, oracle, iou, first, stability, largest };
inline constexpr const char* kRuleNames[] = {"single", "oracle", "iou", "first", "stability", "largest"};
inline const char* to_string(Rule r) { return kRuleNames[std::size_t(r)]; }

enum class PromptKind {
  box, box_exclusive, box_margin, box_jitter, box_grow, boxes, center, center_chamfer, centroid, random_point, points, clicks, clicks_mask, everything,
  mazurowski_points, mazurowski_boxes, mazurowski_box, mazurowski_whole_box, mazurowski_clicks, mazurowski_oracle_clicks,
  huang_points, huang_box, huang_box_point, medsam_box, sammed2d_box, sammed2d_clicks
};

struct PromptSpec {
  std::string name;  ///< as it is written, without repetitions
  PromptKind kind = PromptKind::box;
  Amount amount;
  int count = 1, negatives = 0;  ///< points, boxes or clicks
  int repeat = 1;                ///< draws of a random prompt
  bool draws() const {
    return kind == PromptKind::box_jitter || kind == PromptKind::box_grow || kind == PromptKind::random_point || kind == PromptKind::points || kind == PromptKind::center_chamfer;
  }
  bool iterative() const {
    return kind == PromptKind::clicks || kind == PromptKind::clicks_mask || kind == PromptKind::mazurowski_clicks || kind == PromptKind::mazurowski_oracle_clicks || kind == PromptKind::sammed2d_clicks;
  }
  bool needs_boxes() const {
    return kind == PromptKind::box || kind == PromptKind::box_exclusive || kind == PromptKind::box_margin || kind == PromptKind::box_jitter || kind == PromptKind::box_grow || kind == PromptKind::boxes ||
           kind == PromptKind::mazurowski_boxes || kind == PromptKind::mazurowski_box || kind == PromptKind::mazurowski_whole_box || kind == PromptKind::huang_box || kind == PromptKind::huang_box_point ||
           kind == PromptKind::medsam_box || kind == PromptKind::sammed2d_box;
  }
  bool needs_points() const { return !needs_boxes() || kind == PromptKind::huang_box_point; }
  /// Clicks in its longest prompt.
  int most_points() const { return !needs_points() ? 0 : iterative() || kind == PromptKind::mazurowski_points ? count : kind == PromptKind::points || kind == PromptKind::huang_points ? count + negatives : 1; }
  bool needs_mask() const { return kind == PromptKind::clicks_mask || kind == PromptKind::sammed2d_clicks; }
};

inline constexpr const char* kPromptHelp = R"(
Prompts, made from the ground truth:
  box                 its bounding box, corners at the first and last pixel; box-exclusive ends one past the last
  box-margin:A        the same, every side outward by A: pixels (5px, -2px) or a share of the side (10%)
  box-jitter:A        every side moved on its own, inward or outward, by at most A
  box-grow:Npx        every side outward by 0 to N pixels (MedSAM's training boxes)
  boxes[:N]           a box per connected component, largest first, at most N; their masks together
  center              the pixel farthest from the border (exact Euclidean distance); center-chamfer: by OpenCV's chamfer distance, random among equals
  centroid            the mean of the pixels, which may lie outside
  random-point        any pixel
  points:P+N          P different pixels of the object and N around it
  clicks:N            N clicks, each in the middle of the largest region that is wrong; clicks-mask:N feeds the last mask back
  everything[:N]      of all masks of a grid of N x N clicks (32) the best
  Random prompts are drawn again with xR: box-jitter:10%x5.
  Published ones: mazurowski-points:N mazurowski-boxes:N mazurowski-box mazurowski-whole-box mazurowski-clicks:N mazurowski-oracle-clicks:N huang-points:1|5|5+5
  huang-box huang-box-point medsam-box sammed2d-box sammed2d-clicks:N)";

namespace detail {

struct PromptWord {
  const char* word;
  PromptKind kind;
  enum Argument { none, amount, pixels, count, counts } argument;
  int without = 0;  ///< the count where none is given; 0: one must be given
};
inline constexpr PromptWord kPromptWords[] = {
    {"box", PromptKind::box, PromptWord::none},
    {"box-exclusive", PromptKind::box_exclusive, PromptWord::none},
    {"box-margin", PromptKind::box_margin, PromptWord::amount},
    {"box-jitter", PromptKind::box_jitter, PromptWord::amount},
    {"box-grow", PromptKind::box_grow, PromptWord::pixels},
    {"boxes", PromptKind::boxes, PromptWord::count, 100},
    {"center", PromptKind::center, PromptWord::none},
    {"center-chamfer", PromptKind::center_chamfer, PromptWord::none},
    {"centroid", PromptKind::centroid, PromptWord::none},
    {"random-point", PromptKind::random_point, PromptWord::none},
    {"points", PromptKind::points, PromptWord::counts},
    {"clicks", PromptKind::clicks, PromptWord::count},
    {"clicks-mask", PromptKind::clicks_mask, PromptWord::count},
    {"everything", PromptKind::everything, PromptWord::count, 32},
    {"mazurowski-points", PromptKind::mazurowski_points, PromptWord::count},
    {"mazurowski-boxes", PromptKind::mazurowski_boxes, PromptWord::count},
    {"mazurowski-box", PromptKind::mazurowski_box, PromptWord::none},
    {"mazurowski-whole-box", PromptKind::mazurowski_whole_box, PromptWord::none},
    {"mazurowski-clicks", PromptKind::mazurowski_clicks, PromptWord::count},
    {"mazurowski-oracle-clicks", PromptKind::mazurowski_oracle_clicks, PromptWord::count},
    {"huang-points", PromptKind::huang_points, PromptWord::counts},
    {"huang-box", PromptKind::huang_box, PromptWord::none},
    {"huang-box-point", PromptKind::huang_box_point, PromptWord::none},
    {"medsam-box", PromptKind::medsam_box, PromptWord::none},
    {"sammed2d-box", PromptKind::sammed2d_box, PromptWord::none},
    {"sammed2d-clicks", PromptKind::sammed2d_clicks, PromptWord::count},
};

inline bool whole(std::string_view text, int low, int high, int& out) {
  const auto r = std::from_chars(text.data(), text.data() + text.size(), out);
  return r.ec == std::errc() && r.ptr == text.data() + text.size() && out >= low && out <= high;
}

}  // namespace detail

/// One word. Error{invalid_argument} that says what would be right.
inline Result<PromptSpec> parse_prompt(std::string_view text) {
  using detail::PromptWord;
  const auto refuse = [&](std::string_view what) { return Error(ErrorCode::invalid_argument, cat("prompt ", text, ": ", what)); };
  PromptSpec s;
  std::string_view word = text.substr(0, text.find(':')), rest = word.size() < text.size() ? text.substr(word.size() + 1) : std::string_view();
  const bool given = word.size() < text.size();
  std::string_view* last = given ? &rest : &word;  // where xR may stand
  const std::size_t x = last->rfind('x');
  if (x != std::string_view::npos && x + 1 < last->size() && (*last)[x + 1] >= '0' && (*last)[x + 1] <= '9') {
    if (!detail::whole(last->substr(x + 1), 1, 1000, s.repeat)) return refuse("xR repeats it, R from 1 to 1000");
    *last = last->substr(0, x);
  }
  const PromptWord* found = nullptr;
  std::string known;
  for (const PromptWord& w : detail::kPromptWords) {
    if (word == w.word) found = &w;
    known += cat(known.empty() ? "" : ", ", w.word);
  }
  if (!found) return refuse(cat("unknown; known: ", known));
  s.kind = found->kind;
  s.name = given ? cat(word, ":", rest) : std::string(word);
  if (s.repeat > 1 && !s.draws()) return refuse("xR repeats random prompts; this one is always the same");
  switch (found->argument) {
    case PromptWord::none:
      if (given) return refuse(cat(word, " takes no number"));
      break;
    case PromptWord::amount:
    case PromptWord::pixels: {
      const bool share = !rest.empty() && rest.back() == '%', px = rest.size() > 2 && rest.substr(rest.size() - 2) == "px";
      const std::string_view digits = rest.substr(0, rest.size() - (share ? 1 : px ? 2 : 0));
      const auto r = std::from_chars(digits.data(), digits.data() + digits.size(), s.amount.value);
      const bool positive = s.kind != PromptKind::box_margin;
      if ((!share && !px) || r.ec != std::errc() || r.ptr != digits.data() + digits.size() || !(std::fabs(s.amount.value) <= 10000) || (positive && s.amount.value < 0)) return refuse(found->argument == PromptWord::pixels ? "pixels are needed, for example 20px" : "pixels or a share of the side are needed, for example 5px or 10%");
      if (share && found->argument == PromptWord::pixels) return refuse("pixels are needed, for example 20px");
      if (px && s.kind != PromptKind::box_margin && s.amount.value != std::floor(s.amount.value)) return refuse("whole pixels are drawn");
      if (share) s.amount = {s.amount.value / 100, true};
      break;
    }
    case PromptWord::count:
      if (!given && found->without) s.count = found->without;
      else if (!detail::whole(rest, 1, 1000, s.count)) return refuse(cat("a number from 1 to 1000 is needed, for example ", word, ":3"));
      break;
    case PromptWord::counts: {
      const std::string_view first = rest.substr(0, rest.find('+'));
      const bool two = first.size() < rest.size();
      if (!detail::whole(first, 1, 1000, s.count) || (two && !detail::whole(rest.substr(first.size() + 1), 0, 1000, s.negatives))) return refuse(cat("clicks on the object and around it are needed, for example ", word, ":5+5"));
      if (s.kind == PromptKind::huang_points && (s.count > 5 || s.negatives > 5)) return refuse("the study has at most 5+5");
      break;
    }
  }
  return s;
}

/// A published study.
struct Profile {
  const char* name;
  const char* prompts;  ///< comma-separated
  const char* quirks;   ///< comma-separated, on unless --without names them
  const char* about;
  int min_area = 1;         ///< smaller objects are left out
  bool one_stream = false;  ///< one stream of random numbers through the whole data set
  std::uint32_t seed = 0;
  bool single = false;      ///< the model is asked for one mask
  Rule headline = Rule::iou;  ///< the rule that the study publishes, where the model gives several masks
};
inline constexpr Profile kProfiles[] = {
    {"mazurowski", "mazurowski-points:1,mazurowski-points:3,mazurowski-box,mazurowski-boxes:3,mazurowski-whole-box", "rescale-max", "Mazurowski et al. 2023, the five modes of use: IoU of the first mask, and of the best (oracle)", 1, true, 1, false, Rule::first},
    {"mazurowski-clicks", "mazurowski-clicks:9", "rescale-max,any-class-label", "the same study, 1 to 9 clicks on the mistakes of the first mask", 1, true, 1, false, Rule::first},
    {"mazurowski-oracle-clicks", "mazurowski-oracle-clicks:9", "rescale-max,any-class-label", "the same, on the mistakes of the best mask", 1, true, 1, false, Rule::oracle},
    {"huang", "everything,huang-points:1,huang-points:5,huang-points:5+5,huang-box,huang-box-point", "label-by-position", "Huang et al. 2023, S1 to S6; the mask with the best Dice counts (oracle)", 51, false, 0, false, Rule::oracle},
    {"huang-S1", "everything", "", "everything mode", 51, false, 0, false, Rule::oracle},
    {"huang-S2", "huang-points:1", "", "one point: the centroid", 51, false, 0, false, Rule::oracle},
    {"huang-S3", "huang-points:5", "", "five points on the object", 51, false, 0, false, Rule::oracle},
    {"huang-S4", "huang-points:5+5", "label-by-position", "five points on it and five around it", 51, false, 0, false, Rule::oracle},
    {"huang-S5", "huang-box", "", "a tight box", 51, false, 0, false, Rule::oracle},
    {"huang-S6", "huang-box-point", "", "a tight box and the centroid", 51, false, 0, false, Rule::oracle},
    {"medsam", "medsam-box", "", "Ma et al. 2024: a box 20 pixels of 1024 larger than the object; Dice and NSD", 1, false, 0, true},
    {"sammed2d", "sammed2d-box", "", "Cheng et al. 2023: the box of the largest component at 256 x 256; the mask with the best predicted IoU", 1, true, 0, false},
    {"sammed2d-clicks", "sammed2d-clicks:9", "sigmoid-mask-input", "the same study: a random point, then random points where the mask is wrong, the last mask fed back", 1, true, 0, false},
    {"cvpr24-laptop", "", "nsd-needs-dice,flat-as-volume,spacing-as-stored", "DATASET is a folder of the challenge's npz cases: segmentations, DSC, NSD and wall time per case", 1, false, 0, false},
};

/// What a quirk is, for help and reports.
struct Quirk {
  const char* name;
  const char* about;
};
inline constexpr Quirk kQuirks[] = {
    {"rescale-max", "the image is multiplied by 255 / its largest value and truncated to 8 bits before anything else"},
    {"any-class-label", "a click is positive on any annotated object of the image, not only on the one asked for"},
    {"label-by-position", "huang-points: the first five points are positive and the next five negative, wherever they lie"},
    {"sigmoid-mask-input", "the mask that is fed back are probabilities, where the network was made for logits"},
    {"nsd-needs-dice", "NSD is 0 where DSC is at most 0.2"},
    {"flat-as-volume", "NSD of a 2D case is computed on a volume one voxel thick, with a top and a bottom"},
    {"spacing-as-stored", "spacing, stored as x, y, z, is applied to the axes z, y, x in that order"},
};

inline const Profile* find_profile(std::string_view name) {
  for (const Profile& p : kProfiles)
    if (name == p.name) return &p;
  return nullptr;
}

/// The parts of a comma-separated list.
inline std::vector<std::string> words(std::string_view list) {
  std::vector<std::string> out;
  for (std::size_t from = 0; !list.empty() && from <= list.size();) {
    const std::size_t end = std::min(list.find(',', from), list.size());
    out.emplace_back(list.substr(from, end - from));
    from = end + 1;
  }
  return out;
}

}  // namespace sampan::inline SAMPAN_ABI::evaluate
