"""Goldens of SAM's fine-tunes: networks with adapters, and pipelines of their own around a plain SAM. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between refadapters.py / refpipes.py and make_goldens.py.
Not here: SAM itself (cases_networks.py), MedSAM and LiteMedSAM (cases_medical.py).
"""
import hashlib

import numpy as np

import hashgen as hg
import refadapters as ra
import refnets as rn
import refpipes as rp
from golden_file import Golden, encode, golden, image, masks, prompt_case


def piped(g, net, pixels, pipe, captures, prompts, embedding=8000, logits=1300, full=800, twin=None):
    """Image -> embedding -> prompts, with a pipeline of refpipes.py."""
    twin = twin or rn.doubled(net)
    h, w = pixels.shape[:2]
    x, place = pipe.prep(pixels, net.input_size)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, captures, embedding)
    known = rp.sam_prompts(h, w, g.seed, net.grid)
    for n in prompts:
        p = known[n]
        o32, o64 = pipe.predict(net, e32, place, (h, w), **p), pipe.predict(twin, e64, place, (h, w), **p)
        g.meta["prompts"][n] = prompt_case(g, n, p, o32, o64, logits, full)


def adapted(seed, profile, kind, hidden, hook_blocks, pads_before_norm=False, **sam):
    shapes = hg.adapted_shapes(kind, hidden, hook_blocks, **sam)
    config = dict(family="sam_vit", window=14, profile=profile, hook=kind, hook_hidden=hidden, hook_blocks=list(hook_blocks), **{k: list(v) if isinstance(v, tuple) else v for k, v in sam.items()})
    config.setdefault("mlp", 4 * sam["embed"])
    if pads_before_norm: config["pads"] = "before_norm"
    g = Golden(seed, config, shapes)
    return g, rn.load_hash(ra.build_adapted(kind, hidden, hook_blocks, pads_before_norm, **sam), seed, shapes)


MED2D = dict(kind="conv_adapter", hidden=16, hook_blocks=(0, 1), embed=64, depth=2, heads=2, img=256, global_blocks=(1,))
E = "image_encoder."


@golden
def sam_med2d_tiny256():
    """SAM-Med2D's predictor: an adapter in each block (also by its own output), 256 px by OpenCV's nearest without keeping the aspect, masks 64 -> 256 -> image."""
    g, net = adapted(61, "sam_med2d", **MED2D)
    captures = {E + "blocks.0.Adapter": 3000, E + "blocks.0": 3000, E + "blocks.1.Adapter": 3000, E + "blocks.1": 3000}
    piped(g, net, image(g, hg.phantom_rgb(190, 301), "phantom_rgb(190,301)"), rp.Med2d(), captures, ["box", "box_points2", "box_mask", "point1_multi"])
    return g


@golden
def sam_med2d_eval_small():
    """SAM-Med2D's evaluation script on an image that is small in both sides: channels in BGR order, centred among zeros, masks cropped from the middle."""
    g, net = adapted(62, "sam_med2d_eval", **MED2D)
    piped(g, net, image(g, hg.phantom_rgb(99, 150), "phantom_rgb(99,150)"), rp.Med2d(evaluation=True), {E + "blocks.1": 2000}, ["box", "point1_multi"], embedding=4000)
    return g


@golden
def sam_bottleneck_tiny160():
    """finetune-SAM's encoder: bottlenecks behind the attention and beside the MLP, in the first and the last block of three."""
    g, net = adapted(63, "sam", "bottleneck", 24, (0, 2), embed=64, depth=3, heads=2, img=160, global_blocks=(1,))
    piped(g, net, image(g, hg.phantom_rgb(100, 140), "phantom_rgb(100,140)"), rp.Plain(), {E + f"blocks.{i}": 2000 for i in range(3)}, ["box", "point1_multi"], embedding=4000)
    return g


@golden
def sam_msa_tiny160():
    """Medical SAM Adapter's encoder: the same places, but windows are cut before the norm, so that missing tokens become the norm's bias."""
    g, net = adapted(64, "sam", "bottleneck", 16, (0, 1), pads_before_norm=True, embed=64, depth=2, heads=2, img=160, global_blocks=(1,))
    piped(g, net, image(g, hg.phantom_rgb(100, 140), "phantom_rgb(100,140)"), rp.Plain(), {E + f"blocks.{i}": 2000 for i in range(2)}, ["box"], embedding=4000)
    return g


@golden
def scribbleprompt_tiny128():
    """ScribblePrompt-SAM's image path (grey, resized as floats without antialias) and a scribble of sixty clicks, three masks."""
    g, net, shapes = plain(65, embed=64, depth=2, heads=2, img=128, global_blocks=(1,))
    g.meta["config"]["profile"] = "scribbleprompt"
    pixels = image(g, hg.phantom_gray(190, 301), "phantom_gray(190,301)")
    pipe = rp.Scribble()
    twin = rn.doubled(net)
    x, place = pipe.prep(pixels, 128)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, {}, 4000)
    line = [[60.0 + 2 * i, 40.0 + i] for i in range(60)]
    for n, p in dict(scribble=dict(points=line, labels=[1] * 40 + [0] * 20, multi=True), box_multi=dict(box=[50.0, 30.0, 220.0, 150.0], multi=True)).items():
        o32, o64 = pipe.predict(net, e32, place, pixels.shape[:2], **p), pipe.predict(twin, e64, place, pixels.shape[:2], **p)
        for k, a, b, budget in zip((".sparse", ".low_res_logits", ".iou_predictions", ".full_logits"), o32, o64, (2000, 1300, 0, 800)): g.add(n + k, a, b, budget)
        g.meta["prompts"][n] = dict(p, **masks(g, n, o32[3], o64[3]))
    return g


@golden
def slimsam_head14():
    """SlimSAM-77's proportions: head width 14 (168 / 12), which is a multiple of nothing; MLP 4 * 168 + 24."""
    g, net, shapes = plain(66, embed=42, depth=2, heads=3, img=256, global_blocks=(1,), mlp=174)
    piped(g, net, image(g, hg.phantom_rgb(100, 140), "phantom_rgb(100,140)"), rp.Plain(), {E + f"blocks.{i}": 2000 for i in range(2)}, ["box"], embedding=4000)
    return g


def plain(seed, **c):
    shapes = hg.sam_shapes(**c)
    config = dict(family="sam_vit", window=14, **{k: list(v) if isinstance(v, tuple) else v for k, v in c.items()})
    config.setdefault("mlp", 4 * c["embed"])
    return Golden(seed, config, shapes), rn.load_hash(rn.build_sam(**c), seed, shapes), shapes
