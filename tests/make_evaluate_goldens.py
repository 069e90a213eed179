"""Goldens of prompt simulation and statistics, by NumPy, Python, OpenCV, scikit-image and SciPy. Licence: Apache-2.0 (own code of the project).

What: random numbers of numpy.random.RandomState, numpy.random.default_rng and Python's random; random and adversarial masks with what these packages say of them
(components, distances, centroids, resized boxes) and the prompts that the published protocols make of them; bootstrap intervals and quantiles.
Where: writes tests/unit/evaluate_fixtures/evaluate.json; read by tests/unit/evaluate_test.cpp, which needs no Python.
Run: python tests/make_evaluate_goldens.py, in an environment with numpy<2, scipy, opencv-python-headless (x86, with IPP), scikit-image.
Not here: anything of sampan.
"""
import json, os, random

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import label, regionprops

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unit", "evaluate_fixtures", "evaluate.json")


def randoms():
    out = []
    for seed in (0, 1, 2023, 2**32 - 1):
        r = np.random.RandomState(seed)
        case = {"seed": seed, "randint": [[lo, hi, r.randint(lo, hi, 9).tolist()] for lo, hi in ((0, 1), (0, 2), (5, 17), (-10, 11), (0, 1000003), (0, 2**32))]}
        r.randint(0, 2, 700)  # beyond the first refill
        case["random_sample"] = r.random_sample(5).tolist()
        case["uniform"] = r.uniform(-0.25, 3, 3).tolist()
        case["permutation"] = r.permutation(23).tolist()
        case["choice"] = r.choice(11, 6).tolist()
        case["distinct"] = r.choice(40, 5, replace=False).tolist()
        case["next"] = int(r.randint(0, 2**32))
        random.seed(seed)
        case["python_randint"] = [random.randint(0, 20) for _ in range(12)] + [random.randint(-3, 1000000) for _ in range(5)]
        case["python_random"] = [random.random() for _ in range(3)]
        out.append(case)
    pcg = []
    for seed in (0, 1, 20261125, 2**40 + 7):
        g = np.random.default_rng(seed)
        pcg.append({"seed": seed, "random": g.random(4).tolist(), "seven": g.integers(0, 7, 25).tolist(), "one": g.integers(3, 4, 3).tolist(), "large": g.integers(-5, 3000000000, 9).tolist(), "then": g.random(2).tolist()})
    return out, pcg


def blob(rng, shape, smooth, level):
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), smooth)
    return noise > level * noise.std()


def masks():
    rng = np.random.default_rng(20261129)
    for i, (h, w, smooth, level) in enumerate(((60, 70, 4, 0.5), (41, 90, 2, 1.0), (80, 33, 6, 0.3), (64, 64, 1, 1.3), (300, 40, 5, 0.8))):
        yield f"random {i}", blob(rng, (h, w), smooth, level)
    ring = np.zeros((40, 50), bool)
    ring[5:35, 8:44] = True
    ring[14:26, 18:34] = False  # its centroid is no part of it
    line = np.zeros((30, 25), bool)
    line[3:28, 24] = True  # one pixel wide, at the border
    twins = np.zeros((30, 40), bool)
    twins[2:10, 3:12] = twins[15:23, 20:29] = True  # equal areas
    full = np.ones((12, 17), bool)
    yield from (("ring", ring), ("line", line), ("twins", twins), ("full", full))


def mask_case(name, m):
    u8 = m.astype(np.uint8)
    h, w = m.shape
    lab = label(u8, connectivity=2)
    areas = np.bincount(lab.ravel())[1:]
    boxes = [[int(v) for v in (s[1].start, s[0].start, s[1].stop - 1, s[0].stop - 1)] for s in ndimage.find_objects(lab)]
    padded = np.pad(u8, 1)
    chamfer = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    exact = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    deep = np.argwhere(chamfer == chamfer.max())[:, ::-1].tolist()
    center = np.argwhere(np.isclose(exact, exact.max(), rtol=1e-12))[0, ::-1].tolist()
    M = cv2.moments(u8)
    cx, cy = int(M["m10"] / M["m00"]), int(M["m01"] / M["m00"])
    y, x = np.where(u8)
    tight = [int(v) for v in (x.min(), y.min(), x.max(), y.max())]
    c = {"name": name, "size": [w, h], "bits": "".join("01"[v] for v in u8.ravel()), "areas": areas.tolist(), "boxes": boxes, "deepest": deep, "chamfer_sum": float(chamfer.astype(np.float64).sum()), "chamfer_max": float(chamfer.max()),
         "exact_max": float(exact.max()), "center": center, "centroid": [cx, cy], "tight": tight}

    # Mazurowski et al.: components by (share, number) ascending, then reversed.
    c["order"] = [int(i) for _, i in sorted((float(a), i) for i, a in enumerate(areas))][::-1]

    # Huang et al.
    fg = np.column_stack((x, y))
    fg = fg[:: max(1, len(fg) // 5)]
    bw, bh = tight[2] - tight[0], tight[3] - tight[1]
    x1, y1 = tight[0] - 2 * bw / 2 + bw / 2, tight[1] - 2 * bh / 2 + bh / 2
    x2, y2 = x1 + 2 * bw, y1 + 2 * bh
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, w), min(y2, h)
    bx, by, rw, rh = int(x1), int(y1), int(x2 - x1), int(y2 - y1)
    gx, gy = np.meshgrid(np.arange(bx, bx + rw), np.arange(by, by + rh))
    free = u8[by:by + rh, bx:bx + rw] == 0
    bg = np.column_stack((gx[free], gy[free]))
    bg = bg[:: max(1, len(bg) // 5)] if len(bg) else bg
    points = np.concatenate(([[cx, cy]], fg[1:], bg))[:10]
    c["huang"] = [[int(p[0]), int(p[1]), int(i < 5)] for i, p in enumerate(points)]

    # MedSAM and SAM-Med2D: at their sizes, in pixels of the model.
    big = cv2.resize(u8, (1024, 1024), interpolation=cv2.INTER_NEAREST)
    yy, xx = np.where(big > 0)
    c["medsam"] = [int(v) for v in (max(0, xx.min() - 20), max(0, yy.min() - 20), min(1024, xx.max() + 20), min(1024, yy.max() + 20))]
    if h < 256 and w < 256:
        top, left = int((256 - h) / 2.0), int((256 - w) / 2.0)
        small = np.pad(u8, ((top, 256 - h - top), (left, 256 - w - left)))
    else:
        small = cv2.resize(u8, (256, 256), interpolation=cv2.INTER_NEAREST)
    r = sorted(regionprops(label(small)), key=lambda q: q.area, reverse=True)[0].bbox
    c["sammed2d_box"] = [int(v) for v in (r[1], r[0], r[3], r[2])]

    # What a seed draws.
    np.random.seed(7)
    pick = np.random.randint(0, len(deep))
    c["seed7"] = {"center_chamfer": deep[pick], "random_point": np.argwhere(u8 == 1)[:, ::-1][np.random.randint(int(u8.sum()))].tolist()}
    c["seed7"]["jitter_px"] = (np.array(tight) + np.random.randint(-4, 5, 4)).tolist()
    c["seed7"]["jitter_share"] = [float(t + np.random.uniform(-0.2, 0.2) * s) for t, s in zip(tight, (bw, bh, bw, bh))]
    small_fg = np.argwhere(small == 1)[:, ::-1]
    c["seed7"]["sammed2d_point"] = small_fg[np.random.randint(len(small_fg))].tolist()
    wrong = np.argwhere(small != np.roll(small, 3, 1))
    j = wrong[np.random.choice(len(wrong), 1, replace=True)][0]
    c["seed7"]["sammed2d_click"] = [int(j[1]), int(j[0]), int(small[j[0], j[1]])]
    return c


def intervals():
    out = []
    rng = np.random.default_rng(5)
    for patients, masks_of_one, repeats, seed in ((2, 1, 50, 0), (7, 3, 400, 3), (30, 5, 1000, 2**33)):
        who = np.sort(rng.integers(0, patients, patients * masks_of_one))
        who = np.concatenate((np.arange(patients), who))
        values = rng.random(len(who)).round(6)
        order, seen = [], {}
        for p in who:
            seen.setdefault(int(p), len(seen))
        idx = np.array([seen[int(p)] for p in who])
        sums, counts = np.bincount(idx, values), np.bincount(idx)
        draw = np.random.default_rng(seed).integers(0, len(sums), (repeats, len(sums)))
        means = sums[draw].sum(1) / counts[draw].sum(1)
        lo, hi = np.quantile(means, [0.025, 0.975])
        q = np.quantile(values, [0.25, 0.5, 0.75])
        out.append({"patients": who.tolist(), "values": values.tolist(), "repeats": repeats, "seed": seed, "low": lo, "high": hi, "quartiles": q.tolist(), "mean": values.mean(), "std": values.std(ddof=1)})
    return out


legacy, pcg = randoms()
os.makedirs(os.path.dirname(OUT), exist_ok=True)
with open(OUT, "w") as f:
    json.dump({"versions": {"numpy": np.__version__, "opencv": cv2.__version__}, "legacy": legacy, "pcg": pcg, "masks": [mask_case(*m) for m in masks()], "intervals": intervals()}, f, separators=(",", ":"))
    f.write("\n")
print(os.path.getsize(OUT), "bytes")
