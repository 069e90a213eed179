"""One golden file: tensors, their own float32 error, and the metadata that a test needs. Own code, Apache-2.0.

What: class Golden (collects and writes), the registry @golden, and the helpers that run a network in both precisions.
Where: used by cases_networks.py, cases_medical.py, cases_modules.py; written by make_goldens.py, whose docstring lists the metadata keys.
Not here: any case.
"""
import hashlib, json, math

import numpy as np
import torch

import hashgen as hg
import refnets as rn
import refpipes as rp

GOLDENS = {}
TIE = 1e-4          # values this near to the threshold may fall on either side in another correct implementation; 20 times PyTorch's own error


def golden(f):
    GOLDENS[f.__name__] = f
    return f


def exact_sum(a): return math.fsum(np.asarray(a, np.float64).ravel().tolist())


def error(a32, a64):
    """PyTorch's float32 error: relative L2 and largest absolute, three digits."""
    d = a32.astype(np.float64) - a64
    n = math.sqrt(exact_sum(a64 * a64))
    return dict(rel_l2=float("%.3g" % (math.sqrt(exact_sum(d * d)) / n if n else 0)), max_abs=float("%.3g" % np.abs(d).max()))


def thin(shape, budget):
    """Strides that leave at most `budget` values: always the axis that has most values left, so every axis stays covered."""
    stride = [1] * len(shape)
    left = lambda: [-(-n // s) for n, s in zip(shape, stride)]
    while budget and math.prod(left()) > budget:
        stride[int(np.argmax(left()))] += 1
    return stride


class Golden:
    """Collects tensors and metadata of one file."""

    def __init__(self, seed, config, shapes):
        self.t, self.meta = {}, dict(seed=seed, config=config, tensors={}, inputs={}, prompts={})
        self.seed = seed
        h = hashlib.sha256()
        for n, s in shapes: h.update(hg.values(seed, n, s).tobytes())
        if shapes: self.meta.update(weights=[[n, list(s)] for n, s in shapes], weights_sha256=h.hexdigest())

    def add(self, name, a32, a64=None, budget=0):
        """budget: stored values at most (0 = all)."""
        a32 = np.asarray(a32)
        stride = thin(a32.shape, budget)
        self.t[name] = np.ascontiguousarray(a32[tuple(slice(None, None, s) for s in stride)])
        if a32.dtype != np.float32: return
        info = dict(shape=list(a32.shape), stride=stride)
        if a64 is not None and a32.size: info.update(error(a32, np.asarray(a64)))
        if a32.size: info.update(sum=exact_sum(a32), abs_sum=exact_sum(np.abs(a32)), abs_max=float(np.abs(a32).max()), l2=math.sqrt(exact_sum(a32.astype(np.float64) ** 2)))
        self.meta["tensors"][name] = info

    def input(self, key, shape, add=0.0, scale=1.0):
        """A generated input; only its recipe goes to the file."""
        a = hg.f32_input(self.seed, key, shape, add, scale)
        self.meta["inputs"][key] = dict(shape=list(shape), add=add, scale=scale, sum=exact_sum(a))
        return torch.from_numpy(a)

    def write(self, path):
        meta = {k: v if isinstance(v, (str, int)) else json.dumps(v, separators=(",", ":")) for k, v in self.meta.items() if v not in ({}, None)}
        meta["versions"] = json.dumps(rn.versions(), separators=(",", ":"))
        hg.st_write(path, self.t, meta)


def image(g, pixels, source):
    """Stores the test image itself when it is ours and small, else says where it comes from."""
    g.meta["image"] = dict(source=source, height=pixels.shape[0], width=pixels.shape[1], channels=1 if pixels.ndim == 2 else 3, sha256=hashlib.sha256(pixels.tobytes()).hexdigest())
    if source.startswith("phantom"): g.t["image_u8"] = pixels
    return pixels


def masks(g, name, full32, full64, threshold=0.0):
    """Packed mask bits and what a tolerance needs to know about them. full: (m, H, W) values compared with > threshold."""
    m32, m64, near = full32 > threshold, full64 > threshold, np.abs(full32 - threshold) <= TIE
    g.t[name + ".mask_bits"] = np.packbits(m32.reshape(-1))
    return dict(mask_shape=list(m32.shape), mask_pixels=[int(m.sum()) for m in m32], near_tie_pixels=[int(m.sum()) for m in near],
                fp64_differs_pixels=[int((a != b).sum()) for a, b in zip(m32, m64)])


@torch.no_grad()
def encode(g, net, twin, x, captures, embedding_budget):
    """Runs both precisions with captures {name: budget}. -> embedding float32, float64"""
    win = rn.windowed_modules(net)
    with rn.Capture(net, captures, win) as c32: e32 = net.image_encoder(x)
    with rn.Capture(twin, captures, win) as c64: e64 = twin.image_encoder(x.double())
    for n, budget in captures.items(): g.add(n, c32.out[n], c64.out[n], budget)
    g.add("image_embedding", e32.numpy(), e64.numpy(), embedding_budget)
    return e32, e64


def prompt_case(g, n, p, o32, o64, logits, full):
    """Stores what prompt n gave in both precisions; returns what the golden says about it."""
    for k, a, b, budget in zip((".sparse", ".low_res_logits", ".iou_predictions", ".full_logits"), o32, o64, (0, logits, 0, full)): g.add(n + k, a, b, budget)
    info = dict(p, mask="8*u(seed,'mask_input')") if "mask" in p else dict(p)
    info.update(masks(g, n, o32[3], o64[3]))
    return info


def sam_case(g, net, pixels, captures, prompts, embedding=0, logits=0, full=3000):
    """Image -> embedding -> prompts, as SAM's predictor. The budgets are stored values per tensor."""
    twin = rn.doubled(net)
    h, w = pixels.shape[:2]
    r, x, new = rp.sam_prep(pixels, net.input_size)
    g.meta["image"].update(resized=[new[0], new[1]], resized_sha256=hashlib.sha256(r.tobytes()).hexdigest())
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, captures, embedding)
    known = rp.sam_prompts(h, w, g.seed, net.grid)
    for n in prompts:
        p = known[n]
        o32, o64 = rp.sam_predict(net, e32, new, (h, w), **p), rp.sam_predict(twin, e64, new, (h, w), **p)
        info = prompt_case(g, n, p, o32, o64, logits, full)
        info["stability_score"] = [float("%.6g" % (int((m > 1).sum()) / max(1, int((m > -1).sum())))) for m in o32[3]]
        g.meta["prompts"][n] = info
