// Calls that must fail: the documented exit code, one line on stderr that says what to do, no file left behind, under five seconds.
// One table; each row is a call in a folder with a small model (m, SAM 64 px), another one (other), a box-only one (box), and images.
#include "cli/program.hpp"

#include <nlohmann/json.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

struct Row {
  Words call;
  int code;
  const char* words;  ///< must appear in the line
};

const Words kSegment = {"segment", "a.png", "--model", "m.safetensors", "-o", "out.png"};
const Words kBox = {"--box", "4,4,30,30"};

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
/// segment a.png --model m.safetensors -o out.png MORE
Words segment(const Words& more) { return kSegment + more; }
Words on_image(const std::string& image, const Words& more = kBox) { return Words{"segment", image, "--model", "m.safetensors", "-o", "out.png"} + more; }
Words with_model(const std::string& model, const Words& more = kBox) { return Words{"segment", "a.png", "--model", model, "-o", "out.png"} + more; }

/// The folder every row starts from.
const Folder& folder() {
  static const Folder f;
  static const bool made = [] {
    f.model("m.safetensors", tiny_sam({.image = 64}));
    f.model("other.safetensors", tiny_sam({.image = 64}), 2);
    f.model("box.safetensors", tiny_lite_medsam());
    f.rgb("a.png", 48, 64);
    const std::string png = read_text(f / "a.png");
    write_text(f / "empty.png", "");
    write_text(f / "cut.png", png.substr(0, png.size() / 2));
    write_text(f / "text.png", "this is not an image\n");
    write_text(f / "a.tif", std::string("II*\0\x08\0\0\0\0\0", 10));
    const std::uint16_t wide[6] = {0, 100, 1000, 3000, 4000, 4095};
    f.png("wide.png", {wide, {3, 2, 1}, PixelType::u16});
    std::string huge = "P5 100000 100000 255\n";
    write_text(f / "huge.pgm", huge);
    write_text(f / "weights.pth", std::string("PK\x03\x04", 4) + std::string(100, '\0'));
    write_text(f / "legacy.pth", std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15));
    write_text(f / "empty.safetensors", "");
    const std::string model = read_text(f / "m.safetensors");
    write_text(f / "cut.safetensors", model.substr(0, model.size() - 100));
    REQUIRE(write_model((f / "nan.safetensors").string(), tiny_sam({.image = 64}), 1, weights::expected_tensors(sam_sizes({.image = 64})), [](const std::string& name, std::vector<float>& v) {
              if (name == "mask_decoder.iou_token.weight") v[3] = std::numeric_limits<float>::quiet_NaN();
            }).ok());
    auto fewer = weights::expected_tensors(sam_sizes({.image = 64}));
    fewer.pop_back();
    REQUIRE(write_model((f / "fewer.safetensors").string(), tiny_sam({.image = 64}), 1, fewer).ok());
    fs::create_directory(f / "dir");
    fs::create_directory(f / "dir.png");
    fs::create_hard_link(f / "a.png", f / "same.png");
    fs::create_symlink("a.png", f / "link.png");
    f.ok({"encode", "a.png", "--model", "other.safetensors", "-o", "other_embedding.safetensors"});
    f.ok({"encode", "a.png", "--model", "m.safetensors", "-o", "embedding.safetensors"});
    f.gray("b.png", 40, 40);
    f.ok({"segment", "a.png", "--model", "m.safetensors", "--box", "1,1,9,9", "--multimask", "--dump", "three.safetensors"});
    f.model("m128.safetensors", tiny_sam({.image = 128}));
    f.ok({"segment", "a.png", "--model", "m128.safetensors", "--box", "1,1,9,9", "--dump", "large.safetensors"});
    const auto prompts = [&](const char* name, std::string_view text) { write_text(f / name, text); };
    prompts("p_syntax.json", "{\"objects\": [\n  {\"box\": [1,2,3,4]},\n]}");
    prompts("p_empty.json", "");
    prompts("p_none.json", "{\"objects\": []}");
    prompts("p_list.json", "[]");
    prompts("p_key.json", "{\"objects\": [{\"boxes\": [1,2,3,4]}]}");
    prompts("p_top.json", "{\"objects\": [{\"box\": [1,2,3,4]}], \"version\": 1}");
    prompts("p_twice.json", "{\"objects\": [{\"box\": [1,2,3,4], \"box\": [1,2,30,40]}]}");
    prompts("p_type.json", "{\"objects\": [{\"box\": \"1,2,3,4\"}]}");
    prompts("p_three.json", "{\"objects\": [{\"box\": [1,2,3]}]}");
    prompts("p_nan.json", "{\"objects\": [{\"box\": [1,2,3,NaN]}]}");
    prompts("p_range.json", "{\"objects\": [{\"box\": [1,2,3,1e999]}]}");
    prompts("p_null.json", "{\"objects\": [{\"box\": [1,2,3,null]}]}");
    prompts("p_object.json", "{\"objects\": [{}]}");
    prompts("p_name.json", "{\"objects\": [{\"name\": \"liver\"}]}");
    prompts("p_label0.json", "{\"objects\": [{\"label\": 0, \"box\": [1,2,3,4]}]}");
    prompts("p_label65536.json", "{\"objects\": [{\"label\": 65536, \"box\": [1,2,3,4]}]}");
    prompts("p_label_huge.json", "{\"objects\": [{\"label\": 18446744073709551615, \"box\": [1,2,3,4]}]}");
    prompts("p_label_real.json", "{\"objects\": [{\"label\": 1.5, \"box\": [1,2,3,4]}]}");
    prompts("p_labels_mixed.json", "{\"objects\": [{\"label\": 2, \"box\": [1,2,3,4]}, {\"box\": [1,2,3,4]}]}");
    prompts("p_points.json", "{\"objects\": [{\"points\": []}]}");
    prompts("p_point2.json", "{\"objects\": [{\"points\": [[1,2]]}]}");
    prompts("p_point7.json", "{\"objects\": [{\"points\": [[1,2,7]]}]}");
    prompts("p_point_huge.json", "{\"objects\": [{\"points\": [[1,2,18446744073709551615]]}]}");
    prompts("p_outside.json", "{\"objects\": [{\"box\": [1,2,3,4]}, {\"box\": [1,2,300,4]}]}");
    prompts("p_mask.json", "{\"objects\": [{\"mask_input\": \"nowhere.safetensors\"}]}");
    prompts("p_deep.json", "{\"objects\": " + std::string(100000, '[') + std::string(100000, ']') + "}");
    prompts("p_utf8.json", "{\"objects\": [{\"name\": \"\xFF\", \"box\": [1,2,3,4]}]}");
    prompts("p_bytes.json", "{\"objects\": [{\"box\": [1,2,3,4]}]} x");
    return true;
  }();
  REQUIRE(made);
  return f;
}

const std::vector<Row> kRows = {
    // words
    {{}, 2, "segment, encode, volume, everything, info, metrics"},
    {{"frobnicate"}, 2, "unknown command frobnicate"},
    {{"--frobnicate"}, 2, "segment, encode, volume, everything, info, metrics"},
    {{"segment"}, 2, "--model"},
    {{"segment", "--model", "m.safetensors", "-o", "out.png"}, 2, "IMAGE is needed"},
    {{"segment", "a.png", "--model", "m.safetensors", "--box", "4,4,30,30"}, 2, "-o OUT.png"},
    {{"encode", "a.png", "--model", "m.safetensors"}, 2, "-o E.safetensors"},
    {{"encode", "--model", "m.safetensors", "-o", "e.safetensors"}, 2, "IMAGE is needed"},
    {{"encode", "a.png", "--model", "m.safetensors", "-o", "e.safetensors", "--box", "4,4,30,30"}, 2, "--box"},
    {segment(kBox + Words{"--frobnicate"}), 2, "--frobnicate"},
    {segment(kBox + Words{"b.png"}), 2, "b.png"},
    {segment(kBox + Words{"--model", "other.safetensors"}), 2, "--model"},
    {segment({"--box"}), 2, "--box"},
    {segment({"--box", ""}), 2, "--box"},
    {segment(kBox + Words{"--overlay", ""}), 2, "--overlay"},
    {segment(kBox + Words{"--select", "best"}), 2, "iou, first, stability, largest, all"},
    {segment(kBox + Words{"--select", "all"}), 2, "--multimask"},
    {segment(kBox + Words{"--repeat", "0"}), 2, "--repeat 0"},
    {segment(kBox + Words{"--repeat", "2", "--trace", "t.safetensors"}), 2, "--repeat"},
    {segment(kBox + Words{"--trace", ":a"}), 2, "--trace"},
    {segment(kBox + Words{"--trace", "t.safetensors:a,,b"}), 2, "--trace"},
    {segment(kBox + Words{"--trace", "t.safetensors:image_encoder.blocks.7"}), 2, "image_encoder.blocks.7"},
    {segment(kBox + Words{"--progress", "dots"}), 2, "json"},
    {segment(kBox + Words{"--precision", "f64"}), 2, "f32"},
    {segment(kBox + Words{"--precision", "int8"}), 2, "f32"},
    {segment(kBox + Words{"--device", "cuda"}), 2, "cpu"},
    {segment(kBox + Words{"--device", "gpu"}), 2, "cpu"},
    {segment(kBox + Words{"--isa", "sse9"}), 2, "available"},
    {segment(kBox + Words{"--threads", "0"}), 2, "1 to 256"},
    {segment(kBox + Words{"--threads", "257"}), 2, "1 to 256"},
    {segment(kBox + Words{"--threads", "two"}), 2, "1 to 256"},
    {segment(kBox + Words{"--max-memory", "0"}), 2, "--max-memory 0"},
    {segment(kBox + Words{"--max-memory", "-4G"}), 2, "--max-memory -4G"},
    {segment(kBox + Words{"--max-memory", "lots"}), 2, "--max-memory lots"},
    {segment(kBox + Words{"--max-memory", "nan"}), 2, "--max-memory nan"},
    {segment(kBox + Words{"--max-memory", "1e30T"}), 2, "--max-memory"},
    {segment(kBox + Words{"--max-memory", "4GB"}), 2, "4G"},
    {segment(kBox + Words{"--max-memory", "64K"}), 4, "memory limit"},
    {segment(kBox + Words{"--window", "40"}), 2, "LEVEL,WIDTH"},
    {segment(kBox + Words{"--window", "40,0"}), 2, "width"},
    {segment(kBox + Words{"--window", "40,-5"}), 2, "width"},
    {segment(kBox + Words{"--window", "nan,5"}), 2, "finite"},
    {segment(kBox + Words{"--window-preset", "heart"}), 2, "soft-tissue"},
    {segment(kBox + Words{"--window-preset", "lung", "--window", "1,2"}), 2, "twice"},
    // prompts
    {segment({"--box", "1,2,3"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "1,2,3,4,5"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "1,2,,4"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "1,2,3,4,"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "1,2,3,4px"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "1, 2,3,4"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "1;2;3;4"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "0x1,2,3,4"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "1,2,3,1e999"}), 2, "X0,Y0,X1,Y1"},
    {segment({"--box", "1,2,nan,4"}), 2, "finite"},
    {segment({"--box", "-inf,2,3,4"}), 2, "finite"},
    {segment({"--box", "30,4,4,30"}), 2, "inverted"},
    {segment({"--box", "4,4,4,30"}), 2, "empty"},
    {segment({"--box", "4,4,65,30"}), 2, "64x48"},
    {segment({"--box", "-1,4,30,30"}), 2, "outside"},
    {segment({"--box", "4,4,30,48.5"}), 2, "outside"},
    {segment({"--box", "4,4,30,30", "--box", "100,100,200,200"}), 2, "--box: box 100,100,200,200 is outside"},
    {segment({"--point", "10,10"}), 2, "X,Y,LABEL"},
    {segment({"--point", "10,10,7"}), 2, "1 (object) or 0 (background)"},
    {segment({"--point", "10,10,0.5"}), 2, "1 (object) or 0 (background)"},
    {segment({"--point", "10,10,nan"}), 2, "1 (object) or 0 (background)"},
    {segment({"--point", "nan,10,1"}), 2, "finite"},
    {segment({"--point", "10,inf,1"}), 2, "finite"},
    {segment({"--point", "1e12,10,1"}), 2, "far outside"},
    {segment({"--box", "4,4,30,30", "--box", "5,5,20,20", "--point", "10,10,1"}), 2, "--prompts"},
    {segment({"--box", "4,4,30,30", "--box", "5,5,20,20", "--mask-input", "three.safetensors"}), 2, "--prompts"},
    {segment({"--box", "4,4,30,30", "--prompts", "p_key.json"}), 2, "--prompts"},
    {segment({"--mask-input", "nowhere.safetensors"}), 3, "nowhere.safetensors"},
    {segment({"--mask-input", "m.safetensors"}), 3, "low_res_logits"},
    {segment({"--mask-input", "three.safetensors"}), 3, "one map"},
    {segment({"--mask-input", "large.safetensors"}), 3, "[1,1,16,16]"},
    {segment({"--prompts", "nowhere.json"}), 3, "nowhere.json"},
    {segment({"--prompts", "dir"}), 3, "directory"},
    {segment({"--prompts", "p_syntax.json"}), 3, "line 3"},
    {segment({"--prompts", "p_empty.json"}), 3, "not JSON"},
    {segment({"--prompts", "p_none.json"}), 3, "at least one object"},
    {segment({"--prompts", "p_list.json"}), 3, "objects"},
    {segment({"--prompts", "p_key.json"}), 3, "unknown key \"boxes\""},
    {segment({"--prompts", "p_top.json"}), 3, "unknown key \"version\""},
    {segment({"--prompts", "p_twice.json"}), 3, "twice"},
    {segment({"--prompts", "p_type.json"}), 3, "[x0,y0,x1,y1]"},
    {segment({"--prompts", "p_three.json"}), 3, "[x0,y0,x1,y1]"},
    {segment({"--prompts", "p_nan.json"}), 3, "line 1"},
    {segment({"--prompts", "p_range.json"}), 3, "out of range"},
    {segment({"--prompts", "p_null.json"}), 3, "a number is needed"},
    {segment({"--prompts", "p_object.json"}), 3, "is empty"},
    {segment({"--prompts", "p_name.json"}), 3, "is empty"},
    {segment({"--prompts", "p_label0.json"}), 3, "1 to 65535"},
    {segment({"--prompts", "p_label65536.json"}), 3, "1 to 65535"},
    {segment({"--prompts", "p_label_huge.json"}), 3, "1 to 65535"},
    {segment({"--prompts", "p_label_real.json"}), 3, "1 to 65535"},
    {segment({"--prompts", "p_labels_mixed.json"}), 3, "all or none"},
    {segment({"--prompts", "p_points.json"}), 3, "at least one point"},
    {segment({"--prompts", "p_point2.json"}), 3, "[[x,y,label],...]"},
    {segment({"--prompts", "p_point7.json"}), 2, "1 (object) or 0 (background)"},
    {segment({"--prompts", "p_point_huge.json"}), 3, "1 (object) or 0 (background)"},
    {segment({"--prompts", "p_outside.json"}), 2, "object 2"},
    {segment({"--prompts", "p_mask.json"}), 3, "nowhere.safetensors"},
    {segment({"--prompts", "p_deep.json"}), 3, "deep"},
    {segment({"--prompts", "p_utf8.json"}), 3, "not JSON"},
    {segment({"--prompts", "p_bytes.json"}), 3, "not JSON"},
    // prompts that a model cannot take
    {with_model("box.safetensors", {"--point", "10,10,1"}), 2, "takes no points"},
    {with_model("box.safetensors", {"--mask-input", "three.safetensors"}), 2, "takes no mask input"},
    {with_model("box.safetensors", {}), 2, "needs a box"},
    {with_model("box.safetensors", kBox + Words{"--multimask"}), 2, "one mask"},
    // images
    {on_image("nowhere.png"), 3, "nowhere.png"},
    {on_image("dir"), 3, "directory"},
    {on_image("empty.png"), 3, "empty"},
    {on_image("cut.png"), 3, "cut.png"},
    {on_image("text.png"), 3, "not an image"},
    {on_image("a.tif"), 3, "TIFF"},
    {on_image("m.safetensors"), 3, "not an image"},
    {on_image("wide.png", {"--box", "0,0,2,2"}), 2, "4095"},
    {on_image("huge.pgm"), 4, "huge.pgm"},
    {on_image("/dev/zero"), 3, "regular file"},
    {on_image(std::string("no\nsuch.png")), 3, "no?such.png"},
    // models
    {with_model("nowhere.safetensors"), 5, "nowhere.safetensors"},
    {with_model("dir"), 5, "directory"},
    {with_model("weights.pth"), 5, "sampan-convert"},
    {with_model("legacy.pth"), 5, "sampan-convert"},
    {with_model("empty.safetensors"), 5, "empty.safetensors"},
    {with_model("cut.safetensors"), 5, "cut.safetensors"},
    {with_model("nan.safetensors"), 5, "iou_token"},
    {with_model("fewer.safetensors"), 5, "fewer.safetensors"},
    {with_model("a.png"), 5, "a.png"},
    {with_model("embedding.safetensors"), 5, "embedding"},
    {{"info", "nowhere.safetensors"}, 5, "nowhere.safetensors"},
    {{"info", "--threads", "2"}, 2, "--threads"},
    {{"info", "m.safetensors", "--threads", "0"}, 2, "--threads"},
    {{"info", "m.safetensors", "--precision", "f12"}, 2, "--precision"},
    {{"info", "m.safetensors", "--max-memory", "1K"}, 4, "weights alone"},
    {{"info", "weights.pth"}, 5, "sampan-convert"},
    {{"info", "dir", "--json"}, 5, "directory"},
    // embeddings
    {segment(kBox + Words{"--embedding", "nowhere.safetensors"}), 3, "nowhere.safetensors"},
    {segment(kBox + Words{"--embedding", "other_embedding.safetensors"}), 3, "another model"},
    {segment(kBox + Words{"--embedding", "m.safetensors"}), 3, "not an embedding"},
    {segment(kBox + Words{"--embedding", "a.png"}), 3, "a.png"},
    {on_image("b.png", kBox + Words{"--embedding", "embedding.safetensors"}), 3, "40x40"},
    {Words{"segment", "--embedding", "embedding.safetensors", "--model", "m.safetensors", "-o", "out.png", "--box", "4,4,65,30"}, 2, "64x48"},
    {Words{"segment", "--embedding", "embedding.safetensors", "--model", "m.safetensors", "-o", "out.png", "--overlay", "o.png"} + kBox, 2, "IMAGE"},
    // outputs
    {segment(kBox + Words{"--overlay", "nowhere/o.png"}), 3, "nowhere/o.png"},
    {segment(kBox + Words{"--overlay", "dir.png"}), 3, "directory"},
    {segment(kBox + Words{"--overlay", "a.png/o.png"}), 3, "a.png/o.png"},
    {segment(kBox + Words{"--overlay", "/dev/full"}), 3, "/dev/full"},
    {segment(kBox + Words{"--overlay", "o.jpg"}), 2, ".png"},
    {segment(kBox + Words{"--overlay", "out.png"}), 2, "same file"},
    {segment(kBox + Words{"--overlay", "./dir/../out.png"}), 2, "same file"},
    {segment(kBox + Words{"--dump", "out.png"}), 2, "same file"},
    {segment(kBox + Words{"--overlay", "a.png"}), 2, "also an input"},
    {segment(kBox + Words{"--overlay", "same.png"}), 2, "also an input"},
    {segment(kBox + Words{"--overlay", "link.png"}), 2, "also an input"},
    {segment(kBox + Words{"--dump", "m.safetensors"}), 2, "also an input"},
    {segment(kBox + Words{"--trace", "nowhere/t.safetensors"}), 3, "nowhere/t.safetensors"},
    {segment(kBox + Words{"--multimask", "--select", "all", "--overlay", "out_1.png"}), 2, "same file"},
    {Words{"segment", "a.png", "--model", "m.safetensors", "-o", "dir"} + kBox, 3, "directory"},
    {Words{"segment", "a.png", "--model", "m.safetensors", "-o", "x"} + kBox, 2, ".png"},
    {Words{"segment", "a.png", "--model", "m.safetensors", "-o", "x", "--multimask", "--select", "all"} + kBox, 2, ".png"},
    {{"encode", "a.png", "--model", "m.safetensors", "-o", "nowhere/e.safetensors"}, 3, "nowhere/e.safetensors"},
    {{"encode", "a.png", "--model", "m.safetensors", "-o", "m.safetensors"}, 2, "also an input"},
    {{"encode", "a.png", "--model", "m.safetensors", "-o", "e.safetensors", "--trace", "e.safetensors"}, 2, "same file"},
};

}  // namespace

TEST_CASE("hostile calls end with the documented code, one line, and no file") {
  const Folder& f = folder();
  const auto before = f.files();
  const std::string model = read_text(f / "m.safetensors"), image = read_text(f / "a.png");
  for (const Row& row : kRows) {
    std::string shown = "sampan";
    for (const auto& w : row.call) shown += " " + w;
    CAPTURE(shown);
    check_refused(f.run(row.call), row.code, row.words);
    for (const std::string& name : f.files()) {
      if (before.count(name)) continue;
      FAIL_CHECK("left behind: " << name);
      fs::remove(f / name);  // the next row starts clean
    }
    CHECK(f.files() == before);
  }
  CHECK(read_text(f / "m.safetensors") == model);
  CHECK(read_text(f / "a.png") == image);
}

TEST_CASE("--max-memory between what the weights need and what the run needs") {
  const Folder& f = folder();
  const auto before = f.files();
  const auto memory = nlohmann::json::parse(f.ok({"info", "m.safetensors", "--json"}).out)["memory_bytes"];
  const auto weights = memory["weights"].get<std::uint64_t>();
  check_refused(f.run(segment(kBox + Words{"--max-memory", std::to_string(weights - 1)})), 4, "weights alone");
  check_refused(f.run(segment(kBox + Words{"--max-memory", std::to_string(weights + 1)})), 4, "activations");
  CHECK(f.files() == before);
}

TEST_CASE("a folder without write permission") {
  if (geteuid() == 0) {
    MESSAGE("skipped: root may write everywhere");
    return;
  }
  const Folder& f = folder();
  fs::permissions(f / "dir", fs::perms::owner_read | fs::perms::owner_exec);
  check_refused(f.run(segment(kBox + Words{"--overlay", "dir/o.png"})), 3, "permission denied");
  fs::permissions(f / "dir", fs::perms::owner_all);
}

TEST_CASE("an existing result survives a failing call") {
  const Folder f;
  f.model("m.safetensors", tiny_sam({.image = 64}));
  f.rgb("a.png", 48, 64);
  write_text(f / "out.png", "old");
  check_refused(f.run({"segment", "a.png", "--model", "m.safetensors", "-o", "out.png", "--box", "4,4,300,30"}), 2, "outside");
  CHECK(read_text(f / "out.png") == "old");
  f.ok({"segment", "a.png", "--model", "m.safetensors", "-o", "out.png", "--box", "4,4,30,30"});
  CHECK(f.image("out.png").size().width == 64);
}

TEST_CASE("a full disk behind stdout is an error, and its line the only one") {
  if (!fs::exists("/dev/full")) {
    MESSAGE("skipped: no /dev/full");
    return;
  }
  const Folder& f = folder();
  check_refused(f.run({"segment", "a.png", "--model", "m.safetensors", "--box", "4,4,30,30", "--json"}, {.out = "/dev/full"}), 3, "stdout");
  check_refused(f.run({"info"}, {.out = "/dev/full"}), 3, "stdout");
}

TEST_CASE("SIGINT stops between layers, leaves no file, and ends by the signal") {
  const Folder f;
  f.model("m.safetensors", tiny_sam({.image = 64}));
  f.rgb("a.png", 48, 64);
  const auto before = f.files();
  const Ran r = f.run({"segment", "a.png", "--model", "m.safetensors", "-o", "out.png", "--box", "4,4,30,30", "--repeat", "10000", "--progress", "json"}, {.signal = SIGINT});
  CHECK(r.signal == SIGINT);
  CHECK(r.err.rfind("{", 0) == 0);
  const std::string last = "\nsampan: stopped by SIGINT, nothing was written\n";
  CHECK(r.err.size() > last.size());
  CHECK(r.err.substr(r.err.size() - std::min(r.err.size(), last.size())) == last);
  CHECK(f.files() == before);
}
