// Prompt simulation and statistics of `sampan evaluate`: equal to what NumPy, Python, OpenCV, scikit-image and SciPy give (evaluate_fixtures/evaluate.json,
// by make_evaluate_goldens.py), and the rules that no package has. Data sets and prompts that are read, and every refusal, which names the file and the key.
#include "examples/cli/dataset.hpp"
#include "examples/evaluate/protocol.hpp"
#include "examples/evaluate/simulators.hpp"
#include "examples/evaluate/statistics.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <fstream>

using namespace sampan;
using namespace sampan::cli;
using namespace sampan::evaluate;

namespace {

using Json = nlohmann::json;

const Json& goldens() {
  static const Json j = [] {
    std::ifstream in(std::string(SAMPAN_TEST_DIR) + "/unit/evaluate_fixtures/evaluate.json");
    REQUIRE(in.good());
    return Json::parse(in);
  }();
  return j;
}

Mask mask_of(const Json& c) {
  Mask m{c["size"][0], c["size"][1], {}};
  for (const char b : c["bits"].get<std::string>()) m.data.push_back(b == '1');
  REQUIRE(std::int64_t(m.data.size()) == m.width * m.height);
  return m;
}
Mask drawn(std::int64_t width, const std::string& rows) {
  Mask m{width, std::int64_t(rows.size()) / width, {}};
  for (const char c : rows) m.data.push_back(c == '#');
  return m;
}
Json json_of(const Pixel& p) { return {p.x, p.y}; }
Json json_of(const LabeledPoint& p) { return {p.x, p.y, p.label}; }
/// Within rounding of the last bits: the goldens' sums may be ordered otherwise.
bool near(double a, double b, double ulps = 8) { return std::fabs(a - b) <= ulps * 2.3e-16 * std::max(1.0, std::fabs(b)); }
void check_box(const Box& b, const Json& want) {
  CHECK(near(b.x0, want[0]));
  CHECK(near(b.y0, want[1]));
  CHECK(near(b.x1, want[2]));
  CHECK(near(b.y1, want[3]));
}

constexpr const char* kGood = R"({"name": "n", "labels": {"1": "liver", "300": "spleen"}, "images": [
  {"image": "a/x.png", "case": "c", "patient": "p", "modality": "CT", "spacing": [0.5, 2], "window": [40, 400], "masks": [{"file": "m.png", "label": "liver", "value": 255}, {"file": "/n.png", "label": "liver"}]},
  {"image": "y.png", "spacing": [1, 1], "window": "lung", "label_map": "l.png"}]})";

/// "" if it is read.
std::string refusal(const std::string& text, Exit code = Exit::bad_file) {
  try {
    parse_dataset(text, "dir/d.json");
    return {};
  } catch (const Failure& f) {
    CHECK(f.code == code);
    return f.message;
  }
}

}  // namespace

TEST_CASE("random numbers: the bits of numpy.random.RandomState and of Python's random") {
  for (const Json& c : goldens()["legacy"]) {
    const std::uint32_t seed = c["seed"];
    CAPTURE(seed);
    RandomState r(seed);
    for (const Json& d : c["randint"]) CHECK(r.randint(d[0], d[1], 9) == d[2].get<std::vector<std::int64_t>>());
    r.randint(0, 2, 700);
    for (const double v : c["random_sample"]) CHECK(r.random_sample() == v);
    for (const double v : c["uniform"]) CHECK(r.uniform(-0.25, 3) == v);
    CHECK(r.permutation(23) == c["permutation"].get<std::vector<std::int64_t>>());
    CHECK(r.choice(11, 6) == c["choice"].get<std::vector<std::int64_t>>());
    CHECK(r.choice_distinct(40, 5) == c["distinct"].get<std::vector<std::int64_t>>());
    RandomState later(seed);
    later.skip(r.drawn());
    CHECK(r.randint(0, std::int64_t(1) << 32) == c["next"].get<std::int64_t>());
    CHECK(later.randint(0, std::int64_t(1) << 32) == c["next"].get<std::int64_t>());
    PythonRandom p(seed);
    std::size_t i = 0;
    for (const std::int64_t v : c["python_randint"]) {
      CHECK(p.randint(i < 12 ? 0 : -3, i < 12 ? 20 : 1000000) == v);
      ++i;
    }
    for (const double v : c["python_random"]) CHECK(p.random() == v);
  }
}

TEST_CASE("random numbers: the bits of numpy.random.default_rng") {
  for (const Json& c : goldens()["pcg"]) {
    const std::uint64_t seed = c["seed"];
    CAPTURE(seed);
    Pcg64 g(seed);
    for (const double v : c["random"]) CHECK(g.random() == v);
    for (const std::int64_t v : c["seven"]) CHECK(g.integers(0, 7) == v);
    for (const std::int64_t v : c["one"]) CHECK(g.integers(3, 4) == v);
    for (const std::int64_t v : c["large"]) CHECK(g.integers(-5, 3000000000) == v);
    for (const double v : c["then"]) CHECK(g.random() == v);
  }
}

TEST_CASE("regions: components, distances and centres as scikit-image, OpenCV and SciPy have them") {
  for (const Json& c : goldens()["masks"]) {
    const std::string name = c["name"];
    CAPTURE(name);
    const Mask m = mask_of(c);
    const Components parts = components(m);
    REQUIRE(parts.list.size() == c["areas"].size());
    for (std::size_t i = 0; i < parts.list.size(); ++i) {
      CHECK(parts.list[i].area == c["areas"][i].get<std::int64_t>());
      const PixelBox& b = parts.list[i].box;
      CHECK(Json({b.x0, b.y0, b.x1, b.y1}) == c["boxes"][i]);
      CHECK(area(parts.mask(i)) == parts.list[i].area);
    }
    CHECK(parts.by_area(true) == c["order"].get<std::vector<std::size_t>>());
    const auto chamfer = chamfer_distance(m);
    double sum = 0;
    for (const float d : chamfer) sum += double(d);
    CHECK(std::fabs(sum - c["chamfer_sum"].get<double>()) < 1e-9 * sum);  // float32 values are equal; the order of the sum is not
    CHECK(double(*std::max_element(chamfer.begin(), chamfer.end())) == c["chamfer_max"].get<double>());
    Json deep = Json::array();
    for (const Pixel& p : deepest(chamfer, m.width)) deep.push_back(json_of(p));
    CHECK(deep == c["deepest"]);
    const auto exact = exact_distance(m);
    CHECK(near(*std::max_element(exact.begin(), exact.end()), c["exact_max"]));
    const LabeledPoint center = center_point(m);
    CHECK(Json({center.x, center.y}) == c["center"]);
    CHECK(json_of(centroid(m)) == c["centroid"]);
  }
}

TEST_CASE("simulators: the prompts of the published code, drawn in its order") {
  for (const Json& c : goldens()["masks"]) {
    const std::string name = c["name"];
    CAPTURE(name);
    const Mask m = mask_of(c);
    const bool line = name == "line";  // boxes without width become one pixel wide: the only difference from the published numbers
    const auto widened = [&](Json b) {
      if (line) b[2] = b[0].get<double>() + 1;
      return b;
    };
    check_box(tight_box(m), widened(c["tight"]));
    Json huang = Json::array();
    for (const auto& p : huang_points(m, 5, 5, true)) huang.push_back(json_of(p));
    CHECK(huang == c["huang"]);
    CHECK(json_of(huang_points(m, 1, 0, true)[0]) == c["huang"][0]);

    const ModelFrame big{1024, m.width, m.height, false}, f = model_frame(m, 256);
    Json b = c["medsam"];
    check_box(*medsam_box(m), Json({big.x(b[0]), big.y(b[1]), big.x(b[2]), big.y(b[3])}));
    const Mask small = to_model(m, f);
    b = c["sammed2d_box"];
    check_box(sammed2d_box(small, f), Json({f.x(b[0]), f.y(b[1]), f.x(b[2]), f.y(b[3])}));

    RandomState rng(7);
    const Json& seven = c["seed7"];
    CHECK(json_of(center_by_chamfer(m, rng)) == seven["center_chamfer"]);
    const LabeledPoint any = random_point(m, rng);
    CHECK(Json({any.x, any.y}) == seven["random_point"]);
    const auto clipped = [&](const Json& j) { return inside({j[0], j[1], j[2], j[3]}, m.width, m.height); };
    Box want = clipped(seven["jitter_px"]), got = jittered_box(m, {4, false}, rng);
    check_box(got, Json({want.x0, want.y0, want.x1, want.y1}));
    want = clipped(seven["jitter_share"]), got = jittered_box(m, {0.2, true}, rng);
    check_box(got, Json({want.x0, want.y0, want.x1, want.y1}));
    const LabeledPoint p = sammed2d_point(small, f, rng);
    CHECK(near(p.x, f.x(seven["sammed2d_point"][0])));
    CHECK(near(p.y, f.y(seven["sammed2d_point"][1])));
    Mask moved = small;  // numpy.roll(small, 3, 1)
    for (std::int64_t y = 0; y < 256; ++y)
      for (std::int64_t x = 0; x < 256; ++x) moved.data[std::size_t(y * 256 + (x + 3) % 256)] = small.data[std::size_t(y * 256 + x)];
    const auto click = sammed2d_click(moved, small, f, rng);
    REQUIRE(click.has_value());
    CHECK(near(click->x, f.x(seven["sammed2d_click"][0])));
    CHECK(near(click->y, f.y(seven["sammed2d_click"][1])));
    CHECK(click->label == seven["sammed2d_click"][2].get<int>());
  }
}

TEST_CASE("simulators: clicks go where the mistake is") {
  const Mask truth = drawn(9, "........." "..#####.." "..#####.." "..#####.." "........." ".......##" ".......##");
  const Mask none = drawn(9, std::string(63, '.')), most = drawn(9, "........." "..#####.." "..#####.." "..#####.." "........." "###......" "###......");
  // The larger of the two missing parts, in its middle: (4, 2), or its neighbours, all 2 deep; the first in raster order.
  auto p = click_on_largest_error(none, truth);
  REQUIRE(p.has_value());
  CHECK(Json({p->x, p->y, p->label}) == Json({3, 2, 1}));
  // A surplus part of six pixels against a missing one of four: a background click.
  p = click_on_largest_error(most, truth);
  REQUIRE(p.has_value());
  CHECK(Json({p->x, p->y, p->label}) == Json({0, 5, 0}));  // the image's border is a border
  CHECK_FALSE(click_on_largest_error(truth, truth).has_value());
  // All errors together, and the label of any class where the protocol says so.
  RandomState a(1), b(1);
  const LabeledPoint q = click_on_all_errors(most, truth, truth, a), any = click_on_all_errors(most, truth, most, b);
  CHECK((q.x == any.x && q.y == any.y));
  CHECK(q.label == int(truth.data[std::size_t(q.y * 9 + q.x)]));
  CHECK(any.label == int(most.data[std::size_t(q.y * 9 + q.x)]));
  // Nothing wrong: nothing to click at, two draws as the published code makes them.
  RandomState r(3);
  CHECK_FALSE(sammed2d_click(truth, truth, {7, 9, 7, false}, r).has_value());
  CHECK(r.drawn() >= 2);
}

TEST_CASE("simulators: prompts stay possible") {
  RandomState rng(11);
  for (const Json& c : goldens()["masks"]) {
    const Mask m = mask_of(c);
    const ImageSize size{m.width, m.height, 1};
    for (int i = 0; i < 20; ++i) {
      for (const Box& b : {jittered_box(m, {30, false}, rng), jittered_box(m, {1.5, true}, rng), grown_box(m, 20, rng), box_with_margin(m, {double(i - 10), false}), box_with_margin(m, {0.5, true}), tight_box(m, BoxEnd::exclusive)}) {
        Prompt p;
        p.box = b;
        CHECK(check(p, size).ok());
      }
      const auto points = random_points(m, 5, 5, rng);
      std::vector<std::pair<double, double>> seen;
      int positive = 0;
      for (const auto& q : points) {
        CHECK((q.x >= 0 && q.y >= 0 && q.x < double(m.width) && q.y < double(m.height)));
        CHECK(int(m.data[std::size_t(std::int64_t(q.y) * m.width + std::int64_t(q.x))]) == q.label);
        positive += q.label;
        CHECK(std::find(seen.begin(), seen.end(), std::pair(q.x, q.y)) == seen.end());
        seen.emplace_back(q.x, q.y);
      }
      CHECK(positive == 5);
    }
    const auto boxes = component_boxes(m, 3);
    CHECK((boxes.size() >= 1 && boxes.size() <= 3));
  }
  // Twins: Mazurowski et al. take the later of two equal components first, SAM-Med2D the earlier.
  const Mask twins = drawn(8, "##......" "##......" "........" ".....##." ".....##.");
  CHECK(component_boxes(twins, 1)[0].x0 == 5);
  CHECK(sammed2d_box(twins, {8, 8, 5, false}).x0 == 0);
}

TEST_CASE("simulators: by_position off gives five of each, truly labelled") {
  for (const Json& c : goldens()["masks"]) {
    const Mask m = mask_of(c);
    const auto p = huang_points(m, 5, 5, false);
    for (std::size_t i = 0; i < p.size(); ++i) {
      CHECK(p[i].label == int(i < 5));
      if (i > 0) CHECK(int(m.data[std::size_t(std::int64_t(p[i].y) * m.width + std::int64_t(p[i].x))]) == p[i].label);  // the centroid may lie outside
    }
  }
}

TEST_CASE("statistics: quantiles and bootstrap intervals as NumPy draws them, clustered by patient") {
  for (const Json& c : goldens()["intervals"]) {
    std::vector<Score> scores;
    for (std::size_t i = 0; i < c["values"].size(); ++i) scores.push_back({c["values"][i], std::to_string(c["patients"][i].get<int>()), "a", "b"});
    const Summary s = summarize(scores, {c["repeats"], c["seed"], 0.95});
    CHECK(s.count == scores.size());
    CHECK(near(s.mean, c["mean"], 64));
    CHECK(near(s.deviation, c["std"], 64));
    CHECK(near(s.quarter, c["quartiles"][0]));
    CHECK(near(s.median, c["quartiles"][1]));
    CHECK(near(s.three_quarters, c["quartiles"][2]));
    REQUIRE(s.interval.has_value());
    CHECK(near(s.interval->low, c["low"], 64));
    CHECK(near(s.interval->high, c["high"], 64));
  }
}

TEST_CASE("statistics: undefined and infinite values are counted, not averaged; classes and cases count once") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const std::vector<Score> all = {{0.5, "p", "liver", "c1"}, {0.7, "p", "liver", "c1"}, {0.9, "q", "aorta", "c2"}, {nan, "q", "aorta", "c2"}, {inf, "q", "aorta", "c2"}};
  const Summary s = summarize(all, {});
  CHECK((s.count == 3 && s.undefined == 1 && s.infinite == 1 && s.patients == 2));
  CHECK(near(s.mean, 0.7));
  CHECK(near(s.class_mean, 0.75));
  CHECK(near(s.case_mean, 0.75));
  CHECK(s.interval.has_value());
  const Summary one = summarize({{0.5, "p", "liver", "c"}}, {}), empty = summarize({{nan, "p", "liver", "c"}}, {});
  CHECK_FALSE(one.interval.has_value());  // one patient says nothing about others
  CHECK(std::isnan(one.deviation));
  CHECK((empty.count == 0 && empty.undefined == 1 && std::isnan(empty.mean)));
}


TEST_CASE("data set: everything it can say") {
  const Dataset d = parse_dataset(kGood, "dir/d.json");
  CHECK(d.name == "n");
  CHECK((d.labels.size() == 2 && d.labels.at(300) == "spleen"));
  CHECK((d.millimetres && d.sha256.size() == 64));
  REQUIRE(d.images.size() == 2);
  const ImageEntry &a = d.images[0], &b = d.images[1];
  CHECK((a.image == "dir/a/x.png" && a.name == "a/x.png" && a.scan == "c" && a.patient == "p" && a.modality == "CT"));
  CHECK(((*a.spacing)[0] == 0.5 && (*a.spacing)[1] == 2 && a.window->center == 40 && a.window->width == 400));
  REQUIRE(a.masks.size() == 2);
  CHECK((a.masks[0].file == "dir/m.png" && a.masks[0].value == 255 && a.masks[1].file == "/n.png" && !a.masks[1].value));
  CHECK((b.scan == "y.png" && b.patient == "y.png" && b.label_map == "dir/l.png" && b.window.has_value()));
}

TEST_CASE("data set: refusals name the file and the key") {
  const std::string one = R"({"images": [{"image": "x.png", )", scan = R"({"images": [{"volume": "x.nii", )", end = "}]}";
  const std::pair<std::string, const char*> rows[] = {
      {"", "line 1, column 1: not JSON"},
      {"[]", "holds a array"},
      {"{}", "\"images\" is missing"},
      {"{\"images\": []}", "images: [{"},
      {"{\"images\": {}}", "images: [{"},
      {"{\"image\": []}", "unknown key \"image\"; known: name, labels, images"},
      {"{\"images\": [1]}", "image 1: is a number"},
      {"{\"images\": [{}]}", "image 1: \"image\" is missing"},
      {"{\"images\": [{\"image\": \"\"}]}", "image 1 (): image: text is needed"},
      {"{\"images\": [{\"image\": 3}]}", "image 1: image: text is needed"},
      {"{\"images\": [{\"image\": \"a\\nb\"}]}", "image: holds a control character"},
      {"{\"images\": [{\"image\": \"" + std::string(1001, 'x') + "\"}]}", "1001 bytes of text"},
      {"{\"images\": [{\"image\": \"x.png\"}]}", "image 1 (x.png): \"masks\" or \"label_map\" is missing"},
      {one + R"("masks": [])" + end, "image 1 (x.png): masks: [{"},
      {one + R"("masks": [3])" + end, "image 1 (x.png): mask 1: is a number"},
      {one + R"("masks": [{"label": "liver"}])" + end, "mask 1: \"file\" is missing"},
      {one + R"("masks": [{"file": "m.png"}])" + end, "mask 1: \"label\" is missing"},
      {one + R"("masks": [{"file": "m.png", "label": "a", "valeu": 1}])" + end, "mask 1: unknown key \"valeu\"; known: file, label, value"},
      {one + R"("masks": [{"file": "m.png", "label": "a", "value": 0}])" + end, "mask 1: value: a whole number from 1 to 65535"},
      {one + R"("masks": [{"file": "m.png", "label": "a", "value": 1.5}])" + end, "mask 1: value: a whole number"},
      {one + R"("masks": [{"file": "m.png", "label": "a", "label": "b"}])" + end, "key \"label\" is given twice"},
      {one + R"("label_map": "l.png", "spacing": 1)" + end, "spacing: [x, y] in millimetres"},
      {one + R"("label_map": "l.png", "spacing": [1, 0])" + end, "spacing: numbers from 0.000001"},
      {one + R"("label_map": "l.png", "spacing": [1, "a"])" + end, "spacing: is a string"},
      {one + R"("label_map": "l.png", "window": [1, 0])" + end, "window: "},
      {one + R"("label_map": "l.png", "window": "no such")" + end, "window: "},
      {one + R"("label_map": "l.png", "window": 3)" + end, "window: [level, width]"},
      {one + R"("label_map": "l.png", "pateint": "p")" + end, "unknown key \"pateint\"; known: image, case, patient"},
      {one + R"("label_map": "l.png")" + "}, {\"image\": \"x.png\", \"label_map\": \"l.png\"}]}", "image 2 (x.png): this image is given twice"},
      {one + R"("label_map": "l.png", "spacing": [1, 1])" + "}, {\"image\": \"y.png\", \"label_map\": \"l.png\"}]}", "\"spacing\" is given for 1 of 2 images"},
      {one + R"("volume": "x.nii")" + end, "\"image\" and \"volume\" both name the picture"},
      {one + R"("label_map": "l.png", "plane": "axial")" + end, "unknown key \"plane\"; known: image, case"},
      {scan + R"("plane": "up")" + end, "plane: axial, coronal or sagittal"},
      {scan + R"("slices": "some")" + end, "slices: all, largest or every:N"},
      {scan + R"("slices": "every:0")" + end, "slices: every:N needs a whole number from 1"},
      {scan + R"("recipe": "ct")" + end, "recipe: auto, as-is"},
      {scan + R"("recipe": "full", "window": "lung")" + end, "\"window\" and \"recipe\" both say"},
      {scan + R"("spacing": [1, 1])" + end, "unknown key \"spacing\"; known: volume, case"},
      {scan + R"("label_map": "l.nii")" + "}, {\"image\": \"y.png\", \"label_map\": \"l.png\"}]}", "\"spacing\" is given for 1 of 2 images (a scan has one)"},
      {R"({"labels": {"0": "a"}})", "labels: key \"0\": a whole number from 1"},
      {R"({"labels": {"01": "a"}})", "labels: key \"01\""},
      {R"({"labels": {"a": "a"}})", "labels: key \"a\""},
      {R"({"labels": {"1": 2}})", "labels: 1: text is needed"},
      {R"({"labels": []})", "labels: {"},
      {R"({"images": [{"image": [[[[[[[[[1]]]]]]]]]}]})", "nested too deeply for a dataset file"},
      {R"({"images": [{"image": "x.png", "spacing": [1e999, 1]}]})", "d.json"},
  };
  for (const auto& [text, words] : rows) {
    const std::string said = refusal(text), want = words;
    CAPTURE(want);
    CHECK_MESSAGE(said.rfind("dir/d.json", 0) == 0, said);
    CHECK_MESSAGE(said.find(want) != std::string::npos, said);
  }
  CHECK(refusal(std::string(kMaxDatasetBytes + 1, ' '), Exit::refused).find("at most") != std::string::npos);
}

TEST_CASE("prompts: every word, its numbers and its refusals") {
  const auto spec = [](std::string_view t) { return parse_prompt(t).value(); };
  CHECK((spec("box").kind == PromptKind::box && spec("box").name == "box"));
  const PromptSpec jitter = spec("box-jitter:10%x5");
  CHECK((jitter.name == "box-jitter:10%" && jitter.amount.share && jitter.amount.value == 0.1 && jitter.repeat == 5));
  CHECK((spec("box-jitter:5px").amount.value == 5 && !spec("box-jitter:5px").amount.share && spec("box-margin:-2px").amount.value == -2));
  const PromptSpec points = spec("points:5+3x2");
  CHECK((points.count == 5 && points.negatives == 3 && points.repeat == 2 && points.name == "points:5+3"));
  CHECK((spec("random-pointx4").repeat == 4 && spec("random-pointx4").name == "random-point"));
  CHECK((spec("boxes").count == 100 && spec("boxes:2").count == 2 && spec("everything").count == 32 && spec("clicks:9").iterative()));
  for (const char* bad : {"", "bxo", "box:3", "boxx3", "box-jitter", "box-jitter:", "box-jitter:5", "box-jitter:-5px", "box-jitter:1.5px", "box-jitter:nan%", "box-jitter:1e9px", "box-grow:5%", "points", "points:0", "points:5+", "points:5+-1",
                          "clicks", "clicks:0", "clicks:1001", "clicks:3x2", "huang-points:6", "box-jitter:5pxx0", "box-jitter:5pxx1001", "center:1"}) {
    CAPTURE(bad);
    const auto r = parse_prompt(bad);
    REQUIRE_FALSE(r.ok());
    CHECK(r.error().message().rfind(cat("prompt ", bad), 0) == 0);
  }
  CHECK((spec("box").most_points() == 0 && spec("center").most_points() == 1 && spec("points:5+3").most_points() == 8 && spec("clicks:9").most_points() == 9 && spec("huang-box-point").most_points() == 1));
  // Profiles hold words that are read and quirks that exist.
  for (const Profile& p : kProfiles) {
    for (const auto& w : words(p.prompts)) CHECK_MESSAGE(parse_prompt(w).ok(), w);
    for (const auto& q : words(p.quirks)) CHECK(std::any_of(std::begin(kQuirks), std::end(kQuirks), [&](const Quirk& k) { return q == k.name; }));
  }
  CHECK(words("a,,b") == std::vector<std::string>{"a", "", "b"});
  CHECK(words("a,") == std::vector<std::string>{"a", ""});
}
