// What stands behind the public Model: contract, network on its backend, pool, and the file it came from.
// Data flow: impl/model.ipp fills it, impl/session.ipp reads it; not part of the public interface.
#pragma once
#include <sampan/models/any_model.hpp>
#include <sampan/predict/guarded.hpp>
#include <sampan/predict/predictor.hpp>

namespace sampan::inline SAMPAN_ABI::detail {

struct ModelState {
  std::string path;
  weights::Contract contract;
  models::AnyNetwork network;
  mutable ThreadPool pool;  // shared by the sessions of this model; accepts concurrent calls
  ModelInfo info;
  LoadOptions options;

  ModelState(std::string p, weights::Contract c, models::AnyNetwork n, ThreadPool t) : path(std::move(p)), contract(std::move(c)), network(std::move(n)), pool(std::move(t)) {}
};

/// Lets the library's own tools and tests reach behind the public classes.
struct Access {
  static const std::shared_ptr<const ModelState>& state(const Model& m) { return m.state_; }
  static Model make(std::shared_ptr<const ModelState> s) { return Model(std::move(s)); }
  static SessionState& state(Session& s) { return *s.state_; }
};

}  // namespace sampan::inline SAMPAN_ABI::detail
