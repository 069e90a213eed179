"""H-SAM at 224 and 512 px: SAM's decoder with another order in its blocks, and a second decoder under the guidance of the first one's masks. Own code from the published formulas, Apache-2.0.

What: build_hsam -> net as refnets.py's, with .mask_decoder2; decoders_shapes, class_logits. Where: cases_blocks.py. Around the modules of segment-anything 1.0; nothing is copied, and nothing
here shares code with the engine. The attention among class features is run in full, though its last softmax is over one value.
Not here: LoRA (cases_classes.py), pre- and post-processing.
"""
import math, types

import torch
import torch.nn.functional as F
from torch import nn

import hashgen as hg
import refblocks as rb
import refnets as rn
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.transformer import Attention

CLASSES, TOKENS, WIDE = 9, 196, 1024        # written into the published code, the last two for norms that are never used


def decoders_shapes(grid):
    """Prompt encoder and both decoders: what the published file holds in full. Layers among class features have grid * grid values."""
    n = grid * grid
    L = hg.decoder_shapes(masks=CLASSES)
    m = "mask_decoder2."

    def att(n, c, inner):
        for k in "qkv": L.wb(f"{n}.{k}_proj", inner, c)
        L.wb(n + ".out_proj", c, inner)

    def wt(n, i, o): L.one(n + ".weight", i, o, 2, 2); L.one(n + ".bias", o)
    L.one(m + "mask_tokens.weight", CLASSES, 256)
    for l in range(2):
        b = f"{m}transformer2.layers.{l}."
        att(b + "self_attn", 256, 256)
        for place in ("cross_attn_token_to_image", "cross_attn_image_to_token"):
            att(b + place, 256, 256)
            for i, width in enumerate((TOKENS, CLASSES, WIDE)): L.wb(f"{b}{place}.norm{i + 1}", width)
        for i in range(1, 5): L.wb(f"{b}norm{i}", 256)
        L.wb(b + "mlp.lin1", 2048, 256); L.wb(b + "mlp.lin2", 256, 2048)
    att(m + "transformer2.final_attn_token_to_image", 256, 128); L.wb(m + "transformer2.norm_final_attn", 256)
    wt(m + "output_upscaling.0", 256, 64); L.wb(m + "output_upscaling.1", 64); wt(m + "output_upscaling.3", 64, 32)
    wt(m + "skip_connect.0", 64, 32); L.wb(m + "skip_connect.1", 32); wt(m + "skip_connect.3", 32, 16); L.wb(m + "skip_connect.4", 16)
    for i in range(CLASSES):
        for j, o in enumerate((256, 256, 256, 256, 16)): L.wb(f"{m}output_hypernetworks_mlps2.{i}.layers.{j}", o, 256)
    for j, o in enumerate((256, 256, CLASSES)): L.wb(f"{m}iou_prediction_head.layers.{j}", o, 256)
    att(m + "self_attn", n, n); att(m + "self_attn2", n, n)
    L.wb(m + "norm1", n); L.wb(m + "norm2", n); L.wb(m + "mlp.lin1", 2048, n); L.wb(m + "mlp.lin2", n, 2048); L.wb(m + "med_sel.0", 1, CLASSES)
    return L


def image_first(l, queries, keys, query_pe, key_pe):
    """SAM's block with the tokens' two attentions in the other order."""
    q = l.norm2(queries + l.cross_attn_token_to_image(q=queries + query_pe, k=keys + key_pe, v=keys))
    if l.skip_first_layer_pe: q = l.self_attn(q=q, k=q, v=q)
    else: q = q + l.self_attn(q=q + query_pe, k=q + query_pe, v=q)
    q = l.norm1(q)
    q = l.norm3(q + l.mlp(q))
    return q, l.norm4(keys + l.cross_attn_image_to_token(q=keys + key_pe, k=q + query_pe, v=q))


class Guided(nn.Module):
    """SAM's attention at full width; weights behind the softmax times `guide`. Its three norms are never used."""

    def __init__(self):
        super().__init__()
        for k in ("q_proj", "k_proj", "v_proj", "out_proj"): setattr(self, k, nn.Linear(256, 256))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(TOKENS), nn.LayerNorm(CLASSES), nn.LayerNorm(WIDE)

    def forward(self, q, k, v, guide):
        split = lambda t: t.reshape(*t.shape[:2], 8, 32).transpose(1, 2)
        q, k, v = split(self.q_proj(q)), split(self.k_proj(k)), split(self.v_proj(v))
        a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(32), -1) * guide[:, None]
        return self.out_proj((a @ v).transpose(1, 2).flatten(2))


class Lin2(nn.Module):
    def __init__(self, c, hidden):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(c, hidden), nn.Linear(hidden, c)

    def forward(self, x): return self.lin2(F.relu(self.lin1(x)))


def second_decoder(grid):
    n = grid * grid
    layers = nn.ModuleList(rb.part(self_attn=Attention(256, 8), cross_attn_token_to_image=Guided(), cross_attn_image_to_token=Guided(), norm1=nn.LayerNorm(256), norm2=nn.LayerNorm(256),
                                   norm3=nn.LayerNorm(256), norm4=nn.LayerNorm(256), mlp=Lin2(256, 2048)) for _ in range(2))
    up = lambda i, o: nn.ConvTranspose2d(i, o, 2, 2)
    return rb.part(mask_tokens=nn.Embedding(CLASSES, 256), transformer2=rb.part(layers=layers, final_attn_token_to_image=Attention(256, 8, downsample_rate=2), norm_final_attn=nn.LayerNorm(256)),
                   output_upscaling=nn.Sequential(up(256, 64), LayerNorm2d(64), nn.GELU(), up(64, 32), nn.GELU()),
                   skip_connect=nn.Sequential(up(64, 32), LayerNorm2d(32), nn.GELU(), up(32, 16), LayerNorm2d(16), nn.GELU()),
                   output_hypernetworks_mlps2=nn.ModuleList(MLP(256, 256, 16, 5) for _ in range(CLASSES)), iou_prediction_head=MLP(256, 256, CLASSES, 3),
                   self_attn=Attention(n, 7 if grid == 14 else 8), self_attn2=Attention(n, 7 if grid == 14 else 8), norm1=nn.LayerNorm(n), norm2=nn.LayerNorm(n), mlp=Lin2(n, 2048),
                   med_sel=nn.Sequential(nn.Linear(CLASSES, 1), nn.ReLU()))


def build_hsam(**sam):
    net = rn.build_sam(**sam)
    net.mask_decoder = rb.decoder(CLASSES - 1)
    for l in net.mask_decoder.transformer.layers: l.forward = types.MethodType(image_first, l)
    net.mask_decoder2 = second_decoder(sam["img"] // 16)
    return net


@torch.no_grad()
def class_logits(net, emb):
    """(1, 9, side, side): the mean of both decoders' logits at the input's size."""
    one, two = net.mask_decoder, net.mask_decoder2
    _, dense = net.prompt_encoder(points=None, boxes=None, masks=None)
    pe, src, g = net.prompt_encoder.get_dense_pe(), emb + dense, emb.shape[-1]
    hs, keys = one.transformer(src, pe, torch.cat([one.iou_token.weight, one.mask_tokens.weight])[None])
    tokens = hs[:, 1:]
    features = tokens @ keys.transpose(1, 2)
    up = one.output_upscaling(keys.transpose(1, 2).reshape(src.shape))
    heads = torch.stack([m(tokens[:, i]) for i, m in enumerate(one.output_hypernetworks_mlps)], 1)
    first = (heads @ up.flatten(2)).reshape(1, CLASSES, *up.shape[2:])

    guide = torch.softmax(F.interpolate(first, (g, g), mode="bilinear", align_corners=False), 1).flatten(2)
    f = two.norm1(two.self_attn(q=features, k=features, v=features))
    f = two.self_attn2(q=f, k=f, v=f)
    f = two.norm2(f + two.mlp(f))
    f = torch.softmax(two.med_sel(f.transpose(1, 2)).transpose(1, 2).reshape(1, 1, g, g), 1)
    keys, pe = (t.flatten(2).transpose(1, 2) for t in (src + src * f, pe))
    start = q = two.mask_tokens.weight[None]
    for i, l in enumerate(two.transformer2.layers):
        q = l.norm2(q + l.cross_attn_token_to_image(q + start, keys + pe, keys, guide))
        q = l.norm1(l.self_attn(q=q, k=q, v=q) if i == 0 else q + l.self_attn(q=q + start, k=q + start, v=q))
        q = l.norm3(q + l.mlp(q))
        keys = l.norm4(keys + l.cross_attn_image_to_token(keys + pe, q + start, q, guide.transpose(1, 2)))
    t = two.transformer2
    q = t.norm_final_attn(q + t.final_attn_token_to_image(q=q + start, k=keys + pe, v=keys))
    fine = two.skip_connect(torch.cat([two.output_upscaling(keys.transpose(1, 2).reshape(src.shape)), up], 1))
    heads = torch.stack([m(q[:, i]) for i, m in enumerate(two.output_hypernetworks_mlps2)], 1)
    second = (heads @ fine.flatten(2)).reshape(1, CLASSES, *fine.shape[2:])
    return (F.interpolate(first, second.shape[2:], mode="bilinear", align_corners=False) + second) / 2
