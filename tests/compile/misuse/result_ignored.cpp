// error: ignoring return
// A Result that nobody looks at is an error that nobody sees.
#include <sampan/core/error.hpp>

sampan::Status write_mask();

bool save() {
#if defined(SAMPAN_MISUSE)
  write_mask();
  return true;
#else
  return write_mask().ok();
#endif
}
