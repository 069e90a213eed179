// verify_model(): is a converted file whole, finite and what its contract says? Data flow: weights/safetensors.hpp -> here -> sampan-verify; tests call it.
// Checks in this order: header and ranges (the reader), contract record, every tensor's name and shape, types, finiteness, SHA-256 of the data.
// Cost: one pass over the data. Deliberately absent: running the network (parity with a golden file needs the Model API and comes beside this function).
#pragma once
#include "convert.hpp"

namespace sampan::inline SAMPAN_ABI::tools {

struct VerifyReport {
  weights::Contract contract;
  std::size_t tensors = 0;
  std::uint64_t parameters = 0;
};

/// Error{io | bad_file} for a file that cannot be read, Error{bad_model} naming the tensor and byte offset of the first thing that is wrong.
inline Result<VerifyReport> verify_model(const std::string& path) {
  SAMPAN_TRY(file, weights::Safetensors::open(path));
  const auto refuse = [&](std::string_view what) { return Error(ErrorCode::bad_model, cat(path, ": ", what)); };
  const std::string* record = file.metadata(weights::kContractKey);
  if (!record) return refuse("no contract record: not a converted file. Run sampan-convert on the original checkpoint");
  auto contract = weights::parse_contract(*record);
  if (!contract) return std::move(contract).error().at(path);
  VerifyReport r;
  r.contract = std::move(*contract);
  std::vector<weights::TensorShape> shapes;
  for (const weights::TensorEntry& t : file.tensors()) shapes.push_back({t.name, t.shape});
  if (auto complete = weights::check_complete(shapes, r.contract.network); !complete) return std::move(complete).error().at(path);
  for (const weights::TensorEntry& t : file.tensors()) {
    const std::size_t count = static_cast<std::size_t>(*weights::element_count(t.shape));
    if (!is_floating(t.dtype)) return refuse(cat("tensor ", t.name, " (byte ", t.file_offset, ") is of type ", to_string(t.dtype), ", F32, F16, BF16 or F64 is needed"));
    if (const std::size_t bad = first_not_finite(t.dtype, t.data, count); bad < count)
      return refuse(cat("tensor ", t.name, ": element ", bad, " (byte ", t.file_offset + bad * size_of(t.dtype), ") is NaN or infinite"));
    r.parameters += count;
  }
  r.tensors = file.tensors().size();
  const std::string digest = sha256_hex(file.data());
  if (digest != r.contract.data_sha256) return refuse(cat("the data's SHA-256 is ", digest, ", the contract says ", r.contract.data_sha256, ": the file was changed after conversion"));
  return r;
}

}  // namespace sampan::inline SAMPAN_ABI::tools
