// sampan-inspect: the tensors of a weight file, its network and its contract. Data flow: command line -> inspect.hpp -> stdout.
#include "inspect.hpp"
#include "tool.hpp"

using namespace sampan;

int main(int argc, char** argv) {
  CLI::App app("Shows what is in a weight file: every tensor with type and shape, the recognised network, the contract record.\n"
               "Reads .pth, .pt, .safetensors, or a wheel that contains one; runs no code from the file.");
  std::string path;
  bool json = false;
  app.add_option("FILE", path, "Weight file")->required();
  app.add_flag("--json", json, "One JSON object instead of a table");
  const char* examples =
      "Examples:\n"
      "  sampan-inspect sam_vit_b_01ec64.pth\n"
      "  sampan-inspect lite_medsam.safetensors --json";
  return tools::run_tool(app, "sampan-inspect", examples, argc, argv, [&]() -> Status {
    SAMPAN_TRY(i, tools::inspect(path));
    return tools::print(json ? tools::inspection_json(i) : tools::inspection_text(i));
  });
}
