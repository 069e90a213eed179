// The networks that are measured: the published ones with reproducible random weights (tests/support/hashgen.hpp), so that no download is needed and every
// machine computes on the same numbers. Data flow: encoder.cpp, decoder.cpp, end_to_end.cpp, shapes.cpp -> here -> tests/support/tiny_model.hpp.
// Names: sam_vit_b sam_vit_l sam_vit_h sam_hq_vit_b (1024 px), sam_vit_b_256, mobile_sam, lite_medsam, efficient_sam_ti and _s, efficient_vit_sam_l0 and _xl1, edge_sam, sam_med3d (a volume);
// `twin` is the same widths on few tokens and layers, for checks.
#pragma once
#include <sampan/predict/predictor.hpp>
#include <sampan/weights/contract.hpp>

#include <string>
#include <vector>

namespace bench {

const std::vector<std::string>& network_names();
/// Ends the program if the name is unknown.
sampan::weights::Contract network_contract(const std::string& name);
/// The same widths, heads, windows and decoder, but small enough for the Reference backend: SAM with one windowed and one global block at 128 px (a cube of 64),
/// TinyViT with one block per layer at an eighth of its input, the light networks with one or two per stage at a quarter or an eighth.
sampan::weights::Contract twin_contract(const std::string& name);

/// A file that goes away with the object; it lies in the system's folder for temporary files.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& suffix);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Writes the network with random weights as sampan-convert would; about 100 M values/s.
void write_network(const std::string& path, const sampan::weights::Contract& c);

/// The device that an option names, empty for the cpu; another word ends the program.
sampan::Device device_named(const std::string& word);

}  // namespace bench
