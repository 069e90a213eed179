"""Goldens of networks that put something into or around SAM's blocks (refblocks.py, refhsam.py). Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between refblocks.py / refpipes.py and make_goldens.py.
The tensors have the names of the published files, so that the test also shows that these files are recognised.
"""
import numpy as np
import torch
from scipy.ndimage import zoom

import hashgen as hg
import refblocks as rb
import refhsam as rh
import refnets as rn
import refpipes as rp
from cases_classes import add_lora, lora_shapes, via_224
from cases_finetunes import piped
from golden_file import TIE, Golden, encode, golden, image

E = "image_encoder."


def config(profile, sam, **more):
    c = dict(family="sam_vit", profile=profile, as_published=True, window=14, **{k: list(v) if isinstance(v, tuple) else v for k, v in sam.items()}, **more)
    c.setdefault("mlp", 4 * sam["embed"])
    return c


def low_res_labels(g, l32, l64, size):
    """The largest class of the low-res logits, to an image of `size` (height, width) by the nearest pixel of scipy's zoom."""
    g.add("low_res_logits", l32.numpy(), l64.numpy(), 3000)
    two = np.sort(l64[0].numpy(), 0)[-2:]
    back = lambda a: zoom(a, (size[0] / a.shape[0], size[1] / a.shape[1]), order=0)
    g.t["labels"] = back(torch.argmax(l32, 1)[0].numpy()).astype(np.uint8)
    g.meta["classes"] = dict(pixels=np.bincount(g.t["labels"].ravel(), minlength=l32.shape[1]).tolist(), near_tie_pixels=int(back((two[1] - two[0] <= TIE).astype(np.int64)).sum()))


@golden
def finetune_sam_tiny128():
    """finetune-SAM: bottlenecks in the encoder's first and last block and in both two-way blocks, four classes behind token 0, labels at 32 px."""
    sam, own = dict(embed=64, depth=3, heads=2, img=128, global_blocks=(1,)), dict(classes=4, hidden=20, layers=2, encoder_hidden=16, hook_blocks=(0, 2))
    shapes = rb.finetune_shapes(**own, **sam)
    g = Golden(91, config("finetune_sam", sam, classes=4), shapes)
    net = rn.load_hash(rb.build_finetune(**own, **sam), 91, shapes)
    twin = rn.doubled(net)
    pixels = image(g, hg.phantom_rgb(70, 100), "phantom_rgb(70,100)")
    x, _ = rp.PillowStretched().prep(pixels, 128)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, {E + "blocks.0": 1500, E + "blocks.2": 1500}, 3000)
    low_res_labels(g, rb.later_tokens(net, e32), rb.later_tokens(twin, e64), pixels.shape[:2])
    return g


@golden
def finetune_sam_tinyvit128():
    """finetune-SAM on MobileSAM's encoder (small widths, pads in every attention layer): bottlenecks in the first two-way block, five classes behind token 0, labels at 32 px."""
    tiny, own, img = dict(dims=(16, 32, 48, 320), depths=(1, 1, 2, 1), heads=(1, 1, 3, 10), windows=(7, 7, 14, 7)), dict(classes=5, hidden=12, layers=1), 128
    shapes = hg.Shapes(hg.tinyvit_shapes(stem=3, classes=1000, **tiny) + rb.class_decoder_shapes(**own))
    g = Golden(98, dict(family="tiny_vit", profile="finetune_sam_tiny", stem="3x3_s2", img=img, **own, **{k: list(v) for k, v in tiny.items()}), shapes)
    net = rn.load_hash(rb.build_finetune_tiny(img=img, **own, **tiny), 98, shapes)
    twin = rn.doubled(net)
    pixels = image(g, hg.phantom_rgb(70, 100), "phantom_rgb(70,100)")
    x, _ = rp.PillowStretched().prep(pixels, img)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, {E + "layers.1": 1500, E + "layers.3": 1500}, 3000)
    low_res_labels(g, rb.later_tokens(net, e32), rb.later_tokens(twin, e64), pixels.shape[:2])
    return g


@golden
def sam_adapter_tiny128():
    """SAM-Adapter: high frequencies and patches as a prompt before each block, by the blocks' outputs; one mask without a prompt."""
    sam = dict(embed=64, depth=2, heads=2, img=128, global_blocks=(1,))
    shapes = rb.sam_adapter_shapes(6, **sam)
    g = Golden(92, config("sam_adapter", sam), shapes)
    unused = ("point_embeddings", "not_a_point", "mask_downscaling")
    net = rb.load_named(rb.build_sam_adapter(6, **sam), 92, shapes, rb.bare_prompt, unused)
    piped(g, net, image(g, hg.phantom_rgb(70, 100), "phantom_rgb(70,100)"), rp.PillowStretched(), {E + "blocks.0": 3000, E + "blocks.1": 3000}, ["none"], embedding=3000)
    return g


@golden
def autosam_tiny128():
    """AutoSAM: three classes with two mask tokens each as a batch over one image, a float image through 256 px, labels at 32 px."""
    sam = dict(embed=64, depth=2, heads=2, img=128, global_blocks=(1,))
    shapes = rb.autosam_shapes(3, **sam)
    g = Golden(93, config("autosam", sam, classes=3), shapes)
    net = rb.load_named(rb.build_autosam(3, **sam), 93, shapes, rb.bare_prompt, ("prompt_encoder.",))
    twin = rn.doubled(net)
    pixels = image(g, hg.phantom_rgb(70, 100), "phantom_rgb(70,100)")
    x = rb.two_steps(pixels, 128)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, {E + "blocks.1": 1500}, 3000)
    low_res_labels(g, rb.first_masks(net, e32), rb.first_masks(twin, e64), pixels.shape[:2])
    return g


def autosam_head(seed, depth, profile, top=64):
    sam = dict(embed=64, depth=2, heads=2, img=128, global_blocks=(1,))
    shapes = rb.plain_head_shapes(3, depth, top, **sam)
    g = Golden(seed, config(profile, sam, classes=3), shapes)
    net = rb.load_named(rb.build_plain_head(3, depth, top, **sam), seed, shapes, unused=("prompt_encoder.",))
    twin = rn.doubled(net)
    pixels = image(g, hg.phantom_rgb(70, 100), "phantom_rgb(70,100)")
    x = rb.two_steps(pixels, 128)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, {E + "blocks.1": 1500}, 3000)
    low_res_labels(g, rb.head_maps(net, e32), rb.head_maps(twin, e64), pixels.shape[:2])
    return g


@golden
def autosam_linear_tiny128():
    """AutoSAM's linear head: SAM's upscaling and two 1x1 convolutions, a ReLU behind the last; labels at 32 px."""
    return autosam_head(104, 0, "autosam_linear")


@golden
def autosam_cnn_tiny128():
    """AutoSAM's CNN head of four blocks, as its builder makes it but ending in 16 channels instead of 64: two blocks that halve the channels, two that also double the map; labels at 32 px."""
    return autosam_head(101, 4, "autosam_cnn", 16)


def hsam(seed, sam, stored, pixels):
    """Base file with tables of `stored` px, LoRA in each block, both decoders."""
    base, decoders = hg.sam_encoder_shapes(stored_img=stored, **sam), rh.decoders_shapes(sam["img"] // 16)
    shapes = hg.Shapes(base + lora_shapes(sam["depth"], sam["embed"]) + decoders)
    g = Golden(seed, dict(config("hsam", sam, classes=9, stored_img=stored), as_published=False), shapes)
    net, _ = rn.load_resized(rh.build_hsam(**sam), seed, hg.Shapes(base + decoders))
    add_lora(net, seed, shapes)
    twin = rn.doubled(net)
    image(g, pixels, "phantom_gray(%d,%d)" % pixels.shape)
    x = torch.from_numpy(via_224(pixels.astype(np.float32) / 255, sam["img"])).float()[None, None].repeat(1, 3, 1, 1)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, {E + "blocks.1": 1500}, 3000)
    low_res_labels(g, rh.class_logits(net, e32), rh.class_logits(twin, e64), pixels.shape)
    return g


@golden
def hsam_tiny224():
    """H-SAM: a base file of 256 px run at 224, LoRA in each block, nine classes; the tokens' attentions in its order, the second decoder under the first one's masks, the mean of both at 224 px,
    labels back to 70 x 100."""
    return hsam(97, dict(embed=32, depth=2, heads=1, img=224, global_blocks=(1,)), 256, hg.phantom_gray(70, 100))


@golden
def hsam_tiny512():
    """H-SAM at 512 px: class features of 1024 values; a slice through 224 px, windows of 14 in a grid of 32, the mean of both decoders at 512 px."""
    return hsam(99, dict(embed=32, depth=2, heads=1, img=512, global_blocks=(1,)), 256, hg.phantom_gray(70, 100))


@golden
def samus_tiny64():
    """SAMUS: a grey image, overlapping patches, learned positions from a table of twice the grid, two global blocks that attend to the branch; clicks."""
    sam, own = dict(embed=64, depth=3, heads=2, img=128, global_blocks=(1, 2)), dict(hidden=16, pos_grid=16)
    shapes = rb.samus_shapes(**own, **sam)
    g = Golden(94, config("samus", sam, **own), shapes)
    net = rn.load_hash(rb.build_samus(**own, **sam), 94, shapes)
    piped(g, net, image(g, hg.phantom_gray(70, 100), "phantom_gray(70,100)"), rp.Ultrasound(), {E + f"blocks.{i}": 1500 for i in range(3)}, ["point1", "points3"], embedding=3000, twin=rb.bind_samus(rn.doubled(net)))
    return g


@golden
def autosamus_tiny64():
    """AutoSAMUS: seven object tokens that meet the decoder's tokens and the image, softmax with one more in its denominator; one mask without a prompt."""
    sam, own = dict(embed=64, depth=2, heads=2, img=128, global_blocks=(1,)), dict(hidden=16, pos_grid=16)
    shapes = rb.autosamus_shapes(7, **own, **sam)
    g = Golden(96, config("autosamus", sam, objects=7, **own), shapes)
    net = rn.load_hash(rb.build_autosamus(7, **own, **sam), 96, shapes)
    piped(g, net, image(g, hg.phantom_gray(70, 100), "phantom_gray(70,100)"), rp.Ultrasound(), {E + "blocks.1": 1500}, ["none"], embedding=3000, twin=rb.bind_autosamus(rn.doubled(net)))
    return g


@golden
def desam_tiny64():
    """DeSAM: maps behind three of four global blocks through a U-Net, the transformer's image side fused in; a click and a box; all of it again from a saved embedding."""
    sam = dict(embed=64, depth=5, heads=2, img=64, global_blocks=(0, 1, 3, 4))
    shapes = rb.desam_shapes(**sam)
    g = Golden(95, config("desam", sam), shapes)
    net = rn.load_hash(rb.build_desam(**sam), 95, shapes)
    twin = rb.bind_desam(rn.doubled(net))
    piped(g, net, image(g, hg.phantom_rgb(70, 100), "phantom_rgb(70,100)"), rp.Plain(), {E + "blocks.3": 1500}, ["point1", "box"], embedding=3000, twin=twin)
    with torch.no_grad():
        # one after another, as channels-last memory, seen as a map of four times the grid in PyTorch's order
        flat = lambda n: torch.cat([rb.last(m)[0].reshape(-1) for m in rb.context_maps(n.mask_decoder)]).reshape(1, 16, 16, 112).permute(0, 3, 1, 2).contiguous().numpy()
        g.add("pimm_features", flat(net), flat(twin), 3000)
    return g
