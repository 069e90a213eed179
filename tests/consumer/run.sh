#!/usr/bin/env bash
# Consumes the library in one of the ways a stranger would, and runs the result.
# Usage: run.sh WAY WORK_FOLDER   (environment from CMakeLists.txt: CXX, CMAKE, CXXFLAGS, SAMPAN_SOURCE, SAMPAN_BUILD, EIGEN, MODEL)
# Ways: plain_gcc_and_mixed_flags two_tu_compiled mixed_flags_compiled single_file add_subdirectory find_package
set -euo pipefail
way=$1 work=$2
here=$SAMPAN_SOURCE/tests/consumer
rm -rf "$work"
mkdir -p "$work"
cd "$work"

# Not -O2: the question is whether it builds, links and runs. Warnings in our headers would be warnings in the user's build: they are errors here.
compile() { "$CXX" -std=c++20 -Wall -Wextra -Wconversion -Wshadow -Werror -I"$SAMPAN_SOURCE/include" -isystem "$EIGEN" $CXXFLAGS -c "$@"; }
link() { "$CXX" $CXXFLAGS "$@" -o app -pthread; }
library() { echo "-DSAMPAN_COMPILED -I$SAMPAN_BUILD/gen/include"; }
# Prints what the program prints; fails if it fails or says nothing.
run() { "$@" "$MODEL" | tee output && grep -qx ok output; }
abis() { sed -n 's/^abi //p' output; }

case $way in
  plain_gcc_and_mixed_flags)
    "$CXX" -std=c++20 $CXXFLAGS -I"$SAMPAN_SOURCE/include" -isystem "$EIGEN" -c "$here/app.cpp"  # as in README
    # A second file with the same headers must not define anything twice: whatever comes from them is weak or local.
    if nm -C --defined-only app.o | grep -E '^[0-9a-f]* [TDBRSG] .*sampan::'; then echo "the symbols above would be defined by every file that includes the headers"; exit 1; fi
    # Different settings must become different symbols. The other second file also shows the library without exceptions and RTTI.
    wide=; if grep -qw avx2 /proc/cpuinfo 2>/dev/null; then wide=-mavx2; fi
    compile -O0 $wide -DSAMPAN_CHECKS -fno-exceptions -fno-rtti "$here/second.cpp"
    link app.o second.o
    run ./app
    read -r first second < <(abis)
    [ "$first" != "$second" ] || { echo "both files use the namespace $first"; exit 1; } ;;
  two_tu_compiled)
    compile $(library) "$here/app.cpp"
    compile $(library) "$here/second.cpp"
    link app.o second.o "$SAMPAN_BUILD/libsampan.a"
    run ./app ;;
  mixed_flags_compiled)  # the library's settings must win over the files'
    wide=; if grep -qw avx2 /proc/cpuinfo 2>/dev/null; then wide=-mavx2; fi
    compile -O1 $wide $(library) "$here/app.cpp"
    compile -O0 -DSAMPAN_CHECKS -fno-exceptions $(library) "$here/second.cpp"
    link app.o second.o "$SAMPAN_BUILD/libsampan.a"
    run ./app
    read -r first second < <(abis)
    [ "$first" = "$second" ] || { echo "namespaces differ: $first $second"; exit 1; } ;;
  single_file)  # compiled mode by hand, without CMake
    compile -DSAMPAN_COMPILED "$here/app.cpp"
    compile -DSAMPAN_COMPILED "$here/second.cpp"
    compile "$here/implementation.cpp"
    if link app.o second.o 2>/dev/null; then echo "it links without the implementation: this is not compiled mode"; exit 1; fi
    link app.o second.o implementation.o
    run ./app ;;
  add_subdirectory)
    "$CMAKE" -S "$here/add_subdirectory" -B build -DSAMPAN_SOURCE="$SAMPAN_SOURCE" -DCMAKE_CXX_COMPILER="$CXX" -DCMAKE_CXX_FLAGS="$CXXFLAGS"
    "$CMAKE" --build build -j2
    run build/header_only
    run build/compiled ;;
  find_package)
    "$CMAKE" --install "$SAMPAN_BUILD" --prefix "$work/installed" >/dev/null
    mv installed moved
    if grep -rlF -e "$work/installed" -e "$SAMPAN_SOURCE" -e "$SAMPAN_BUILD" moved --include='*.cmake' --include='*.hpp'; then
      echo "the files above name a folder of the build"; exit 1
    fi
    "$CMAKE" -S "$here/find_package" -B build -DCMAKE_PREFIX_PATH="$work/moved" -DCMAKE_CXX_COMPILER="$CXX" -DCMAKE_CXX_FLAGS="$CXXFLAGS"
    "$CMAKE" --build build -j2
    run build/header_only
    run build/compiled ;;
  *)
    echo "unknown way: $way"; exit 2 ;;
esac
