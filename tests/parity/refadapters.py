"""Reference modules of SAM's fine-tunes: adapters in the encoder's blocks, LoRA at run time, decoders of classes. Own code from the published formulas, Apache-2.0.

What: build_adapted() -> a SAM of refnets.py whose blocks run as SAM-Med2D, finetune-SAM or Medical SAM Adapter run them.
Where: cases_finetunes.py. Around the modules of segment-anything 1.0; nothing is copied, and nothing here shares code with the engine.
Not here: pre- and post-processing (refpipes.py), weights (hashgen.py).
"""
import types

import torch
import torch.nn.functional as F
from torch import nn

import refnets as rn
from segment_anything.modeling.image_encoder import window_partition, window_unpartition


class GateConv(nn.Module):
    """SAM-Med2D: g = sigmoid(W2 ReLU(W1 mean_hw(n))); s = ReLU(ConvT(ReLU(Conv(g n)))); LayerNorm over channels of n + s, eps 1e-5. n: (B, H, W, C)"""

    def __init__(self, c, hidden):
        super().__init__()
        self.channel = nn.Sequential(nn.Linear(c, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, c, bias=False), nn.Sigmoid())
        self.spatial = nn.Sequential(nn.Conv2d(c, c, 3, 2, 1, bias=False), nn.ReLU(), nn.ConvTranspose2d(c, c, 4, 2, 1, bias=False), nn.ReLU())
        self.norm = nn.LayerNorm(c)

    def forward(self, n):
        gate = self.channel(n.mean((1, 2)))
        s = self.spatial((n * gate[:, None, None]).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.norm(n + s)


class Bottleneck(nn.Module):
    """up(GELU(down(x)))"""

    def __init__(self, c, hidden):
        super().__init__()
        self.D_fc1, self.D_fc2 = nn.Linear(c, hidden), nn.Linear(hidden, c)

    def forward(self, x): return self.D_fc2(F.gelu(self.D_fc1(x)))


def med2d_block(b, x):
    x = x + attend(b, x)
    n = b.norm2(x)
    return x + b.mlp(n) + b.Adapter(n)


def bottleneck_block(b, x):
    a = attend(b, x)
    x = x + a + b.Space_Adapter(a)
    n = b.norm2(x)
    return x + b.mlp(n) + 0.5 * b.MLP_Adapter(n)


def attend(b, x):
    """SAM's order (norm, then windows), or with pads_before_norm Medical SAM Adapter's (windows of the map itself, then the norm)."""
    before = getattr(b, "pads_before_norm", False)
    y = x if before else b.norm1(x)
    if b.window_size: y, padded = window_partition(y, b.window_size)
    if before: y = b.norm1(y)
    y = b.attn(y)
    return window_unpartition(y, b.window_size, padded, x.shape[1:3]) if b.window_size else y


def build_adapted(kind, hidden, hook_blocks, pads_before_norm=False, **sam):
    net = rn.build_sam(**sam)
    for i, b in enumerate(net.image_encoder.blocks):
        b.pads_before_norm = pads_before_norm
        run = lambda b, x: bottleneck_free(b, x)
        if i in hook_blocks and kind == "conv_adapter": b.Adapter, run = GateConv(sam["embed"], hidden), med2d_block
        elif i in hook_blocks: b.Space_Adapter, b.MLP_Adapter, run = Bottleneck(sam["embed"], hidden), Bottleneck(sam["embed"], hidden), bottleneck_block
        b.forward = types.MethodType(run, b)
    return net


def bottleneck_free(b, x):
    x = x + attend(b, x)
    return x + b.mlp(b.norm2(x))
