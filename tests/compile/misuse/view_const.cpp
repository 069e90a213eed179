// error: could not convert|no viable conversion|conversion from
// A read-only view never becomes writable; the other direction is allowed.
#include <sampan/core/view.hpp>

#if defined(SAMPAN_MISUSE)
sampan::View<float, 1> change(sampan::View<const float, 1> v) { return v; }
#else
sampan::View<const float, 1> change(sampan::View<float, 1> v) { return v; }
#endif
