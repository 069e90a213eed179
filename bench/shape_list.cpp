// Reader of shape_list.hpp. Data flow: see there. A malformed line ends the program: a benchmark of guessed shapes would be worthless.
#include "shape_list.hpp"

#include "harness.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace bench {

std::ptrdiff_t OpShape::at(const std::string& key) const {
  const auto i = sizes.find(key);
  if (i == sizes.end()) die(network + ": " + op + " " + name + " has no " + key);
  return i->second;
}
std::ptrdiff_t OpShape::at(const std::string& key, std::ptrdiff_t otherwise) const {
  const auto i = sizes.find(key);
  return i == sizes.end() ? otherwise : i->second;
}

std::string shape_path(const std::string& name_or_path) {
  if (std::filesystem::is_regular_file(name_or_path)) return name_or_path;
  return std::string(SAMPAN_BENCH_DIR) + "/shapes/" + name_or_path + ".txt";
}

std::vector<std::string> shape_lists() {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& f : std::filesystem::directory_iterator(std::string(SAMPAN_BENCH_DIR) + "/shapes", none))
    if (f.path().extension() == ".txt") names.push_back(f.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<OpShape> read_shapes(const std::string& name_or_path) {
  const std::string path = shape_path(name_or_path);
  std::ifstream in(path);
  if (!in) die("cannot read the shapes of " + name_or_path + " (" + path + ")");
  std::vector<OpShape> shapes;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    OpShape s;
    s.network = std::filesystem::path(path).stem().string();
    std::istringstream words(line);
    bool good = bool(words >> s.op >> s.times) && s.times > 0;
    for (std::string word; words >> word;) {
      const auto equals = word.find('=');
      if (equals == std::string::npos) {
        good = good && s.name.empty();
        s.name = word;
        continue;
      }
      char* end = nullptr;
      s.sizes[word.substr(0, equals)] = std::strtol(word.c_str() + equals + 1, &end, 10);
      good = good && end != word.c_str() + equals + 1 && *end == 0;
    }
    if (!good || s.name.empty()) die(path + ": this line is no shape: " + line);
    shapes.push_back(std::move(s));
  }
  return shapes;
}

}  // namespace bench
