// Version of the library. Data flow: included by core/config.hpp and by build_info(); read by CMakeLists.txt.
// The ABI namespace changes with every minor release before 1.0; weight files have a version of their own.
#pragma once

#define SAMPAN_VERSION_MAJOR 0
#define SAMPAN_VERSION_MINOR 1
#define SAMPAN_VERSION_PATCH 0
#define SAMPAN_VERSION "0.1.0"
