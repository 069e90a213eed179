// guarded: the noexcept border of the public interface. Data flow: impl/*.ipp wrap the body of every try_ function in it.
#pragma once
#include <sampan/core/error.hpp>

#include <exception>
#include <new>

namespace sampan::inline SAMPAN_ABI::detail {

/// The noexcept border: what the standard library throws becomes an Error.
template <class F>
auto guarded(F&& f) noexcept -> decltype(f()) {
#if SAMPAN_EXCEPTIONS
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "the system gave no memory");
  } catch (const std::exception& e) {
    return Error(ErrorCode::internal, e.what());
  }
#else
  return f();
#endif
}

}  // namespace sampan::inline SAMPAN_ABI::detail
