// sampan info: what a model file is, takes and needs; without a file, what this program is. Data flow: Model::info, build_info -> text or JSON.
// The numbers of memory and FLOP come from the planning pass of the library; nothing is computed. Deliberately absent: tensor tables (sampan-inspect shows them).
#include "commands.hpp"
#include "report.hpp"

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

void show_program(bool json) {
  if (!json) {
    const std::string text = build_info() + cat("cores ", std::thread::hardware_concurrency(), "\n");
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
  print(j);
}

void show_model(const std::string& path, bool json) {
  LoadOptions load;
  load.threads = 1;
  const Model model = must(Model::try_load(path, load), Source::model);
  const ModelInfo& m = model.info();
  const std::string sha = must(model.try_sha256(), Source::model);
  const std::uint64_t peak = m.weight_bytes + std::max(m.encode_bytes, m.decode_bytes);
  const std::string prompts = listed({{m.points, "points"}, {m.boxes, "boxes"}, {m.mask_input, "mask input"}});
  if (json) {
    Report j;
    j["model"] = {{"family", m.family}, {"name", m.name}, {"sha256", sha}, {"licence", m.licence}, {"encoder", m.encoder}, {"parameters", m.parameters}};
    j["input"] = {{"image_size", m.image_size}, {"preprocessing", m.preprocessing}, {"points", m.points}, {"boxes", m.boxes}, {"mask_input", m.mask_input}, {"multimask", m.multimask}};
    j["output"] = {{"embedding_grid", m.embedding_grid}, {"low_res", m.low_res}};
    j["memory_bytes"] = {{"weights", m.weight_bytes}, {"encode", m.encode_bytes}, {"decode", m.decode_bytes}, {"peak", peak}};
    j["flop"] = {{"encode", m.encode_flop}, {"decode", m.decode_flop}};
    return print(j);
  }
  const std::string text = cat(m.name, "\n",
                               "family        ", m.family, "\n",
                               "file          ", path, "\n",
                               "sha256        ", sha, "\n",
                               "licence       ", m.licence, "\n",
                               "network       ", m.encoder, "\n",
                               "parameters    ", m.parameters, "\n",
                               "input         ", m.image_size, "x", m.image_size, ": ", m.preprocessing, "\n",
                               "prompts       ", prompts, "\n",
                               "masks         ", m.multimask ? "1, or 3 with --multimask" : "1", " per object; logits ", m.low_res, "x", m.low_res, "\n",
                               "embedding     grid ", m.embedding_grid, "x", m.embedding_grid, "\n",
                               "memory        weights ", mib(m.weight_bytes), ", encode ", mib(m.encode_bytes), ", decode ", mib(m.decode_bytes), "; about ", mib(peak), " together, images apart\n",
                               "work          encode ", flops(m.encode_flop), ", decode ", flops(m.decode_flop), " per box\n");
  // The licence and the path come from outside; a line break in them must not fake a line.
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    std::printf("%s\n", one_line(text.substr(from, end - from)).c_str());
    from = end + 1;
  }
}

}  // namespace

void run_info(const Options& o) {
  o.model.empty() ? show_program(o.json) : show_model(o.model, o.json);
  if (std::fflush(stdout) != 0) throw Failure{Exit::bad_file, "cannot write to stdout"};
}

}  // namespace sampan::cli
