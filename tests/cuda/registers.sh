#!/usr/bin/env bash
# Compiles kernels/kernels.cu for every architecture and holds the compiler's report against the limits that the kernels' files state: no spill anywhere, registers, shared memory.
# kernels/runtime.cpp must compile as well.
# Usage: tests/cuda/registers.sh [ARCHITECTURE...]   (default: 75 80 86 89 90 100 120). Needs nvcc, no GPU. Prints one line per architecture and a closing count.
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "registers: no nvcc (install the CUDA toolkit or set CUDACXX)" >&2; exit 77; }  # 77: skipped
architectures=("$@")
if [ $# = 0 ]; then architectures=(75 80 86 89 90 100 120); fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The device side of every architecture; the host side, the same for all, with the first.
compile() {
  local side=-cubin
  if [ "$1" = "$first" ]; then side=-c; fi
  "$nvcc" -std=c++20 -Iinclude -gencode "arch=compute_$1,code=sm_$1" -Xptxas -v "$side" kernels/kernels.cu -o "$folder/$1.o" >"$folder/$1.log" 2>&1 || { cat "$folder/$1.log"; return 1; }
}
first=${architectures[0]}
printf '%s\n' "${architectures[@]}" >"$folder/list"
export -f compile
export nvcc folder first
xargs -P "$(nproc)" -I{} bash -c 'compile {}' <"$folder/list"

# The runtime, by the C++ compiler against the toolkit's headers; without cuDNN's it says so.
toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")/include
if [ -f "$toolkit/cudnn.h" ] || [ -f /usr/include/cudnn.h ]; then
  "${CXX:-c++}" -std=c++20 -Wall -Wextra -Wconversion -Wshadow -Werror -fsyntax-only -I. -Iinclude -isystem "$toolkit" kernels/runtime.cpp
  echo "runtime.cpp: compiles"
else
  echo "runtime.cpp: not compiled, no cudnn.h in the toolkit"
fi

for a in "${architectures[@]}"; do
  awk -v arch="$a" '
    /Function properties for/ { name = $NF }
    /bytes spill stores/ { for (i = 1; i < NF; ++i) if ($(i + 2) == "spill" && $(i + 3) ~ /^stores/) spills = $i }
    /Used [0-9]+ registers/ {
      shared = 0
      for (i = 1; i <= NF; ++i) {
        if ($i == "Used") registers = $(i + 1)
        if ($i ~ /^smem/) shared = $(i - 2)
      }
      limit = name ~ /attention_global/ ? 168 : name ~ /attention_window/ ? 200 : name ~ /layer_norm_kernel/ ? 96 : name ~ /attention_(naive|tiled)/ ? 255 : name ~ /cross_attention/ ? 200 : 64
      if (arch < 80 && name ~ /attention_global/) limit = 255  # one block per multiprocessor there
      ++kernels
      if (registers > most) most = registers
      # Shared memory is the launch'"'"'s, held to its limits by static_assert in the files: a kernel with some of its own has slipped past them.
      if (spills > 0 || registers > limit || shared > 0) { print "sm_" arch ": " name ": " registers " registers (limit " limit "), " spills " bytes spilled, " shared " bytes of shared memory of its own"; bad = 1 }
    }
    END { print "sm_" arch ": " kernels " kernels, at most " most " registers"; exit bad || kernels < 40 }' "$folder/$a.log"
done
echo "registers: ${#architectures[@]} architectures, every kernel within its limits, no spill"
