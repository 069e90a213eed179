"""Times surface-distance and `sampan metrics` in turn on the same pairs of masks. Licence: Apache-2.0 (own code of the project).

  python3 bench/peers/metrics.py --rounds 5

What: pairs of 512x512x200 voxels as in bench_metrics, written as NIfTI; NSD, HD95 and ASSD of each at once. Theirs: compute_surface_distances, then the three metrics.
  Ours: "metrics" of timings_ms, the same process reads the files (not counted, as the peer's arrays are in memory), with one thread and with all.
Where: prints a table in Markdown; files lie in a temporary folder. Needs build/bin/sampan (--build names another tree); Python with numpy, scipy and surface-distance 0.1.
Not here: pairs that favour a side. Medians; the largest relative difference of the three numbers stands in the last column.
"""
import argparse, json, os, statistics, struct, subprocess, tempfile, time, warnings

import numpy as np

warnings.filterwarnings("ignore")
import surface_distance as sd

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHAPE, SPACING, TOLERANCE = (200, 512, 512), (2.5, 0.8, 0.8), 2.0  # z, y, x


def blob(cx, cy, cz, scale, waves):
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    u, v, w = (x - cx) / (135 * scale), (y - cy) / (115 * scale), (z - cz) / (65 * scale)
    r = u * u + v * v + w * w
    return (r < 1 + waves * np.sin(9 * u) * np.sin(7 * v + 1) * np.cos(5 * w)) & (r <= 1.5)


def noise(seed):
    m = np.zeros(SHAPE, bool)
    m.reshape(-1)[np.random.default_rng(seed).integers(0, m.size, 3000)] = True
    return m


PAIRS = {
    "organ": lambda: (blob(230, 260, 100, 1, 0.15), blob(233, 258, 101, 0.98, 0.1)),
    "small": lambda: (blob(230, 260, 100, 0.2, 0.15), blob(231, 259, 100, 0.2, 0.1)),
    "far": lambda: (blob(140, 130, 60, 0.6, 0.15), blob(370, 380, 140, 0.6, 0.1)),
    "noise": lambda: (noise(1), noise(2)),
}


def write_nifti(path, m):
    h = struct.pack("<i36s8h14x", 348, b"", 3, *SHAPE[::-1], 1, 1, 1, 1) + struct.pack("<hhh8f", 2, 8, 0, 1, *SPACING[::-1], 0, 0, 0, 0) + struct.pack("<fff", 352, 1, 0)
    h = h.ljust(252, b"\0") + struct.pack("<hh", 0, 1) + b"\0" * 24
    for axis in range(3): h += struct.pack("<4f", *[SPACING[2 - axis] if i == axis else 0 for i in range(4)])
    with open(path, "wb") as f: f.write(h.ljust(344, b"\0") + b"n+1\0" + b"\0" * 4 + m.astype(np.uint8).tobytes())


def theirs(g, p):
    start = time.perf_counter()
    d = sd.compute_surface_distances(g, p, SPACING)
    a = sd.compute_average_surface_distance(d)
    total = d["surfel_areas_gt"].sum(), d["surfel_areas_pred"].sum()
    out = dict(nsd=sd.compute_surface_dice_at_tolerance(d, TOLERANCE), hd95=sd.compute_robust_hausdorff(d, 95), assd=(a[0] * total[0] + a[1] * total[1]) / sum(total))
    return 1000 * (time.perf_counter() - start), out


def ours(program, folder, threads):
    r = json.loads(subprocess.run([program, "metrics", folder + "/p.nii", folder + "/g.nii", "--tolerance", str(TOLERANCE), "--threads", str(threads), "--json"], check=True, stdout=subprocess.PIPE).stdout)
    return r["timings_ms"]["metrics"], r["labels"][0]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default=ROOT + "/build")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--pairs", default=",".join(PAIRS))
    o = p.parse_args()
    program, cpus = o.build + "/bin/sampan", len(os.sched_getaffinity(0))
    print(f"| pair | surface-distance, ms | sampan, 1 thread | {cpus} threads | times faster | largest difference |\n|---|---|---|---|---|---|")
    for name in o.pairs.split(","):
        g, q = PAIRS[name]()
        with tempfile.TemporaryDirectory() as folder:
            write_nifti(folder + "/p.nii", q)
            write_nifti(folder + "/g.nii", g)
            times, worst = {0: [], 1: [], cpus: []}, 0
            for _ in range(o.rounds):
                ms, want = theirs(g, q)
                times[0].append(ms)
                for threads in sorted({1, cpus}):
                    ms, got = ours(program, folder, threads)
                    times[threads].append(ms)
                    worst = max([worst] + [abs(got[k] - want[k]) / max(1e-12, abs(want[k])) for k in want])
        t, one, all_ = (statistics.median(times[k]) for k in (0, 1, cpus))
        print(f"| {name} | {t:.0f} | {one:.1f} | {all_:.1f} | {t / one:.0f}, {t / all_:.0f} | {worst:.0e} |", flush=True)


if __name__ == "__main__":
    main()
