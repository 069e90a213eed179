"""Goldens of the metrics, by the packages that define them. Licence: Apache-2.0 (own code of the project).

What: random and adversarial pairs of masks (2D and 3D, anisotropic spacing, empty sides, objects at the rim), and what surface-distance 0.1, MONAI 1.3.2 and MedPy 0.5.2
say of them.
Where: writes tests/unit/metric_fixtures/metrics.json; read by tests/unit/metrics_test.cpp, which needs no Python.
Run: python tests/make_metric_goldens.py, in an environment with numpy<2, scipy, torch, surface-distance, monai, medpy.
Not here: anything of sampan.
"""
import json, math, os, warnings

import numpy as np
import torch
from scipy import ndimage

warnings.filterwarnings("ignore")
import surface_distance as sd
from medpy.metric import binary as medpy
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unit", "metric_fixtures", "metrics.json")


def blob(rng, shape, smooth, level):
    """Smoothed noise above a level: irregular objects with holes and islands."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), smooth)
    return noise > level * noise.std()


def pairs():
    """-> name, rank, spacing (z, y, x), tolerance, prediction, ground truth; masks [z, y, x]"""
    rng = np.random.default_rng(20261125)
    empty, one = np.zeros((1, 9, 11), bool), np.zeros((1, 9, 11), bool)
    one[0, 4, 5] = True
    rim, full = np.zeros((1, 9, 11), bool), np.ones((1, 9, 11), bool)
    rim[0, 0, :] = rim[0, :, 0] = True
    for name, p, g in (("both empty", empty, empty), ("prediction empty", empty, one), ("truth empty", one, empty), ("one pixel", one, one), ("pixel in rim", one, rim), ("full and rim", full, rim), ("full", full, full)):
        yield name + ", 2D", 2, (1.0, 0.7, 1.3), 1.0, p, g
    for i, (shape, smooth) in enumerate((((1, 20, 17), 1.5), ((1, 31, 23), 0.7), ((1, 40, 12), 2.5), ((1, 16, 16), 0.0))):
        yield f"random {i}, 2D", 2, (1.0, (1.0, 0.5, 2.0, 1.0)[i], (1.0, 0.8, 0.3, 3.0)[i]), (1.0, 0.8, 0.5, 2.0)[i], blob(rng, shape, (0, smooth, smooth), 0.5), blob(rng, shape, (0, smooth, smooth), 0.4)
    e3, o3, f3 = np.zeros((5, 6, 7), bool), np.zeros((5, 6, 7), bool), np.ones((5, 6, 7), bool)
    o3[2, 3, 3] = True
    for name, p, g in (("both empty", e3, e3), ("prediction empty", e3, o3), ("truth empty", o3, e3), ("one voxel", o3, o3), ("voxel in full", o3, f3)):
        yield name + ", 3D", 3, (2.5, 0.8, 0.8), 2.0, p, g
    for i, (shape, smooth) in enumerate((((12, 14, 13), 1.5), ((9, 16, 11), 0.6), ((7, 20, 18), 2.0), ((10, 10, 10), 0.0))):
        a = blob(rng, shape, smooth, 0.3)
        b = (np.roll(a, 1, axis=1) if i == 2 else blob(rng, shape, smooth, 0.4))
        yield f"random {i}, 3D", 3, ((1.0, 1.0, 1.0), (3.0, 0.7, 1.1), (5.0, 0.5, 0.5), (1.0, 2.0, 0.5))[i], (1.0, 1.5, 2.0, 1.0)[i], a, b


def scores(rank, spacing, tolerance, p, g):
    if rank == 2: p, g, spacing = p[0], g[0], spacing[1:]
    d = sd.compute_surface_distances(g, p, spacing)
    gt_to_pred, pred_to_gt = sd.compute_average_surface_distance(d)
    out = dict(dice=sd.compute_dice_coefficient(g, p), nsd=sd.compute_surface_dice_at_tolerance(d, tolerance), hd=sd.compute_robust_hausdorff(d, 100), hd95=sd.compute_robust_hausdorff(d, 95),
               asd_gt_to_pred=gt_to_pred, asd_pred_to_gt=pred_to_gt)
    t = lambda m: torch.from_numpy(m.astype(np.uint8))[None, None]
    with torch.no_grad():
        how = dict(include_background=True, spacing=spacing)
        out.update(hd95_monai=compute_hausdorff_distance(t(p), t(g), percentile=95, **how).item(), hd_monai=compute_hausdorff_distance(t(p), t(g), **how).item(),
                   asd_monai=compute_average_surface_distance(t(p), t(g), **how).item(), assd_monai=compute_average_surface_distance(t(p), t(g), symmetric=True, **how).item(),
                   nsd_monai=compute_surface_dice(t(p), t(g), [tolerance], **how).item())
    if p.any() and g.any():
        out.update(hd95_medpy=medpy.hd95(p, g, spacing), hd_medpy=medpy.hd(p, g, spacing), asd_pred_to_gt_medpy=medpy.asd(p, g, spacing), asd_gt_to_pred_medpy=medpy.asd(g, p, spacing), assd_medpy=medpy.assd(p, g, spacing))
    word = lambda v: "nan" if math.isnan(v) else "inf" if math.isinf(v) else float(v)
    return {k: word(v) for k, v in out.items()}


def edt_cases():
    rng = np.random.default_rng(7)
    for shape, spacing in (((1, 13, 17), (1.0, 0.7, 1.3)), ((6, 9, 8), (2.5, 1.0, 0.4)), ((3, 1, 20), (1.0, 1.0, 1.0))):
        m = blob(rng, shape, 0.8, -0.8)
        yield dict(shape=shape, spacing=spacing, mask="".join("01"[int(v)] for v in m.ravel()), distances=[float(v) for v in ndimage.distance_transform_edt(m, sampling=spacing).ravel()])


def main():
    bits = lambda m: "".join("01"[int(v)] for v in m.ravel())
    cases = [dict(name=n, rank=r, shape=p.shape, spacing=s, tolerance=t, pred=bits(p), gt=bits(g), scores=scores(r, s, t, p, g)) for n, r, s, t, p, g in pairs()]
    areas = [dict(spacing=s, area=[float(v) for v in sd.metrics.lookup_tables.create_table_neighbour_code_to_surface_area(s).ravel()]) for s in ((1.0, 1.0, 1.0), (3.0, 0.7, 1.1))]
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT + ".part", "w") as f: json.dump(dict(cases=cases, edt=list(edt_cases()), areas=areas), f)
    os.replace(OUT + ".part", OUT)
    print(f"{len(cases)} pairs, {os.path.getsize(OUT)} bytes")


if __name__ == "__main__":
    main()
