// sampan evaluate: numbers equal to those of segment and metrics, rules from one forward pass, a run that continues to the same bytes, every protocol; and what it refuses.
#include "cli/program.hpp"

#include "examples/medical/nifti.hpp"
#include "examples/medical/npz.hpp"

#include <sampan/image/rle.hpp>

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

TEST_CASE("evaluate: the slices of a scan as pictures, and put together as volumes") {
  Folder f;
  f.model("m.safetensors", tiny_sam({.image = 64}), 3);
  // 40 x 32 x 6 voxels, x to the left and slices downward: pictures and files do not run the same way.
  medical::Grid grid;
  grid.size = {40, 32, 6};
  grid.affine.m = {{{-0.5, 0, 0, 9}, {0, 0.75, 0, 4}, {0, 0, -3, 7}}};
  const auto voxel = [](std::int64_t x, std::int64_t y, std::int64_t z) { return std::size_t((z * 32 + y) * 40 + x); };
  const auto pixels = phantom_gray(32, 40);
  std::vector<std::uint16_t> image(40 * 32 * 6), truth(image);
  for (std::int64_t z = 0; z < 6; ++z)
    for (std::int64_t y = 0; y < 32; ++y)
      for (std::int64_t x = 0; x < 40; ++x) {
        image[voxel(x, y, z)] = std::uint16_t(pixels[std::size_t(y * 40 + x)] * 4 + z);
        if (z > 0 && (x - 14 - z) * (x - 14 - z) + (y - 12) * (y - 12) < 40 + 9 * z) truth[voxel(x, y, z)] = 1;
        if (z > 2 && x > 27 && x < 36 && y > 18 && y < 20 + 2 * z) truth[voxel(x, y, z)] = 2;
        if (x > 37) truth[voxel(x, y, z)] = 5;  // has no name
      }
  truth[voxel(3, 3, 0)] = 2;  // a slice with one pixel
  const auto write = [&](const char* name, const std::vector<std::uint16_t>& v) {
    AtomicFile out = AtomicFile::create((f / name).string()).value();
    REQUIRE(medical::write_nifti_labels(out, true, {grid, v, {}}).ok());
    REQUIRE(out.commit().ok());
  };
  write("ct.nii.gz", image);
  write("truth.nii.gz", truth);
  const std::string head = R"({"labels": {"1": "liver", "2": "spleen"}, "images": [{"volume": "ct.nii.gz", "label_map": "truth.nii.gz", "patient": "p", "recipe": "full")";
  write_text(f / "d.json", head + "}]}");
  const Words call = {"--prompts", "box,box-jitter:10%x2", "--masks", "single", "--min-area", "4"};
  f.ok(evaluate("out", call));
  const auto rows = table(read_text(f / "out/masks.csv"));
  CHECK(rows.size() == 3 * (5 + 3));
  const auto report = nlohmann::json::parse(read_text(f / "out/report.json"));
  CHECK(report["skipped"].size() == 1);
  CHECK(report["skipped"][0]["image"] == "ct.nii.gz axial 5");  // the highest slice is the file's first
  CHECK(report["settings"]["unit"] == "mm");

  // The same pictures and masks by hand, slice 0 of the pictures (z = 5 of the file): the same boxes, the same numbers.
  std::vector<std::uint8_t> gray, mask;
  for (std::int64_t y = 31; y >= 0; --y)  // posterior is down
    for (std::int64_t x = 0; x < 40; ++x) gray.push_back(std::uint8_t(double(image[voxel(x, y, 5)] - *std::min_element(image.begin(), image.end())) / (*std::max_element(image.begin(), image.end()) - *std::min_element(image.begin(), image.end())) * 255)), mask.push_back(truth[voxel(x, y, 5)] == 1);
  f.png("0.png", {gray.data(), {40, 32, 1}, PixelType::u8});
  f.png("0_liver.png", {mask.data(), {40, 32, 1}, PixelType::u8});
  write_text(f / "flat.json", R"({"images": [{"image": "0.png", "patient": "p", "spacing": [0.5, 0.75], "masks": [{"file": "0_liver.png", "label": "liver"}]}]})");
  f.ok({"evaluate", "flat.json", "--model", "m.safetensors", "-o", "flat", "--prompts", "box", "--masks", "single"});
  const auto flat = table(read_text(f / "flat/masks.csv")).at(0);
  const auto& same = *std::find_if(rows.begin(), rows.end(), [](const auto& w) { return w.at("image") == "ct.nii.gz axial 0" && w.at("label") == "liver" && w.at("prompt") == "box"; });
  for (const char* key : {"given", "dice", "nsd", "hd95", "predicted_iou", "area"}) CHECK(flat.at(key) == same.at(key));

  // Whole objects: masks of the journal into a volume, scored by `sampan metrics`.
  const auto objects = table(read_text(f / "out/objects.csv"));
  CHECK(objects.size() == 2 * 3);
  for (const auto& [label, value] : {std::pair("liver", 1), std::pair("spleen", 2)}) {
    std::vector<std::uint16_t> pred(truth.size()), only(truth.size());
    for (std::size_t i = 0; i < truth.size(); ++i) only[i] = truth[i] == value;
    std::istringstream lines(read_text(f / "out/journal.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const auto j = nlohmann::json::parse(line);
      if (j.value("label", "") != label || !j.contains("rows")) continue;
      const std::int64_t slice = 5 - std::int64_t(j["image"]);
      for (const auto& row : j["rows"])
        if (row[0] == "box") {
          const auto p = mask_of(*from_coco_text(row[10].get<std::string>(), 32, 40));
          for (std::int64_t y = 0; y < 32; ++y)
            for (std::int64_t x = 0; x < 40; ++x)
              if ((*p)[std::size_t(y * 40 + x)]) pred[voxel(x, 31 - y, slice)] = 1;
        }
    }
    write("pred.nii.gz", pred);
    write("only.nii.gz", only);
    const auto m = nlohmann::json::parse(f.ok({"metrics", "pred.nii.gz", "only.nii.gz", "--json"}).out)["labels"][0];
    const auto& o = *std::find_if(objects.begin(), objects.end(), [&, l = std::string(label)](const auto& w) { return w.at("label") == l && w.at("prompt") == "box"; });
    for (const char* key : {"dice", "nsd", "hd95", "assd", "volume_gt"}) CHECK(std::stod(o.at(key)) == doctest::Approx(m[key].get<double>()).epsilon(1e-12));
    CHECK(o.at("slices_left_out") == (value == 2 ? "1" : "0"));
  }
  CHECK(report["objects"][0]["labels"]["liver"]["dice"]["count"] == 1);
  CHECK(read_text(f / "out/report.html").find("Whole objects") != std::string::npos);

  // Continued to the same bytes; which slices; another truth is another run.
  const std::string want = read_text(f / "out/objects.csv");
  f.ok(evaluate("out", call));
  CHECK(read_text(f / "out/objects.csv") == want);
  for (const auto& [rule, count] : {std::pair("largest", 2), std::pair("every:2", 5), std::pair("every:100", 2)}) {
    write_text(f / "d.json", head + ", \"slices\": \"" + rule + "\"}]}");
    f.ok(evaluate("few", {"--prompts", "box", "--masks", "single", "--restart"}));
    CHECK(int(table(read_text(f / "few/masks.csv")).size()) == count);
    const auto few = table(read_text(f / "few/objects.csv"));
    CHECK((few.size() == 2 && !few[0].at("dice").empty() && few[0].at("nsd").empty() && few[0].at("hd95").empty()));  // slices apart have no surface in 3D
  }
  write_text(f / "d.json", head + ", \"plane\": \"sagittal\", \"slices\": \"largest\"}]}");
  f.ok(evaluate("side", {"--prompts", "box"}));
  truth[voxel(3, 3, 1)] = 2;
  write("truth.nii.gz", truth);
  write_text(f / "d.json", head + "}]}");
  f.ok(evaluate("again", call));
  truth[voxel(3, 3, 2)] = 2;
  write("truth.nii.gz", truth);
  check_refused(f.run(evaluate("again", call)), 2, "another slices");

  // Labels on another grid are told, the rest is done; where nothing is left the reason is the only answer.
  grid.affine.m[2][3] = 8;
  write("moved.nii.gz", truth);
  fs::copy_file(f / "ct.nii.gz", f / "second.nii.gz");
  write_text(f / "d.json", R"({"images": [{"volume": "second.nii.gz", "label_map": "moved.nii.gz", "recipe": "full"}, {"volume": "ct.nii.gz", "label_map": "truth.nii.gz", "recipe": "full", "slices": "every:100"}]})");
  const Ran r = f.run(evaluate("part", {"--prompts", "box", "--quiet"}));
  CHECK(r.code == 7);
  CHECK_MESSAGE(r.err.find("1 of 2 images could not be evaluated, the rest is in part; the first: second.nii.gz and moved.nii.gz: their voxels lie at different places") != std::string::npos, r.err);
  const auto alone = [&](const std::string& entry) {
    write_text(f / "d.json", R"({"images": [{"volume": )" + entry + "}]}");
    return f.run(evaluate("alone", {"--prompts", "box", "--quiet"}));
  };
  check_refused(alone(R"("ct.nii.gz", "label_map": "truth.nii.gz")"), 3, "say what they are (\"window\", \"recipe\" or \"modality\" in the data set)");
  check_refused(alone(R"("ct.nii.gz", "recipe": "full")"), 3, "\"label_map\" is missing");
  check_refused(alone(R"("3D.npz")"), 3, "3D.npz");
  fs::copy_file(fs::path(SAMPAN_TEST_DIR) / "unit/volume_fixtures/cvpr24_3D.npz", f / "3D.npz");
  write_text(f / "d.json", R"({"images": [{"volume": "3D.npz"}]})");  // it holds its truth
  f.ok(evaluate("npz", {"--prompts", "box", "--masks", "single"}));
  CHECK(table(read_text(f / "npz/objects.csv")).size() == 2);
  check_refused(alone(R"("3D.npz", "label_map": "truth.nii.gz")"), 3, "their sizes differ");
}

TEST_CASE("evaluate: a volumetric network is not asked about slices") {
  Folder f;
  f.model("v.safetensors", tiny_med3d());
  write_text(f / "d.json", R"({"images": [{"image": "a.png", "label_map": "b.png"}]})");
  check_refused(f.run({"evaluate", "d.json", "--model", "v.safetensors", "-o", "out"}), 2, "holds a volumetric network, evaluate prompts slices");
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
