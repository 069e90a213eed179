"""Goldens of SAM-HQ. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between refhq.py / refpipes.py and make_goldens.py. `hq_features` is what the decoder keeps per image.
"""
import torch

import hashgen as hg
import refhq as rh
import refnets as rn
import refpipes as rp
from golden_file import Golden, encode, golden, image, prompt_case


def hq_case(g, net, pixels, captures, prompts, embedding, logits, features):
    twin = rn.doubled(net)
    assert twin.mask_decoder.source[0] is twin.image_encoder
    h, w = pixels.shape[:2]
    _, x, new = rp.sam_prep(pixels, net.input_size)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, captures, embedding)

    @torch.no_grad()
    def kept(n, e): return (n.mask_decoder.embedding_encoder(e) + n.mask_decoder.compress_vit_feat(n.image_encoder.early[0].permute(0, 3, 1, 2))).numpy()
    g.add("hq_features", kept(net, e32), kept(twin, e64), features)
    known = rp.sam_prompts(h, w, g.seed, net.grid)
    for n in prompts:
        own = n.endswith("_hq_token")
        p = known[n.removesuffix("_hq_token")]
        net.mask_decoder.hq_token_only = twin.mask_decoder.hq_token_only = own
        o32, o64 = rp.sam_predict(net, e32, new, (h, w), **p), rp.sam_predict(twin, e64, new, (h, w), **p)
        g.meta["prompts"][n] = prompt_case(g, n, dict(p, hq_token_only=True) if own else p, o32, o64, logits, 400)


@golden
def sam_hq_tiny160():
    """SAM-HQ around a small ViT: the map behind block 1 (the first of two global ones), every kind of prompt's masks with the own token's added, and that token's alone."""
    sam = dict(embed=64, depth=4, heads=2, img=160, global_blocks=(1, 3))
    shapes = hg.Shapes(hg.sam_shapes(**sam) + rh.hq_shapes(sam["embed"]))
    g = Golden(71, dict(family="sam_vit", profile="sam_hq", window=14, mlp=256, decoder="hq", **{k: list(v) if isinstance(v, tuple) else v for k, v in sam.items()}), shapes)
    net = rn.load_hash(rh.build_sam_hq(**sam), 71, shapes)
    hq_case(g, net, image(g, hg.phantom_rgb(100, 140), "phantom_rgb(100,140)"), {f"image_encoder.blocks.{i}": 2000 for i in range(4)}, ["box", "box_points2", "box_mask", "point1_multi", "box_hq_token", "box_multi_hq_token"],
            4000, 1000, 6000)
    return g


@golden
def light_hq_small():
    """Light HQ-SAM: a TinyViT of small widths at 1024 px, the map behind layer 1 and its downsample."""
    c = dict(dims=(16, 32, 32, 320), depths=(1, 1, 1, 1), heads=(1, 1, 1, 10), windows=(7, 7, 14, 7))
    shapes = hg.Shapes(hg.tinyvit_shapes(stem=3, classes=1000, **c) + hg.decoder_shapes() + rh.hq_shapes(c["dims"][2]))
    g = Golden(72, dict(family="tiny_vit", profile="sam_hq_tiny", stem="3x3_s2", img=1024, decoder="hq", **c), shapes)
    net = rn.load_hash(rh.build_tiny_hq(**c), 72, shapes)
    hq_case(g, net, image(g, hg.phantom_rgb(110, 150), "phantom_rgb(110,150)"), {"image_encoder.layers.1": 1500, "image_encoder.layers.3": 1500}, ["box", "point1_multi"], 4000, 1000, 6000)
    return g
