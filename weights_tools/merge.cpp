// sampan-merge: a base checkpoint and a file of additions (LoRA, FacT, a fine-tuned decoder) become one model. Data flow: command line -> merge.hpp.
#include "merge.hpp"
#include "tool.hpp"

using namespace sampan;

int main(int argc, char** argv) {
  CLI::App app("Merges a base checkpoint and a fine-tune that holds only what it changed into one safetensors file for sampan.\n"
               "LoRA and FacT matrices are added into the weights they belong to, tensors with the same name are replaced; runs no code from the files.");
  tools::MergeOptions options;
  bool quiet = false;
  app.add_option("BASE", options.base, "Checkpoint that was fine-tuned: .pth, .pt, .safetensors or .whl")->required();
  app.add_option("TUNED", options.tuned, "What fine-tuning saved")->required();
  app.add_option("OUT", options.output, "File to write; it appears complete or not at all")->required();
  app.add_option("--family", options.family, cat("Say which family it is, where shapes cannot tell: ", weights::family_list()));
  app.add_option("--image-size", options.image_size, "Input size of the fine-tune in pixels; position tables of the base are resized to it")->check(CLI::Range(16, 8192));
  app.add_flag("--quiet", quiet, "No notes on stderr");
  const char* examples =
      "Examples:\n"
      "  sampan-merge sam_vit_b_01ec64.pth lora.pth merged.safetensors\n"
      "  sampan-merge sam_vit_b_01ec64.pth lora_512.pth merged.safetensors --image-size 512\n"
      "Then: sampan-verify OUT checks the file.";
  return tools::run_tool(app, "sampan-merge", examples, argc, argv, [&]() -> Status {
    SAMPAN_TRY(report, tools::merge(options));
    if (!quiet) tools::tell(tools::lines_of(report, options.output));
    return {};
  });
}
