// sampan evaluate: numbers equal to those of segment and metrics, rules from one forward pass, a run that continues to the same bytes, every protocol; and what it refuses.
#include "cli/program.hpp"

#include "examples/medical/npz.hpp"

#include <nlohmann/json.hpp>

#include <map>

using namespace sampan;
using namespace sampan::test;

namespace {

constexpr std::int64_t kW = 60, kH = 48;

/// Two images: one with a file per object, one with a label map whose value 9 has no name; one mask is empty.
void write_inputs(const Folder& f) {
  f.rgb("a.png", kH, kW);
  f.gray("b.png", kH, kW);
  std::vector<std::uint8_t> disc(std::size_t(kH * kW)), two(disc), none(disc), map(disc);
  for (std::int64_t y = 0; y < kH; ++y)
    for (std::int64_t x = 0; x < kW; ++x) {
      const auto i = std::size_t(y * kW + x);
      disc[i] = (x - 20) * (x - 20) + (y - 18) * (y - 18) < 81 ? 255 : 0;
      two[i] = (x > 30 && x < 40 && y > 10 && y < 20) || (x > 45 && x < 52 && y > 30 && y < 40) ? 7 : 0;
      map[i] = x > 10 && x < 26 && y > 12 && y < 40 ? 1 : x > 35 && x < 50 && y > 5 && y < 25 ? 2 : x > 54 ? 9 : 0;
    }
  for (const auto& [name, pixels] : {std::pair("disc.png", &disc), std::pair("two.png", &two), std::pair("none.png", &none), std::pair("map.png", &map)}) f.png(name, {pixels->data(), {kW, kH, 1}, PixelType::u8});
  write_text(f / "d.json", R"({"name": "two <pictures>", "labels": {"1": "liver", "2": "spleen"}, "images": [
    {"image": "a.png", "patient": "p1", "modality": "CT", "spacing": [0.5, 2], "masks": [{"file": "disc.png", "label": "disc"}, {"file": "two.png", "label": "two, \"boxes\"", "value": 7}, {"file": "none.png", "label": "disc"}]},
    {"image": "b.png", "patient": "p2", "modality": "MR", "spacing": [0.5, 2], "label_map": "map.png"}]})");
  f.model("m.safetensors", tiny_sam({.image = 64}), 3);
}

Words evaluate(const std::string& out, const Words& more) {
  Words w = {"evaluate", "d.json", "--model", "m.safetensors", "-o", out};
  w.insert(w.end(), more.begin(), more.end());
  return w;
}

/// Cells of each line, by the header's names.
std::vector<std::map<std::string, std::string>> table(const std::string& csv) {
  std::vector<std::vector<std::string>> lines(1, {""});
  bool quoted = false;
  for (const char c : csv) {
    if (c == '"') quoted = !quoted;
    else if (c == ',' && !quoted) lines.back().emplace_back();
    else if (c == '\n' && !quoted) lines.push_back({""});
    else lines.back().back() += c;
  }
  lines.pop_back();
  std::vector<std::map<std::string, std::string>> out;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    REQUIRE(lines[i].size() == lines[0].size());
    for (std::size_t k = 0; k < lines[i].size(); ++k) (k ? out.back() : out.emplace_back())[lines[0][k]] = lines[i][k];
  }
  return out;
}

const Words kPrompts = {"--prompts", "box,box-jitter:10%x2,center,points:2+2,clicks:3"};

}  // namespace

TEST_CASE("evaluate: the numbers of segment and metrics, every rule from one forward pass") {
  Folder f;
  write_inputs(f);
  const Ran r = f.ok(evaluate("out", kPrompts));
  CHECK(r.out.find("mean Dice") == 0);
  CHECK((fs::exists(f / "out/masks.csv") && fs::exists(f / "out/report.json") && fs::exists(f / "out/report.html") && fs::exists(f / "out/journal.jsonl")));
  const auto rows = table(read_text(f / "out/masks.csv"));
  CHECK(rows.size() == 4 * 5 * (1 + 2 + 1 + 1 + 3));  // masks, rules, prompts and steps; neither the empty mask nor value 9
  std::map<std::string, double> oracle, worst;
  for (const auto& w : rows) {
    const std::string key = w.at("image") + w.at("label") + w.at("prompt") + w.at("repetition") + w.at("step");
    const double dice = std::stod(w.at("dice"));
    if (w.at("rule") == "oracle") oracle[key] = dice;
    worst[key] = std::max(worst.count(key) ? worst[key] : 0, dice);
    if (w.at("rule") == "first") CHECK(w.at("candidate") == "0");
  }
  CHECK(oracle.size() == 4 * 8);
  CHECK(oracle == worst);  // no rule beats the oracle

  // One box by hand.
  const auto& liver = *std::find_if(rows.begin(), rows.end(), [](const auto& w) { return w.at("label") == "liver" && w.at("prompt") == "box" && w.at("rule") == "iou"; });
  CHECK(liver.at("given") == "box 11,13,25,39");
  f.ok({"segment", "b.png", "--model", "m.safetensors", "--box", "11,13,25,39", "--multimask", "-o", "mask.png"});
  std::vector<std::uint8_t> truth;
  for (const int v : f.values("map.png")) truth.push_back(v == 1 ? 255 : 0);
  f.png("truth.png", {truth.data(), {kW, kH, 1}, PixelType::u8});
  const auto m = nlohmann::json::parse(f.ok({"metrics", "mask.png", "truth.png", "--spacing", "0.5,2", "--json"}).out)["labels"][0];
  for (const char* name : {"dice", "iou", "nsd", "hd95", "assd"}) CHECK(std::stod(liver.at(name)) == doctest::Approx(m[name].get<double>()).epsilon(1e-12));

  const auto j = nlohmann::json::parse(read_text(f / "out/report.json"));
  CHECK(j["dataset"]["masks"] == 5);
  CHECK(j["dataset"]["patients"] == 2);
  CHECK(j["skipped"].size() == 1);
  CHECK(j["skipped"][0]["why"] == "no pixel");
  CHECK(j["model"]["sha256"].get<std::string>().size() == 64);
  CHECK(j["results"].size() == 5 * (4 + 3));
  CHECK(j["results"][0]["dice"]["count"] == 4);
  CHECK(j["results"][0]["dice"]["interval"].size() == 2);
  CHECK(j["results"][0]["labels"]["liver"]["dice"]["interval"].is_null());  // one patient
  CHECK(j["results"][0]["modalities"].size() == 2);

  const std::string page = read_text(f / "out/report.html");
  CHECK(page.find("two &lt;pictures&gt;") != std::string::npos);
  CHECK(page.find("<svg") != std::string::npos);
  CHECK(page.find("data:image/png;base64,") != std::string::npos);
  for (const char* foreign : {"http", "<script", "<link", "@import", "<pictures>"}) CHECK(page.find(foreign) == std::string::npos);
}

TEST_CASE("evaluate: a run that stopped continues to the same bytes, other settings are refused") {
  Folder f;
  write_inputs(f);
  fs::create_directory(f / "cache");
  f.ok(evaluate("whole", kPrompts));
  const std::string want = read_text(f / "whole/masks.csv");
  // Killed between two masks, and in the middle of a line.
  const std::string journal = read_text(f / "whole/journal.jsonl");
  fs::create_directory(f / "cut");
  std::size_t third = 0;
  for (int i = 0; i < 3; ++i) third = journal.find('\n', third) + 1;
  for (const std::size_t bytes : {third, third + 40, std::size_t(7)}) {
    CAPTURE(bytes);
    write_text(f / "cut/journal.jsonl", std::string_view(journal).substr(0, bytes));
    f.ok(evaluate("cut", kPrompts));
    CHECK(read_text(f / "cut/masks.csv") == want);
  }
  const Ran again = f.ok(evaluate("whole", kPrompts));
  CHECK(again.err.find("holds 5 masks of 2 finished images") != std::string::npos);
  CHECK(read_text(f / "whole/masks.csv") == want);
  check_refused(f.run(evaluate("whole", {"--prompts", "box"})), 2, "another prompts");
  check_refused(f.run(evaluate("whole", {"--prompts", "box,box-jitter:10%x2,center,points:2+2,clicks:3", "--seed", "4"})), 2, "another seed (0, now 4)");
  CHECK(read_text(f / "whole/masks.csv") == want);
  f.ok(evaluate("whole", {"--prompts", "box", "--restart"}));
  CHECK(table(read_text(f / "whole/masks.csv")).size() == 4 * 5);
  // Damage inside is no end of a line.
  write_text(f / "cut/journal.jsonl", journal.substr(0, third) + "{}\n");
  check_refused(f.run(evaluate("cut", kPrompts)), 3, "line 4 is no line of a journal");
  write_text(f / "cut/journal.jsonl", "hello\n");
  check_refused(f.run(evaluate("cut", kPrompts)), 3, "line 1 is no line of a journal");

  // From the cache the same bytes; a small limit keeps what was used last.
  for (const char* out : {"c1", "c2"}) {
    Words w = evaluate(out, kPrompts);
    w.insert(w.end(), {"--cache", "cache"});
    f.ok(w);
    CHECK(read_text(f / (std::string(out) + "/masks.csv")) == want);
  }
  CHECK(nlohmann::json::parse(read_text(f / "c2/report.json"))["encode_ms"]["images"] == 0);
  CHECK(std::distance(fs::directory_iterator(f / "cache"), {}) == 2);
  write_text(f / "cache/mine.safetensors", "not a picture of ours");
  std::string one;  // the larger of the two: both do not fit
  for (const auto& e : fs::directory_iterator(f / "cache")) one = std::to_string(std::max<std::uintmax_t>(e.file_size(), one.empty() ? 0 : std::stoull(one)));
  for (const auto& e : fs::directory_iterator(f / "cache"))
    if (e.path().filename() != "mine.safetensors") fs::remove(e.path());
  Words w = evaluate("c3", kPrompts);
  w.insert(w.end(), {"--cache", "cache", "--cache-limit", one});
  f.ok(w);
  CHECK(std::distance(fs::directory_iterator(f / "cache"), {}) == 2);
  CHECK(fs::exists(f / "cache/mine.safetensors"));
}

TEST_CASE("evaluate: stopped by a signal it says so and keeps what is done") {
  Folder f;
  write_inputs(f);
  const Words call = evaluate("out", {"--prompts", "everything:24,clicks:200", "--progress", "json"});
  const Ran r = f.run(call, {.signal = SIGINT});
  CHECK(r.signal == SIGINT);
  CHECK(r.err.find("masks are done; the same command continues") != std::string::npos);
  CHECK(f.files().count("out/journal.jsonl") == 1);
  CHECK(f.files().count("out/masks.csv") == 0);
}

TEST_CASE("evaluate: every protocol runs, and draws the same numbers in two parts as in one") {
  Folder f;
  write_inputs(f);
  for (const char* name : {"mazurowski", "mazurowski-clicks", "mazurowski-oracle-clicks", "huang-S2", "huang-S3", "huang-S4", "huang-S5", "huang-S6", "medsam", "sammed2d", "sammed2d-clicks"}) {
    const std::string out = name;
    CAPTURE(out);
    f.ok(evaluate(out, {"--protocol", name}));
    const std::string want = read_text(f / (out + "/masks.csv")), journal = read_text(f / (out + "/journal.jsonl"));
    const auto rows = table(want);
    CHECK(rows.size() >= 4);
    const bool single = out == "medsam";
    CHECK(rows[0].at("rule") == (single ? "single" : "oracle"));
    std::size_t second = 0;
    for (int i = 0; i < 2; ++i) second = journal.find('\n', second) + 1;
    write_text(f / (out + "/journal.jsonl"), journal.substr(0, second));
    f.ok(evaluate(out, {"--protocol", name}));
    CHECK(read_text(f / (out + "/masks.csv")) == want);
  }
  // Quirks change what they say they change, and can be switched off.
  f.ok(evaluate("slip", {"--protocol", "huang-S4", "--without", "label-by-position"}));
  CHECK(read_text(f / "slip/masks.csv") != read_text(f / "huang-S4/masks.csv"));
  f.ok(evaluate("every", {"--prompts", "everything:4,boxes,box-grow:5px,mazurowski-boxes:2,random-point,centroid,center-chamfer,clicks-mask:2"}));
  for (const auto& w : table(read_text(f / "every/masks.csv")))
    if (w.at("prompt") == "everything:4") CHECK(w.at("rule") == "oracle");
}

TEST_CASE("evaluate: the laptop challenge's cases, segmented, scored and timed") {
  Folder f;
  f.model("box.safetensors", tiny_lite_medsam());
  fs::create_directory(f / "cases");
  fs::create_directory(f / "truth");
  for (const auto& [from, to] : {std::pair("cvpr24_3D.npz", "3DBox_MR_1.npz"), std::pair("2D_cvpr24.npz", "2DBox_US_1.npz")}) fs::copy_file(fs::path(SAMPAN_TEST_DIR) / "unit/volume_fixtures" / from, f / (std::string("cases/") + to));
  const auto call = [&](const std::string& out, const Words& more) {
    Words w = {"evaluate", "cases", "--protocol", "cvpr24-laptop", "--model", "box.safetensors", "-o", out};
    w.insert(w.end(), more.begin(), more.end());
    return w;
  };
  f.ok(call("first", {}));
  // Its own masks as the truth; in the 2D one under another label.
  for (const char* name : {"3DBox_MR_1.npz", "2DBox_US_1.npz"}) {
    const auto file = MappedFile::open((f / (std::string("first/segs/") + name)).string());
    const auto zip = tools::ZipArchive::open(file->bytes(), "s");
    const auto member = zip->read(*zip->find("segs.npy"));
    const auto segs = medical::parse_npy(member->bytes, "segs");
    REQUIRE(segs);
    std::vector<std::uint8_t> voxels(segs->data.begin(), segs->data.begin() + std::ptrdiff_t(segs->count));
    REQUIRE(std::any_of(voxels.begin(), voxels.end(), [](std::uint8_t v) { return v != 0; }));
    if (name[0] == '2') std::replace(voxels.begin(), voxels.end(), std::uint8_t(1), std::uint8_t(2));
    AtomicFile out = AtomicFile::create((f / (std::string("truth/") + name)).string()).value();
    REQUIRE(medical::write_npz(out, "gts", medical::VoxelType::u8, segs->shape, Bytes(voxels)).ok());
    REQUIRE(out.commit().ok());
  }
  f.ok(call("out", {"--truth", "truth"}));
  const auto rows = table(read_text(f / "out/cases.csv"));
  REQUIRE(rows.size() == 2);
  CHECK((rows[1].at("case") == "3DBox_MR_1.npz" && rows[1].at("dsc") == "1" && rows[1].at("nsd") == "1"));
  CHECK((rows[0].at("dsc") == "0" && rows[0].at("nsd") == "0"));
  for (const auto& r : rows) CHECK(std::stod(r.at("seconds")) > 0);
  const auto j = nlohmann::json::parse(read_text(f / "out/report.json"));
  CHECK(j["modalities"]["MR"]["dsc"]["mean"] == 1);
  CHECK(j["all"]["seconds"]["count"] == 2);
  CHECK(j["settings"]["quirks"].size() == 3);
  const std::string times = read_text(f / "out/cases.csv");
  f.ok(call("out", {"--truth", "truth"}));
  CHECK(read_text(f / "out/cases.csv") == times);  // nothing is done twice, so no time is taken again
  check_refused(f.run(call("out", {"--without", "nsd-needs-dice"})), 2, "another quirks");
  check_refused(f.run(call("out", {"--seed", "1"})), 2, "takes none of --masks, --seed");
  check_refused(f.run({"evaluate", "box.safetensors", "--protocol", "cvpr24-laptop", "--model", "box.safetensors", "-o", "x"}), 2, "a folder of npz cases is needed");
  write_text(f / "cases/2DBox_CT_0.npz", "PK\x03\x04 no zip");
  const Ran r = f.run(call("part", {"--quiet"}));
  CHECK(r.code == 7);
  CHECK_MESSAGE(r.err.find("1 of 3 cases failed, the rest is in part; the first: cases/2DBox_CT_0.npz") != std::string::npos, r.err);
  CHECK(table(read_text(f / "part/cases.csv")).size() == 2);
}

TEST_CASE("evaluate: what it refuses, and images that cannot be read") {
  Folder f;
  write_inputs(f);
  f.model("box.safetensors", tiny_lite_medsam());
  const auto boxes = [](const Words& more) {
    Words w = {"evaluate", "d.json", "--model", "box.safetensors", "-o", "out"};
    w.insert(w.end(), more.begin(), more.end());
    return w;
  };
  check_refused(f.run({"evaluate"}), 2, "--model");
  check_refused(f.run({"evaluate", "--model", "m.safetensors", "-o", "out"}), 2, "a data set is needed");
  check_refused(f.run({"evaluate", "d.json", "--model", "m.safetensors"}), 2, "-o FOLDER is needed");
  check_refused(f.run({"evaluate", "no.json", "--model", "m.safetensors", "-o", "out"}), 3, "no.json");
  check_refused(f.run(boxes({"--prompts", "box,center"})), 2, "prompt center: LiteMedSAM takes no points");
  check_refused(f.run(boxes({"--prompts", "everything"})), 2, "prompt everything: LiteMedSAM takes no points");
  check_refused(f.run(boxes({"--masks", "multi"})), 2, "one mask per prompt");
  check_refused(f.run(evaluate("out", {"--masks", "many"})), 2, "known: auto, single, multi");
  check_refused(f.run(evaluate("out", {"--prompts", "bxo"})), 2, "prompt bxo: unknown; known: box, box-exclusive");
  check_refused(f.run(evaluate("out", {"--prompts", "box,box"})), 2, "box is given twice");
  check_refused(f.run(evaluate("out", {"--prompts", "box", "--protocol", "medsam"})), 2, "give one");
  check_refused(f.run(evaluate("out", {"--protocol", "nobody"})), 2, "known: mazurowski");
  check_refused(f.run(evaluate("out", {"--protocol", "medsam", "--without", "rescale-max"})), 2, "has no quirks left");
  check_refused(f.run(evaluate("out", {"--without", "rescale-max"})), 2, "quirks belong to a --protocol");
  check_refused(f.run(evaluate("out", {"--seed", "-1"})), 2, "--seed -1");
  check_refused(f.run(evaluate("out", {"--tolerance", "nan"})), 2, "--tolerance nan");
  check_refused(f.run(evaluate("out", {"--cache", "nowhere"})), 2, "--cache nowhere");
  check_refused(f.run(evaluate("no/out", {})), 3, "cannot create this folder");
  check_refused(f.run(evaluate("a.png", {})), 3, "a.png");
  check_refused(f.run(evaluate("out", {"--truth", "x"})), 2, "--truth belongs to");

  // A mask of another size and a missing image: the rest is evaluated, the code is 7.
  f.gray("small.png", 10, 12);
  write_text(f / "d.json", R"({"images": [{"image": "a.png", "masks": [{"file": "small.png", "label": "x"}]}, {"image": "b.png", "label_map": "map.png"}, {"image": "gone.png", "label_map": "map.png"}]})");
  const Ran r = f.run(evaluate("part", {"--prompts", "box", "--quiet"}));
  CHECK(r.code == 7);
  CHECK_MESSAGE(r.err.find("2 of 3 images could not be evaluated, the rest is in part; the first: small.png: 12x10 pixels, its image has 60x48") != std::string::npos, r.err);
  CHECK(table(read_text(f / "part/masks.csv")).size() == 3 * 5);  // without names every value counts
  CHECK(nlohmann::json::parse(read_text(f / "part/report.json"))["failed"].size() == 2);
  // Repaired, the same command does the rest.
  f.rgb("gone.png", kH, kW);
  f.gray("small.png", kH, kW);
  f.ok(evaluate("part", {"--prompts", "box"}));
  CHECK(table(read_text(f / "part/masks.csv")).size() == 7 * 5);
}
