// The shapes of a network's ops, as bench/shapes/<network>.txt lists them. Data flow: shapes.cpp writes the files; gemm.cpp, attention.cpp, norms.cpp, conv.cpp
// read them. One line per shape:   op  times  key=value ...  layer-that-uses-it-first
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace bench {

struct OpShape {
  std::string op, name;
  int times = 0;  ///< per image (encoder) or per box (decoder)
  std::map<std::string, std::ptrdiff_t> sizes;
  std::string network;  ///< the file's name
  /// Ends the program if the key is missing and there is no `otherwise`.
  std::ptrdiff_t at(const std::string& key) const;
  std::ptrdiff_t at(const std::string& key, std::ptrdiff_t otherwise) const;
};

/// The path of a list: what is no file is taken as a name in bench/shapes.
std::string shape_path(const std::string& name_or_path);
/// Networks with a list in bench/shapes, and "decoder".
std::vector<std::string> shape_lists();
/// Ends the program if the file cannot be read or a line is malformed.
std::vector<OpShape> read_shapes(const std::string& name_or_path);

}  // namespace bench
