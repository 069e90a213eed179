// Fuzz target: any bytes as a safetensors file, then everything that reads one: contract, key map, identification, conversion to f32, finiteness.
// Data flow: bytes -> weights/safetensors.hpp -> weights/contract.hpp, maps/, identify.hpp. What is accepted must hold the reader's promises, else it traps.
#include "weights_tools/verify.hpp"
#include "tests/fuzz/require.hpp"

using namespace sampan;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)weights::parse_contract(as_text({data, size})).ok();
  const auto file = weights::Safetensors::parse({data, size}, "f");
  if (!file) {
    require(file.error().message().rfind("f: ", 0) == 0);
    return 0;
  }
  std::size_t total = 0;
  std::vector<std::string> keys;
  for (const weights::TensorEntry& t : file->tensors()) {
    require(file->find(t.name) == &t);
    require(t.file_offset + t.data.size() <= size);
    require(t.data.empty() || t.data.data() == data + t.file_offset);
    const std::size_t count = static_cast<std::size_t>(weights::element_count(t.shape).value());
    require(count * size_of(t.dtype) == t.data.size());
    std::vector<float> values(count);
    weights::convert_to_f32(t.dtype, t.data.data(), count, values.data());
    require(tools::first_not_finite(t.dtype, t.data, count) <= count);
    total += t.data.size();
    keys.push_back(t.name);
  }
  require(total == file->data().size());
  if (const std::string* record = file->metadata(weights::kContractKey)) {
    if (const auto c = weights::parse_contract(*record)) {
      const auto again = weights::parse_contract(weights::to_json(*c));
      require(again.ok() && *again == *c);
      std::vector<weights::TensorShape> shapes;
      for (const weights::TensorEntry& t : file->tensors()) shapes.push_back({t.name, t.shape});
      (void)weights::check_complete(shapes, c->network).ok();
    }
  }
  if (const auto mapped = weights::map_keys(keys)) {
    std::vector<weights::TensorShape> shapes;
    for (std::size_t i = 0; i < keys.size(); ++i) shapes.push_back({mapped->names[i], file->tensors()[i].shape});
    (void)weights::identify(shapes).ok();
  }
  return 0;
}
