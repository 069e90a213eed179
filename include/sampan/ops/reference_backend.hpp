// Reference: the scalar, literal backend; the definition of truth for every op, kernel and teacher.
// Data flow: Context<Reference> selects the overloads that stand in each op's header (ops/*.hpp).
// It gets what PyTorch has (biases included, unscaled q, tables as stored) and computes in float32 in the order of the formula.
// Deliberately never optimised and single-threaded: for tiny models and tests. The fast backend is cpu/cpu_backend.hpp.
#pragma once
#include <sampan/core/context.hpp>

namespace sampan::inline SAMPAN_ABI {

struct Reference {
  using Memory = HostMemory;
  static constexpr const char* kName = "reference";
};
/// True if host code may not read what the backend's memory holds.
template <class B>
inline constexpr bool on_device = !std::is_same_v<typename B::Memory, HostMemory>;
/// The backend for what stays on the host beside the network: pixels before it, masks behind it. Itself, unless a backend runs elsewhere.
template <class B>
const B& host_backend(const B& b) {
  return b;
}
/// The backend for layers that stay f32 whatever precision the others have: itself, unless a backend says otherwise.
template <class B>
B exact_backend(const B& b) {
  return b;
}
/// The backend for layers that take 16-bit integers but no shorter numbers: exact, unless a backend says otherwise.
template <class B>
B integer_backend(const B& b) {
  return exact_backend(b);
}

}  // namespace sampan::inline SAMPAN_ABI
