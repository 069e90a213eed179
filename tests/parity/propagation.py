"""LiteMedSAM's loop over the slices of a volume, for any engine: numpy and OpenCV only. Own code, Apache-2.0.

What: propagate(imgs, boxes, encode, mask) -> labels, by the rule of the CVPR 2024 protocol; prepare() and stretch() of one slice; phantom(), a case that anybody can make again.
Where: oracle_volume.py holds `sampan volume` against it with PyTorch; bench/peers/volume.py times it on several engines. No test runs it.
The rule (CVPR24_LiteMedSAM_infer.py, branch LiteMedSAM of bowang-lab/MedSAM): the box in the middle slice; from there outward, each slice takes the box of its neighbour's
label map, shrunk by INTER_AREA, 3 pixels of 256 wider; an empty neighbour gives the box of the prompt again. Later boxes overwrite earlier ones.
The reference encodes a slice anew for every box; here every slice is encoded once. Its logits are stretched by torch's bilinear; OpenCV's (stretch) is the same up to rounding.
"""
import numpy as np


def resized(h, w):
    """-> (width, height) in the input of 256."""
    scale = 256 / max(h, w)
    return int(w * scale + 0.5), int(h * scale + 0.5)


def prepare(slice_u8):
    """-> input (1, 3, 256, 256) float32."""
    import cv2
    w, h = resized(*slice_u8.shape)
    small = cv2.resize(slice_u8, (w, h), interpolation=cv2.INTER_AREA)
    low, high = float(small.min()), float(small.max())
    x = np.zeros((256, 256))
    x[:h, :w] = (small - low) / np.clip(high - low, 1e-8, None)
    return np.ascontiguousarray(np.broadcast_to(x.astype(np.float32), (1, 3, 256, 256)))


def stretch(logits, h, w):
    """Logits (256, 256) of the input -> mask (h, w)."""
    import cv2
    rw, rh = resized(h, w)
    return cv2.resize(np.ascontiguousarray(logits[:rh, :rw]), (w, h), interpolation=cv2.INTER_LINEAR) > 0


def propagate(imgs, boxes, encode, mask):
    """encode(slice uint8) -> embedding, anything; mask(embedding, box of four float32 in the input) -> bool (h, w). -> labels (D,H,W) uint8."""
    import cv2
    depth, h, w = imgs.shape
    size, scale = resized(h, w), 256 / max(h, w)
    embeddings, segs = {}, np.zeros(imgs.shape, np.uint8)

    for index, (x0, y0, z0, x1, y1, z1) in enumerate(boxes, 1):
        own = np.zeros(imgs.shape, np.uint8)
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
            if z not in embeddings: embeddings[z] = encode(imgs[z])
            own[z][mask(embeddings[z], np.asarray(box, np.float32))] = index
        segs[own > 0] = index
    return segs


def agreement(a, b, labels):
    """IoU per label; 1 where neither has it."""
    return [1.0 if not ((a == n) | (b == n)).any() else float(((a == n) & (b == n)).sum() / ((a == n) | (b == n)).sum()) for n in labels]


# of the phantom's six objects: centre x y z, radii x y z (0: a cylinder through all slices), grey; in a volume of 287 x 512 x 512
ORGANS = ((170, 220, 150, 110, 90, 100, 150), (390, 230, 160, 55, 45, 80, 185), (370, 335, 120, 35, 40, 75, 205),
          (180, 345, 115, 35, 40, 70, 205), (265, 330, 143, 17, 17, 0, 235), (325, 195, 190, 60, 45, 60, 70))


def phantom(path, slices=287):
    """Writes a CT-like case of slices x 512 x 512 voxels and six boxes; fewer slices squeeze the objects along z. The same bytes of voxels everywhere (PCG64, sums of bytes)."""
    rng = np.random.default_rng(287)
    y, x = np.ogrid[:512, :512]
    body = ((x - 256) / 220) ** 2 + ((y - 270) / 170) ** 2 < 1
    imgs, squeeze = np.empty((slices, 512, 512), np.uint8), slices / 287
    boxes = np.array([[cx - rx, cy - ry, 0 if not rz else int((cz - rz) * squeeze), cx + rx, cy + ry, slices - 1 if not rz else min(slices - 1, int((cz + rz) * squeeze))]
                      for cx, cy, cz, rx, ry, rz, _ in ORGANS])
    for z in range(slices):
        v = np.where(body, 110, 8).astype(np.int16)
        for cx, cy, cz, rx, ry, rz, grey in ORGANS:
            v[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + (((z / squeeze - cz) / rz) ** 2 if rz else 0) < 1] = grey
        v += rng.integers(0, 9, v.shape, np.uint8) + rng.integers(0, 9, v.shape, np.uint8).astype(np.int16) - 8
        imgs[z] = np.clip(v, 0, 255)
    np.savez_compressed(path, imgs=imgs, boxes=boxes, spacing=np.array([0.8, 0.8, 2.0]))
    return path
