// sampan info: what a model file is, takes and needs; without a file, what this program is and which published checkpoints it runs.
// Data flow: Model::info, Model3d::info, build_info, models/zoo.hpp -> text or JSON.
// The numbers of memory and FLOP come from the planning pass of the library; nothing is computed. Deliberately absent: tensor tables (sampan-inspect shows them).
#include "commands.hpp"
#include "report.hpp"
#include "volumetric.hpp"

#include <sampan/models/zoo.hpp>

#include <array>
#include <thread>

namespace sampan::cli {
namespace {

std::string mib(std::uint64_t bytes) { return cat((bytes + (1u << 20) - 1) >> 20, " MiB"); }

/// "740 GFLOP", three digits.
std::string flops(double v) {
  static constexpr const char* kUnits[] = {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"};
  std::size_t u = 0;
  while (v >= 999.5 && u + 1 < std::size(kUnits)) v /= 1000, ++u;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, kUnits[u]);
  return text;
}

std::string listed(const std::vector<std::pair<bool, const char*>>& parts) {
  std::string s;
  for (const auto& [present, name] : parts)
    if (present) s += (s.empty() ? "" : ", ") + std::string(name);
  return s;
}

std::string prompts_of(bool points, bool boxes, bool mask_input) {
  const std::string s = listed({{points, "points"}, {boxes, "boxes"}, {mask_input, "mask input"}});
  return s.empty() ? "none" : s;
}

/// A row of the zoo with the contract of its family; every row has one (tests/unit/zoo_test.cpp).
const weights::FamilyRow& contract(const models::ZooRow& z) { return *weights::find_family(z.family); }

/// The call that makes a published file usable. --family also where shapes alone would do: twins (MedSAM and SAM ViT-B) need it, and it is right for all.
std::string conversion(const models::ZooRow& z) {
  const auto stem = z.file.substr(0, z.file.rfind('.'));
  const bool same = z.file.substr(stem.size()) == ".safetensors";  // the output needs another name than the input
  if (contract(z).decoder == weights::DecoderKind::classes) return cat("sampan-merge sam_vit_b_01ec64.pth ", z.file, " ", stem, ".safetensors --image-size ", z.image_size);
  return cat("sampan-convert ", z.file, " ", same ? z.name : stem, ".safetensors --family ", z.family);
}

/// "93.7 M"
std::string millions(std::int64_t n) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f M", double(n) / 1e6);
  return text;
}

std::string zoo_text() {
  std::vector<std::array<std::string, 8>> rows{{"name", "family", "input", "parameters", "prompts", "masks", "licence", "publisher's file, repository on GitHub"}};
  for (const models::ZooRow& z : models::kZoo) {
    const auto& f = contract(z);
    rows.push_back({std::string(z.name), std::string(z.family), cat(z.image_size, weights::is_volume(f.encoder) ? "^3 voxels" : " px"), millions(z.parameters), prompts_of(f.prompt.points, f.prompt.boxes, f.prompt.mask_input),
                    f.decoder == weights::DecoderKind::classes ? "labels" : !f.mask.multimask ? "1" : f.mask.single ? "1 or 3" : "3", std::string(z.licence), cat(z.file, ", ", z.origin)});
  }
  std::array<std::size_t, 8> width{};
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  std::string text = "\nPublished checkpoints that this version runs; sampan brings no weights:\n";
  for (const auto& row : rows) {
    for (std::size_t i = 0; i + 1 < row.size(); ++i) text += row[i] + std::string(width[i] - row[i].size() + 2, ' ');
    text += row.back() + "\n";
  }
  text += "Take the file from its publisher and convert it once, for example:\n";
  for (const models::ZooRow& z : models::kZoo)
    if (z.family == "medsam" || z.family == "lite_medsam") text += "  " + conversion(z) + "\n";
  return text + "SAMs of other sizes and fine-tunes are recognised by their shapes; leave --family out for them. `sampan info FILE` describes a converted file.\n";
}

Report zoo_report() {
  Report list = Report::array();
  for (const models::ZooRow& z : models::kZoo) {
    const auto& f = contract(z);
    list.push_back({{"name", z.name}, {"family", z.family}, {"image_size", z.image_size}, {"parameters", z.parameters}, {"licence", z.licence},
                    {"points", f.prompt.points}, {"boxes", f.prompt.boxes}, {"mask_input", f.prompt.mask_input}, {"multimask", f.mask.multimask},
                    {"file", z.file}, {"origin", z.origin}, {"convert", conversion(z)}});
  }
  return list;
}

void show_program(bool json) {
  if (!json) {
    const std::string text = build_info() + cat("cores ", std::thread::hardware_concurrency(), "\n") + zoo_text();
    std::fputs(text.c_str(), stdout);
    return;
  }
  Report j;
  j["version"] = SAMPAN_VERSION;
  // One fact per line, the first word is its name.
  const std::string text = build_info();
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size()), space = text.find(' ', from);
    const std::string key = text.substr(from, space - from);
    if (space < end && key != "sampan" && key != "isa") j[key] = text.substr(space + 1, end - space - 1);
    from = end + 1;
  }
  j["isa"] = available_isas();
  j["cores"] = std::thread::hardware_concurrency();
  j["zoo"] = zoo_report();
  print(j);
}

/// The licence and the path come from outside; a line break in them must not fake a line.
void print_lines(const std::string& text) {
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    std::printf("%s\n", one_line(text.substr(from, end - from)).c_str());
    from = end + 1;
  }
}

constexpr std::uint64_t kProgram = std::uint64_t(5) << 20;  // code, libraries, stacks: measured

void show_volumetric_model(const Options& o) {
  const Model3d model = must(Model3d::try_load(o.model, o.load), Source::model);
  const Model3dInfo& m = model.info();
  const std::string sha = must(model.try_sha256(), Source::model);
  const std::uint64_t crop = std::uint64_t(m.side * m.side * m.side) * 5, peak = m.weight_bytes + std::max(m.encode_bytes, m.decode_bytes) + crop + kProgram;
  if (o.json) {
    Report j;
    j["model"] = {{"family", m.family}, {"name", m.name}, {"sha256", sha}, {"licence", m.licence}, {"encoder", m.encoder}, {"parameters", m.parameters}};
    j["input"] = {{"side", m.side}, {"spacing_mm", m.spacing}, {"preprocessing", m.preprocessing}, {"points", true}, {"boxes", false}, {"mask_input", true}, {"multimask", false}};
    j["output"] = {{"low_res", m.low_res}};
    j["memory_bytes"] = {{"weights", m.weight_bytes}, {"encode", m.encode_bytes}, {"decode", m.decode_bytes}, {"peak", peak}};
    j["flop"] = {{"encode", m.encode_flop}, {"decode", m.decode_flop}};
    return print(j);
  }
  print_lines(cat(m.name, "\n",
                  "family        ", m.family, "\n",
                  "file          ", o.model, "\n",
                  "sha256        ", sha, "\n",
                  "licence       ", m.licence, "\n",
                  "network       ", m.encoder, "\n",
                  "parameters    ", m.parameters, "\n",
                  "input         volumes, ", m.side, "^3: ", m.preprocessing, "\n",
                  "prompts       ", prompts_of(true, false, true), "\n",
                  "masks         1 per object; logits ", m.low_res, "^3\n",
                  "memory        weights ", mib(m.weight_bytes), ", encode ", mib(m.encode_bytes), ", decode ", mib(m.decode_bytes), "; about ", mib(peak), " for the process, scans apart\n",
                  "work          encode ", flops(m.encode_flop), ", decode ", flops(m.decode_flop), " per click\n"));
}

void show_model(const Options& o) {
  if (takes_volumes(o.model)) return show_volumetric_model(o);
  const std::string& path = o.model;
  const Model model = must(Model::try_load(path, o.load), Source::model);
  const ModelInfo& m = model.info();
  const std::string sha = must(model.try_sha256(), Source::model);
  const std::uint64_t peak = m.weight_bytes + std::max(m.encode_bytes, m.decode_bytes) + m.embedding_bytes + kProgram;
  const std::string prompts = prompts_of(m.points, m.boxes, m.mask_input);
  if (o.json) {
    Report j;
    j["model"] = {{"family", m.family}, {"name", m.name}, {"sha256", sha}, {"licence", m.licence}, {"encoder", m.encoder}, {"parameters", m.parameters}};
    j["input"] = {{"image_size", m.image_size}, {"preprocessing", m.preprocessing}, {"points", m.points}, {"boxes", m.boxes}, {"mask_input", m.mask_input}, {"multimask", m.multimask}, {"most_tokens", m.most_tokens}};
    j["devices"] = m.lacks_on_cuda.empty() ? Report::array({"cpu", "reference", "cuda"}) : Report::array({"cpu", "reference"});
    j["output"] = {{"embedding_grid", m.embedding_grid}, {"low_res", m.low_res}};
    j["memory_bytes"] = {{"weights", m.weight_bytes}, {"encode", m.encode_bytes}, {"decode", m.decode_bytes}, {"peak", peak}};
    j["flop"] = {{"encode", m.encode_flop}, {"decode", m.decode_flop}};
    return print(j);
  }
  print_lines(cat(m.name, "\n",
                  "family        ", m.family, "\n",
                  "file          ", path, "\n",
                  "sha256        ", sha, "\n",
                  "licence       ", m.licence, "\n",
                  "network       ", m.encoder, "\n",
                  "parameters    ", m.parameters, "\n",
                  "input         ", m.image_size, "x", m.image_size, ": ", m.preprocessing, "\n",
                  "prompts       ", prompts, m.most_tokens ? cat(", at most ", m.most_tokens, " points, a box counting as two") : std::string(), "\n",
                  "masks         ", m.classes ? cat("a label map of ", m.classes, " classes") : !m.multimask ? "1 per object" : m.single_mask ? "1, or 3 with --multimask, per object" : "3, with --multimask, per object", "; logits ", m.low_res, "x", m.low_res, "\n",
                  "embedding     grid ", m.embedding_grid, "x", m.embedding_grid, "\n",
                  "devices       cpu (every op in its fast form), reference", m.lacks_on_cuda.empty() ? std::string(", cuda") : cat("; not cuda, which has no ", m.lacks_on_cuda), "\n",
                  "memory        weights ", mib(m.weight_bytes), ", encode ", mib(m.encode_bytes), ", decode ", mib(m.decode_bytes), "; about ", mib(peak), " for the process, images apart\n",
                  "work          encode ", flops(m.encode_flop), ", decode ", flops(m.decode_flop), " per box\n"));
}

}  // namespace

void run_info(const Options& o) {
  o.model.empty() ? show_program(o.json) : show_model(o);
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) throw Failure{Exit::bad_file, "cannot write to stdout"};  // what filled the buffer has failed before the flush
}

}  // namespace sampan::cli
