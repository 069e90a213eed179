// open_model(): a weight file with its contract and its tensors under the project's names.
// Data flow: impl/model.ipp -> here -> weights/loader.hpp. A file of sampan-convert says what it is in its contract record; any other safetensors file of a known
// network (Meta's or Hugging Face's names) is recognised from its keys and shapes and gets its base family's contract.
// Deliberately absent: PyTorch files. Reading pickles is sampan-convert's work, once.
#pragma once
#include <sampan/weights/identify.hpp>
#include <sampan/weights/loader.hpp>
#include <sampan/weights/maps/all.hpp>

#include <memory>

namespace sampan::inline SAMPAN_ABI::weights {

struct OpenModel {
  Safetensors file;
  Contract contract;
  TensorTable table;
  OpenModel(Safetensors f, Contract c) : file(std::move(f)), contract(std::move(c)), table(file) {}
};

namespace detail {

inline Result<std::unique_ptr<OpenModel>> open_unconverted(Safetensors file) {
  std::vector<std::string> keys;
  for (const auto& t : file.tensors()) keys.push_back(t.name);
  auto mapped = map_keys(keys);
  if (!mapped) return std::move(mapped).error().at(file.path());
  auto model = std::make_unique<OpenModel>(std::move(file), Contract{});
  std::vector<TensorTable::Row> rows;
  std::vector<TensorShape> shapes;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string& name = mapped->names[i];
    if (name.empty()) continue;
    const TensorEntry& t = model->file.tensors()[i];
    const auto twin = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.name == name; });
    if (twin != rows.end()) {  // tied copies of one tensor (HF's position encoding) must agree to the bit
      if (twin->entry->dtype == t.dtype && std::equal(t.data.begin(), t.data.end(), twin->entry->data.begin(), twin->entry->data.end())) continue;
      return Error(ErrorCode::bad_model, cat(model->file.path(), ": two tensors stand for ", name, " and differ"));
    }
    rows.push_back({name, &t, false});
    shapes.push_back({name, model->file.tensors()[i].shape});
  }
  auto found = identify(shapes);
  if (!found) return std::move(found).error().at(model->file.path());
  model->contract = base_contract(*found->family, found->sizes, mapped->layout);
  model->table = TensorTable(model->file, std::move(rows));
  return model;
}

}  // namespace detail

/// Error{io | bad_file | bad_model | unsupported}; a PyTorch checkpoint is told apart and pointed to sampan-convert.
inline Result<std::unique_ptr<OpenModel>> open_model(const std::string& path) {
  {
    SAMPAN_TRY(raw, MappedFile::open(path));
    const auto b = raw.bytes();
    const bool zip = b.size() > 4 && b[0] == 'P' && b[1] == 'K', pickle = b.size() > 2 && b[0] == 0x80 && b[1] <= 5;
    if (zip || (pickle && b.size() > 8 && b[7] != 0))
      return Error(ErrorCode::bad_model, cat(path, ": a PyTorch checkpoint or archive, not safetensors; convert it once: sampan-convert ", path, " MODEL.safetensors"));
  }
  SAMPAN_TRY(file, Safetensors::open(path));
  const std::string* record = file.metadata(kContractKey);
  if (!record) return detail::open_unconverted(std::move(file));
  if (file.metadata("sampan.embedding")) return Error(ErrorCode::bad_model, cat(path, ": an image embedding, not weights; give it with --embedding"));
  auto contract = parse_contract(*record);
  if (!contract) return std::move(contract).error().at(path);
  return std::make_unique<OpenModel>(std::move(file), std::move(*contract));
}

}  // namespace sampan::inline SAMPAN_ABI::weights
