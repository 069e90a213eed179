// sampan-verify: is a converted model whole and unchanged? Data flow: command line -> verify.hpp -> stdout.
#include "parity.hpp"
#include "tool.hpp"
#include "verify.hpp"

using namespace sampan;

int main(int argc, char** argv) {
  CLI::App app("Checks a converted model: header and ranges, contract record, every tensor present with its shape, all values finite, SHA-256 of the data; with a golden also parity with PyTorch.");
  std::string path, golden;
  bool json = false;
  app.add_option("MODEL", path, "Converted model (.safetensors)")->required();
  app.add_option("GOLDEN", golden, "Outputs of PyTorch for this model (.safetensors: input, image_embedding, sparse, low_res_logits)");
  app.add_flag("--json", json, "One JSON object instead of a line");
  const char* examples =
      "Example:\n"
      "  sampan-verify lite_medsam.safetensors\n"
      "  sampan-verify lite_medsam.safetensors golden.safetensors";
  return tools::run_tool(app, "sampan-verify", examples, argc, argv, [&]() -> Status {
    SAMPAN_TRY(r, tools::verify_model(path));
    tools::ParityReport parity;
    if (!golden.empty()) {
      SAMPAN_TRY(measured, tools::compare_with_golden(path, golden));
      parity = measured;
    }
    const auto e6 = [](double v) { return std::to_string(v * 1e6) + "e-6"; };
    if (!json) {
      const std::string compared = golden.empty() ? std::string() : cat(", parity: embedding ", e6(parity.embedding), ", logits ", e6(parity.logits), " over ", parity.prompts, " prompts");
      return tools::print(cat(path, ": ok, ", r.contract.name, ", ", r.tensors, " tensors, ", r.parameters, " parameters, all finite, sha256 ", r.contract.data_sha256, compared, "\n"));
    }
    JsonWriter w;
    w.begin_object().member("file", path).member("ok", true).member("tensors", r.tensors).member("parameters", r.parameters).member("sha256", r.contract.data_sha256);
    if (!golden.empty()) w.key("parity").begin_object().member("embedding", parity.embedding).member("logits", parity.logits).member("prompts", parity.prompts).end_object();
    return tools::print(cat(w.key("contract").json(weights::to_json(r.contract)).end_object().text(), "\n"));
  });
}
