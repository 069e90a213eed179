#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under 8 minutes: tests of kernels and whole models, compute-sanitizer (memcheck, racecheck), kernels, layers, attention, encoders and
# decoders measured against the device's roofs, PyTorch on the same device where it is installed.
# Usage: bash tests/gpu/run.sh [--dry] [OUT]   (default: build-gpu/report)   leaves OUT/gpu.json (all there is), OUT/gpu.md (one table), and what each step wrote in OUT/parts. Needs the CUDA toolkit and a device.
#        --dry prints the steps and runs none; it needs neither.
# Exit: 0, or 1 if a step failed or the time was not enough for it; the report is written in any case. A step that hangs is stopped.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
dry=
if [ "${1:-}" = --dry ]; then dry=1; shift; fi
out=${1:-build-gpu/report}
readonly total=465  # seconds, with some to spare for the report
parts=$out/parts
mkdir -p "$parts" || exit 1
rm -f "$parts"/* "$out"/gpu.json "$out"/gpu.md
: >"$parts/steps.tsv"
failed=0

# step NAME LIMIT COMMAND...: COMMAND's stdout goes to OUT/parts/NAME.log, or to NAME.json there if it is one of measurements; 77 is a skip with a reason.
step() {
  local name=$1 limit=$2 to=$parts/$1.log begin=$SECONDS rc=0 outcome
  shift 2
  case " $* " in *" --format json "*) to=$parts/$name.json ;; esac
  if [ "$dry" ]; then
    echo "$name: $*"
    printf '%s\tnot run (--dry)\t0\n' "$name" >>"$parts/steps.tsv"
    return 0
  fi
  if [ $((total - SECONDS)) -lt "$limit" ]; then limit=$((total - SECONDS)); fi
  if [ "$limit" -le 0 ]; then
    outcome="no time left"
    failed=1
  else
    timeout "$limit" "$@" >"$to" 2>"$parts/$name.err" || rc=$?
    case $rc in
      0) outcome=passed ;;
      77) outcome="skipped: $(tail -qn 1 "$to" "$parts/$name.err" | head -n 1)" ;;
      124) outcome="stopped after $limit s" failed=1 ;;
      *) outcome="FAILED ($rc): $(tail -n 1 "$parts/$name.err" | tr '\t' ' ')" failed=1 ;;
    esac
  fi
  echo "$name: $outcome, $((SECONDS - begin)) s"
  printf '%s\t%s\t%d\n' "$name" "$outcome" $((SECONDS - begin)) >>"$parts/steps.tsv"
  return "$rc"
}

nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
bin=build-gpu/bin
architecture=90
if [ ! "$dry" ]; then
  command -v nvidia-smi >"$parts/device.log" || { echo "run.sh: no nvidia-smi, so no NVIDIA driver: nothing here can run (--dry shows the steps)" >&2; exit 1; }
  nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader | tee "$parts/device.log"
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
  [[ $architecture =~ ^[0-9]+$ ]] || { echo "run.sh: nvidia-smi names no compute capability: $architecture" >&2; exit 1; }
fi
{ step configure 60 cmake -B build-gpu -DCMAKE_BUILD_TYPE=Release -DSAMPAN_CUDA=ON -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES="$architecture-real" &&
  step build 300 cmake --build build-gpu -j "$(nproc)" --target test_gpu test_gpu_model bench_cuda_kernels bench_gemm bench_attention bench_encoder bench_decoder; } ||
  { tail -n 20 "$parts"/build.log "$parts"/build.err "$parts"/configure.err 2>/dev/null; echo "run.sh: the build failed" >&2; exit 1; }

step tests 120 "$bin/test_gpu"
step models 120 "$bin/test_gpu_model"
sanitizer=$(command -v compute-sanitizer || echo "$(dirname "$nvcc")/compute-sanitizer")
if [ -x "$sanitizer" ] || [ "$dry" ]; then  # the smaller cases: a sanitizer slows a kernel down a hundredfold
  for tool in memcheck racecheck; do
    step "$tool" 60 "$sanitizer" --tool "$tool" --error-exitcode 9 "$bin/test_gpu" --test-case='*layer_norm*,*rel_pos*,*finish_rows*,*scatter_taps*,*channel_mean*,*window_partition*,*mask_head*,*patch_gather*,*attention_window*'
  done
else
  echo "compute-sanitizer is not installed: memcheck and racecheck did not run"
  printf 'memcheck\tskipped: compute-sanitizer is not installed\t0\nracecheck\tskipped: compute-sanitizer is not installed\t0\n' >>"$parts/steps.tsv"
fi

device=(--device cuda --format json)
step kernels 30 "$bin/bench_cuda_kernels" --json "$parts/kernels.json"
step attention 60 "$bin/bench_attention" "${device[@]}" --shapes sam_vit_b,lite_medsam,decoder --precision f32,f16,bf16
step gemm 60 "$bin/bench_gemm" "${device[@]}" --shapes sam_vit_b,decoder --precision f32,f16,bf16
step encoder 90 "$bin/bench_encoder" "${device[@]}" --threads 1 --shapes lite_medsam,sam_vit_b --precision f32,f16,bf16
if [ "$dry" ] || "$bin/bench_encoder" --help 2>/dev/null | grep -q -- --batch; then
  step encoder_batch 60 "$bin/bench_encoder" "${device[@]}" --threads 1 --shapes sam_vit_b --precision bf16 --batch 8
fi
step decoder 60 "$bin/bench_decoder" "${device[@]}" --threads 1 --shapes lite_medsam,sam_vit_b
if [ "$dry" ] || python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  budget=$((total - SECONDS - 30))  # no row begins after it
  if [ "$budget" -gt 120 ]; then budget=120; fi
  ours=()
  for part in attention encoder encoder_batch; do
    if [ -f "$parts/$part.json" ]; then ours+=("$parts/$part.json"); fi
  done
  step peers 200 python3 bench/peers/device.py --json "$parts/peers.json" --budget "$budget" --ours ${ours[@]+"${ours[@]}"}
else
  echo "PyTorch with CUDA is not installed: no peers"
  printf 'peers\tskipped: no PyTorch with CUDA\t0\n' >>"$parts/steps.tsv"
fi
python3 tests/gpu/report.py "$out" || failed=1
echo "$out/gpu.json, $out/gpu.md: $SECONDS s"
exit "$failed"
