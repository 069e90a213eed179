#!/usr/bin/env bash
# Builds sampan and runs every test: bash tests/run.sh [options of ctest, for example -R unit/arena]
# On Debian and Ubuntu it first installs the packages that are missing; elsewhere configure names what is missing.
# Goldens beside the repository (../shared/data) are used when they are there; SAMPAN_SHARED_DATA names another folder. Build tree: build/.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() {  # PACKAGE COMMAND_OR_HEADER
  case $2 in
    */*.h | */*.hpp | */Core) [ -e "$2" ] || missing+=("$1") ;;
    *) command -v "$2" >/dev/null || missing+=("$1") ;;
  esac
}
need cmake cmake
need make make
need g++ "${CXX:-c++}"
need libeigen3-dev /usr/include/eigen3/Eigen/Core
need libstb-dev /usr/include/stb/stb_image.h
need doctest-dev /usr/include/doctest/doctest.h
need nlohmann-json3-dev /usr/include/nlohmann/json.hpp
need libcli11-dev /usr/include/CLI/CLI.hpp
need zlib1g-dev /usr/include/zlib.h
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null; then
  sudo=; if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
  echo "installing ${missing[*]}"
  install() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
  install 2>/dev/null || { $sudo apt-get update -qq && install; }
fi

if [ -z "${SAMPAN_SHARED_DATA:-}" ] && [ -d ../shared/data ]; then
  SAMPAN_SHARED_DATA=$(cd ../shared/data && pwd)
  export SAMPAN_SHARED_DATA
fi
if [ -z "${SAMPAN_LITEMEDSAM:-}" ] && [ -e demo-output/lite_medsam.safetensors ]; then  # real weights, if examples/demo.sh has fetched them
  export SAMPAN_LITEMEDSAM=$PWD/demo-output/lite_medsam.safetensors
fi
jobs=$(nproc 2>/dev/null || echo 2)
cmake -B build
cmake --build build -j "$jobs" --target sampan_tests  # all but the benches that no test runs
ctest --test-dir build -j "$jobs" --output-on-failure "$@"
