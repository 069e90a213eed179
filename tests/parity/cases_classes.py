"""Goldens of SAMs without prompts, one token per class. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between refnets.py and make_goldens.py. LoRA is added at run time here, from its formula; sampan folds it.
"""
import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import zoom
from segment_anything.modeling import MaskDecoder, TwoWayTransformer

import hashgen as hg
import refnets as rn
from golden_file import Golden, TIE, encode, golden, image


class LoraQkv(torch.nn.Module):
    """SAMed's layer: q and v get B (A x) of their own."""

    def __init__(self, qkv, aq, bq, av, bv):
        super().__init__()
        self.qkv = qkv
        for n, v in zip(("aq", "bq", "av", "bv"), (aq, bq, av, bv)): setattr(self, n, torch.nn.Parameter(torch.from_numpy(v)))

    def forward(self, x):
        y = self.qkv(x)
        c = x.shape[-1]
        y[..., :c] += x @ self.aq.t() @ self.bq.t()
        y[..., 2 * c:] += x @ self.av.t() @ self.bv.t()
        return y


def lora_shapes(depth, embed, rank=4):
    L = hg.Shapes()
    for i in range(2 * depth): L.one(f"w_a_{i:03}", rank, embed); L.one(f"w_b_{i:03}", embed, rank)
    return L


def add_lora(net, seed, shapes):
    """Into every block of the encoder, from the file's tensors."""
    shapes = dict(shapes)
    for i, b in enumerate(net.image_encoder.blocks):
        v = lambda letter, k: hg.values(seed, f"w_{letter}_{2 * i + k:03}", shapes[f"w_{letter}_{2 * i + k:03}"])
        b.attn.qkv = LoraQkv(b.attn.qkv, v("a", 0), v("b", 0), v("a", 1), v("b", 1))
    return net


def via_224(a, side):
    """SAMed's test script: floats, to 224 and from there to the input."""
    for s in (224, side):
        if a.shape != (s, s): a = zoom(a, (s / a.shape[0], s / a.shape[1]), order=3)
    return a


@torch.no_grad()
def all_tokens(net, emb):
    """Every token's logits without a prompt: the script's forward with its slice of tokens commented out."""
    sp, de = net.prompt_encoder(points=None, boxes=None, masks=None)
    return net.mask_decoder.predict_masks(image_embeddings=emb, image_pe=net.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sp.to(emb.dtype), dense_prompt_embeddings=de)[0]


@golden
def samed_tiny128():
    """SAMed: a base file of 256 px run at 128, LoRA in each block, six tokens, a grey slice through 224 x 224, argmax at 128 px, labels back to 301 x 190."""
    c = dict(embed=64, depth=2, heads=2, img=128, global_blocks=(1,))
    classes = 6
    base = hg.sam_encoder_shapes(stored_img=256, **c)
    tuned = hg.Shapes(lora_shapes(c["depth"], c["embed"]) + hg.decoder_shapes(masks=classes))
    shapes = hg.Shapes(base + tuned)
    g = Golden(81, dict(family="sam_vit", profile="samed", window=14, mlp=256, classes=classes, stored_img=256, **{k: list(v) if isinstance(v, tuple) else v for k, v in c.items()}), shapes)
    net = rn.build_sam(**c)
    net.mask_decoder = MaskDecoder(num_multimask_outputs=classes - 1, transformer_dim=256, iou_head_depth=3, iou_head_hidden_dim=256, transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8))
    net, _ = rn.load_resized(net, 81, hg.Shapes(base + hg.decoder_shapes(masks=classes)))
    add_lora(net, 81, shapes)
    twin = rn.doubled(net)
    pixels = image(g, hg.phantom_gray(301, 190), "phantom_gray(301,190)")
    x = torch.from_numpy(via_224(pixels.astype(np.float32) / 255, c["img"])).float()[None, None].repeat(1, 3, 1, 1)
    g.add("input", x.numpy(), None, 3000)
    e32, e64 = encode(g, net, twin, x, {f"image_encoder.blocks.{i}": 2000 for i in range(2)}, 4000)
    l32, l64 = all_tokens(net, e32), all_tokens(twin, e64)
    g.add("low_res_logits", l32.numpy(), l64.numpy(), 3000)
    up32, up64 = (F.interpolate(l, (c["img"],) * 2, mode="bilinear", align_corners=False)[0].numpy() for l in (l32, l64))
    labels = torch.argmax(torch.softmax(torch.from_numpy(up32), 0), 0).numpy()
    two = np.sort(up64, 0)[-2:]
    near = two[1] - two[0] <= TIE
    back = lambda a: zoom(a, (301 / c["img"], 190 / c["img"]), order=0)
    g.t["labels"] = back(labels).astype(np.uint8)
    g.meta["classes"] = dict(pixels=np.bincount(g.t["labels"].ravel(), minlength=classes).tolist(), near_tie_pixels=int(back(near.astype(np.int64)).sum()))
    return g
