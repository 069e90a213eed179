// error: no match for call|no matching function for call
// A view is indexed with exactly as many positions as it has axes.
#include <sampan/core/view.hpp>

float first(sampan::View<const float, 2> v) {
#if defined(SAMPAN_MISUSE)
  return v(0);
#else
  return v(0, 0);
#endif
}
