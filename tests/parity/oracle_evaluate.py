"""Holds `sampan evaluate` against the published protocols run in PyTorch, NumPy, OpenCV and scikit-image on the same weights. Own code, Apache-2.0; no test runs it.

usage: oracle_evaluate.py BIN DATASET.json      BIN: build/bin, with sampan and sampan-convert; DATASET: masks as files, for example of examples/evaluate/sammed2d_dataset.py
For each protocol prints how many prompts are equal, and the largest difference of IoU among them; exits with 1 if a prompt before the first moved pixel differs, a score by
more than 0.01, or if the mask before a prompt that differs had no pixel near the threshold. Weights are random (a SAM of 320 px, a SAM-Med2D of 256 px), so masks are
meaningless and clicks have much to correct. A mask that differs in one pixel, as float32 sums of another order do, sends all later draws of a stream elsewhere: from there
on a protocol with clicks is not compared.
Rules: prompt_gen_and_exec_v1/v2.py (Mazurowski et al.), utils/get_prompts.py (Huang et al.), test.py, DataLoader.py, utils.py (SAM-Med2D).
Needs the packages of refnets.py, opencv-python-headless and scikit-image.
"""
import csv, json, os, re, subprocess, sys, tempfile

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.measure import label, regionprops

import hashgen as hg
import refadapters
import refnets as rn
import refpipes as rp

SAM = dict(embed=96, depth=4, heads=3, img=320, global_blocks=(1, 3))
MED2D = dict(kind="conv_adapter", hidden=16, hook_blocks=(0, 1), embed=64, depth=2, heads=2, img=256, global_blocks=(1,))


def iou(p, g):
    either = np.logical_or(p, g).sum()
    return np.logical_and(p, g).sum() / either if either else float("nan")


def deepest(mask):
    d = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.where(d == d.max())
    i = np.random.randint(0, len(x))
    return [int(x[i]), int(y[i])]


def near_ties(logits):
    """Pixels that float32 sums of another order may put on the other side of the threshold: within 1e-4 (the bound of parity) of the map's rms."""
    return int((np.abs(logits) <= 1e-4 * np.sqrt(np.mean(logits.astype(np.float64) ** 2))).sum())


def tight(mask):
    y, x = np.where(mask)
    return [int(v) for v in (x.min(), y.min(), x.max(), y.max())]


class Sam:
    """One picture at a time; predict() -> masks (3, H, W), predicted IoU, low-res logits."""

    def __init__(self, net, pipe): self.net, self.pipe = net, pipe

    def image(self, rgb):
        self.old = rgb.shape[:2]
        x, self.place = self.pipe.prep(rgb, self.net.input_size)
        with torch.no_grad(): self.emb = self.net.image_encoder(x)

    @torch.no_grad()
    def predict(self, points=None, labels=None, box=None, mask=None):
        _, low, guess, full = self.pipe.predict(self.net, self.emb, self.place, self.old, points=points, labels=labels, box=box, mask=mask, multi=True)
        self.logits = full
        return full > 0, guess, low


def mazurowski(sam, images):
    np.random.seed(1)
    for name, rgb, masks in images:
        sam.image(np.uint8(rgb / np.max(rgb) * 255))
        for key, m in masks:
            lab, n = label(m, connectivity=2, return_num=True)
            order = [i for _, i in sorted((np.sum(lab == i) / np.sum(m), i) for i in range(1, n + 1))][::-1]
            for mode, prompt in (("mazurowski-points:1", 1), ("mazurowski-points:3", 3), ("mazurowski-box", 1), ("mazurowski-boxes:3", 3), ("mazurowski-whole-box", 0)):
                if "points" in mode:
                    points = [deepest(lab == i) for i in order[:prompt]]
                    out, given = sam.predict(points, [1] * len(points))[0], [("point", p + [1]) for p in points]
                else:
                    boxes = [tight(lab == i) for i in order[:prompt]] if prompt else [tight(m)]
                    out, given = np.any([sam.predict(box=b)[0] for b in boxes], axis=0), [("box", b) for b in boxes]
                scores = [iou(p, m) for p in out]
                yield name, key, mode, 1, given, dict(first=scores[0], oracle=max(scores)), None


def mazurowski_clicks(sam, images, oracle):
    mode = "mazurowski-oracle-clicks:9" if oracle else "mazurowski-clicks:9"
    np.random.seed(1)
    for name, rgb, masks in images:
        sam.image(np.uint8(rgb / np.max(rgb) * 255))
        any_class = np.any([m for _, m in masks], axis=0)
        for key, m in masks:
            points, labels = [deepest(m)], [1]
            for step in range(1, 10):
                out = sam.predict(points, labels)[0]
                scores = [iou(p, m) for p in out]
                best, most = -1, 0
                for i, s in enumerate(scores):
                    if s > most: best, most = i, s
                now = out[best if oracle else 0]
                yield name, key, mode, step, [("point", p + [q]) for p, q in zip(points, labels)], dict(first=scores[0], oracle=max(scores)), near_ties(sam.logits[best if oracle else 0])
                if step < 9:
                    p = deepest(now ^ m)
                    points, labels = points + [p], labels + [int(any_class[p[1], p[0]])]


def huang(sam, images):
    for name, rgb, masks in images:
        sam.image(rgb)
        for key, m in masks:
            if m.sum() <= 50: continue
            M = cv2.moments(m.astype(np.uint8))
            y, x = np.where(m)
            fg = np.column_stack((x, y))[:: int(len(x) / 5)]
            b = tight(m)
            w, h = b[2] - b[0], b[3] - b[1]
            x1, y1 = b[0] - w * 2 / 2 + w / 2, b[1] - h * 2 / 2 + h / 2
            x2, y2 = min(x1 + 2 * w, m.shape[1]), min(y1 + 2 * h, m.shape[0])
            x1, y1 = max(x1, 0), max(y1, 0)
            rx, ry, rw, rh = int(x1), int(y1), int(x2 - x1), int(y2 - y1)
            gx, gy = np.meshgrid(np.arange(rx, rx + rw), np.arange(ry, ry + rh))
            free = ~m[ry:ry + rh, rx:rx + rw]
            bg = np.column_stack((gx[free], gy[free]))
            bg = bg[:: int(len(bg) / 5)]
            points = np.concatenate(([[int(M["m10"] / M["m00"]), int(M["m01"] / M["m00"])]], fg[1:], bg)).tolist()
            labels = [1] * 5 + [0] * 5
            for mode, n, box in (("huang-points:1", 1, None), ("huang-points:5", 5, None), ("huang-points:5+5", 10, None), ("huang-box", 0, b), ("huang-box-point", 1, b)):
                p, q = points[:n], labels[:n]
                out = sam.predict(p or None, q or None, box)[0]
                yield name, key, mode, 1, ([("box", b)] if box else []) + [("point", list(a) + [c]) for a, c in zip(p, q)], dict(oracle=max(iou(o, m) for o in out)), None


def sammed2d(sam, images, clicks):
    np.random.seed(0)
    size = 256
    for name, rgb, masks in images:
        sam.image(rgb)
        for key, m in masks:
            h, w = m.shape
            if h < size and w < size:
                top, left = int((size - h) / 2.0), int((size - w) / 2.0)
                small, back = np.pad(m, ((top, size - h - top), (left, size - w - left))), lambda x, y: [x - left, y - top]
            else:
                small, back = cv2.resize(m.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0, lambda x, y: [x * w / size, y * h / size]
            r = sorted(regionprops(label(small.astype(int))), key=lambda q: q.area, reverse=True)[0].bbox
            fg = np.argwhere(small)[:, ::-1]
            first = fg[np.random.randint(len(fg))].tolist()
            if not clicks:
                b = back(r[1], r[0]) + back(r[3], r[2])
                out, guess, _ = sam.predict(box=b)
                yield name, key, "sammed2d-box", 1, [("box", b)], dict(iou=iou(out[guess.argmax()], m)), None
                continue
            points, labels, mask = [back(*first)], [1], None
            for step in range(1, 10):
                out, guess, low = sam.predict(points, labels, mask=mask)
                k = int(guess.argmax())
                logits = F.interpolate(torch.from_numpy(low[None, k:k + 1]), (size, size), mode="bilinear", align_corners=False)[0, 0].numpy()
                now = logits > 0
                yield name, key, "sammed2d-clicks:9", step, [("point", p + [q]) for p, q in zip(points, labels)], dict(iou=iou(out[k], m)), near_ties(logits)
                if step == 9: break
                wrong = np.argwhere(now != small)
                assert len(wrong) > 0, "random weights that are right"
                j = wrong[np.random.choice(wrong.shape[0], 1, replace=True)][0]
                points, labels, mask = points + [back(int(j[1]), int(j[0]))], labels + [int(small[j[0], j[1]])], 1 / (1 + np.exp(-low[k]))


def read_rows(path):
    rows = {}
    with open(path, newline="") as f:
        for r in csv.DictReader(f): rows[(r["image"], r["label"], r["instance"], r["prompt"], int(r["step"]), r["rule"])] = r
    return rows


def given_of(text):
    return [(kind, [float(v) for v in numbers.split(",")]) for kind, numbers in re.findall(r"(box|point) ([-0-9.,e+]+)", text)]


def compare(rows, theirs):
    """-> prompts compared and equal, largest difference of a score. A protocol that draws stops where a mask in between differs by a pixel."""
    compared = equal = ties = 0
    worst = 0.0
    for name, (lab, instance), prompt, step, given, scores, near in theirs:
        row = rows[(name, lab, str(instance), prompt, step, next(iter(scores)))]
        ours = given_of(row["given"])
        same = len(ours) == len(given) and all(a[0] == b[0] and np.allclose(a[1], b[1], rtol=1e-5, atol=1e-4) for a, b in zip(ours, given))
        compared += 1
        if not same: return compared, equal, worst, f"{name}, {lab}, {prompt}, step {step}: {row['given']} against {given}; pixels of the mask before it within a near tie: {ties}"
        equal += 1
        ties = near
        for rule, score in scores.items():
            worst = max(worst, abs(float(rows[(name, lab, str(instance), prompt, step, rule)]["iou"]) - score))
    return compared, equal, worst, None


def main(bin, dataset):
    data = json.load(open(dataset))
    folder = os.path.dirname(os.path.abspath(dataset))
    images = []
    for e in data["images"]:
        seen, masks = {}, []
        for m in e["masks"]:
            seen[m["label"]] = seen.get(m["label"], 0) + 1
            masks.append(((m["label"], seen[m["label"]]), np.array(Image.open(os.path.join(folder, m["file"]))) > 0))
        images.append((e["image"], np.array(Image.open(os.path.join(folder, e["image"])).convert("RGB")), masks))
    failed = 0
    with tempfile.TemporaryDirectory() as t:
        def model(family, shapes):
            raw, out = os.path.join(t, family + "_raw.safetensors"), os.path.join(t, family + ".safetensors")
            hg.write_weights(raw, 1, shapes)
            subprocess.run([os.path.join(bin, "sampan-convert"), raw, out, "--family", family], check=True, stderr=subprocess.DEVNULL)
            return out
        shapes = hg.sam_shapes(*SAM.values())
        sam = Sam(rn.load_hash(rn.build_sam(**SAM), 1, shapes), rp.Plain()), model("sam", shapes)
        shapes = hg.adapted_shapes(**MED2D)
        med2d = Sam(rn.load_hash(refadapters.build_adapted(**MED2D), 1, shapes), rp.Med2d(evaluation=True)), model("sam_med2d_eval", shapes)
        for protocol, (net, file), run in (("mazurowski", sam, mazurowski), ("mazurowski-clicks", sam, lambda s, i: mazurowski_clicks(s, i, False)), ("mazurowski-oracle-clicks", sam, lambda s, i: mazurowski_clicks(s, i, True)),
                                           ("huang-S2", sam, huang), ("huang-S3", sam, huang), ("huang-S4", sam, huang), ("huang-S5", sam, huang), ("huang-S6", sam, huang),
                                           ("sammed2d", med2d, lambda s, i: sammed2d(s, i, False)), ("sammed2d-clicks", med2d, lambda s, i: sammed2d(s, i, True))):
            out = os.path.join(t, protocol)
            subprocess.run([os.path.join(bin, "sampan"), "evaluate", dataset, "--model", file, "--protocol", protocol, "-o", out, "--bootstrap", "0", "--quiet"], check=True, stdout=subprocess.DEVNULL)
            rows = read_rows(os.path.join(out, "masks.csv"))
            have = {k[3] for k in rows}
            compared, equal, worst, why = compare(rows, (r for r in run(net, images) if r[2] in have))
            bad = worst > 0.01 or (why and (equal < 20 or why.endswith(" 0")))
            failed += bool(bad)
            print(f"{protocol:26} {equal} of {compared} prompts equal, IoU within {worst:.1e}" + (f"; then {why}" if why else "") + ("  FAILED" if bad else ""))
    return failed


if __name__ == "__main__":
    if len(sys.argv) != 3: sys.exit(__doc__)
    sys.exit(1 if main(os.path.abspath(sys.argv[1]), sys.argv[2]) else 0)
