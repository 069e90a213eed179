"""Makes tests/unit/weight_fixtures/ and seeds of the fuzz corpus: small checkpoints as PyTorch really writes them. Run once with PyTorch >= 1.13; nothing in the tests runs it.

Values are formulas, so that the tests hold no tables:  value(name, i) = ((7 i + 13 len(name)) mod 64 - 32) / 64, exact in f16 and bf16; name = Meta's key, i = flat index.
  dtypes_zip.pth, dtypes_legacy.pth   one tensor per type, views, an empty tensor, a Parameter (unit/torch_file_test.cpp lists them);
                                      the legacy format names storages by memory address: its bytes differ from run to run
  training.pth                        wrapper "model", prefix "module.", beside it optimizer state, argparse.Namespace, a numpy scalar, an int
  module.pth                          a whole pickled nn.Module: must be refused
  tiny_sam.whl                        deflated zip with pkg/asset/tiny_sam.pth: a complete SAM of width 8, depth 2, 16 px (patch 4), 16 channels
  tiny_sam_hf_f16.whl                 the same network as model.safetensors under Hugging Face's names, f16, both copies of the position encoding
The Hugging Face names are made by the substring rules of transformers' conversion script, not by the table of the engine.
"""
import argparse, collections, io, json, os, shutil, struct, sys, zipfile
import numpy as np
import torch

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unit", "weight_fixtures")


def value(name, shape):
    n = int(np.prod(shape, dtype=np.int64))
    return (((7 * np.arange(n) + 13 * len(name)) % 64 - 32) / 64).astype(np.float32).reshape(shape)


def tiny_sam_shapes(embed=8, depth=2, heads=2, grid=4, patch=4, mlp=12, out=16, window=14, global_blocks=(1,), dec_mlp=24, iou=20):
    L, d = [], embed // heads
    add = lambda n, *s: L.append((n, tuple(s)))
    wb = lambda n, *s: (add(n + ".weight", *s), add(n + ".bias", s[0]))
    e = "image_encoder."
    add(e + "pos_embed", 1, grid, grid, embed); wb(e + "patch_embed.proj", embed, 3, patch, patch)
    for i in range(depth):
        b = f"{e}blocks.{i}."; r = 2 * (grid if i in global_blocks else window) - 1
        wb(b + "norm1", embed); add(b + "attn.rel_pos_h", r, d); add(b + "attn.rel_pos_w", r, d)
        wb(b + "attn.qkv", 3 * embed, embed); wb(b + "attn.proj", embed, embed); wb(b + "norm2", embed)
        wb(b + "mlp.lin1", mlp, embed); wb(b + "mlp.lin2", embed, mlp)
    add(e + "neck.0.weight", out, embed, 1, 1); wb(e + "neck.1", out); add(e + "neck.2.weight", out, out, 3, 3); wb(e + "neck.3", out)
    p = "prompt_encoder."
    add(p + "pe_layer.positional_encoding_gaussian_matrix", 2, out // 2)
    for i in range(4): add(f"{p}point_embeddings.{i}.weight", 1, out)
    add(p + "not_a_point_embed.weight", 1, out)
    wb(p + "mask_downscaling.0", 4, 1, 2, 2); wb(p + "mask_downscaling.1", 4); wb(p + "mask_downscaling.3", 16, 4, 2, 2)
    wb(p + "mask_downscaling.4", 16); wb(p + "mask_downscaling.6", out, 16, 1, 1); add(p + "no_mask_embed.weight", 1, out)
    m = "mask_decoder."; t = m + "transformer."

    def att(n, inner):
        for k in "qkv": wb(f"{n}.{k}_proj", inner, out)
        wb(n + ".out_proj", out, inner)
    for l in range(2):
        b = f"{t}layers.{l}."
        att(b + "self_attn", out); wb(b + "norm1", out); att(b + "cross_attn_token_to_image", out // 2); wb(b + "norm2", out)
        wb(b + "mlp.lin1", dec_mlp, out); wb(b + "mlp.lin2", out, dec_mlp); wb(b + "norm3", out); wb(b + "norm4", out)
        att(b + "cross_attn_image_to_token", out // 2)
    att(t + "final_attn_token_to_image", out // 2); wb(t + "norm_final_attn", out)
    add(m + "iou_token.weight", 1, out); add(m + "mask_tokens.weight", 4, out)
    wt = lambda n, i, o: (add(n + ".weight", i, o, 2, 2), add(n + ".bias", o))
    wt(m + "output_upscaling.0", out, out // 4); wb(m + "output_upscaling.1", out // 4); wt(m + "output_upscaling.3", out // 4, out // 8)
    for i in range(4):
        for j, (a, b) in enumerate(((out, out), (out, out), (out // 8, out))): wb(f"{m}output_hypernetworks_mlps.{i}.layers.{j}", a, b)
    for j, (a, b) in enumerate(((iou, out), (iou, iou), (4, iou))): wb(f"{m}iou_prediction_head.layers.{j}", a, b)
    return L


def hf_name(n):
    for part, new in (("iou_prediction_head.layers.0", "iou_prediction_head.proj_in"), ("iou_prediction_head.layers.1", "iou_prediction_head.layers.0"),
                      ("iou_prediction_head.layers.2", "iou_prediction_head.proj_out")):
        if part in n: n = n.replace(part, new); break
    if "output_hypernetworks_mlps" in n:
        for part, new in ((".layers.0.", ".proj_in."), (".layers.1.", ".layers.0."), (".layers.2.", ".proj_out.")):
            if part in n: n = n.replace(part, new); break
    for part, new in (("mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"), ("mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"),
                      ("mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"), ("mask_downscaling.0", "mask_embed.conv1"), ("mask_downscaling.1", "mask_embed.layer_norm1"),
                      ("mask_downscaling.3", "mask_embed.conv2"), ("mask_downscaling.4", "mask_embed.layer_norm2"), ("mask_downscaling.6", "mask_embed.conv3"),
                      ("point_embeddings", "point_embed"), ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
                      ("image_encoder", "vision_encoder"), ("neck.0", "neck.conv1"), ("neck.1", "neck.layer_norm1"), ("neck.2", "neck.conv2"), ("neck.3", "neck.layer_norm2"),
                      ("patch_embed.proj", "patch_embed.projection"), (".norm", ".layer_norm"), ("blocks", "layers")):
        n = n.replace(part, new)
    return n


def wheel(name, member, content):
    info = zipfile.ZipInfo(member, (2024, 1, 1, 0, 0, 0)); info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(os.path.join(OUT, name), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        z.writestr(zipfile.ZipInfo("pkg/__init__.py", (2024, 1, 1, 0, 0, 0)), "")
        z.writestr(info, content, compresslevel=9)


def safetensors(tensors):
    head, off = {}, 0
    for n, a in tensors.items():
        head[n] = {"dtype": "F16", "shape": list(a.shape), "data_offsets": [off, off + a.nbytes]}; off += a.nbytes
    j = json.dumps(head, separators=(",", ":")).encode(); j += b" " * (-len(j) % 8)
    return struct.pack("<Q", len(j)) + j + b"".join(a.tobytes() for a in tensors.values())


def main():
    os.makedirs(OUT, exist_ok=True)
    save = lambda name, obj, **kw: torch.save(obj, os.path.join(OUT, name), **kw)
    torch.manual_seed(0)
    base = torch.arange(12, dtype=torch.float32).reshape(4, 3) / 4
    d = collections.OrderedDict(f32=base, f64=torch.tensor([0.5, -1.25, 3.0], dtype=torch.float64), f16=torch.tensor([[1, 2], [3, 4]], dtype=torch.float16),
                                bf16=torch.tensor([1, -2, 3, -4], dtype=torch.bfloat16), i64=torch.tensor(-5), i32=torch.tensor([1, -2], dtype=torch.int32),
                                i16=torch.tensor([3, -4], dtype=torch.int16), i8=torch.tensor([5, -6], dtype=torch.int8), u8=torch.tensor([7, 250], dtype=torch.uint8),
                                bool=torch.tensor([True, False, True]), transposed=base.t(), rows=base[1:3], every_second=base.flatten()[1::2], empty=torch.zeros(0, 4),
                                parameter=torch.nn.Parameter(torch.tensor([8.0, 9.0])))
    save("dtypes_zip.pth", d)
    save("dtypes_legacy.pth", d, _use_new_zipfile_serialization=False)
    save("training.pth", {"epoch": 3, "model": {"module.a": torch.tensor([1.0, 2.0]), "module.b": torch.tensor([3.0])}, "loss": np.float64(0.25),
                          "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "amsgrad": False}]},
                          "args": argparse.Namespace(lr=0.1, name="run", steps=[1, 2])})
    save("module.pth", torch.nn.Linear(2, 3))
    sam = {n: value(n, s) for n, s in tiny_sam_shapes()}
    f = io.BytesIO(); torch.save({n: torch.from_numpy(v) for n, v in sam.items()}, f)
    wheel("tiny_sam.whl", "pkg/asset/tiny_sam.pth", f.getvalue())
    hf = {hf_name(n): v.astype(np.float16) for n, v in sam.items()}
    hf["shared_image_embedding.positional_embedding"] = hf["prompt_encoder.shared_embedding.positional_embedding"].copy()
    wheel("tiny_sam_hf_f16.whl", "model.safetensors", safetensors(hf))
    seeds()


def seeds():
    """Starting inputs of tests/fuzz/{torch_file,safetensors}.cpp."""
    corpus = os.path.join(os.path.dirname(OUT), "..", "fuzz", "corpus")
    for folder in ("torch_file", "safetensors"): os.makedirs(os.path.join(corpus, folder), exist_ok=True)
    for name in ("dtypes_zip.pth", "dtypes_legacy.pth", "training.pth", "tiny_sam_hf_f16.whl"): shutil.copy(os.path.join(OUT, name), os.path.join(corpus, "torch_file", name))
    with zipfile.ZipFile(os.path.join(OUT, "dtypes_zip.pth")) as z:
        pickle = next(n for n in z.namelist() if n.endswith("data.pkl"))
        with open(os.path.join(corpus, "torch_file", "bare.pkl"), "wb") as f: f.write(z.read(pickle))
    types = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
    head, off = {"__metadata__": {"format": "pt", "note": "\u00e9"}}, 0
    for i, (t, n) in enumerate(types.items()):
        head[f"t{i}"] = {"dtype": t, "shape": [2, i % 3], "data_offsets": [off, off + 2 * (i % 3) * n]}; off += 2 * (i % 3) * n
    record = {"version": 1, "family": "sam", "name": "x", "licence": "x", "source": {"file": "x", "sha256": "x", "layout": "meta_sam"}, "converter": "x", "data_sha256": "x",
              "network": {"encoder": "sam_vit", "image_size": 32, "grid": 2, "out_channels": 16, "decoder_mlp": 4, "iou_hidden": 4, "patch": 16, "embed_dim": 4, "depth": 1, "heads": 1,
                          "mlp_dim": 4, "window": 14, "global_blocks": [0]},
              "eps": {"encoder_ln": 1e-6, "decoder_ln": 1e-5, "decoder_final_ln": 1e-5, "ln2d": 1e-6, "bn": 1e-5}, "activation": "gelu_erf",
              "image": {"resize": "pillow_bilinear", "keep_aspect": True, "pad": "right_bottom", "order": "normalise_then_pad", "normalise": "mean_std", "mean": [0, 0, 0], "std": [1, 1, 1]},
              "prompt": {"coordinates": "scale_per_axis", "points": True, "boxes": True, "mask_input": True},
              "mask": {"single": True, "multimask": True, "select": "iou", "upsample": "input_crop_original", "threshold": 0}}
    contract = {"__metadata__": {"sampan.contract": json.dumps(record)}, "image_encoder.pos_embed": {"dtype": "U8", "shape": [1, 2, 2, 4], "data_offsets": [0, 16]}}
    names = {n: {"dtype": "U8", "shape": [0] * len(s), "data_offsets": [0, 0]} for n, s in tiny_sam_shapes()[:12]}
    for name, h, size in (("types", head, off), ("contract", contract, 16), ("names", names, 0), ("empty", {}, 0)):
        j = json.dumps(h, separators=(",", ":")).encode()
        with open(os.path.join(corpus, "safetensors", name), "wb") as f: f.write(struct.pack("<Q", len(j)) + j + bytes(size))
    with open(os.path.join(corpus, "safetensors", "record.json"), "w") as f: f.write(json.dumps(record))


if __name__ == "__main__":
    sys.exit(main())
