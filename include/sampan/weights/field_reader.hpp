// FieldReader: one object of the contract record, read strictly: a missing, unknown or out-of-range member is an error that names its path.
// Data flow: weights/contract.hpp (parse_contract) -> here -> core/json.hpp.   Deliberately absent: defaults for missing fields.
#pragma once
#include <sampan/core/json.hpp>
#include <sampan/weights/network_sizes.hpp>

namespace sampan::inline SAMPAN_ABI::weights::detail {

/// Reads the members of one JSON object, keeps the first problem, and refuses members nobody asked for.
class FieldReader {
 public:
  FieldReader(const Json* j, std::string where) : json_(j), where_(std::move(where)) {
    if (!json_ || !json_->object()) fail("", "an object is needed");
  }
  void text(const char* key, std::string& out) {
    const Json* v = get(key);
    if (v && !v->string()) return fail(key, "text is needed");
    if (v) out = *v->string();
  }
  void flag(const char* key, bool& out) {
    const Json* v = get(key);
    if (v && !v->boolean()) return fail(key, "true or false is needed");
    if (v) out = *v->boolean();
  }
  void integer(const char* key, int& out, int min, int max) {
    if (const Json* v = get(key)) whole(key, *v, out, min, max);
  }
  void real(const char* key, double& out, double min, double max) {
    if (const Json* v = get(key)) decimal(key, *v, out, min, max);
  }
  template <class E>
  void choice(const char* key, E& out) {
    const Json* v = get(key);
    if (!v) return;
    std::string known;
    for (std::size_t i = 0; i < std::size(Names<E>::kAll); ++i) {
      if (v->string() && *v->string() == Names<E>::kAll[i]) {
        out = static_cast<E>(i);
        return;
      }
      known += cat(i ? ", " : "", Names<E>::kAll[i]);
    }
    fail(key, cat(v->string() ? cat("\"", v->string()->substr(0, 60), "\" is unknown to this build; ") : std::string(), "known: ", known));
  }
  template <std::size_t N>
  void integers(const char* key, std::array<int, N>& out, int min, int max) {
    if (const Json::Array* a = array(key, N))
      for (std::size_t i = 0; i < N; ++i) whole(key, (*a)[i], out[i], min, max);
  }
  void integers(const char* key, std::vector<int>& out, int min, int max) {
    const Json* v = get(key);
    if (v && (!v->array() || v->array()->size() > 4096)) return fail(key, "a list of whole numbers is needed");
    if (!v) return;
    out.assign(v->array()->size(), 0);
    for (std::size_t i = 0; i < out.size(); ++i) whole(key, (*v->array())[i], out[i], min, max);
  }
  template <std::size_t N>
  void reals(const char* key, std::array<double, N>& out, double min, double max) {
    if (const Json::Array* a = array(key, N))
      for (std::size_t i = 0; i < N; ++i) decimal(key, (*a)[i], out[i], min, max);
  }
  FieldReader object(const char* key) { return FieldReader(get(key), cat(where_, where_.empty() ? "" : ".", key)); }

  bool ok() const { return problem_.empty(); }
  /// The first problem, or success.
  Status finish() {
    if (problem_.empty())
      for (const std::string& k : json_->object()->keys)
        if (std::find(asked_.begin(), asked_.end(), k) == asked_.end()) {
          fail(k.substr(0, 60), "unknown to this build");
          break;
        }
    if (problem_.empty()) return {};
    return Error(ErrorCode::bad_model, cat("contract record: ", problem_));
  }

 private:
  const Json* get(const char* key) {
    if (!problem_.empty()) return nullptr;
    asked_.emplace_back(key);
    const Json* v = json_->find(key);
    if (!v) fail(key, "is missing");
    return v;
  }
  const Json::Array* array(const char* key, std::size_t n) {
    const Json* v = get(key);
    if (v && v->array() && v->array()->size() == n) return v->array();
    if (v) fail(key, cat("a list of ", n, " numbers is needed"));
    return nullptr;
  }
  void whole(const char* key, const Json& v, int& out, int min, int max) {
    if (!v.integer() || *v.integer() < min || *v.integer() > max) return fail(key, cat("a whole number from ", min, " to ", max, " is needed"));
    out = static_cast<int>(*v.integer());
  }
  void decimal(const char* key, const Json& v, double& out, double min, double max) {
    if (!v.number() || !(v.number()->value >= min && v.number()->value <= max)) return fail(key, cat("a number from ", min, " to ", max, " is needed"));
    out = v.number()->value;
  }
  void fail(std::string_view key, std::string_view what) {
    if (problem_.empty()) problem_ = cat(where_, where_.empty() || key.empty() ? "" : ".", key, where_.empty() && key.empty() ? "" : ": ", what);
  }

  const Json* json_;
  std::string where_, problem_;
  std::vector<std::string> asked_;
};

}  // namespace sampan::inline SAMPAN_ABI::weights::detail
