// convert(): a recognised checkpoint becomes a safetensors file with PyTorch's names and values and a contract record.
// Data flow: checkpoint.hpp -> fold.hpp -> here -> weights/safetensors.hpp (writer). sampan-convert is the command line around it; tests call it in process.
// Values are kept: f32, f16 and bf16 as stored, f64 rounded to f32; only LoRA and FacT matrices are folded (fold.hpp). NaN and infinite weights are refused.
// Cost: two passes over the data (digest and finiteness first, since the digest stands in the header), one SHA-256 of the source.
#pragma once
#include "fold.hpp"

#include <sampan/core/sha256.hpp>

#include <sys/stat.h>

namespace sampan::inline SAMPAN_ABI::tools {

struct ConvertOptions {
  std::string input, output;
  std::string family;  ///< key of weights/family.hpp; empty: the base family of the shapes, or what a contract in the input says
};

struct ConvertReport {
  weights::Contract contract;
  std::string format;              ///< of the input
  std::vector<std::string> notes;  ///< for people: twins, skipped entries
  std::size_t tensors = 0;
  std::uint64_t parameters = 0;
};

/// For people, a line each: the notes, then what was written.
inline std::vector<std::string> lines_of(const ConvertReport& r, std::string_view output) {
  std::vector<std::string> lines;
  for (const std::string& n : r.notes) lines.push_back(cat("note: ", n));
  lines.push_back(cat(output, ": ", r.contract.name, " from ", r.format, ", ", r.tensors, " tensors, ", r.parameters, " parameters; licence of the published weights: ", r.contract.licence));
  return lines;
}

/// Index of the first NaN or infinity among `count` elements of a floating type, or count.
inline std::size_t first_not_finite(DType t, Bytes b, std::size_t count) {
  const auto scan = [&]<class U>(U, U exponent) {
    std::size_t i = 0;
    for (; i < count; ++i) {
      U v;
      std::memcpy(&v, b.data() + i * sizeof(U), sizeof(U));
      if ((v & exponent) == exponent) break;  // all exponent bits set: infinity or NaN
    }
    return i;
  };
  switch (t) {
    case DType::f64: return scan(std::uint64_t{}, std::uint64_t(0x7FF) << 52);
    case DType::f32: return scan(std::uint32_t{}, std::uint32_t(0x7F800000));
    case DType::f16: return scan(std::uint16_t{}, std::uint16_t(0x7C00));
    case DType::bf16: return scan(std::uint16_t{}, std::uint16_t(0x7F80));
    default: return count;
  }
}

namespace detail {

/// The bytes of a tensor as they go into the converted file.
inline Bytes converted_bytes(const SourceTensor& t, std::vector<std::uint8_t>& scratch, std::vector<std::uint8_t>& narrowed) {
  const Bytes b = t.contiguous(scratch);
  if (t.dtype != DType::f64) return b;
  narrowed.resize(t.count() * sizeof(float));
  for (std::size_t i = 0; i < t.count(); ++i) {
    const float v = static_cast<float>(load_le<double>(b, i * 8));
    std::memcpy(narrowed.data() + i * sizeof(float), &v, sizeof(float));
  }
  return narrowed;
}

inline bool same_file(const std::string& a, const std::string& b) {
  struct stat x {}, y {};
  return ::stat(a.c_str(), &x) == 0 && ::stat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

inline std::string base_name(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

inline Error unknown_family(const std::string& key) { return Error(ErrorCode::invalid_argument, cat("--family ", key.substr(0, 60), " is unknown; known: ", weights::family_list())); }

inline Result<const weights::FamilyRow*> choose_family(const ConvertOptions& o, const Checkpoint& c, const Recognised& r, std::vector<std::string>& notes) {
  std::string key = o.family;
  if (key.empty()) {
    if (const std::string* record = c.find_metadata(weights::kContractKey)) {
      auto old = weights::parse_contract(*record);
      if (!old) return std::move(old).error().at(c.label);
      key = old->family;
      notes.push_back(cat("the input was converted before; its family ", key, " is kept"));
    }
  }
  if (key.empty()) {
    if (!r.network.twins.empty()) notes.push_back(cat("taken as ", r.network.family->display, "; ", r.network.twins));
    return r.network.family;
  }
  const weights::FamilyRow* f = weights::find_family(key);
  if (!f) return unknown_family(key);
  if (!weights::fits(*f, r.network.sizes))
    return Error(ErrorCode::bad_model, cat(c.label, ": has the shapes of ", r.network.family->key, ", not of ", f->key, ": leave --family out or give the right file"));
  return f;
}

}  // namespace detail

/// What stands behind reading: LoRA and FacT folded, the network recognised, everything checked, the file written. `o.input` names the source in the record.
inline Result<ConvertReport> convert_checkpoint(Checkpoint& c, const ConvertOptions& o) {
  SAMPAN_TRY(folded, fold_low_rank(c));
  SAMPAN_TRY(r, recognise(c));
  SAMPAN_CHECK(AtomicFile::create(o.output));  // an output that cannot be written is told before the long part
  ConvertReport report;
  report.format = c.format;
  if (folded.pairs) report.notes.push_back(cat(folded.pairs, " low-rank additions of rank ", folded.rank, " were folded into the weights"));
  SAMPAN_TRY(family, detail::choose_family(o, c, r, report.notes));
  if (!c.source.skipped.empty()) report.notes.push_back(cat(c.source.skipped.size(), " entries are no tensors and were left out: ", weights::name_some(c.source.skipped)));

  std::vector<weights::TensorSpec> specs;
  for (const SourceTensor& t : r.tensors) {
    if (!is_floating(t.dtype)) return Error(ErrorCode::bad_model, cat(c.label, ": tensor ", t.name, " (", t.where, ") is of type ", to_string(t.dtype), ", weights are F32, F16, BF16 or F64"));
    specs.push_back({t.name, t.dtype == DType::f64 ? DType::f32 : t.dtype, t.shape});
  }
  weights::SafetensorsWriter::sort(specs);
  std::vector<const SourceTensor*> order;  // r.tensors is sorted by name
  for (const weights::TensorSpec& s : specs)
    order.push_back(&*std::lower_bound(r.tensors.begin(), r.tensors.end(), s.name, [](const SourceTensor& t, const std::string& n) { return t.name < n; }));

  std::vector<std::uint8_t> scratch, narrowed;
  Sha256 digest;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const SourceTensor& t = *order[i];
    const Bytes b = detail::converted_bytes(t, scratch, narrowed);
    if (const std::size_t bad = first_not_finite(specs[i].dtype, b, t.count()); bad < t.count())
      return Error(ErrorCode::bad_model, cat(c.label, ": tensor ", t.name, " (", t.where, "): element ", bad, t.dtype == DType::f64 ? " is NaN, infinite or beyond the range of float" : " is NaN or infinite",
                                             ": the file is damaged, or its training diverged"));
    digest.update(b);
    report.parameters += t.count();
  }
  weights::Contract& k = report.contract = weights::base_contract(*family, r.network.sizes, r.layout);
  if (r.layout == weights::SourceLayout::hf_sam) report.notes.push_back("decoder LayerNorm eps is 1e-6, as in Hugging Face's SamModel (Meta's code has 1e-5)");
  k.source_file = detail::base_name(o.input);
  k.source_sha256 = sha256_hex(c.file.bytes());
  k.converter = "sampan-convert " SAMPAN_VERSION;
  k.data_sha256 = digest.hex();
  const std::string record = weights::to_json(k);
  SAMPAN_TRY(read_back, weights::parse_contract(record));  // sizes beyond what the engine accepts end here, before anything is written
  (void)read_back;

  SAMPAN_TRY(out, weights::SafetensorsWriter::create(o.output, specs, {{"format", "pt"}, {weights::kContractKey, record}}));
  for (const SourceTensor* t : order) SAMPAN_CHECK(out.write(detail::converted_bytes(*t, scratch, narrowed)));
  SAMPAN_CHECK(out.commit());
  report.tensors = order.size();
  return report;
}

/// Error codes as in the parts: bad_file and unsupported from reading, bad_model from recognising, io from writing. Nothing is left behind on failure.
inline Result<ConvertReport> convert(const ConvertOptions& o) {
  if (detail::same_file(o.input, o.output)) return Error(ErrorCode::invalid_argument, cat(o.output, " is the input itself: give the output another name"));
  if (!o.family.empty() && !weights::find_family(o.family)) return detail::unknown_family(o.family);  // before the long part
  SAMPAN_TRY(c, open_checkpoint(o.input));
  strip_prefixes(c);
  return convert_checkpoint(c, o);
}

}  // namespace sampan::inline SAMPAN_ABI::tools
