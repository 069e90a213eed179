"""Goldens of single modules (prompt encoder, mask decoder) and of the image resizers at their borders. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between refnets.py and make_goldens.py.
Not here: whole networks (cases_networks.py, cases_medical.py).
"""
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.transform import resize as skimage_resize

import hashgen as hg
import refnets as rn
from golden_file import Golden, golden

@golden
def prompt_encoder():
    """Tokens and dense embeddings of every kind of prompt, in model pixels. `sam`: input 128, grid 8 (16 px a token); `lite`: input 32, grid 8 (4 px)."""
    shapes = hg.decoder_shapes()
    g = Golden(41, dict(sam=dict(input_size=128, grid=8), lite=dict(input_size=32, grid=8)), shapes)
    mask = g.input("input.mask", (2, 1, 32, 32), scale=8.0)
    for kind, size in (("sam", 128), ("lite", 32)):
        net = rn.load_hash(rn._whole(torch.nn.Identity(), size, 8), 41, shapes)
        twin = rn.doubled(net)
        S = float(size)
        cases = dict(
            points_pos_neg=dict(points=[[[S * .25, S * .5], [S * .8, S * .1]]], labels=[[1, 0]]),
            points_ignored=dict(points=[[[S * .25, S * .5], [7.25, 3.5], [S * .8, S * .1]]], labels=[[1, -1, 0]]),
            points_edges=dict(points=[[[0, 0], [S - 1, S - 1], [S, 0], [-3.5, S + 9]]], labels=[[1, 1, 0, 1]]),
            points_batch=dict(points=[[[1, 2], [3, 4]], [[S / 3, S / 7], [S / 9, S / 1.1]], [[5, 5], [6, 6]]], labels=[[1, 0], [1, 1], [0, -1]]),
            box=dict(boxes=[[S * .2, S * .25, S * .7, S * .8]]),
            boxes_batch=dict(boxes=[[0, 0, S, S], [S * .5, S * .5, S * .5, S * .5], [1.125, 2.75, S - 3.5, S - .25]]),
            box_and_points=dict(points=[[[S * .3, S * .4], [S * .6, S * .7]], [[1, 1], [S - 2, S - 2]]], labels=[[1, 0], [0, 1]],
                                boxes=[[S * .2, S * .25, S * .7, S * .8], [0, 1, S - 2, S - 1]]),
            none=dict(), mask=dict(mask=True), box_and_mask=dict(boxes=[[S * .2, S * .25, S * .7, S * .8]], mask=True))
        for n, c in cases.items():

            def run(net, dt):
                f = lambda k: torch.tensor(c[k], dtype=torch.float32).to(dt) if k in c else None
                with torch.no_grad():
                    sp, de = net.prompt_encoder(points=None if "points" not in c else (f("points"), torch.tensor(c["labels"], dtype=torch.int)), boxes=f("boxes"),
                                                masks=None if "mask" not in c else (mask if n == "mask" else mask[:1]).to(dt))
                return sp.detach().numpy(), de.detach().numpy()
            (s32, d32), (s64, d64) = run(net, torch.float32), run(twin, torch.float64)
            if s32.size: g.add(f"{kind}.{n}.sparse", s32, s64)
            if "mask" in c and kind == "sam": g.add(f"{kind}.{n}.dense", d32, d64, 4100)
            g.meta["prompts"][f"{kind}.{n}"] = {k: "input.mask" + ("" if n == "mask" else "[:1]") if k == "mask" else v for k, v in c.items()}
        g.add(kind + ".dense_pe", net.prompt_encoder.get_dense_pe().numpy(), twin.prompt_encoder.get_dense_pe().numpy(), 4100)
    return g


@golden
def mask_decoder():
    """Mask decoder on generated inputs, all four masks and scores; every module's output for one prompt. Position encoding: the network's own, grid 8."""
    shapes = hg.decoder_shapes()
    g = Golden(42, dict(input_size=128, grid=8), shapes)
    net = rn.load_hash(rn._whole(torch.nn.Identity(), 128, 8), 42, shapes)
    twin = rn.doubled(net)
    emb, dense = g.input("input.image_embedding", (1, 256, 8, 8), scale=1.75), g.input("input.dense", (1, 256, 8, 8), scale=0.5)
    t = "mask_decoder.transformer."
    traced = [f"{t}layers.{l}{m}" for l in range(2) for m in (".self_attn", ".norm1", ".cross_attn_token_to_image", ".norm2", ".mlp", ".norm3", ".cross_attn_image_to_token", "")]
    traced += [t + "final_attn_token_to_image", t[:-1], "mask_decoder.output_upscaling.0", "mask_decoder.output_upscaling.1", "mask_decoder.output_upscaling", "mask_decoder.iou_prediction_head"]
    traced += [f"mask_decoder.output_hypernetworks_mlps.{i}" for i in range(4)]
    for n, tokens in (("tokens2", (1, 2, 256)), ("tokens4_batch3", (3, 4, 256)), ("tokens0", (1, 0, 256))):
        sparse = g.input("input.sparse." + n, tokens) if tokens[1] else torch.zeros(tokens)
        names = traced if n == "tokens2" else []

        def run(net, dt):
            with torch.no_grad(), rn.Capture(net, names) as c:
                m, iou = net.mask_decoder.predict_masks(image_embeddings=emb.to(dt), image_pe=net.prompt_encoder.get_dense_pe(),
                                                        sparse_prompt_embeddings=sparse.to(dt), dense_prompt_embeddings=dense.to(dt))
            return m.numpy(), iou.numpy(), c.out
        (m32, i32, c32), (m64, i64, c64) = run(net, torch.float32), run(twin, torch.float64)
        g.add(n + ".low_res_logits", m32, m64, 6200); g.add(n + ".iou_predictions", i32, i64)
        for k in c32: g.add(f"{n}.{k}", c32[k], c64[k], 2500)
        g.meta["prompts"][n] = dict(sparse="input.sparse." + n if tokens[1] else "no token", batch=tokens[0], tokens=tokens[1])
    return g


# ---- resizers --------------------------------------------------------------------------------------------------------

RESIZE = {  # input: (kind of pixels, shape, [(h, w), ...]); inputs come from the generator, seed 51, name "resize.<input>"
    "mixed40x30": ("noise", (40, 30, 3), [(15, 80), (80, 15), (40, 15), (10, 15)]),
    "odd31x47": ("noise", (31, 47), [(62, 20), (31, 47), (13, 47), (31, 94), (17, 23)]),
    "binary29x37": ("binary", (29, 37), [(41, 19), (11, 74), (64, 64)]),
    "one1x1": ("noise", (1, 1), [(1, 1), (5, 7), (32, 32)]),
    "rgb1x1": ("noise", (1, 1, 3), [(3, 2)]),
    "row1x50": ("noise", (1, 50), [(1, 20), (1, 111), (3, 100), (7, 9)]),
    "column50x1": ("noise", (50, 1), [(20, 1), (111, 1), (100, 3), (9, 7)]),
    "long3x2000": ("noise", (3, 2000), [(1, 256), (1, 255)]),
    "tall2000x3": ("noise", (2000, 3), [(256, 1), (255, 1)]),
    "thread1x20000": ("noise", (1, 20000), [(1, 256)]),
    "thread20000x1": ("noise", (20000, 1), [(256, 1)]),
    "two32x48": ("noise", (32, 48, 3), [(16, 24), (8, 12), (40, 60)]),
    "two32x48g": ("noise", (32, 48), [(16, 24), (16, 16), (8, 24), (33, 49), (64, 30)]),
    "three33x27": ("noise", (33, 27, 3), [(11, 9), (33, 9)]),
    "three33x27g": ("noise", (33, 27), [(11, 9), (11, 27), (99, 81)]),
    "step90x64": ("noise", (90, 64), [(61, 43), (60, 48), (89, 63)]),
}


def pillow(f): return lambda a, h, w: np.array(Image.fromarray(a).resize((w, h), f))


def opencv(f): return lambda a, h, w: cv2.resize(a, (w, h), interpolation=f)


def pytorch(**kw):
    def call(a, h, w, dtype=torch.float32):
        t = torch.from_numpy(a.astype(np.float32)).to(dtype)
        t = t.permute(2, 0, 1)[None] if a.ndim == 3 else t[None, None]
        r = F.interpolate(t, (h, w), align_corners=False, **kw)[0].numpy()
        return r.transpose(1, 2, 0) if a.ndim == 3 else r[0]
    return call


def skimage_cubic_aa(a, h, w, dtype=np.float32):
    """Before the cast to uint8."""
    return skimage_resize(a, (h, w) + a.shape[2:], order=3, preserve_range=True, anti_aliasing=True).astype(dtype)


RESIZERS = dict(pillow_bilinear=pillow(Image.BILINEAR), pillow_bicubic=pillow(Image.BICUBIC), cv2_area=opencv(cv2.INTER_AREA), cv2_linear=opencv(cv2.INTER_LINEAR), cv2_nearest=opencv(cv2.INTER_NEAREST),
                torch_bilinear=pytorch(mode="bilinear"), torch_bilinear_aa=pytorch(mode="bilinear", antialias=True), torch_bicubic=pytorch(mode="bicubic"), skimage_cubic_aa=skimage_cubic_aa)


@golden
def resize_cases():
    """Resizers at their borders: axes that go opposite ways, sides of 1, extreme shapes, whole factors, black-white edges. Inputs are generated, not stored."""
    g = Golden(51, dict(inputs={k: [v[0], list(v[1])] for k, v in RESIZE.items()}), [])
    for n, (kind, shape, sizes) in RESIZE.items():
        a = (hg.noise_u8 if kind == "noise" else hg.binary_u8)(51, "resize." + n, shape)
        for h, w in sizes:
            for name, resize in RESIZERS.items():
                key = f"{name}.{n}.{h}x{w}"
                if name in ("pillow_bilinear", "cv2_area"): g.t[key] = resize(a, h, w)           # whole: exact to the last bit
                elif name in ("pillow_bicubic", "cv2_linear", "cv2_nearest"):
                    if h * w <= 1000: g.t[key] = resize(a, h, w)
                else: g.add(key, resize(a, h, w), resize(a, h, w, np.float64 if name == "skimage_cubic_aa" else torch.float64), 350)
    return g
