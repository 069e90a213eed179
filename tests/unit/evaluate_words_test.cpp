// The words of `sampan evaluate`: data sets and prompts that are read, and every refusal, which names the file and the key.
#include "examples/cli/dataset.hpp"
#include "examples/evaluate/protocol.hpp"

#include <doctest/doctest.h>

using namespace sampan;
using namespace sampan::cli;

namespace {

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
  const std::string one = R"({"images": [{"image": "x.png", )", end = "}]}";
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
  using namespace sampan::evaluate;
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
  // Profiles hold words that are read and quirks that exist.
  for (const Profile& p : kProfiles) {
    for (const auto& w : words(p.prompts)) CHECK_MESSAGE(parse_prompt(w).ok(), w);
    for (const auto& q : words(p.quirks)) CHECK(std::any_of(std::begin(kQuirks), std::end(kQuirks), [&](const Quirk& k) { return q == k.name; }));
  }
  CHECK(words("a,,b") == std::vector<std::string>{"a", "", "b"});
  CHECK(words("a,") == std::vector<std::string>{"a", ""});
}
