"""Reference networks of the light 2D family: EfficientSAM, EfficientViT-SAM, EdgeSAM. Own code from the published formulas, Apache-2.0.

What: build_efficient_vit_sam() around the encoder of the PyPI package efficientsam 1.0.0 (mit-han-lab/efficientvit); build_efficient_sam() -> torch.nn.Module with image_encoder, prompt_encoder, mask_decoder under the project's tensor names (weights/maps/efficient_sam.hpp maps the
      publisher's), and EfficientPipe, its pre- and post-processing.
Where: cases_light.py. Nothing is copied, and nothing here shares code with the engine; the position encoding is segment-anything's.
Not here: weights (hashgen.py).
"""
import math, sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import refnets as rn  # noqa: F401  (makes segment_anything importable)
import refpipes as rp
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom


def neck(width, out=256):
    return nn.Sequential(nn.Conv2d(width, out, 1, bias=False), LayerNorm2d(out), nn.Conv2d(out, out, 3, padding=1, bias=False), LayerNorm2d(out))


# ---- EfficientSAM ----------------------------------------------------------------------------------------------------

class Mlp(nn.Module):
    def __init__(self, c, hidden):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(c, hidden), nn.Linear(hidden, c)

    def forward(self, x): return self.lin2(F.gelu(self.lin1(x)))


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt d) v over all h w tokens; rows of qkv: q of all heads, k of all heads, v of all heads."""

    def __init__(self, c, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x):
        b, h, w, c = x.shape
        q, k, v = self.qkv(x).view(b, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        p = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(c // self.heads), -1)
        return self.proj((p @ v).transpose(1, 2).reshape(b, h, w, c))


class VitBlock(nn.Module):
    window_size = 0

    def __init__(self, c, heads, hidden):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(c, eps=1e-6), nn.LayerNorm(c, eps=1e-6)
        self.attn, self.mlp = SelfAttention(c, heads), Mlp(c, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PlainVit(nn.Module):
    """pos_embed (1, 1 + g0^2, c): without the class row, bicubic to the grid of the input."""

    def __init__(self, embed, depth, heads, mlp, pos_grid, patch=16):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + pos_grid ** 2, embed))
        self.patch_embed = nn.Sequential()
        self.patch_embed.add_module("proj", nn.Conv2d(3, embed, patch, patch))
        self.blocks = nn.ModuleList(VitBlock(embed, heads, mlp) for _ in range(depth))
        self.neck = neck(embed)

    def forward(self, x):
        x = self.patch_embed(x)
        g0 = math.isqrt(self.pos_embed.shape[1] - 1)
        table = self.pos_embed[:, 1:].view(1, g0, g0, -1).permute(0, 3, 1, 2)
        x = (x + F.interpolate(table, x.shape[-2:], mode="bicubic", align_corners=False)).permute(0, 2, 3, 1)
        for b in self.blocks: x = b(x)
        return self.neck(x.permute(0, 3, 1, 2))


class Tokens(nn.Module):
    """Labels 1 (object), 2 and 3 (box corners), 0 (nothing added), -1 (no_point added to the encoding, not instead of it)."""

    def __init__(self, size, grid, c=256):
        super().__init__()
        self.size, self.grid = size, grid
        self.pe_layer = PositionEmbeddingRandom(c // 2)
        self.point_embeddings = nn.ModuleDict({str(i): nn.Embedding(1, c) for i in (1, 2, 3)})
        self.not_a_point_embed = nn.Embedding(1, c)

    def get_dense_pe(self): return self.pe_layer((self.grid, self.grid))[None]

    def forward(self, points, labels):
        """points (n, 2) in pixels of the input; -> (6, c)"""
        six, kinds = torch.full((6, 2), -1.0, dtype=points.dtype), [-1] * 6
        six[:len(points)], kinds[:len(labels)] = points, labels
        e = self.pe_layer.forward_with_coords((six + 0.5)[None], (self.size, self.size))[0]
        return torch.stack([t + self.not_a_point_embed.weight[0] if k < 0 else t + self.point_embeddings[str(k)].weight[0] if k > 0 else t for t, k in zip(e, kinds)])


class Attend(nn.Module):
    def __init__(self, c, inner, heads=8):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = nn.Linear(c, inner), nn.Linear(c, inner), nn.Linear(c, inner), nn.Linear(inner, c)

    def forward(self, q, k, v):
        q, k, v = (f(x).view(len(x), self.heads, -1).transpose(0, 1) for f, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v)))
        p = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), -1)
        return self.out_proj((p @ v).transpose(0, 1).flatten(1))


class TwoWayLayer(nn.Module):
    """EfficientSAM's: the self-attention has a residual in both layers; in the second, the encoding is added to the queries for good."""

    def __init__(self, c, hidden, first):
        super().__init__()
        self.first = first
        self.self_attn, self.cross_attn_token_to_image, self.cross_attn_image_to_token = Attend(c, c), Attend(c, c // 2), Attend(c, c // 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(c) for _ in range(4))
        self.mlp = Mlp(c, hidden)

    def forward(self, q, k, qpe, kpe):
        if not self.first: q = q + qpe
        q = self.norm1(q + self.self_attn(q, q, q))
        q = self.norm2(q + self.cross_attn_token_to_image(q + qpe, k + kpe, k))
        q = self.norm3(q + self.mlp(q))
        return q, self.norm4(k + self.cross_attn_image_to_token(k + kpe, q + qpe, q))


class TwoWay(nn.Module):
    def __init__(self, c, hidden):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(c, hidden, i == 0) for i in range(2))
        self.final_attn_token_to_image, self.norm_final_attn = Attend(c, c // 2), nn.LayerNorm(c)

    def forward(self, tokens, k, kpe):
        q = tokens
        for layer in self.layers: q, k = layer(q, k, tokens, kpe)
        return self.norm_final_attn(q + self.final_attn_token_to_image(q + tokens, k + kpe, k)), k


class Head(nn.Module):
    def __init__(self, c, hidden, out):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(c, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)])

    def forward(self, x): return self.layers[2](F.gelu(self.layers[1](F.gelu(self.layers[0](x)))))


class GeluDecoder(nn.Module):
    def __init__(self, c=256, hidden=2048, iou_hidden=256):
        super().__init__()
        self.iou_token, self.mask_tokens, self.transformer = nn.Embedding(1, c), nn.Embedding(4, c), TwoWay(c, hidden)
        self.output_upscaling = nn.Sequential(nn.ConvTranspose2d(c, c // 4, 2, 2), nn.GroupNorm(1, c // 4), nn.GELU(), nn.ConvTranspose2d(c // 4, c // 8, 2, 2), nn.GELU())
        self.output_hypernetworks_mlps = nn.ModuleList(Head(c, c, c // 8) for _ in range(4))
        self.iou_prediction_head = Head(c, iou_hidden, 4)

    def forward(self, embedding, pe, sparse, multi):
        rows = lambda m: m[0].flatten(1).t()
        q, k = self.transformer(torch.cat([self.iou_token.weight, self.mask_tokens.weight, sparse]), rows(embedding), rows(pe))
        up = self.output_upscaling(k.t().view_as(embedding))[0]
        masks = torch.stack([torch.einsum("c,chw->hw", head(q[1 + i]), up) for i, head in enumerate(self.output_hypernetworks_mlps)])
        kept = slice(1, 4) if multi else slice(0, 1)
        return masks[kept], self.iou_prediction_head(q[0])[kept]


# ---- EdgeSAM ---------------------------------------------------------------------------------------------------------

class ConvBn(nn.Sequential):
    def __init__(self, i, o, k=1, stride=1, groups=1):
        super().__init__()
        self.add_module("c", nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(o))


class Branches(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv, self.conv1 = ConvBn(c, c, 3, groups=c), ConvBn(c, c, 1, groups=c)

    def forward(self, x): return self.conv(x) + self.conv1(x) + x


class Excite(nn.Module):
    """A quarter of the channels, rounded to a multiple of 8 and never below it."""

    def __init__(self, c):
        super().__init__()
        hidden = max(8, int(c * 0.25 + 4) // 8 * 8)
        self.fc1, self.fc2 = nn.Conv2d(c, hidden, 1), nn.Conv2d(hidden, c, 1)

    def forward(self, x): return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Residual(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, x): return x + self.m(x)


class RepVitBlock(nn.Module):
    def __init__(self, i, o, halves, excite):
        super().__init__()
        gate = Excite(i) if excite else nn.Identity()
        self.token_mixer = nn.Sequential(ConvBn(i, i, 3, 2, groups=i), gate, ConvBn(i, o)) if halves else nn.Sequential(Branches(i), gate)
        self.channel_mixer = Residual(nn.Sequential(ConvBn(o, 2 * o), nn.GELU(), ConvBn(2 * o, o)))

    def forward(self, x): return self.channel_mixer(self.token_mixer(x))


class RepVit(nn.Module):
    def __init__(self, widths, depths, se_blocks):
        super().__init__()
        blocks, before, self.ends = [nn.Sequential(ConvBn(3, widths[0] // 2, 3, 2), nn.GELU(), ConvBn(widths[0] // 2, widths[0], 3, 2))], widths[0], []
        for stage, (c, depth) in enumerate(zip(widths, depths)):
            for i in range(depth):
                blocks.append(RepVitBlock(before, c, stage > 0 and i == 0, len(blocks) - 1 in se_blocks))
                before = c
            self.ends.append(len(blocks) - 1)
        self.features = nn.ModuleList(blocks)
        self.fuse_stage2 = nn.Conv2d(widths[2], 256, 1, bias=False)
        self.fuse_stage3 = nn.Module()
        self.fuse_stage3.op_list = nn.ModuleList([nn.Conv2d(widths[3], 256, 1, bias=False)])
        self.neck = neck(256)

    def forward(self, x):
        maps = []
        for f in self.features:
            x = f(x)
            maps.append(x)
        up = F.interpolate(self.fuse_stage3.op_list[0](maps[self.ends[3]]), scale_factor=2, mode="bicubic", align_corners=False)
        return self.neck(self.fuse_stage2(maps[self.ends[2]]) + up)


def build_edge_sam(widths, depths, se_blocks, img): return rn._whole(RepVit(widths, depths, se_blocks), img, img // 16)


# ---- EfficientViT-SAM ------------------------------------------------------------------------------------------------

LARGE = dict(block_list=None, expand_list=None, fewer_norm_list=None)
EXTRA_LARGE = dict(block_list=["res", "fmb", "fmb", "fmb", "att@3", "att@3"], expand_list=[1, 4, 4, 4, 4, 6], fewer_norm_list=[False] * 4 + [True] * 2)


def build_efficient_vit_sam(kind, widths, depths, head_width, head_depth, grid, prompt):
    """The package's backbone and neck in free sizes, SAM's decoder in a frame of `prompt` px; eps 1e-6 everywhere, as its builder sets it."""
    for name in ("Compose", "ToTensor", "Normalize"): setattr(sys.modules["torchvision.transforms"], name, None)
    from efficientsam.models.efficientvit.backbone import EfficientViTLargeBackbone
    from efficientsam.models.efficientvit.sam import EfficientViTSamImageEncoder, SamNeck
    from efficientsam.models.nn.norm import set_norm_eps
    from efficientsam.models.nn.ops import UpSampleLayer
    large = kind == "large"
    backbone = EfficientViTLargeBackbone(list(widths), list(depths), **(LARGE if large else EXTRA_LARGE))
    last = len(widths) - 1
    enc = EfficientViTSamImageEncoder(backbone, SamNeck([f"stage{last - i}" for i in range(3)], [widths[last - i] for i in range(3)], head_width, head_depth, 1 if large else 4, "fmb"))
    for m in enc.modules():
        if isinstance(m, UpSampleLayer): m.size = [grid, grid]        # the package writes 64 into the code
    net = rn._whole(enc, prompt, grid)
    set_norm_eps(net, 1e-6)
    return net


def shapes_of(net): return [(k, tuple(v.shape)) for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")]


class FramedPipe:
    """SAM's path, the image shown at `size` px, prompts and masks in the frame of net.input_size."""

    def __init__(self, size): self.size = size

    def prep(self, img, frame): return rp.sam_prep(img, self.size)[1], rp.sam_prep(img, frame)[2]

    def predict(self, net, emb, new, old, **p): return rp.sam_predict(net, emb, new, old, **p)


def build_efficient_sam(embed, depth, heads, img, mlp, pos_grid):
    net = nn.Module()
    net.image_encoder, net.prompt_encoder, net.mask_decoder = PlainVit(embed, depth, heads, mlp, pos_grid), Tokens(img, img // 16), GeluDecoder()
    net.input_size, net.grid = img, img // 16
    return net


class EfficientPipe:
    """Floats in [0, 1], stretched bilinearly; six tokens; logits bicubic to the image's size."""

    def prep(self, img, size):
        t = F.interpolate(torch.from_numpy(rp.three(img).astype(np.float32) / 255).permute(2, 0, 1)[None], (size, size), mode="bilinear", align_corners=False)
        return (t - rp.MEAN / 255) / (rp.STD / 255), None

    @torch.no_grad()
    def predict(self, net, emb, place, old, points=(), labels=(), box=None, multi=False):
        p, kinds = np.array(list(points) + ([box[:2], box[2:]] if box else []), np.float64), list(labels) + ([2, 3] if box else [])
        p = np.where(p >= 0, p * net.input_size / np.array([old[1], old[0]]), -1.0)
        sparse = net.prompt_encoder(torch.as_tensor(p, dtype=torch.float32).to(emb.dtype), kinds)
        masks, iou = net.mask_decoder(emb, net.prompt_encoder.get_dense_pe(), sparse, multi)
        full = F.interpolate(masks[None], old, mode="bicubic", align_corners=False)[0]
        return sparse.numpy(), masks.numpy(), iou.numpy(), full.numpy()
