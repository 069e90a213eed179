// What the commands write, against what the library gives for the same call in this process: masks, label maps, dumps, embeddings, traces, JSON, overlays.
// Models are tiny and random; that their numbers are right is the business of tests/parity.
#include "cli/program.hpp"

#include <sampan/image/overlay.hpp>
#include <sampan/models/zoo.hpp>
#include <sampan/sampan.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>

using namespace sampan;
using namespace sampan::test;
using Document = nlohmann::json;

namespace {

constexpr std::int64_t kWidth = 64, kHeight = 48;

const Folder& folder() {
  static const Folder f;
  static const bool made = [] {
    f.model("m.safetensors", tiny_sam({.image = 64}));
    f.model("box.safetensors", tiny_lite_medsam());
    f.model("classes.safetensors", tiny_samed(5, {.image = 64}));
    f.model("hq.safetensors", tiny_sam_hq({.image = 64}));
    f.model("alone.safetensors", tiny_finetune("autosamus"));
    f.rgb("a.png", kHeight, kWidth);
    return true;
  }();
  REQUIRE(made);
  return f;
}

/// The library's own answer.
class Expected {
 public:
  explicit Expected(const Folder& f, const std::string& image = "a.png", const std::string& model = "m.safetensors")
      : image_(f.image(image)), model_(Model::load((f / model).string(), {.threads = 1})), session_(model_) {
    session_.set_image(image_.view());
  }
  Prediction operator()(const Prompt& p, const PredictOptions& o = {}) { return session_.predict(p, o); }
  Session& session() { return session_; }

 private:
  Image image_;
  Model model_;
  Session session_;
};

std::vector<int> scaled(const Mask& m, int value) {
  std::vector<int> v(m.data.begin(), m.data.end());
  for (int& x : v) x *= value;
  return v;
}
void paint(std::vector<int>& map, const Mask& m, int value) {
  for (std::size_t i = 0; i < map.size(); ++i)
    if (m.data[i]) map[i] = value;
}
Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Words segment(const Words& more) { return Words{"segment", "a.png", "--model", "m.safetensors"} + more; }

std::vector<float> tensor(const weights::Safetensors& file, const std::string& name, const weights::Shape& shape) {
  const auto* t = file.find(name);
  REQUIRE_MESSAGE(t != nullptr, name);
  CHECK(t->dtype == DType::f32);
  CHECK(weights::to_string(t->shape) == weights::to_string(shape));
  std::vector<float> v(t->data.size() / sizeof(float));
  std::memcpy(v.data(), t->data.data(), t->data.size());
  return v;
}
weights::Safetensors open(const Folder& f, const std::string& name) {
  auto r = weights::Safetensors::open((f / name).string());
  REQUIRE_MESSAGE(r.ok(), name);
  return std::move(*r);
}

// Prompts whose masks are neither empty nor full on this random network; checked where they are used.
const Box kA{4, 4, 30, 30}, kB{20, 10, 60, 44}, kC{1.5, 2.25, 40, 20.75};
const char *const kTextA = "4,4,30,30", *const kTextB = "20,10,60,44", *const kTextC = "1.5,2.25,40,20.75";

}  // namespace

TEST_CASE("one box: a mask of 0 and 255, the library's") {
  const Folder& f = folder();
  Expected e(f);
  f.ok(segment({"--box", kTextA, "-o", "one.png"}));
  const Prediction p = e({.box = kA});
  CHECK(p.best().area > 0);
  CHECK(p.best().area < kWidth * kHeight);
  CHECK(f.values("one.png") == scaled(p.mask(), 255));
  CHECK(f.image("one.png").type() == PixelType::u8);
  f.ok(segment({"--box", kTextA, "-o", "one_label.png", "--labels"}));
  CHECK(f.values("one_label.png") == scaled(p.mask(), 1));
}

TEST_CASE("decimals and points reach the network as given") {
  const Folder& f = folder();
  Expected e(f);
  f.ok(segment({"--box", kTextC, "--point", "10.5,8.25,1", "--point", "-3,2,0", "-o", "points.png"}));
  const Prediction p = e({.points = {{10.5, 8.25, 1}, {-3, 2, 0}}, .box = kC});
  CHECK(f.values("points.png") == scaled(p.mask(), 255));
  f.ok(segment({"--point", "10,10,1", "-o", "click.png"}));
  CHECK(f.values("click.png") == scaled(e({.points = {{10, 10, 1}}}).mask(), 255));
  f.ok(segment({"-o", "none.png"}));
  CHECK(f.values("none.png") == scaled(e({}).mask(), 255));
}

TEST_CASE("several boxes: a label map, later objects over earlier ones") {
  const Folder& f = folder();
  Expected e(f);
  // Five alike prompts: more than the library decodes together.
  const std::vector<Box> boxes = {kA, kB, kC, kA, kB};
  Words call = segment({"-o", "labels.png"});
  std::vector<int> map(kWidth * kHeight, 0);
  int i = 0;
  for (const Box& b : boxes) {
    call = call + Words{"--box", cat(b.x0, ",", b.y0, ",", b.x1, ",", b.y1)};
    paint(map, e({.box = b}).mask(), ++i);
  }
  f.ok(call);
  CHECK(f.values("labels.png") == map);
  CHECK(f.image("labels.png").type() == PixelType::u8);
  CHECK(std::set<int>(map.begin(), map.end()).size() > 1);
}

TEST_CASE("a prompts file: labels, names, mixed prompts, 16-bit above 255") {
  const Folder& f = folder();
  Expected e(f);
  write_text(f / "p.json", R"({"objects": [{"label": 7, "name": "liver", "box": [4,4,30,30]}, {"label": 300, "points": [[40,30,1],[5,5,0]]}, {"label": 7, "box": [20,10,60,44], "points": [[30,20,1]]}]})");
  const Ran r = f.ok(segment({"--prompts", "p.json", "-o", "p.png", "--json"}));
  std::vector<int> map(kWidth * kHeight, 0);
  paint(map, e({.box = kA}).mask(), 7);
  paint(map, e({.points = {{40, 30, 1}, {5, 5, 0}}}).mask(), 300);
  paint(map, e({.points = {{30, 20, 1}}, .box = kB}).mask(), 7);
  CHECK(f.values("p.png") == map);
  const bool wide = std::find(map.begin(), map.end(), 300) != map.end();
  CHECK(wide);
  CHECK((f.image("p.png").type() == PixelType::u16) == wide);
  const Document j = Document::parse(r.out);
  REQUIRE(j["objects"].size() == 3);
  CHECK(j["objects"][0]["label"] == 7);
  CHECK(j["objects"][0]["name"] == "liver");
  CHECK(j["objects"][1]["label"] == 300);
  CHECK(!j["objects"][1].contains("name"));
  // Without labels the position counts; one object gives a mask of 0 and 255 whatever its label is.
  write_text(f / "one.json", R"({"objects": [{"label": 9, "box": [4,4,30,30]}]})");
  f.ok(segment({"--prompts", "one.json", "-o", "p1.png"}));
  CHECK(f.values("p1.png") == scaled(e({.box = kA}).mask(), 255));
  f.ok(segment({"--prompts", "one.json", "-o", "p9.png", "--labels"}));
  CHECK(f.values("p9.png") == scaled(e({.box = kA}).mask(), 9));
}

TEST_CASE("--json has the documented keys and the library's numbers") {
  const Folder& f = folder();
  Expected e(f);
  const Ran r = f.ok(segment({"--box", kTextA, "--box", kTextB, "-o", "j.png", "--json", "--threads", "2"}));
  const Document j = Document::parse(r.out);
  REQUIRE(j["objects"].size() == 2);
  const Box boxes[] = {kA, kB};
  for (std::size_t i = 0; i < 2; ++i) {
    const Prediction p = e({.box = boxes[i]});
    const Document& o = j["objects"][i];
    CHECK(o["label"] == int(i) + 1);
    CHECK(o["area"] == p.best().area);
    CHECK(o["box"] == Document::array({p.best().extent.x0, p.best().extent.y0, p.best().extent.x1, p.best().extent.y1}));
    CHECK(o["predicted_iou"].get<float>() == p.score());
    CHECK(o["stability"].get<float>() == p.best().stability);
    CHECK(o["area"] == std::count(p.mask().data.begin(), p.mask().data.end(), 1));
  }
  for (const char* key : {"load", "preprocess", "encode", "decode", "postprocess", "write"}) {
    CAPTURE(key);
    CHECK(j["timings_ms"][key].get<double>() > 0);
  }
  CHECK(j["timings_ms"].size() == 6);
  CHECK(j["peak_memory_mib"].get<double>() > 1);
  CHECK(j["model"]["family"] == "sam");
  CHECK(j["model"]["licence"] == "Apache-2.0");
  CHECK(j["model"]["sha256"] == sha256_hex(as_bytes(read_text(f / "m.safetensors"))));
  CHECK(j["engine"]["version"] == SAMPAN_VERSION);
  CHECK(j["engine"]["device"] == "cpu");
  CHECK(j["engine"]["threads"] == 2);
  CHECK(j["engine"]["precision"] == "f32");
  CHECK(j["engine"]["isa"] == available_isas().back());
  // Alone it needs no file.
  CHECK(Document::parse(f.ok(segment({"--box", kTextA, "--json", "--quiet"})).out)["objects"].size() == 1);
}

TEST_CASE("segment --precision: computes in it where available_precisions() says so, else names what there is") {
  const Folder& f = folder();
  const auto have = available_precisions();
  CHECK(std::find(have.begin(), have.end(), "fast") != have.end());
  for (const char* name : {"fast", "bf16"}) {
    CAPTURE(name);
    const Ran r = f.run(segment({"--box", kTextA, "--json", "--quiet", "--precision", name}));
    if (std::find(have.begin(), have.end(), name) != have.end()) {
      CHECK(r.code == 0);
      CHECK(Document::parse(r.out)["engine"]["precision"] == name);
    } else {
      CHECK(r.code == 2);
      CHECK(r.err.find("f32, fast") != std::string::npos);
    }
  }
  CHECK(f.run(segment({"--box", kTextA, "--json", "--quiet", "--precision", "bf16", "--isa", "scalar"})).code == 2);
}

TEST_CASE("a number that does not exist is null, an empty mask has no box") {
  const Folder& f = folder();
  // Upscaled features become 10 everywhere, the hypernetwork gives -100: every logit is far below -1, so stability is 0/0.
  REQUIRE(write_model((f / "dark.safetensors").string(), tiny_sam({.image = 64}), 1, weights::expected_tensors(sam_sizes({.image = 64})), [](const std::string& name, std::vector<float>& v) {
            const auto ends = [&](const std::string& s) { return name.size() > s.size() && name.compare(name.size() - s.size(), s.size(), s) == 0; };
            const bool hyper = name.find("output_hypernetworks_mlps") != std::string::npos;
            if (name == "mask_decoder.output_upscaling.3.weight" || (hyper && ends("layers.2.weight"))) std::fill(v.begin(), v.end(), 0.0f);
            if (name == "mask_decoder.output_upscaling.3.bias") std::fill(v.begin(), v.end(), 10.0f);
            if (hyper && ends("layers.2.bias")) std::fill(v.begin(), v.end(), -100.0f);
          }).ok());
  const Ran r = f.ok({"segment", "a.png", "--model", "dark.safetensors", "--box", kTextA, "-o", "dark.png", "--json"});
  const Document o = Document::parse(r.out)["objects"][0];
  CHECK(o["area"] == 0);
  CHECK(o["box"].is_null());
  CHECK(o["stability"].is_null());
  CHECK(r.err.find("empty mask") != std::string::npos);
  CHECK(f.values("dark.png") == std::vector<int>(kWidth * kHeight, 0));
}

TEST_CASE("--multimask and --select") {
  const Folder& f = folder();
  Expected e(f);
  const Prompt click{.points = {{20, 20, 1}}};
  for (const auto& entry : {std::pair("iou", Select::iou), std::pair("first", Select::first), std::pair("stability", Select::stability), std::pair("largest", Select::largest)}) {
    const std::string word = entry.first;
    const Select rule = entry.second;
    CAPTURE(word);
    const Prediction p = e(click, {.multimask = true, .select = rule});
    const Document j = Document::parse(f.ok(segment({"--point", "20,20,1", "--multimask", "--select", word, "-o", "s.png", "--json"})).out);
    CHECK(f.values("s.png") == scaled(p.mask(), 255));
    CHECK(j["objects"][0]["selected"] == p.selected);
    CHECK(j["objects"][0]["candidates"].size() == 3);
    CHECK(j["objects"][0]["area"] == p.best().area);
  }
  f.ok(segment({"--point", "20,20,1", "--multimask", "--select", "all", "-o", "all.png"}));
  CHECK(!fs::exists(f / "all.png"));
  const Prediction p = e(click, {.multimask = true});
  for (std::size_t i = 0; i < 3; ++i) CHECK(f.values(cat("all_", i, ".png")) == scaled(p.candidates[i].mask, 255));
  // Of several objects: the i-th candidate of each.
  f.ok(segment({"--box", kTextA, "--box", kTextB, "--multimask", "--select", "all", "-o", "both.png"}));
  const Prediction a = e({.box = kA}, {.multimask = true}), b = e({.box = kB}, {.multimask = true});
  for (std::size_t i = 0; i < 3; ++i) {
    std::vector<int> map(kWidth * kHeight, 0);
    paint(map, a.candidates[i].mask, 1);
    paint(map, b.candidates[i].mask, 2);
    CHECK(f.values(cat("both_", i, ".png")) == map);
  }
}

TEST_CASE("a model of classes gives a label map without prompts") {
  const Folder& f = folder();
  Expected e(f, "a.png", "classes.safetensors");
  const ClassMap m = e.session().class_map();
  REQUIRE(std::count_if(m.areas.begin(), m.areas.end(), [](std::int64_t n) { return n > 0; }) >= 2);
  const Words call{"segment", "a.png", "--model", "classes.safetensors"};
  const Document j = Document::parse(f.ok(call + Words{"-o", "classes.png", "--overlay", "classes_overlay.png", "--json"}).out);
  CHECK(f.values("classes.png") == std::vector<int>(m.labels.begin(), m.labels.end()));
  REQUIRE(j["objects"].size() == 4);
  for (std::size_t c = 1; c < 5; ++c) {
    CAPTURE(c);
    const Document& o = j["objects"][c - 1];
    CHECK(o["label"] == c);
    CHECK(o["area"] == m.areas[c]);
    CHECK(o["box"].is_null() == (m.areas[c] == 0));
    std::int64_t inside = 0;
    for (std::int64_t y = 0; y < m.height; ++y)
      for (std::int64_t x = 0; x < m.width; ++x)
        if (m.labels[std::size_t(y * m.width + x)] == c) inside += double(x) >= o["box"][0] && double(y) >= o["box"][1] && double(x) < o["box"][2] && double(y) < o["box"][3];
    CHECK(inside == m.areas[c]);
  }
  const Image overlay = f.image("classes_overlay.png"), plain = f.image("a.png");
  REQUIRE(overlay.bytes() == plain.bytes());
  CHECK(std::memcmp(overlay.data(), plain.data(), plain.bytes()) != 0);
  f.ok({"encode", "a.png", "--model", "classes.safetensors", "-o", "classes_e.safetensors"});
  f.ok({"segment", "--embedding", "classes_e.safetensors", "--model", "classes.safetensors", "-o", "classes_again.png"});
  CHECK(f.values("classes_again.png") == f.values("classes.png"));
  CHECK(f.run(call + Words{"--box", kTextA, "-o", "no.png"}).err.find("takes no prompts") != std::string::npos);
  CHECK(f.run(call + Words{"--multimask", "-o", "no.png"}).code == 2);
  CHECK_FALSE(fs::exists(f / "no.png"));
  CHECK(f.ok({"info", "classes.safetensors"}).out.find("5 classes") != std::string::npos);
}

TEST_CASE("a model that takes no prompts gives one mask, and info says where it runs") {
  const Folder& f = folder();
  const Words call{"segment", "a.png", "--model", "alone.safetensors"};
  const Mask m = Expected(f, "a.png", "alone.safetensors")({}).mask();
  f.ok(call + Words{"-o", "alone.png"});
  const auto values = f.values("alone.png");
  REQUIRE(values.size() == m.data.size());
  CHECK(std::equal(values.begin(), values.end(), m.data.begin(), [](int v, std::uint8_t b) { return v == 255 * b; }));
  CHECK(f.run(call + Words{"--box", kTextA, "-o", "no.png"}).err.find("takes no prompts") != std::string::npos);
  const std::string text = f.ok({"info", "alone.safetensors"}).out;
  for (const char* part : {"prompts       none", "1 per object", "not cuda, which has no prompt generator"}) CHECK_MESSAGE(text.find(part) != std::string::npos, text);
  CHECK(Document::parse(f.ok({"info", "alone.safetensors", "--json"}).out)["devices"] == Document::array({"cpu", "reference"}));
  CHECK(Document::parse(f.ok({"info", "m.safetensors", "--json"}).out)["devices"] == Document::array({"cpu", "reference", "cuda"}));
}

TEST_CASE("--label-names: names and colours in the report and on the overlay, for boxes and for classes") {
  const Folder& f = folder();
  write_text(f / "names.json", R"({"labels": {"1": "liver", "2": {"name": "spleen", "colour": [250, 10, 20]}, "7": {"colour": [1, 2, 3]}}})");
  write_text(f / "two.json", R"({"objects": [{"label": 1, "name": "kidney", "box": [4, 4, 20, 20]}, {"label": 2, "box": [30, 20, 50, 40]}, {"label": 9, "box": [10, 30, 25, 44]}]})");
  const Words call = segment({"--prompts", "two.json", "--overlay", "named.png", "--json"});
  const Document j = Document::parse(f.ok(call + Words{"--label-names", "names.json"}).out);
  CHECK((j["objects"][0]["name"] == "kidney" && j["objects"][1]["name"] == "spleen" && !j["objects"][2].contains("name")));
  CHECK((j["objects"][1]["colour"] == Document::array({250, 10, 20}) && !j["objects"][0].contains("colour")));
  const auto has = [&](const char* name, std::array<std::uint8_t, 3> colour) {
    const Image image = f.image(name);
    for (std::size_t i = 0; i + 2 < image.bytes(); i += 3)
      if (std::equal(colour.begin(), colour.end(), image.data() + i)) return true;
    return false;
  };
  CHECK((has("named.png", {250, 10, 20}) && has("named.png", overlay_colour(0)) && !has("named.png", overlay_colour(1))));
  f.ok(call);
  CHECK((has("named.png", overlay_colour(1)) && !has("named.png", {250, 10, 20})));
  write_text(f / "classes.json", R"({"labels": {"1": "liver", "2": {"colour": [250, 10, 20]}, "3": "aorta", "4": {"name": "spleen", "colour": [250, 10, 20]}}})");
  const Words classes{"segment", "a.png", "--model", "classes.safetensors", "--overlay", "named.png", "--json", "--label-names"};
  const Ran r = f.ok(classes + Words{"classes.json"});
  CHECK(r.err.find("class 3 (aorta): ") != std::string::npos);
  const Document c = Document::parse(r.out);
  CHECK((c["objects"][0]["name"] == "liver" && !c["objects"][1].contains("name") && c["objects"][1]["colour"][0] == 250));
  if (c["objects"][1]["area"] > 0) CHECK(has("named.png", {250, 10, 20}));
  check_refused(f.run(classes + Words{"names.json"}), 2, "label 7 has a name");
  for (const auto& [text, words] : {std::pair("{}", "{\"labels\": {"), std::pair(R"({"labels": {"0": "a"}})", "labels: 0: a whole number from 1"), std::pair(R"({"labels": {"1": 3}})", "labels: 1: a name is needed"), std::pair(R"({"labels": {"1": {"color": [1, 2, 3]}}})", "unknown key \"color\"; known: name, colour"),
                                    std::pair(R"({"labels": {"1": {"colour": [1, 2, 256]}}})", "colour: [red, green, blue]"), std::pair(R"({"labels": {"1": "a", "1": "b"}})", "key \"1\" is given twice")}) {
    write_text(f / "bad.json", text);
    check_refused(f.run(segment({"--box", "4,4,20,20", "-o", "no.png", "--label-names", "bad.json"})), 3, words);
  }
}

TEST_CASE("--ensemble: the mean of moved prompts, and heat maps of mean and variance") {
  const Folder& f = folder();
  Expected e(f);
  const auto call = [&](const Words& more) { return segment(Words{"--box", kTextB, "--ensemble", "5", "--jitter", "10%"} + more); };
  const Document j = Document::parse(f.ok(call({"-o", "e.png", "--mean-map", "mean.png", "--variance-map", "variance.png", "--json"})).out);
  CHECK(f.values("e.png") != scaled(e({.box = kB}).mask(), 255));
  const auto values = f.values("e.png");
  CHECK(j["objects"][0]["area"] == std::count(values.begin(), values.end(), 255));
  CHECK(j["objects"][0]["stability"].is_null());
  const Image mean = f.image("mean.png"), variance = f.image("variance.png");
  REQUIRE(mean.size().width == kWidth);
  REQUIRE(variance.size().channels == 3);
  CHECK(std::any_of(variance.data(), variance.data() + variance.bytes(), [](std::uint8_t v) { return v > 0; }));
  // The same numbers again, whatever else is asked; another seed, another mean.
  f.ok(call({"-o", "e2.png", "--mean-map", "mean2.png"}));
  CHECK(read_text(f / "mean2.png") == read_text(f / "mean.png"));
  f.ok(call({"-o", "e3.png", "--mean-map", "mean3.png", "--seed", "7"}));
  CHECK(read_text(f / "mean3.png") != read_text(f / "mean.png"));
  for (const Words& wrong : {Words{"--ensemble", "1"}, Words{"--jitter", "5%"}, Words{"--ensemble", "3", "--jitter", "5"}, Words{"--ensemble", "3", "--jitter", "60%"}, Words{"--ensemble", "3", "--dump", "d.safetensors"},
                             Words{"--ensemble", "3", "--box", kTextA, "--mean-map", "m.png"}, Words{"--mean-map", "m.png"}})
    check_refused(f.run(segment(Words{"--box", kTextB, "-o", "no.png"} + wrong)), 2, "-");
}

TEST_CASE("an ensemble of the library: mean and variance of the members' probabilities") {
  const Folder& f = folder();
  Expected e(f);
  const std::vector<Prompt> members{{.box = kA}, {.box = kA}, {.box = kB}, {.points = {{20, 20, 1}}}, {.box = kC}};
  const Ensemble all = e.session().predict_ensemble(members), same = e.session().predict_ensemble(std::vector<Prompt>{{.box = kA}, {.box = kA}, {.box = kA}});
  REQUIRE(all.mean.size() == std::size_t(kWidth * kHeight));
  CHECK(all.predicted_iou.size() == 5);
  CHECK(same.mask.data == e({.box = kA}).mask().data);  // a mean of equal answers is the answer
  CHECK(*std::max_element(same.variance.begin(), same.variance.end()) < 1e-9f);
  std::vector<std::vector<float>> each;
  for (const Prompt& m : members) each.push_back(e.session().predict_ensemble(std::vector<Prompt>{m, m}).mean);
  double worst = 0;
  for (std::size_t i = 0; i < all.mean.size(); ++i) {
    double mean = 0, square = 0;
    for (const auto& p : each) mean += double(p[i]) / 5;
    for (const auto& p : each) square += (double(p[i]) - mean) * (double(p[i]) - mean) / 5;
    worst = std::max({worst, std::abs(double(all.mean[i]) - mean), std::abs(double(all.variance[i]) - square)});
    CHECK((all.mask.data[i] != 0) == (all.mean[i] > 0.5f));
  }
  CHECK(worst < 1e-6);  // float32 means
  Ensemble none;
  CHECK(e.session().try_predict_ensemble(std::vector<Prompt>{{.box = kA}}, none).error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("--recist is the box around the circle; scribbles are clicks along their paths") {
  const Folder& f = folder();
  Expected e(f);
  f.ok(segment({"--recist", "10,20,34,20", "-o", "recist.png"}));
  CHECK(f.values("recist.png") == scaled(e({.box = Box{10, 8, 34, 32}}).mask(), 255));
  write_text(f / "scribble.json", R"({"objects": [{"scribbles": [{"label": 1, "path": [[10, 10], [14, 12], [14, 10]]}, {"label": 0, "path": [[50, 40]]}]}]})");
  f.ok(segment({"--prompts", "scribble.json", "-o", "scribble.png"}));
  // Steps of one pixel along the longer side, each pixel once.
  const Prompt clicks{.points = {{10, 10, 1}, {11, 11, 1}, {12, 11, 1}, {13, 12, 1}, {14, 12, 1}, {14, 11, 1}, {14, 10, 1}, {50, 40, 0}}};
  CHECK(f.values("scribble.png") == scaled(e(clicks).mask(), 255));
  for (const char* wrong : {R"([{"label": 2, "path": [[1, 1]]}])", R"([{"label": 1, "path": []}])", R"([{"label": 1, "path": [[1]]}])", R"([{"label": 1}])", R"([])", R"([{"label": 1, "path": [[1, 1e300]]}])"}) {
    CAPTURE(wrong);
    write_text(f / "wrong.json", cat(R"({"objects": [{"scribbles": )", wrong, "}]}"));
    check_refused(f.run(segment({"--prompts", "wrong.json", "-o", "no.png"})), 3, "scribbles");
  }
  write_text(f / "long.json", R"({"objects": [{"scribbles": [{"label": 1, "path": [[0, 0], [200000, 0]]}]}]})");
  check_refused(f.run(segment({"--prompts", "long.json", "-o", "no.png"})), 4, "100000 points");
  check_refused(f.run(segment({"--recist", "10,20,10,20", "-o", "no.png"})), 2, "one point");
  check_refused(f.run(segment({"--recist", "10,20,99,20", "-o", "no.png"})), 2, "outside");
  check_refused(f.run(segment({"--recist", "10,20,30,20", "--box", kTextA, "-o", "no.png"})), 2, "--prompts");
}

TEST_CASE("--hq-token-only is SAM-HQ's") {
  const Folder& f = folder();
  Expected e(f, "a.png", "hq.safetensors");
  f.ok({"segment", "a.png", "--model", "hq.safetensors", "--box", kTextA, "--hq-token-only", "-o", "own.png"});
  f.ok({"segment", "a.png", "--model", "hq.safetensors", "--box", kTextA, "-o", "sum.png"});
  CHECK(f.values("own.png") == scaled(e({.box = kA}, {.hq_token_only = true}).mask(), 255));
  CHECK(f.values("sum.png") == scaled(e({.box = kA}).mask(), 255));
  CHECK(f.values("own.png") != f.values("sum.png"));
  CHECK(f.run(segment({"--box", kTextA, "--hq-token-only", "-o", "no.png"})).err.find("no token of SAM-HQ") != std::string::npos);
}

TEST_CASE("--dump holds PyTorch's shapes, all masks whatever --select says") {
  const Folder& f = folder();
  Expected e(f);
  f.ok(segment({"--box", kTextA, "--box", kTextB, "--multimask", "--select", "first", "-o", "d.png", "--dump", "d.safetensors"}));
  const auto file = open(f, "d.safetensors");
  CHECK(file.tensors().size() == 3);
  CHECK(tensor(file, "image_embedding", {1, 32, 4, 4}) == *e.session().try_image_embedding());
  std::vector<float> logits, iou;
  for (const Box& box : {kA, kB}) {
    const Prediction p = e({.box = box}, {.multimask = true});
    logits.insert(logits.end(), p.low_res_logits.begin(), p.low_res_logits.end());
    for (const auto& c : p.candidates) iou.push_back(c.predicted_iou);
  }
  CHECK(tensor(file, "low_res_logits", {2, 3, 16, 16}) == logits);
  CHECK(tensor(file, "iou_predictions", {2, 3}) == iou);
}

TEST_CASE("a dumped mask comes back as --mask-input, also from a prompts file") {
  const Folder& f = folder();
  Expected e(f);
  f.ok(segment({"--box", kTextA, "-o", "first.png", "--dump", "first.safetensors"}));
  const Prediction first = e({.box = kA});
  f.ok(segment({"--point", "20,20,1", "--mask-input", "first.safetensors", "-o", "second.png"}));
  const Prediction second = e({.points = {{20, 20, 1}}, .mask_input = first.low_res_logits});
  CHECK(f.values("second.png") == scaled(second.mask(), 255));
  CHECK(second.mask().data != e({.points = {{20, 20, 1}}}).mask().data);
  write_text(f / "masks.json", R"({"objects": [{"box": [20,10,60,44]}, {"points": [[20,20,1]], "mask_input": "first.safetensors"}]})");
  f.ok(segment({"--prompts", "masks.json", "-o", "masks.png"}));
  std::vector<int> map(kWidth * kHeight, 0);
  paint(map, e({.box = kB}).mask(), 1);
  paint(map, second.mask(), 2);
  CHECK(f.values("masks.png") == map);
}

TEST_CASE("encode, then segment --embedding: the same bytes as in one go, with and without the image") {
  const Folder& f = folder();
  Expected e(f);
  const Ran r = f.ok({"encode", "a.png", "--model", "m.safetensors", "-o", "e.safetensors", "--json"});
  const Document j = Document::parse(r.out);
  CHECK(j["objects"].empty());
  CHECK(j["timings_ms"]["encode"].get<double>() > 0);
  CHECK(tensor(open(f, "e.safetensors"), "image_embedding", {1, 32, 4, 4}) == *e.session().try_image_embedding());
  f.ok(segment({"--box", kTextA, "-o", "whole.png"}));
  f.ok({"segment", "--embedding", "e.safetensors", "--model", "m.safetensors", "--box", kTextA, "-o", "later.png"});
  f.ok(segment({"--embedding", "e.safetensors", "--box", kTextA, "-o", "with_image.png", "--overlay", "later_overlay.png"}));
  CHECK(read_text(f / "whole.png") == read_text(f / "later.png"));
  CHECK(read_text(f / "whole.png") == read_text(f / "with_image.png"));
  CHECK(f.image("later_overlay.png").size().channels == 3);
}

TEST_CASE("--overlay: the image's size, unchanged far from the object, coloured inside") {
  const Folder& f = folder();
  Expected e(f);
  f.ok(segment({"--box", kTextA, "--overlay", "o.png"}));
  const Image before = f.image("a.png"), after = f.image("o.png");
  CHECK(after.size() == before.size());
  const Mask mask = e({.box = kA}).mask();
  std::size_t changed_inside = 0, inside = 0, changed_outside = 0;
  for (std::int64_t y = 0; y < kHeight; ++y)
    for (std::int64_t x = 0; x < kWidth; ++x) {
      const std::size_t i = std::size_t(y * kWidth + x);
      const bool changed = std::memcmp(before.data() + 3 * i, after.data() + 3 * i, 3) != 0;
      const bool on_box = (x == 4 || x == 30 || y == 4 || y == 30) && x >= 4 && x <= 30 && y >= 4 && y <= 30;
      if (mask.data[i]) ++inside, changed_inside += changed;
      else if (changed && !on_box) ++changed_outside;
    }
  CHECK(changed_outside == 0);
  CHECK(inside > 0);
  CHECK(changed_inside > inside / 2);
}

TEST_CASE("--trace writes tensors by PyTorch's names") {
  const Folder& f = folder();
  f.ok(segment({"--box", kTextA, "-o", "t.png", "--trace", "t.safetensors:image_encoder.blocks.*,image_encoder"}));
  const auto some = open(f, "t.safetensors");
  CHECK(some.find("image_encoder.blocks.0") != nullptr);
  CHECK(some.find("image_encoder.blocks.1") != nullptr);
  CHECK(some.find("image_encoder.patch_embed") == nullptr);
  Expected e(f);
  CHECK(tensor(some, "image_encoder", {1, 32, 4, 4}) == *e.session().try_image_embedding());
  REQUIRE(some.metadata("sampan.trace") != nullptr);
  const Document costs = Document::parse(*some.metadata("sampan.trace"));
  // Layers carry their cost; what was only tapped on the way is not listed.
  std::set<std::string> timed;
  for (const auto& c : costs) {
    timed.insert(c["name"].get<std::string>());
    CHECK(some.find(c["name"].get<std::string>()) != nullptr);
    CHECK(c["flop"].get<double>() > 0);
    CHECK(c["bytes"].get<double>() > 0);
    CHECK(c["ms"].get<double>() > 0);
  }
  CHECK(timed.count("image_encoder.blocks.0") == 1);
  f.ok(segment({"--box", kTextA, "-o", "t.png", "--trace", "all.safetensors"}));
  CHECK(open(f, "all.safetensors").tensors().size() > some.tensors().size());
  f.ok({"encode", "a.png", "--model", "m.safetensors", "-o", "te.safetensors", "--trace", "te2.safetensors:image_encoder"});
  CHECK(open(f, "te2.safetensors").tensors().size() == 1);
}

TEST_CASE("the mask does not depend on threads, repetitions, device") {
  const Folder& f = folder();
  f.ok(segment({"--box", kTextA, "-o", "base.png"}));
  const std::string base = read_text(f / "base.png");
  for (const Words& more : {Words{"--threads", "1"}, Words{"--threads", "3"}, Words{"--repeat", "3"}, Words{"--device", "reference"}, Words{"--isa", available_isas()[0]}, Words{"--max-memory", "1G"}}) {
    CAPTURE(more[0] + " " + more[1]);
    f.ok(segment(Words{"--box", kTextA, "-o", "again.png"} + more));
    CHECK(read_text(f / "again.png") == base);
  }
}

TEST_CASE("16-bit images with a window, odd sizes") {
  const Folder& f = folder();
  std::vector<std::uint16_t> wide;
  for (int i = 0; i < 40 * 30; ++i) wide.push_back(std::uint16_t(900 + i % 300));
  f.png("ct.png", {wide.data(), {40, 30, 1}, PixelType::u16});
  f.ok({"segment", "ct.png", "--model", "m.safetensors", "--box", "2,2,20,20", "--window", "1040,400", "-o", "ct_mask.png"});
  CHECK(f.values("ct_mask.png").size() == 1200);
  f.ok({"segment", "ct.png", "--model", "m.safetensors", "--box", "2,2,20,20", "--window-preset", "bone", "-o", "ct_mask.png"});
  for (const auto& size : {std::pair<std::int64_t, std::int64_t>(1, 1), {1, 5000}, {5000, 1}}) {
    const std::int64_t h = size.first, w = size.second;
    CAPTURE(h);
    CAPTURE(w);
    const std::vector<std::uint8_t> pixels(std::size_t(h * w), 100);
    f.png("odd.png", {pixels.data(), {w, h, 1}, PixelType::u8});
    for (const char* model : {"m.safetensors", "box.safetensors"}) {
      f.ok({"segment", "odd.png", "--model", model, "--box", cat("0,0,", w, ",", h), "-o", "odd_mask.png"});
      CHECK(f.image("odd_mask.png").size() == ImageSize{w, h, 1});
    }
  }
}

TEST_CASE("notes go to stderr, --quiet silences them, --progress json writes lines") {
  const Folder& f = folder();
  CHECK(f.ok(segment({"--box", kTextA, "-o", "n.png"})).err.find("pixels, predicted IoU") != std::string::npos);
  CHECK(f.ok(segment({"--box", kTextA, "-o", "n.png"})).out.empty());
  CHECK(f.ok(segment({"--box", kTextA, "-o", "n.png", "--quiet"})).err.empty());
  CHECK(f.ok(segment({"--box", kTextA, "-o", "n.png", "--quiet", "--progress", "json"})).err.empty());
  std::istringstream lines(f.ok(segment({"--box", kTextA, "-o", "n.png", "--progress", "json"})).err);
  double last = 0;
  int steps = 0;
  for (std::string line; std::getline(lines, line) && line[0] == '{'; ++steps) {
    const Document j = Document::parse(line);
    CHECK(j["what"] == "encode");
    CHECK(!j["stage"].get<std::string>().empty());
    CHECK(j["fraction"].get<double>() >= last);
    CHECK(j["fraction"].get<double>() <= 1);
    last = j["fraction"].get<double>();
  }
  CHECK(steps > 2);
}

TEST_CASE("info") {
  const Folder& f = folder();
  const Ran r = f.ok({"info", "m.safetensors"});
  for (const char* word : {"SAM", "licence", "Apache-2.0", "sha256", "input", "memory", "FLOP", "points, boxes, mask input", "3 with --multimask"}) {
    CAPTURE(word);
    CHECK(r.out.find(word) != std::string::npos);
  }
  const Document j = Document::parse(f.ok({"info", "box.safetensors", "--json"}).out);
  CHECK(j["model"]["family"] == "lite_medsam");
  CHECK(j["input"]["points"] == false);
  CHECK(j["input"]["boxes"] == true);
  CHECK(j["memory_bytes"]["weights"].get<double>() > 0);
  CHECK(j["flop"]["encode"].get<double>() > 0);
  // Engine options describe the run that they would give: 16-bit weights take less room, more threads more scratch.
  const auto memory = [&](std::initializer_list<std::string> options) { return Document::parse(f.ok(Words{"info", "box.safetensors", "--json"} + Words(options)).out)["memory_bytes"]; };
  CHECK(memory({"--precision", "fast"})["weights"].get<double>() < j["memory_bytes"]["weights"].get<double>());
  CHECK(memory({"--threads", "8"})["encode"].get<double>() > memory({"--threads", "1"})["encode"].get<double>());
  CHECK(f.ok({"info"}).out.rfind(std::string("sampan ") + SAMPAN_VERSION, 0) == 0);
  CHECK(Document::parse(f.ok({"info", "--json"}).out)["version"] == SAMPAN_VERSION);
}

TEST_CASE("info without a file lists the zoo, and its conversions are calls that sampan-convert and sampan-merge know") {
  const Folder& f = folder();
  const std::string text = f.ok({"info"}).out;
  const Document zoo = Document::parse(f.ok({"info", "--json"}).out)["zoo"];
  REQUIRE(zoo.size() == std::size(models::kZoo));
  for (std::size_t i = 0; i < zoo.size(); ++i) {
    const models::ZooRow& row = models::kZoo[i];
    const auto* family = weights::find_family(row.family);
    REQUIRE(family != nullptr);
    const Document& j = zoo[i];
    CAPTURE(j.dump());
    CHECK(j["name"] == row.name);
    CHECK(j["family"] == row.family);
    CHECK(j["image_size"] == row.image_size);
    CHECK(j["parameters"] == row.parameters);
    CHECK(j["licence"] == row.licence);
    CHECK(j["file"] == row.file);
    CHECK(j["origin"] == row.origin);
    CHECK(j["points"] == family->prompt.points);
    CHECK(j["boxes"] == family->prompt.boxes);
    CHECK(j["mask_input"] == family->prompt.mask_input);
    CHECK(j["multimask"] == family->mask.multimask);
    // One line of the table holds all of it.
    const auto at = text.find(std::string("\n") + std::string(row.name) + " ");
    REQUIRE(at != std::string::npos);
    const std::string line = text.substr(at + 1, text.find('\n', at + 1) - at - 1);
    for (const std::string& word : {std::string(row.family), cat(row.image_size, weights::is_volume(family->encoder) ? "^3 voxels" : " px"), std::string(row.licence), std::string(row.file), std::string(row.origin)}) CHECK_MESSAGE(line.find(word) != std::string::npos, line);
    CHECK((line.find("points") != std::string::npos) == family->prompt.points);
    CHECK((line.find("1 or 3") != std::string::npos) == (family->mask.multimask && family->mask.single));
    // The file is not here, so the call must fail on it (3) and not on a word (2).
    std::istringstream words(j["convert"].get<std::string>());
    Words call;
    for (std::string w; words >> w;) call.push_back(w);
    REQUIRE(call.size() > 2);
    CHECK(std::find(call.begin(), call.end(), row.file) != call.end());
    const Ran r = f.run(Words(call.begin() + 1, call.end()), {.program = call[0]});
    CHECK_MESSAGE(r.code == 3, r.err);
  }
  // A family that does not exist is a wrong word: the check above could have failed.
  CHECK(f.run({"sam.pth", "sam.safetensors", "--family", "nowhere"}, {.program = "sampan-convert"}).code == 2);
  CHECK(text.find("sampan-convert medsam_vit_b.pth medsam_vit_b.safetensors --family medsam\n") != std::string::npos);
}

TEST_CASE("help teaches: every option, with examples; version") {
  const Folder& f = folder();
  CHECK(f.ok({"--version"}).out == std::string("sampan ") + SAMPAN_VERSION + "\n");
  const std::string top = f.ok({"--help"}).out;
  for (const char* word : {"segment", "encode", "info", "Exit codes", "not a medical device"}) CHECK_MESSAGE(top.find(word) != std::string::npos, std::string(word));
  const std::string segment_help = f.ok({"segment", "--help"}).out;
  for (const char* word : {"--model", "--box", "--point", "--mask-input", "--prompts", "--multimask", "--select", "--labels", "-o", "--overlay", "--dump", "--embedding", "--json", "--repeat", "--trace", "--precision",
                           "--device", "--threads", "--isa", "--max-memory", "--window", "--window-preset", "--quiet", "--progress", "Examples:"})
    CHECK_MESSAGE(segment_help.find(word) != std::string::npos, std::string(word));
  // What does not work yet is not shown.
#if !defined(SAMPAN_CUDA)
  CHECK(segment_help.find("cuda") == std::string::npos);
#endif
  for (const char* word : {"int8", "everything", "volume"}) CHECK_MESSAGE(segment_help.find(word) == std::string::npos, std::string(word));
  CHECK(f.ok({"encode", "--help"}).out.find("Examples:") != std::string::npos);
  const std::string info_help = f.ok({"info", "--help"}).out;
  for (const char* word : {"Examples:", "zoo", "licence", "--json"}) CHECK_MESSAGE(info_help.find(word) != std::string::npos, std::string(word));
}
