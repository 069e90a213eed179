// The words of the command line: options, help with examples, and the checks that need no file. Data flow: argv -> CLI11 -> Options.
// CLI11 only splits arguments into strings; every value is parsed by numbers.hpp, so that what is accepted does not depend on CLI11 or the locale, and every
// refusal is one line that says what would be right.
#include "options.hpp"

#include "examples/evaluate/protocol.hpp"

#include <sampan/version.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <thread>

namespace sampan::cli {
namespace {

// Help shows only what this build has.
#if defined(SAMPAN_CUDA)
constexpr const char *kDeviceHelp = "cpu; cuda, where the machine has such a device; or reference: the scalar definition of every operation, slow, for comparison", *kDeviceWords = "cpu | cuda | reference";
constexpr const char* kPrecisionHelp = "how the encoder computes: f32; fast (16-bit integers with exact sums, on the cpu); bf16 (where processor or device have it); f16 (on cuda)";
#else
constexpr const char *kDeviceHelp = "cpu, or reference: the scalar definition of every operation, slow, for comparison", *kDeviceWords = "cpu | reference";
constexpr const char* kPrecisionHelp = "how the encoder computes: f32; fast (16-bit integers with exact sums); bf16 (where the processor has it)";
#endif

/// The strings as given; vectors hold every repetition.
struct Raw {
  std::vector<std::string> boxes, points, recist;
  std::string ensemble, seed, mask_input, select = "iou", window, preset, trace, repeat = "1", progress = "terminal", threads, max_memory, isa = "auto", tolerance, spacing;
};

std::string isa_words() {
  std::string s = "auto";
  for (const auto& isa : available_isas()) s += " | " + isa;
  return s;
}
std::string preset_words() {
  std::string s;
  for (const WindowPreset& p : kWindowPresets) s += std::string(s.empty() ? "" : " | ") + p.name;
  return s;
}

void add_engine(CLI::App& c, Options& o, Raw& r) {
  c.add_option("--precision", o.precision, kPrecisionHelp)->type_name("NAME")->group("Engine");
  c.add_option("--device", o.device, kDeviceHelp)->type_name(kDeviceWords)->group("Engine");
  c.add_option("--threads", r.threads, "1 to 256; default: all cores. The result does not depend on it")->type_name("N")->group("Engine");
  c.add_option("--isa", r.isa, "instruction set level; auto takes the best of this machine")->type_name(isa_words())->group("Engine");
  c.add_option("--max-memory", r.max_memory, "refuse to start if weights and activations need more, for example 4G")->type_name("SIZE")->group("Engine");
}

void add_image(CLI::App& c, Options& o, Raw& r, const char* image_help) {
  c.add_option("IMAGE", o.image, image_help)->type_name("");
  c.add_option("--model", o.model, "weights, written by sampan-convert")->type_name("M.safetensors");
  c.add_option("--window", r.window, "grey values to show, for 16-bit images")->type_name("LEVEL,WIDTH");
  c.add_option("--window-preset", r.preset, "the same by name, in Hounsfield units")->type_name(preset_words());
}

void add_console(CLI::App& c, Options& o, Raw& r, const char* json_help = "one JSON object to stdout: objects, timings, memory, model, engine") {
  c.add_flag("--json", o.json, json_help)->group("Report");
  c.add_option("--progress", r.progress, "json: one JSON line per step to stderr; default: a bar if stderr is a terminal")->type_name("json")->group("Report");
  c.add_flag("--quiet", o.quiet, "no progress and no notes on stderr; errors stay")->group("Report");
}

void add_report(CLI::App& c, Options& o, Raw& r) {
  c.add_option("--trace", r.trace, "write intermediate tensors by their PyTorch names; ':' and a comma-separated list choose some, * stands for any characters")->type_name("T.safetensors[:NAMES]")->group("Report");
  c.add_option("--repeat", r.repeat, "encode and decode N times and report medians")->type_name("N")->group("Report");
  add_console(c, o, r);
}

void check_engine(Options& o, const Raw& r) {
  static constexpr std::pair<const char*, Precision> kPrecisions[] = {
      {"f32", Precision::f32}, {"fast", Precision::fast}, {"bf16", Precision::bf16}, {"int8", Precision::int8}, {"f16", Precision::f16}};
  static constexpr std::pair<const char*, Device> kDevices[] = {{"cpu", Device::cpu}, {"cuda", Device::cuda}, {"reference", Device::reference}};
  const auto find = [](const auto& rows, const std::string& word, std::string_view option, auto& value) {
    std::string known;
    for (const auto& [name, v] : rows) {
      if (word == name) {
        value = v;
        return;
      }
      known += std::string(known.empty() ? "" : ", ") + name;
    }
    usage(cat(option, " ", word, ": unknown; known: ", known));
  };
  find(kPrecisions, o.precision, "--precision", o.load.precision);
  find(kDevices, o.device, "--device", o.load.device);
  // Known words that this build or machine cannot serve are refused here: it is the call that must change, not the model.
  const auto precisions = must(available_precisions(o.load.device, r.isa), Source::arguments);
  const auto isas = available_isas();
  if (r.isa != "auto" && std::find(isas.begin(), isas.end(), r.isa) == isas.end()) usage(cat("--isa ", r.isa, ": not available here; available: ", isa_words()));
  o.load.isa = r.isa;
  if (std::find(precisions.begin(), precisions.end(), o.precision) == precisions.end()) {
    std::string known;
    for (const auto& p : precisions) known += cat(known.empty() ? "" : ", ", p);
    usage(cat("--precision ", o.precision, ": not available with this device and isa; available: ", known));
  }
  o.load.threads = r.threads.empty() ? std::clamp(int(std::thread::hardware_concurrency()), 1, 256) : whole_number("--threads", r.threads, 1, 256);
  if (!r.max_memory.empty()) o.load.max_memory = byte_size("--max-memory", r.max_memory);
}

void check_common(Options& o, const Raw& r) {
  if (o.model.empty()) usage("--model M.safetensors is needed; sampan-convert makes it from a published checkpoint");
  if (!r.window.empty() && !r.preset.empty()) usage("--window and --window-preset say the same thing twice; give one");
  if (!r.window.empty()) {
    const auto v = numbers("--window", r.window, "LEVEL,WIDTH");
    o.window = WindowLevel{v[0], v[1]};
    must(check(*o.window), Source::arguments);
  }
  if (!r.preset.empty()) o.window = must(window_preset(r.preset), Source::arguments);
  o.repeat = whole_number("--repeat", r.repeat, 1, 10000);
  if (r.progress == "json") o.progress = ProgressMode::json;
  else if (r.progress != "terminal") usage(cat("--progress ", r.progress, ": json is possible, or leave the option out"));
  if (!r.trace.empty()) {
    // Tensor names hold no slash: "dir:1/t.safetensors" is a path.
    const auto colon = r.trace.rfind(':');
    const bool has_names = colon != std::string::npos && r.trace.find('/', colon) == std::string::npos;
    TraceRequest t{r.trace.substr(0, has_names ? colon : std::string::npos), {}};
    for (std::size_t from = has_names ? colon + 1 : r.trace.size() + 1; from <= r.trace.size();) {
      const std::size_t end = std::min(r.trace.find(',', from), r.trace.size());
      t.names.push_back(r.trace.substr(from, end - from));
      from = end + 1;
    }
    if (t.path.empty() || std::find(t.names.begin(), t.names.end(), "") != t.names.end()) usage(cat("--trace ", r.trace, ": T.safetensors or T.safetensors:NAME,NAME is needed"));
    if (o.repeat > 1) usage("--trace and --repeat do not go together: traced layers run unfused, so their times mean nothing");
    o.trace = std::move(t);
  }
  check_engine(o, r);
}

LabeledPoint parse_point(const std::string& text) {
  const auto v = numbers("--point", text, "X,Y,LABEL");
  if (v[2] != 0 && v[2] != 1) usage(cat("--point ", text, ": the label must be 1 (object) or 0 (background)"));
  return {v[0], v[1], int(v[2])};
}

void check_prompts(Options& o, const Raw& r) {
  static constexpr std::pair<const char*, Masks> kMasks[] = {{"iou", Masks::iou}, {"first", Masks::first}, {"stability", Masks::stability}, {"largest", Masks::largest}, {"all", Masks::all}};
  const auto chosen = std::find_if(std::begin(kMasks), std::end(kMasks), [&](const auto& m) { return r.select == m.first; });
  if (chosen == std::end(kMasks)) usage(cat("--select ", r.select, ": unknown; known: iou, first, stability, largest, all"));
  o.select = chosen->second;
  if (!r.ensemble.empty()) {
    o.ensemble = whole_number("--ensemble", r.ensemble, 2, 1000);
    if (o.select == Masks::all || !o.dump.empty()) usage("--ensemble gives one mask: leave --select all and --dump out");
  } else if (!o.jitter.empty() || !r.seed.empty() || !o.mean_map.empty() || !o.variance_map.empty()) {
    usage("--jitter, --seed, --mean-map and --variance-map belong to --ensemble N");
  }
  if (!r.seed.empty()) o.seed = std::uint64_t(whole_number("--seed", r.seed, 0, 2'000'000'000));
  if (o.select == Masks::all && !o.multimask) usage("--select all writes three masks: add --multimask");
  if (o.select == Masks::all && o.output.empty()) usage("--select all writes OUT_0.png, OUT_1.png, OUT_2.png: add -o OUT.png");
  if (!o.prompts_file.empty()) {
    if (!r.boxes.empty() || !r.points.empty() || !r.recist.empty() || !r.mask_input.empty()) usage("--prompts cannot be mixed with --box, --point, --recist or --mask-input: put all objects into the file");
    return;
  }
  if (r.boxes.size() > 1 && (!r.points.empty() || !r.mask_input.empty()))
    usage(cat(r.boxes.size(), " boxes together with ", r.points.empty() ? "a mask input" : "points", ": which object is meant? Write the objects to a file and use --prompts FILE.json"));
  if (r.boxes.size() > kMaxObjects) throw Failure{Exit::refused, cat(r.boxes.size(), " boxes, at most ", kMaxObjects, " are possible")};
  for (const auto& text : r.boxes) {
    const auto v = numbers("--box", text, "X0,Y0,X1,Y1");
    ObjectPrompt p;
    p.prompt.box = Box{v[0], v[1], v[2], v[3]};
    p.said = "--box";
    o.objects.push_back(std::move(p));
  }
  if (!r.recist.empty() && (!r.boxes.empty() || !r.points.empty() || !r.mask_input.empty())) usage("--recist cannot be mixed with --box, --point or --mask-input: put the objects into a file and use --prompts FILE.json");
  for (const auto& text : r.recist) {
    const auto v = numbers("--recist", text, "X0,Y0,X1,Y1");
    ObjectPrompt p;
    p.said = "--recist";
    p.recist = std::array<double, 4>{v[0], v[1], v[2], v[3]};
    o.objects.push_back(std::move(p));
  }
  if (o.objects.empty()) o.objects.emplace_back();
  ObjectPrompt& one = o.objects[0];
  for (const auto& text : r.points) one.prompt.points.push_back(parse_point(text));
  one.mask_file = r.mask_input;
  if (one.said.empty()) one.said = !r.points.empty() ? "--point" : !r.mask_input.empty() ? "--mask-input " + r.mask_input : "no --box, --point or --mask-input";
}

/// Empty words are typing mistakes (an unset shell variable), never "not given".
void refuse_empty_values(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options())
    for (const std::string& value : option->results())
      if (value.empty()) usage(cat(option->get_name(), " was given an empty value"));
}

[[noreturn]] void usage_of(const std::string& command, const std::string& message) {
  usage(cat(message.substr(0, message.find('\n')), " (sampan ", command, command.empty() ? "" : " ", "--help shows the options)"));
}

constexpr const char* kFooter = R"(
Start:
  sampan-convert lite_medsam.pth lite_medsam.safetensors
  sampan segment slice.png --model lite_medsam.safetensors --box 95,255,190,350 -o mask.png
  sampan info lite_medsam.safetensors

Exit codes: 0 ok, 2 usage, 3 input file or output, 4 refused by a limit, 5 model, 6 out of memory, 7 part of a batch failed.
An error is one line on stderr. SIGINT and SIGTERM stop between layers and leave no file.
sampan is not a medical device.)";

constexpr const char* kSegmentFooter = R"(
Coordinates are pixels of the original image, x before y, counted from 0; decimals are allowed.
One object gives a mask of 0 and 255, several a label map 1..N (8-bit, 16-bit above 255), later objects over earlier ones.

Examples:
  one box                sampan segment ct.png --model M.safetensors --box 95,255,190,350 -o mask.png
  several objects        sampan segment ct.png --model M.safetensors --box 10,20,60,80 --box 90,20,140,80 -o labels.png
  clicks on one object   sampan segment ct.png --model M.safetensors --point 120,90,1 --point 40,90,0 -o mask.png
  three candidates       sampan segment ct.png --model M.safetensors --point 120,90,1 --multimask --select all -o mask.png
  16-bit CT              sampan segment ct16.png --model M.safetensors --window-preset liver --box 95,255,190,350 -o mask.png
  look at the result     sampan segment ct.png --model M.safetensors --box 95,255,190,350 -o mask.png --overlay seen.png --json
  encode once            sampan encode ct.png --model M.safetensors -o ct.safetensors
                         sampan segment --embedding ct.safetensors --model M.safetensors --box 95,255,190,350 -o mask.png
  refine a mask          sampan segment ct.png --model M.safetensors --point 120,90,1 -o mask.png --dump first.safetensors
                         sampan segment ct.png --model M.safetensors --point 120,90,1 --point 90,90,0 --mask-input first.safetensors -o mask2.png
  look inside            sampan segment ct.png --model M.safetensors --box 95,255,190,350 -o mask.png --trace t.safetensors:image_encoder.blocks.*

FILE.json of --prompts:
  {"objects": [{"label": 1, "name": "liver", "box": [95,255,190,350], "points": [[120,300,1]], "mask_input": "first.safetensors"}]})";

constexpr const char* kEncodeFooter = R"(
Examples:
  sampan encode ct.png --model M.safetensors -o ct.safetensors
  sampan segment --embedding ct.safetensors --model M.safetensors --box 95,255,190,350 -o mask.png
  sampan encode ct.png --model M.safetensors -o ct.safetensors --repeat 5 --json
  sampan encode ct.png --model M.safetensors -o ct.safetensors --trace t.safetensors:image_encoder)";

constexpr const char* kVolumeFooter = R"(
Voxels are those of the file, counted from 0; ends of boxes are the last voxel inside. Results lie on the same grid as the scan.
Boxes that lie in one slice are prompts there; a box across slices is an object's range, prompted in its middle slice. From there each slice takes the box of its neighbour's mask.
A volumetric network (SAM-Med3D) takes clicks: it looks at the cube around the object's first one; a click on the object outside of it opens another cube there, and --extend does so by itself. What belongs to slices (--window, --recipe, --plane, --interpolate, --cache) is not for it.

Examples:
  one organ              sampan volume ct.nii.gz --model M.safetensors --window-preset soft-tissue --box 95,120,30,210,260,75 -o liver.nii.gz
  a DICOM folder         sampan volume SCAN/ --model M.safetensors --box 95,120,30,210,260,75 -o liver.nrrd
  back to the viewer     sampan volume SCAN/ --model M.safetensors --prompts p.json -o liver.dcm
  many objects           sampan volume ct.nii.gz --model M.safetensors --window-preset liver --prompts p.json -o labels.nii.gz --json
  an MR scan             sampan volume mr.nii.gz --model M.safetensors --recipe percentile --box 40,50,20,90,100,40 -o tumour.nii.gz --keep-largest
  three planes           sampan volume ct.nii.gz --model M.safetensors --window-preset lung --box 95,120,30,210,260,75 --plane fused -o lung.nii.gz
  bounded, and again     sampan volume ct.nii.gz --model M.safetensors --window-preset bone --prompts p.json -o labels.nii.gz --max-memory 1G --cache encoded/
  clicks in three axes   sampan volume ct.nii.gz --model sam_med3d_turbo.safetensors --point 140,160,52,1 --point 90,150,50,0 -o liver.nii.gz
  two organs, by clicks  sampan volume ct.nii.gz --model sam_med3d_turbo.safetensors --point 140,160,52,1,1 --point 60,150,50,1,2 --extend -o organs.nii.gz
  a challenge's case     sampan volume 3DBox_case.npz --model M.safetensors -o segs.npz --provenance none

FILE.json of --prompts (FILE.csv: label,name,x0,y0,z0,x1,y1,z1 and one box a line):
  {"units": "mm", "space": "RAS", "objects": [{"label": 1, "name": "liver", "boxes": [[-90,-40,10,60,90,120]]}, {"label": 2, "lines": [[3,4,50,20,4,50]]}]})";

constexpr const char* kEverythingFooter = R"(
A grid of clicks, three masks each; kept are those that the model trusts and that hold still when the threshold moves, each once. Parameters and results are those of segment-anything's
SamAutomaticMaskGenerator. It needs a model that takes clicks (SAM, MobileSAM); OUT.json is a COCO file, its boxes are [x, y, width, height].

Examples:
  all masks              sampan everything cells.png --model M.safetensors -o cells.json --overlay seen.png
  as a label map         sampan everything cells.png --model M.safetensors --labels labels.png
  small objects too      sampan everything cells.png --model M.safetensors -o cells.json --crop-n-layers 1 --crop-n-points-downscale-factor 2 --min-mask-region-area 25
  fewer, surer masks     sampan everything cells.png --model M.safetensors -o cells.json --pred-iou-thresh 0.92 --stability-score-thresh 0.97)";

constexpr const char* kInfoFooter = R"(
Examples:
  sampan info
  sampan info --json
  sampan info lite_medsam.safetensors
  sampan info lite_medsam.safetensors --precision fast --threads 1
  sampan info lite_medsam.safetensors --json

Memory and work are those of a run with the same engine options; nothing is computed.)";

constexpr const char* kMetricsFooter = R"(
Every label of either file gets its own column; 0 is background. dice, iou, nsd, hd, hd95, asd, assd follow the package surface-distance.
"-" (null in JSON) is undefined, for example Dice where neither file holds the label; "inf" is a distance to a surface that does not exist.

Examples:
  sampan metrics mask.png truth.png
  sampan metrics prediction.nii.gz truth.nii.gz --tolerance 1 --published
  sampan metrics mask.png truth.png --spacing 0.7,0.7 --json)";

constexpr const char* kEvaluateFooter = R"(
DATASET.json, paths relative to it ("spacing" in millimetres, x and y, for all images or none; a label map holds several objects):
  {"name": "abdomen", "labels": {"1": "liver", "2": "spleen"}, "images": [
    {"image": "a.png", "patient": "p1", "modality": "CT", "spacing": [0.8, 0.8], "masks": [{"file": "a_liver.png", "label": "liver"}]},
    {"image": "b.png", "patient": "p2", "modality": "CT", "spacing": [0.8, 0.8], "label_map": "b_labels.png"},
    {"volume": "c.nii.gz", "patient": "p3", "modality": "CT", "label_map": "c_labels.nii.gz", "plane": "axial", "slices": "all", "window": "soft-tissue"}]}
A scan (NIfTI, NRRD, npz, DICOM) is evaluated slice by slice where it holds a label ("slices": "all", "every:N", or each label's "largest"), and its objects as volumes: objects.csv.
FOLDER gets masks.csv (one line per mask, prompt and rule), report.json (settings, hashes, summaries), report.html (plots, the worst cases) and journal.jsonl, from which a
stopped run continues. Rules pick among the masks of one forward pass: oracle (best Dice), iou, first, stability, largest; single where the model gives one.
Intervals are 95 %, by drawing patients with replacement.

Examples:
  boxes, moved             sampan evaluate d.json --model M.safetensors -o out
  other prompts            sampan evaluate d.json --model M.safetensors --prompts box,center,points:5+5x3,clicks:9 -o out
  a published protocol     sampan evaluate d.json --model M.safetensors --protocol huang-S4 --without label-by-position -o out
  16-bit CT, encoded once  sampan evaluate d.json --model M.safetensors --window-preset soft-tissue --cache encoded/ --cache-limit 20G -o out
)";

std::string evaluate_help() {
  std::string s = std::string(kEvaluateFooter) + evaluate::kPromptHelp + "\n\nProtocols:\n";
  for (const evaluate::Profile& p : evaluate::kProfiles) s += cat("  ", p.name, std::string(std::max<std::size_t>(26, std::string_view(p.name).size() + 1) - std::string_view(p.name).size(), ' '), p.about, "\n");
  s += "\nQuirks of published code, on in the protocols that have them:\n";
  for (const evaluate::Quirk& q : evaluate::kQuirks) s += cat("  ", q.name, std::string(26 - std::string_view(q.name).size(), ' '), q.about, "\n");
  s.pop_back();
  return s;
}

}  // namespace

Options parse_arguments(int argc, const char* const* argv) {
  Options o;
  Raw r;
  CLI::App app("Segments medical images by prompts: Segment Anything models without a framework runtime.", "sampan");
  app.set_version_flag("--version", std::string("sampan ") + SAMPAN_VERSION);
  app.footer(kFooter);
  app.require_subcommand(1);

  auto& segment = *app.add_subcommand("segment", "one image and prompts to a mask");
  add_image(segment, o, r, "PNG, JPEG, BMP or PNM, 8 or 16 bits");
  segment.add_option("--embedding", o.embedding, "an image that `sampan encode` encoded; IMAGE is then needed for --overlay only")->type_name("E.safetensors");
  segment.add_option("--box", r.boxes, "two corners; repeat it: one object each")->type_name("X0,Y0,X1,Y1")->allow_extra_args(false)->group("Prompts");
  segment.add_option("--point", r.points, "label 1 on the object, 0 on the background; repeat it: all belong to the one object, with the one box if given")->type_name("X,Y,LABEL")->allow_extra_args(false)->group("Prompts");
  segment.add_option("--mask-input", r.mask_input, "tensor low_res_logits of an earlier --dump")->type_name("L.safetensors")->group("Prompts");
  segment.add_option("--prompts", o.prompts_file, "several objects with mixed prompts")->type_name("FILE.json")->group("Prompts");
  segment.add_flag("--multimask", o.multimask, "three candidates per object (whole, part, subpart)")->group("Prompts");
  segment.add_flag("--hq-token-only", o.hq_token_only, "SAM-HQ: the mask of its own token, without SAM's added")->group("Prompts");
  segment.add_option("--select", r.select, "which candidate counts; all: OUT_0.png, OUT_1.png, OUT_2.png. Default iou")->type_name("iou | first | stability | largest | all")->group("Prompts");
  segment.add_option("--recist", r.recist, "a diameter, as the box around the circle on it; repeat it: one object each")->type_name("X0,Y0,X1,Y1")->allow_extra_args(false)->group("Prompts");
  segment.add_option("--ensemble", r.ensemble, "ask N times with prompts moved a little; the mask is where the mean probability is above one half")->type_name("N")->group("Ensemble");
  segment.add_option("--jitter", o.jitter, "how far: a share of the box's sides (of a point: of the image's shorter side), or pixels. Default 5%")->type_name("5% | 8px")->group("Ensemble");
  segment.add_option("--seed", r.seed, "of the random moves. Default 0")->type_name("N")->group("Ensemble");
  segment.add_option("--mean-map", o.mean_map, "mean probability of each pixel as a heat map, black 0 to white 1 (one object)")->type_name("M.png")->group("Ensemble");
  segment.add_option("--variance-map", o.variance_map, "where the answers differ: variance of the probability, black 0 to white 0.25 (one object)")->type_name("V.png")->group("Ensemble");
  segment.add_option("-o", o.output, "the mask, or the label map of several objects")->type_name("OUT.png")->group("Output");
  segment.add_flag("--labels", o.labels, "a label map for one object too")->group("Output");
  segment.add_option("--label-names", o.label_names, "names and colours of labels or classes, for --overlay and --json: {\"labels\": {\"1\": {\"name\": \"liver\", \"colour\": [221, 130, 101]}}}")->type_name("FILE.json")->group("Output");
  segment.add_option("--overlay", o.overlay, "the image with contours of the masks")->type_name("O.png")->group("Output");
  segment.add_option("--dump", o.dump, "image_embedding, low_res_logits, iou_predictions in f32")->type_name("D.safetensors")->group("Output");
  add_report(segment, o, r);
  add_engine(segment, o, r);
  segment.footer(kSegmentFooter);

  auto& encode = *app.add_subcommand("encode", "the image embedding, to prompt it later");
  add_image(encode, o, r, "PNG, JPEG, BMP or PNM, 8 or 16 bits");
  encode.add_option("-o", o.output, "the embedding")->type_name("E.safetensors")->group("Output");
  add_report(encode, o, r);
  add_engine(encode, o, r);
  encode.footer(kEncodeFooter);

  auto& volume = *app.add_subcommand("volume", "a whole scan and prompts to labels on the same grid");
  VolumeWords& w = o.volume;
  add_image(volume, o, r, "NIfTI, NRRD, npz, a DICOM file or a folder of them");
  volume.add_option("--recipe", w.recipe, "grey values for other scans than CT: percentile (MR, ultrasound, X-ray), pet, full, file (its own window), as-is (8 bits). Default: by the file's modality")->type_name("auto | percentile | pet | full | file | as-is");
  volume.add_option("--series", w.series, "which series of a DICOM folder, by the number that the error lists")->type_name("N");
  volume.add_option("--frame", w.frame, "which volume of several (times, echoes), from 0")->type_name("N");
  volume.add_flag("--fill-gaps", w.fill_gaps, "missing DICOM slices become empty ones; without it they are an error");
  volume.add_option("--box", w.boxes, "two corners; repeat it: one object each")->type_name("X0,Y0,Z0,X1,Y1,Z1")->allow_extra_args(false)->group("Prompts");
  volume.add_option("--point", w.points, "label 1 on the object, 0 on the background; repeat it: all belong to the one object, with the one box if given, or to the object (label in the result) that a fifth number names")->type_name("X,Y,Z,LABEL[,OBJECT]")->allow_extra_args(false)->group("Prompts");
  volume.add_option("--prompts", o.prompts_file, "several objects, in voxels or millimetres")->type_name("FILE.json|FILE.csv")->group("Prompts");
  volume.add_option("--plane", w.plane, "slices to work on; fused: all three, where two agree. Default axial")->type_name("axial | coronal | sagittal | fused")->group("Propagation");
  volume.add_flag("--extend", w.extend, "networks that see volumes: more cubes where the object leaves the one around its click, up to 27 for each object")->group("Propagation");
  volume.add_flag("--interpolate", w.interpolate, "between two prompted slices: boxes between theirs")->group("Propagation");
  volume.add_option("--overlap", w.overlap, "where objects meet: the later or first of them, or the one with the higher predicted IoU on that slice. Default later")->type_name("later | first | confident")->group("Result");
  volume.add_flag("--keep-largest", w.largest, "of each object only the largest component")->group("Result");
  volume.add_flag("--fill-holes", w.fill_holes, "holes in each object, in three dimensions")->group("Result");
  volume.add_option("--min-size", w.min_size, "components below this volume go")->type_name("ML")->group("Result");
  volume.add_option("-o", o.output, "the labels; .dcm is a segmentation of a DICOM scan")->type_name("OUT.nii.gz|.nii|.nrrd|.npz|.dcm")->group("Output");
  volume.add_option("--label-names", o.label_names, "names and colours of labels, for .nrrd and .dcm outputs, provenance and --json, as in segment")->type_name("FILE.json")->group("Output");
  volume.add_option("--provenance", w.provenance, "how the labels were made; default OUT.json beside OUT")->type_name("FILE.json | none")->group("Output");
  volume.add_option("--montage", w.montage, "a picture of up to 24 slices with their labels")->type_name("M.png")->group("Output");
  volume.add_option("--animation", w.animation, "all labelled slices one after another, as an animated PNG for browsers")->type_name("A.png")->group("Output");
  volume.add_flag("--keep-patient", w.keep_patient, "name, id and dates of the DICOM files go into a .dcm output")->group("Output");
  volume.add_option("--trace", r.trace, "networks that see volumes: intermediate tensors by their PyTorch names; ':' and a list choose some, * stands for any characters")->type_name("T.safetensors[:NAMES]")->group("Report");
  volume.add_option("--cache", w.cache, "keeps encoded slices, so that another run, or one after a crash, encodes nothing twice")->type_name("FOLDER")->group("Engine");
  add_console(volume, o, r);
  add_engine(volume, o, r);
  volume.footer(kVolumeFooter);

  auto& everything = *app.add_subcommand("everything", "all masks of an image, without a prompt");
  EverythingWords& ew = o.everything;
  add_image(everything, o, r, "PNG, JPEG, BMP or PNM, 8 or 16 bits");
  everything.add_option("--points-per-side", ew.points_per_side, "clicks along each side of the image; default 32")->type_name("N")->group("Search");
  everything.add_option("--points-per-batch", ew.points_per_batch, "clicks between two steps of the progress bar; default 64")->type_name("N")->group("Search");
  everything.add_option("--crop-n-layers", ew.crop_n_layers, "layer i looks at 4^i crops as well; default 0")->type_name("N")->group("Search");
  everything.add_option("--crop-overlap-ratio", ew.crop_overlap_ratio, "how much neighbouring crops share, of the image's short side; default 0.341")->type_name("R")->group("Search");
  everything.add_option("--crop-n-points-downscale-factor", ew.crop_n_points_downscale_factor, "divides the clicks per side in each further layer; default 1")->type_name("N")->group("Search");
  everything.add_option("--pred-iou-thresh", ew.pred_iou_thresh, "masks whose predicted IoU is above it stay; default 0.88")->type_name("T")->group("Filter");
  everything.add_option("--stability-score-thresh", ew.stability_score_thresh, "masks at least as stable stay; default 0.95")->type_name("T")->group("Filter");
  everything.add_option("--stability-score-offset", ew.stability_score_offset, "how far the threshold moves to measure that; default 1")->type_name("T")->group("Filter");
  everything.add_option("--box-nms-thresh", ew.box_nms_thresh, "of boxes with a larger IoU one stays; default 0.7")->type_name("T")->group("Filter");
  everything.add_option("--crop-nms-thresh", ew.crop_nms_thresh, "the same between crops; default 0.7")->type_name("T")->group("Filter");
  everything.add_option("--min-mask-region-area", ew.min_mask_region_area, "smaller holes are filled, smaller islands go; default 0: neither")->type_name("PIXELS")->group("Filter");
  everything.add_option("-o", o.output, "COCO annotations")->type_name("OUT.json")->group("Output");
  everything.add_option("--rle", ew.rle, "how OUT.json holds the masks: COCO's text, or plain numbers. Default coco")->type_name("coco | counts")->group("Output");
  everything.add_option("--labels", ew.labels, "label map; mask i has the value i, small masks above large ones")->type_name("L.png")->group("Output");
  everything.add_option("--overlay", o.overlay, "the image with contours of the masks")->type_name("O.png")->group("Output");
  add_console(everything, o, r);
  add_engine(everything, o, r);
  everything.footer(kEverythingFooter);

  auto& info = *app.add_subcommand("info", "what a model is and needs; without a file: this program and the published checkpoints it runs");
  info.add_option("FILE", o.model, "weights, written by sampan-convert; without it: version, compiler, instruction sets, and the zoo with licences and how to convert each checkpoint")->type_name("");
  info.add_flag("--json", o.json, "the same as one JSON object");
  add_engine(info, o, r);
  info.footer(kInfoFooter);

  auto& metrics = *app.add_subcommand("metrics", "how well a label map agrees with another: Dice, surface distances");
  metrics.add_option("PREDICTION", o.metrics.prediction, "grey picture (8 or 16 bits) or scan (NIfTI, NRRD, DICOM, npz with segs or gts) of labels")->type_name("");
  metrics.add_option("TRUTH", o.metrics.truth, "the same for the ground truth, on the same grid")->type_name("");
  metrics.add_option("--tolerance", r.tolerance, "of nsd, in millimetres (scans) or pixels (pictures); default 2")->type_name("T");
  metrics.add_option("--spacing", r.spacing, "size of a pixel or voxel instead of what the file says; a picture says 1,1")->type_name("X,Y[,Z]");
  metrics.add_flag("--published", o.metrics.published, "also the variants of MONAI and MedPy, under names that end in _monai and _medpy");
  metrics.add_option("--threads", r.threads, "1 to 256; default: all cores")->type_name("N");
  metrics.add_flag("--json", o.json, "one JSON object to stdout; an undefined number is null");
  metrics.footer(kMetricsFooter);

  auto& evaluate = *app.add_subcommand("evaluate", "how well a model does on a data set, by published protocols");
  EvaluateWords& ev = o.evaluate;
  evaluate.add_option("DATASET", o.image, "images and masks, JSON")->type_name("");
  evaluate.add_option("--model", o.model, "weights, written by sampan-convert")->type_name("M.safetensors");
  evaluate.add_option("--window", r.window, "grey values to show, for 16-bit images without their own")->type_name("LEVEL,WIDTH");
  evaluate.add_option("--window-preset", r.preset, "the same by name, in Hounsfield units")->type_name(preset_words());
  evaluate.add_option("--prompts", ev.prompts, "comma-separated, see below; default box and box-jitter by 5, 10 and 20 %, three draws each")->type_name("LIST")->group("Protocol");
  evaluate.add_option("--protocol", ev.protocol, "a published study instead, see below")->type_name("NAME")->group("Protocol");
  evaluate.add_option("--without", ev.without, "switches a quirk of the protocol's code off; repeat it")->type_name("QUIRK")->allow_extra_args(false)->group("Protocol");
  evaluate.add_option("--truth", ev.truth, "cvpr24-laptop: npz files with gts, by the names of the cases; default: gts of the cases themselves")->type_name("FOLDER")->group("Protocol");
  evaluate.add_option("--masks", ev.masks, "candidates per prompt; auto: three if the model gives them and the protocol does not want one")->type_name("auto | single | multi")->group("Protocol");
  evaluate.add_option("--seed", ev.seed, "of random prompts; default 0, or the protocol's")->type_name("N")->group("Protocol");
  evaluate.add_option("--min-area", ev.min_area, "objects with fewer pixels are left out; default 1, or the protocol's")->type_name("PIXELS")->group("Protocol");
  evaluate.add_option("--tolerance", ev.tolerance, "of nsd, in millimetres where the data set has spacing, else pixels; default 2")->type_name("T")->group("Scores");
  evaluate.add_flag("--published", ev.published, "also the variants of MONAI and MedPy")->group("Scores");
  evaluate.add_option("--bootstrap", ev.bootstrap, "draws of the intervals; default 2000, 0: none")->type_name("N")->group("Scores");
  evaluate.add_option("-o", o.output, "results; made if it is not there")->type_name("FOLDER")->group("Output");
  evaluate.add_flag("--restart", ev.restart, "forget what FOLDER holds")->group("Output");
  evaluate.add_option("--cache", ev.cache, "keeps encoded images for other runs")->type_name("FOLDER")->group("Engine");
  evaluate.add_option("--cache-limit", ev.cache_limit, "bytes in it; those not used for longest go first. Default 4G")->type_name("SIZE")->group("Engine");
  add_console(evaluate, o, r, "report.json to stdout instead of the table");
  add_engine(evaluate, o, r);
  evaluate.footer(evaluate_help());

  const std::string commands = "segment, encode, volume, everything, info, metrics, evaluate";
  if (argc < 2) usage(cat("a command is needed: ", commands, " (sampan --help shows examples)"));
  std::string name = argv[1];
  const auto known = app.get_subcommands([&](const CLI::App* c) { return c->get_name() == name; });
  if (!name.empty() && name[0] != '-' && known.empty()) usage(cat("unknown command ", name, "; known: ", commands));
  if (name.empty() || name[0] == '-') name.clear();
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForVersion& e) {
    std::puts(e.what());
    return o;
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return o;
  } catch (const CLI::RequiredError&) {
    usage(cat("a command is needed: ", commands, " (sampan --help shows examples)"));
  } catch (const CLI::ArgumentMismatch& e) {
    usage_of(name, cat(std::string_view(e.what()).substr(0, std::string_view(e.what()).find(':')), " is given once and needs exactly one value"));
  } catch (const CLI::ParseError& e) {
    usage_of(name, e.what());
  }
  const CLI::App& chosen = *app.get_subcommands().at(0);
  refuse_empty_values(chosen);

  if (&chosen == &info) {
    o.command = Command::info;
    for (const CLI::Option* option : info.get_options([](const CLI::Option* given) { return given->get_group() == "Engine" && given->count() > 0; }))
      if (o.model.empty()) usage(cat(option->get_name(), " says how a model would run: give FILE, or leave it out"));
    check_engine(o, r);
    return o;
  }
  if (&chosen == &metrics) {
    o.command = Command::metrics;
    if (o.metrics.prediction.empty() || o.metrics.truth.empty()) usage("two files are needed: sampan metrics PREDICTION TRUTH");
    if (!r.tolerance.empty()) o.metrics.tolerance = numbers("--tolerance", r.tolerance, "T")[0];
    if (!(o.metrics.tolerance >= 0 && o.metrics.tolerance < 1e12)) usage(cat("--tolerance ", r.tolerance, ": a distance from 0 is needed"));
    if (!r.spacing.empty()) {
      const bool three = std::count(r.spacing.begin(), r.spacing.end(), ',') == 2;
      const auto v = numbers("--spacing", r.spacing, three ? "X,Y,Z" : "X,Y");
      o.metrics.spacing = std::array<double, 3>{three ? v[2] : 1.0, v[1], v[0]};
      for (const double s : *o.metrics.spacing)
        if (!(s >= 1e-6 && s <= 1e6)) usage(cat("--spacing ", r.spacing, ": numbers from 0.000001 to 1000000 are needed"));
    }
    o.load.threads = r.threads.empty() ? std::clamp(int(std::thread::hardware_concurrency()), 1, 256) : whole_number("--threads", r.threads, 1, 256);
    return o;
  }
  check_common(o, r);
  if (&chosen == &evaluate) {
    o.command = Command::evaluate;
    if (o.image.empty()) usage("a data set is needed: sampan evaluate DATASET.json --model M.safetensors -o FOLDER");
    if (o.output.empty()) usage("-o FOLDER is needed: results and journal go there");
    if (ev.masks != "auto" && ev.masks != "single" && ev.masks != "multi") usage(cat("--masks ", ev.masks, ": unknown; known: auto, single, multi"));
    return o;
  }
  if (&chosen == &encode) {
    o.command = Command::encode;
    if (o.image.empty()) usage("IMAGE is needed: sampan encode IMAGE --model M.safetensors -o E.safetensors");
    if (o.output.empty()) usage("-o E.safetensors is needed: the embedding is the result");
    return o;
  }
  if (&chosen == &volume) {
    o.command = Command::volume;
    if (o.image.empty()) usage("a scan is needed: sampan volume IN.nii.gz --model M.safetensors --box X0,Y0,Z0,X1,Y1,Z1 -o OUT.nii.gz");
    if (o.output.empty()) usage("-o OUT.nii.gz is needed: the labels are the result");
    if (o.window && !w.recipe.empty()) usage("--recipe and --window (or --window-preset) say the same thing twice; give one");
    return o;
  }
  if (&chosen == &everything) {
    o.command = Command::everything;
    if (o.image.empty()) usage("IMAGE is needed: sampan everything IMAGE --model M.safetensors -o OUT.json");
    if (o.output.empty() && o.overlay.empty() && ew.labels.empty() && !o.json) usage("-o OUT.json is needed, or --labels, --overlay or --json");
    if (ew.rle != "coco" && ew.rle != "counts") usage(cat("--rle ", ew.rle, ": unknown; known: coco, counts"));
    return o;
  }
  o.command = Command::segment;
  if (o.image.empty() && o.embedding.empty()) usage("IMAGE is needed: sampan segment IMAGE --model M.safetensors --box X0,Y0,X1,Y1 -o OUT.png");
  if (o.image.empty() && !o.overlay.empty()) usage("--overlay draws over the image: give IMAGE beside --embedding");
  if (!o.embedding.empty() && o.window && o.overlay.empty()) usage("--window belongs to encoding; the embedding was made with its own");
  if (o.output.empty() && o.overlay.empty() && o.dump.empty() && o.mean_map.empty() && o.variance_map.empty() && !o.json) usage("-o OUT.png is needed, or --overlay, --dump or --json");
  check_prompts(o, r);
  return o;
}

}  // namespace sampan::cli
