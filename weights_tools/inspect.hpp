// inspect(): what is in a weight file, as text or JSON. Data flow: checkpoint.hpp -> here -> sampan-inspect; tests call it.
// Works for every readable file, also for networks that are not supported: then the reason stands where the family would.
// Deliberately absent: statistics of values (sampan-verify reads the data, this reads headers).
#pragma once
#include "checkpoint.hpp"

namespace sampan::inline SAMPAN_ABI::tools {

struct Inspection {
  Checkpoint checkpoint;
  std::optional<Recognised> network;
  std::string problem;   ///< why the network was not recognised
  std::string contract;  ///< the record's JSON if it is there and valid
  std::string contract_problem;
};

inline Result<Inspection> inspect(const std::string& path) {
  Inspection i;
  SAMPAN_TRY(c, open_checkpoint(path));
  i.checkpoint = std::move(c);
  if (auto r = recognise(i.checkpoint)) {
    i.network = std::move(*r);
  } else {
    i.problem = r.error().message();
    if (const std::string prefix = cat(i.checkpoint.label, ": "); i.problem.rfind(prefix, 0) == 0) i.problem.erase(0, prefix.size());  // the file stands above it
  }
  if (const std::string* record = i.checkpoint.find_metadata(weights::kContractKey)) {
    auto parsed = weights::parse_contract(*record);
    if (parsed) i.contract = weights::to_json(*parsed);
    if (!parsed) i.contract_problem = parsed.error().message();
  }
  return i;
}

inline std::uint64_t parameter_count(const Checkpoint& c) {
  std::uint64_t n = 0;
  for (const SourceTensor& t : c.source.tensors) n += t.count();
  return n;
}

inline std::string inspection_text(const Inspection& i) {
  const Checkpoint& c = i.checkpoint;
  std::size_t width = 0;
  for (const SourceTensor& t : c.source.tensors) width = std::max(width, t.name.size());
  width = std::min<std::size_t>(width, 100);
  std::string s;
  for (const SourceTensor& t : c.source.tensors) {
    const std::string type = to_string(t.dtype);
    s += cat(t.name, std::string(t.name.size() < width ? width - t.name.size() : 0, ' '), "  ", type, std::string(type.size() < 4 ? 4 - type.size() : 0, ' '), "  ", weights::to_string(t.shape), "\n");
  }
  s += cat("\nfile        ", c.label, "\nformat      ", c.format, "\ntensors     ", c.source.tensors.size(), "\nparameters  ", parameter_count(c), "\n");
  if (!c.source.wrapper.empty()) s += cat("unwrapped   ", c.source.wrapper, "\n");
  if (!c.source.skipped.empty()) s += cat("skipped     ", c.source.skipped.size(), " entries that are no tensors: ", weights::name_some(c.source.skipped), "\n");
  if (i.network) {
    const weights::Contract k = weights::base_contract(*i.network->network.family, i.network->network.sizes);
    s += cat("network     ", k.name, " (family ", k.family, ", keys as ", weights::to_text(i.network->layout), ")\n");
    if (!i.network->network.twins.empty()) s += cat("twins       ", i.network->network.twins, "\n");
  } else {
    s += cat("network     not recognised: ", i.problem, "\n");
  }
  for (const weights::MetadataEntry& m : c.metadata)
    if (m.key != weights::kContractKey) s += cat("metadata    ", m.key, " = ", m.value.substr(0, 300), "\n");
  s += cat("contract    ", !i.contract.empty() ? i.contract : !i.contract_problem.empty() ? cat("not valid: ", i.contract_problem) : "none (sampan-convert writes it)", "\n");
  return s;
}

inline std::string inspection_json(const Inspection& i) {
  const Checkpoint& c = i.checkpoint;
  JsonWriter w;
  w.begin_object().member("file", c.label).member("format", c.format).member("parameters", parameter_count(c)).member("wrapper", c.source.wrapper).list("skipped", c.source.skipped);
  if (i.network) {
    w.member("family", i.network->network.family->key).member("layout", weights::to_text(i.network->layout)).member("twins", i.network->network.twins);
  } else {
    w.member("problem", i.problem);
  }
  w.key("contract").json(i.contract.empty() ? "null" : i.contract);
  if (!i.contract_problem.empty()) w.member("contract_problem", i.contract_problem);
  w.key("metadata").begin_object();
  for (const weights::MetadataEntry& m : c.metadata)
    if (m.key != weights::kContractKey) w.member(m.key, m.value);
  w.end_object().key("tensors").begin_array();
  for (const SourceTensor& t : c.source.tensors) w.begin_object().member("name", t.name).member("dtype", to_string(t.dtype)).list("shape", t.shape).end_object();
  return w.end_array().end_object().text() + "\n";
}

}  // namespace sampan::inline SAMPAN_ABI::tools
