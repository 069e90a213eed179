"""Goldens of whole networks: SAM's ViT in free sizes, TinyViT small and as MobileSAM. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between refnets.py / refpipes.py and make_goldens.py.
Not here: real weights and medical pipelines (cases_medical.py), single modules and resizers (cases_modules.py).
"""
import os

import numpy as np
import torch
import torch.nn.functional as F

import hashgen as hg
import refnets as rn
import refpipes as rp
from PIL import Image

from golden_file import Golden, encode, golden, image, sam_case

ALL_PROMPTS = ["point1", "points3", "box", "box_points2", "box_mask", "point1_multi", "box_multi", "none"]


def sam_net(seed, **c):
    shapes = hg.sam_shapes(**c)
    config = dict(family="sam_vit", window=14, **{k: list(v) if isinstance(v, tuple) else v for k, v in c.items()})
    config.setdefault("mlp", 4 * c["embed"])
    return Golden(seed, config, shapes), rn.build_sam(**c), shapes


# ---- SAM's ViT -------------------------------------------------------------------------------------------------------

@golden
def sam_tiny128_trace():
    """Every module of two blocks, the first windowed (grid 8 padded to one window of 14), the second global; MLP width 160."""
    g, net, shapes = sam_net(11, embed=64, depth=2, heads=2, img=128, global_blocks=(1,), mlp=160)
    rn.load_hash(net, 11, shapes)
    e = "image_encoder."
    captures = {e + "patch_embed": 0}
    for i in range(2):
        for m, budget in ((".norm1", 1100), (".attn.qkv", 6200), (".attn", 0), (".norm2", 1100), (".mlp.lin1", 5200), (".mlp", 2100), ("", 0)): captures[f"{e}blocks.{i}{m}"] = budget
    for i in range(3): captures[f"{e}neck.{i}"] = 2100
    sam_case(g, net, image(g, hg.phantom_rgb(75, 55), "phantom_rgb(75,55)"), captures, ["box", "point1_multi"], logits=2100)
    return g


@golden
def sam_tiny256():
    """256 px: grid 16, windows pad it to 28 (2x2 windows); head width 64; every kind of prompt."""
    g, net, shapes = sam_net(12, embed=128, depth=2, heads=2, img=256, global_blocks=(1,))
    rn.load_hash(net, 12, shapes)
    e = "image_encoder."
    captures = {e + "patch_embed": 3000, e + "blocks.0.attn": 8200, e + "blocks.0": 4000, e + "blocks.1.attn": 4000, e + "blocks.1": 4000}
    sam_case(g, net, image(g, hg.phantom_gray(100, 140), "phantom_gray(100,140)"), captures, ALL_PROMPTS, embedding=9000, logits=1100, full=800)
    return g


@golden
def sam_tiny224():
    """224 px: grid 14, so every table has 27 rows and a window is the whole grid; nothing in the file tells global from windowed."""
    g, net, shapes = sam_net(13, embed=96, depth=2, heads=3, img=224, global_blocks=(1,))
    rn.load_hash(net, 13, shapes)
    e = "image_encoder."
    sam_case(g, net, image(g, hg.phantom_gray(140, 100), "phantom_gray(140,100)"), {e + "blocks.0": 4000, e + "blocks.1": 4000}, ["points3", "box"], embedding=8000, logits=1600, full=800)
    return g


@golden
def sam_head80():
    """Head width 80 as in ViT-H (no power of two), an MLP narrower than the embedding (100), grid 10."""
    g, net, shapes = sam_net(14, embed=160, depth=2, heads=2, img=160, global_blocks=(1,), mlp=100)
    rn.load_hash(net, 14, shapes)
    e = "image_encoder."
    captures = {f"{e}blocks.{i}{m}": 4000 for i in range(2) for m in (".attn", "")}
    sam_case(g, net, image(g, hg.phantom_gray(100, 140), "phantom_gray(100,140)"), captures, ["box_multi"], embedding=8000, logits=1600, full=800)
    return g


def tables(seed, **c):
    g, net, shapes = sam_net(seed, **c)
    net, resized = rn.load_resized(net, seed, shapes)
    # the network's own interpolation at run time must give what the load gave: the two rules of sam.md section 9 are the same rule
    for k, v in resized.items():
        if "rel_pos" in k:
            own = F.interpolate(torch.from_numpy(hg.values(seed, k, dict(shapes)[k])).t()[None], v.shape[0], mode="linear")[0].t().numpy()
            assert np.abs(own - v).max() < 1e-6
        g.add("resized." + k, v, resize_table64(hg.values(seed, k, dict(shapes)[k]), v.shape), 4096)
    e = "image_encoder."
    sam_case(g, net, image(g, hg.phantom_gray(100, 140), "phantom_gray(100,140)"), {e + "blocks.0": 4000, e + "blocks.1": 4000}, ["box"], embedding=8000, logits=1600, full=800)
    return g


def resize_table64(a, shape):
    """The same table resize in float64."""
    t = torch.from_numpy(a).double()
    if t.dim() == 4: return F.interpolate(t.permute(0, 3, 1, 2), shape[1:3], mode="bilinear", align_corners=False).permute(0, 2, 3, 1).numpy()
    return F.interpolate(t[None, None], tuple(shape), mode="bilinear", align_corners=False)[0, 0].numpy()


@golden
def sam_tables_64_to_16():
    """A file made for 1024 px run at 256 px: pos_embed 64x64 -> 16x16, global rel_pos 127 -> 31 rows."""
    return tables(15, embed=64, depth=2, heads=2, img=256, global_blocks=(1,), stored_img=1024)


@golden
def sam_tables_12_to_20():
    """Upwards and not a whole factor: a file made for 192 px run at 320 px, pos_embed 12 -> 20, rel_pos 23 -> 39 rows."""
    return tables(16, embed=64, depth=2, heads=2, img=320, global_blocks=(1,), stored_img=192)


# ---- TinyViT ---------------------------------------------------------------------------------------------------------

def tinyvit_case(seed, stem, img, dims, depths, heads, thin_to, image_recipe):
    """Every module of a small TinyViT with its 320-wide last layer (the width decides the stride before it), and one box through the decoder."""
    windows = (7, 7, 14, 7)
    shapes = hg.Shapes(hg.tinyvit_shapes(dims, depths, heads, windows, stem, 1000 if stem == 3 else 0) + hg.decoder_shapes())
    first = img // 4 if stem == 3 else img
    grids = [first, first // 2, first // 4, first // 4]
    g = Golden(seed, dict(family="tiny_vit", stem="3x3_s2" if stem == 3 else "1x1_s1", dims=dims, depths=depths, heads=heads, windows=windows, img=img, grids=grids), shapes)
    net = rn.load_hash(rn._whole(rn.build_tinyvit(stem, dims, depths, heads, windows, img), img, grids[-1]), seed, shapes)
    e = "image_encoder."
    names = [e + "patch_embed.seq.0", e + "patch_embed"]
    for l in range(4):
        for b in range(depths[l]):
            n = f"{e}layers.{l}.blocks.{b}"
            names += [n + m for m in ((".conv1", ".conv2", ".conv3", "") if l == 0 else (".attn.norm", ".attn.qkv", ".attn", ".local_conv", ".mlp", ""))]
        if l < 3: names += [f"{e}layers.{l}.downsample{m}" for m in (".conv1", ".conv2", "")]
    names += [f"{e}neck.{i}" for i in range(3)]
    twin = rn.doubled(net)
    x = g.input("input.image", (1, 3, img, img), **image_recipe)
    captures = {n: thin_to if n.endswith((".norm", ".qkv", ".conv1", ".conv2", ".conv3", "seq.0", "neck.0", "neck.1", "neck.2")) else 4 * thin_to for n in names}
    e32, e64 = encode(g, net, twin, x, captures, 0)
    box = np.array([img * .2, img * .25, img * .7, img * .8], np.float32)
    o32, o64 = rp.decode(net, e32, box=box, multi=True), rp.decode(twin, e64, box=box, multi=True)
    for k, a, b in zip((".sparse", ".low_res_logits", ".iou_predictions"), o32, o64): g.add("box_multi" + k, a.numpy(), b.numpy())
    g.meta["prompts"]["box_multi"] = dict(box_model_pixels=[float(v) for v in box], multi=True)
    return g


@golden
def tinyvit_stem3x3():
    """MobileSAM's stem at 64 px: grids 16, 8, 4, 4, so windows pad everywhere (layer 1 has 2x2 windows). The file has the unused head."""
    return tinyvit_case(21, 3, 64, (32, 64, 64, 320), (1, 1, 2, 1), (1, 2, 2, 10), 800, dict(add=0.0, scale=2.0))


@golden
def tinyvit_stem1x1():
    """LiteMedSAM's stem at 28 px: grids 28, 14, 7, 7: 2x2 windows without pads, one padded window, one exact window; input in [0, 1]."""
    return tinyvit_case(22, 1, 28, (16, 32, 32, 320), (2, 1, 2, 1), (1, 1, 1, 10), 600, dict(add=0.5, scale=0.5))


def mobile_sam(seed, pixels_of, captures, budgets):
    c = rn.TINYVIT_5M
    shapes = hg.Shapes(hg.tinyvit_shapes(stem=3, classes=1000, **c) + hg.decoder_shapes())
    g = Golden(seed, dict(family="tiny_vit", stem="3x3_s2", img=1024, grids=[256, 128, 64, 64], **c), shapes)
    net = rn.load_hash(rn.build_mobile_sam(), seed, shapes)
    sam_case(g, net, pixels_of(g), captures, ALL_PROMPTS, **budgets)
    return g


STAGES = {"image_encoder." + n: 3000 for n in ("patch_embed", "layers.0", "layers.1", "layers.2", "layers.3")}


@golden
def mobile_sam_s0114_111():
    """MobileSAM whole (TinyViT-5M, 1024 px) on a CT slice of the shared data folder; landscape, padded below."""
    path = os.path.join(os.environ.get("SAMPAN_SHARED_DATA", ""), "images", "sammed2d", "images", "s0114_111.png")
    pixels = lambda g: image(g, np.array(Image.open(path).convert("RGB")), "shared data: images/sammed2d/images/s0114_111.png")
    return mobile_sam(1, pixels, STAGES, dict(embedding=9000, logits=1100, full=800))


@golden
def mobile_sam_phantom():
    """MobileSAM whole on an image that the golden holds itself; portrait, padded right, three different channels; blocks too."""
    blocks = {f"image_encoder.layers.{n}": 1500
              for n in ("0.blocks.0", "0.blocks.1", "0.downsample", "1.blocks.0.attn", "1.blocks.1", "1.downsample",
                        "2.blocks.0.attn", "2.blocks.5", "2.downsample", "3.blocks.0.attn", "3.blocks.0")}
    pixels = lambda g: image(g, hg.phantom_rgb(150, 110), "phantom_rgb(150,110)")
    return mobile_sam(23, pixels, {**STAGES, **blocks}, dict(embedding=9000, logits=1100, full=800))
