"""SAM-HQ's networks (package segment-anything-hq 0.3) in the form that refpipes.py calls: an encoder that gives the embedding, a decoder with SAM's arguments.

What: build_sam_hq, build_tiny_hq -> net; hq_shapes -> the decoder's further tensors. Where: between hashgen.py and cases_hq.py. Nothing is copied. Own code, Apache-2.0.
The encoder keeps its early map for the decoder. multimask gives all three masks, each with the mask of SAM-HQ's token added; the package gives the best of them, which is asserted.
"""
import types

import torch

import hashgen as hg
import refnets as rn  # first: it makes the package importable without torchvision and timm
from segment_anything_hq.modeling import ImageEncoderViT, MaskDecoderHQ, TinyViT, TwoWayTransformer


def hq_shapes(early, c=256):
    L, m = hg.Shapes(), "mask_decoder."
    L.one(m + "hf_token.weight", 1, c)
    for j, (a, b) in enumerate(((c, c), (c, c), (c // 8, c))): L.wb(f"{m}hf_mlp.layers.{j}", a, b)

    def up(n, i, mid):
        L.one(n + ".0.weight", i, mid, 2, 2); L.one(n + ".0.bias", mid); L.wb(n + ".1", mid); L.one(n + ".3.weight", mid, c // 8, 2, 2); L.one(n + ".3.bias", c // 8)
    up(m + "compress_vit_feat", early, c); up(m + "embedding_encoder", c, c // 4)
    L.wb(m + "embedding_maskfeature.0", c // 4, c // 8, 3, 3); L.wb(m + "embedding_maskfeature.1", c // 4); L.wb(m + "embedding_maskfeature.3", c // 8, c // 4, 3, 3)
    return L


def _keep_early(enc, x):
    y, early = type(enc).forward(enc, x)
    enc.early = early
    return y


def _as_sam(net):
    """forward of the decoder with SAM's arguments; `hq_token_only` is an attribute of the decoder."""
    dec, enc = net.mask_decoder, net.image_encoder

    def forward(dec, image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, multimask_output):
        args = dict(image_embeddings=image_embeddings, image_pe=image_pe, sparse_prompt_embeddings=sparse_prompt_embeddings, dense_prompt_embeddings=dense_prompt_embeddings)
        early = dec.source[0].early
        published, score = type(dec).forward(dec, **args, multimask_output=multimask_output, hq_token_only=dec.hq_token_only, interm_embeddings=early)
        if not multimask_output: return published, score
        hq = dec.embedding_encoder(image_embeddings) + dec.compress_vit_feat(early[0].permute(0, 3, 1, 2))
        masks, iou = dec.predict_masks(**args, hq_features=hq)
        three, iou = masks[:, 4:] if dec.hq_token_only else masks[:, 1:4] + masks[:, 4:], iou[:, 1:4]
        best = int(iou[0].argmax())
        assert torch.equal(score[0, 0], iou[0, best]) and torch.equal(published[0, 0], three[0, min(best, three.shape[1] - 1)])
        return three.expand(-1, 3, -1, -1), iou
    dec.forward, dec.hq_token_only, dec.source = types.MethodType(forward, dec), False, (enc,)  # a tuple: no submodule
    return net


def _whole(enc, img, grid, early):
    enc.forward = types.MethodType(_keep_early, enc)
    net = rn._whole(enc, img, grid)
    net.mask_decoder = MaskDecoderHQ(num_multimask_outputs=3, transformer_dim=256, iou_head_depth=3, iou_head_hidden_dim=256, vit_dim=early,
                                     transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8))
    return _as_sam(net)


def build_sam_hq(embed, depth, heads, img, global_blocks):
    enc = ImageEncoderViT(depth=depth, embed_dim=embed, img_size=img, mlp_ratio=4, norm_layer=lambda n: torch.nn.LayerNorm(n, eps=1e-6), num_heads=heads, patch_size=16, qkv_bias=True,
                          use_rel_pos=True, global_attn_indexes=global_blocks, window_size=14, out_chans=256)
    return _whole(enc, img, img // 16, embed)


def build_tiny_hq(dims, depths, heads, windows):
    """1024 px: the package writes the 64x64 grid into its code."""
    enc = TinyViT(img_size=1024, in_chans=3, num_classes=1000, embed_dims=list(dims), depths=list(depths), num_heads=list(heads), window_sizes=list(windows), mlp_ratio=4., drop_rate=0.,
                  drop_path_rate=0., use_checkpoint=False, mbconv_expand_ratio=4., local_conv_size=3, layer_lr_decay=0.8)
    return _whole(enc, 1024, 64, dims[2])
