// sampan-verify: is a converted model whole and unchanged? Data flow: command line -> verify.hpp -> stdout.
#include "tool.hpp"
#include "verify.hpp"

using namespace sampan;

int main(int argc, char** argv) {
  CLI::App app("Checks a converted model: header and ranges, contract record, every tensor present with its shape, all values finite, SHA-256 of the data.");
  std::string path;
  bool json = false;
  app.add_option("MODEL", path, "Converted model (.safetensors)")->required();
  app.add_flag("--json", json, "One JSON object instead of a line");
  const char* examples =
      "Example:\n"
      "  sampan-verify lite_medsam.safetensors";
  return tools::run_tool(app, "sampan-verify", examples, argc, argv, [&]() -> Status {
    SAMPAN_TRY(r, tools::verify_model(path));
    if (!json) return tools::print(cat(path, ": ok, ", r.contract.name, ", ", r.tensors, " tensors, ", r.parameters, " parameters, all finite, sha256 ", r.contract.data_sha256, "\n"));
    JsonWriter w;
    w.begin_object().member("file", path).member("ok", true).member("tensors", r.tensors).member("parameters", r.parameters).member("sha256", r.contract.data_sha256);
    return tools::print(cat(w.key("contract").json(weights::to_json(r.contract)).end_object().text(), "\n"));
  });
}
