#!/usr/bin/env bash
# Usage: wide_symbols.sh OBJECTS...   Fails if a function that the linker may share (weak) uses AVX registers without belonging to a level's namespace:
# the linker might keep that copy for the whole program, which then dies on a processor without AVX (style.md section 5, trap 1).
set -euo pipefail
for object in "$@"; do
  nm "$object" 2>/dev/null | awk 'NF >= 2 && $(NF - 1) ~ /^[WVu]$/ { print $NF }'
done | sort -u >"${TMPDIR:-/tmp}/weak.$$"
trap 'rm -f "${TMPDIR:-/tmp}/weak.$$"' EXIT
objdump -d --no-show-raw-insn "$@" | awk -v weak="${TMPDIR:-/tmp}/weak.$$" '
  BEGIN { while ((getline line < weak) > 0) shared[line] = 1 }
  /^[0-9a-f]+ <.*>:$/ { name = $2; sub(/^</, "", name); sub(/>:$/, "", name); functions += name in shared; next }
  /:\tv[a-z0-9]+ .*%[xyz]mm/ && name in shared {  # VEX and EVEX encodings, 128-bit ones too
    wide[name] = 1
  }
  END {
    for (name in wide) {
      if (name ~ /3cpu(4avx2|6avx512)/) { own++; continue }
      print "AVX code in a shared function: " name
      bad++
    }
    printf "%d shared functions, %d of them with AVX code inside a level, %d outside\n", functions, own, bad
    exit bad > 0 || functions == 0 || own == 0
  }'
