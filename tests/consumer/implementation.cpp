// Compiled mode without CMake: the one file of a project that emits the definitions; all other files get -DSAMPAN_COMPILED. See run.sh, single_file.
#define SAMPAN_COMPILED
#define SAMPAN_IMPLEMENTATION
#include <sampan/sampan.hpp>
