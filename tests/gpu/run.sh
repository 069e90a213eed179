#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under 8 minutes: tests of kernels and whole models, compute-sanitizer (memcheck, racecheck), kernels, encoders and decoders measured.
# Usage: bash tests/gpu/run.sh [OUT]   (default: build-gpu/report)   leaves OUT/gpu.md, OUT/gpu.json and the logs. Needs the CUDA toolkit and a device.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-build-gpu/report}
mkdir -p "$out"
nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
cmake -B build-gpu -DSAMPAN_CUDA=ON -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES="$architecture-real" >"$out/configure.log"
cmake --build build-gpu -j "$(nproc)" --target test_gpu test_gpu_model bench_cuda_kernels bench_encoder bench_decoder >"$out/build.log"
build-gpu/bin/test_gpu | tee "$out/tests.log"
build-gpu/bin/test_gpu_model | tee "$out/models.log"
sanitizer=$(command -v compute-sanitizer || echo "$(dirname "$nvcc")/compute-sanitizer")
if [ -x "$sanitizer" ]; then  # the smaller cases: a sanitizer slows a kernel down a hundredfold
  for tool in memcheck racecheck; do
    "$sanitizer" --tool "$tool" --error-exitcode 9 build-gpu/bin/test_gpu --test-case='*layer_norm*,*rel_pos*,*finish_rows*,*scatter_taps*,*channel_mean*,*window_partition*,*mask_head*,*patch_gather*,*attention_window*' >"$out/$tool.log" 2>&1 ||
      { tail -20 "$out/$tool.log"; echo "compute-sanitizer $tool found errors" >&2; exit 1; }
    tail -1 "$out/$tool.log"
  done
else
  echo "compute-sanitizer is not installed: memcheck and racecheck did not run" | tee "$out/sanitizer.log"
fi
build-gpu/bin/bench_cuda_kernels --json "$out/gpu.json" | tee "$out/gpu.md"
networks=(--device cuda --threads 1 --shapes lite_medsam,sam_vit_b)
build-gpu/bin/bench_encoder "${networks[@]}" --precision f32,f16,bf16 --format md | tee -a "$out/gpu.md"
build-gpu/bin/bench_decoder "${networks[@]}" --format md | tee -a "$out/gpu.md"
build-gpu/bin/bench_encoder "${networks[@]}" --precision f32,f16,bf16 --format json >"$out/encoder.json"
