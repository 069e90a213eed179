// The main of every test program. Data flow: linked with the *_test.cpp files of one folder; one run of ctest calls it once per file.
// Options are doctest's: --test-case='*window*', --source-file='*arena_test.cpp', --success.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
