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
/// The backend for layers that stay f32 whatever precision the others have: itself, unless a backend says otherwise.
template <class B>
B exact_backend(const B& b) {
  return b;
}

}  // namespace sampan::inline SAMPAN_ABI
