"""Reproducible random weights, inputs and images for the parity tests; numpy only. Licence: Apache-2.0 (own code of the project).

What: a value depends only on (seed, tensor name, flat index), so Python and C++ make the same float32 bit for bit and no weight file is stored.
Where: make_goldens.py fills PyTorch's networks from here; the C++ tests repeat the same rule (it is the specification) and compare with goldens/.
Not here: torch, reference networks (refnets.py), pre- and post-processing (refpipes.py).

  key(seed, name) = fnv1a64(utf8(str(seed) + ":" + name))           offset 0xcbf29ce484222325, prime 0x100000001b3
  h(i)            = mix(key + i mod 2^64)                            i = flat row-major index, 0-based
  mix(x)          : x += 0x9E3779B97F4A7C15; x = (x ^ x>>30) * 0xBF58476D1CE4E5B9; x = (x ^ x>>27) * 0x94D049BB133111EB; x ^= x>>31   (splitmix64)
  u(i)            = (h >> 40) / 2^23 - 1                             in [-1, 1), exact in float32
  value(i)        = (float32)(add + scale * u)                       add, scale, product and sum in float64, one rounding at the end

rule(name, shape) -> (add, scale), first match wins:
  name ends with            add  scale
  running_var               1    0.25
  running_mean              0    0.1
  rel_pos_{d,h,w}           0    0.2
  pos_embed                 0    0.02
  attention_biases          0    0.5
  positional_encoding_gaussian_matrix  0  1
  name contains             point_embeddings | not_a_point_embed | no_mask_embed | iou_token | mask_tokens | hf_token
                            0    0.5
  1-D and ends ".weight"    1    0.1      (LayerNorm, LayerNorm2d, BatchNorm)
  1-D                       0    0.02     (biases)
  transposed convolution    0    sqrt(3 / (shape[0] * overlap))   names: output_upscaling.{0,3}.weight (overlap 1), Adapter.spatial.2.weight (overlap 4)
  everything else           0    sqrt(3 / (shape[1]*shape[2]*...))
"num_batches_tracked" is not generated (write int64 0 or leave it out).

Additions of this copy (the rule above is unchanged):
  f32_input(seed, name, shape, add, scale)   value(i) with the add and scale that the golden's metadata `inputs` states
  noise_u8(seed, name, shape)                floor((u + 1) * 128), 0..255
  binary_u8(seed, name, shape)               255 where u >= 0, else 0
  phantom_gray, phantom_rgb                  integer formulas below; the goldens that use them store the pixels
  sam_shapes(..., mlp=, stored_img=)         free MLP width; tables of another input size than the network's
  tinyvit_shapes, decoder_shapes             MobileSAM and LiteMedSAM key names
  sam_med3d_shapes                           SAM-Med3D key names
"""
import json, math, os, struct, sys
import numpy as np

M64 = (1 << 64) - 1


def fnv1a64(text):
    h = 0xcbf29ce484222325
    for b in text.encode():
        h = ((h ^ b) * 0x100000001b3) & M64
    return h


def uniform(seed, name, n, start=0):
    """n values u(start..start+n-1) as float64."""
    x = np.arange(start, start + n, dtype=np.uint64)
    x += np.uint64((fnv1a64(f"{seed}:{name}") + 0x9E3779B97F4A7C15) & M64)
    x ^= x >> np.uint64(30); x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27); x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31); x >>= np.uint64(40)
    return x.astype(np.float64) / 8388608.0 - 1.0


def rule(name, shape):
    if name.endswith("running_var"): return 1.0, 0.25
    if name.endswith("running_mean"): return 0.0, 0.1
    if name.endswith(("rel_pos_d", "rel_pos_h", "rel_pos_w")): return 0.0, 0.2
    if name.endswith("pos_embed"): return 0.0, 0.02
    if name.endswith("attention_biases"): return 0.0, 0.5
    if name.endswith("positional_encoding_gaussian_matrix"): return 0.0, 1.0
    if any(k in name for k in ("point_embeddings", "not_a_point_embed", "no_mask_embed", "iou_token", "mask_tokens", "hf_token")): return 0.0, 0.5
    if len(shape) == 1: return (1.0, 0.1) if name.endswith(".weight") else (0.0, 0.02)
    if name.endswith(("output_upscaling.0.weight", "output_upscaling.3.weight")): return 0.0, math.sqrt(3.0 / shape[0])
    if name.endswith("Adapter.spatial.2.weight"): return 0.0, math.sqrt(3.0 / (shape[0] * 4))
    return 0.0, math.sqrt(3.0 / math.prod(shape[1:]))


def fill(seed, name, shape, add, scale, chunk=1 << 21):
    n = math.prod(shape)
    out = np.empty(n, np.float32)
    for o in range(0, n, chunk):          # chunks: the float64 temporaries of a 100 MB tensor would not fit small machines
        m = min(chunk, n - o)
        out[o:o + m] = add + scale * uniform(seed, name, m, o)
    return out.reshape(shape)


def values(seed, name, shape):
    return fill(seed, name, shape, *rule(name, shape))


def f32_input(seed, name, shape, add=0.0, scale=1.0):
    return fill(seed, name, shape, add, scale)


def noise_u8(seed, name, shape):
    return np.floor((uniform(seed, name, math.prod(shape)) + 1) * 128).astype(np.uint8).reshape(shape)


def binary_u8(seed, name, shape):
    return np.where(uniform(seed, name, math.prod(shape)) >= 0, 255, 0).astype(np.uint8).reshape(shape)


def phantom_gray(h, w):
    """uint8 HxW: two ramps, an inverted ellipse in the middle; smooth with one edge, like a slice of soft tissue."""
    y, x = np.mgrid[:h, :w]
    base = (x * 255 // (w - 1) + y * 255 // (h - 1)) // 2
    inside = (2 * x - w) ** 2 * h * h * 4 + (2 * y - h) ** 2 * w * w * 9 < h * h * w * w * 2
    return np.where(inside, 255 - base, base // 3).astype(np.uint8)


def phantom_rgb(h, w):
    """uint8 HxWx3: red = phantom_gray, green = ramps with jumps, blue = steps of 16 pixels; three channels that differ."""
    y, x = np.mgrid[:h, :w]
    return np.stack([phantom_gray(h, w), (3 * x + 2 * y + (x * y >> 4) & 255).astype(np.uint8), ((x // 16 * 37 + y // 16 * 59) & 255).astype(np.uint8)], -1)


# ---- key names and shapes of the networks, in file order -----------------------------------------------------------

class Shapes(list):
    """(name, shape) list with the two helpers that every network needs."""
    def one(self, name, *shape): self.append((name, tuple(shape)))
    def wb(self, name, *shape): self.one(name + ".weight", *shape); self.one(name + ".bias", shape[0])


def neck(L, e, width, out):
    L.one(e + "neck.0.weight", out, width, 1, 1); L.wb(e + "neck.1", out); L.one(e + "neck.2.weight", out, out, 3, 3); L.wb(e + "neck.3", out)


def sam_encoder_shapes(embed, depth, heads, img, global_blocks, window=14, out=256, mlp=None, stored_img=None):
    """SAM's ViT. stored_img: the tables' input size when the file was made for another one (sam.md section 9)."""
    g, d, L, e = (stored_img or img) // 16, embed // heads, Shapes(), "image_encoder."
    mlp = mlp or 4 * embed
    L.one(e + "pos_embed", 1, g, g, embed); L.wb(e + "patch_embed.proj", embed, 3, 16, 16)
    for i in range(depth):
        b = f"{e}blocks.{i}."; r = 2 * (g if i in global_blocks else window) - 1
        L.wb(b + "norm1", embed); L.one(b + "attn.rel_pos_h", r, d); L.one(b + "attn.rel_pos_w", r, d)
        L.wb(b + "attn.qkv", 3 * embed, embed); L.wb(b + "attn.proj", embed, embed); L.wb(b + "norm2", embed)
        L.wb(b + "mlp.lin1", mlp, embed); L.wb(b + "mlp.lin2", embed, mlp)
    neck(L, e, embed, out)
    return L


def adapted_shapes(kind, hidden, hook_blocks, **sam):
    """SAM with adapters: conv_adapter (SAM-Med2D) or bottleneck (finetune-SAM, Medical SAM Adapter) in the named blocks."""
    L, c = sam_shapes(**sam), sam["embed"]
    for i in hook_blocks:
        b = f"image_encoder.blocks.{i}."
        if kind == "conv_adapter":
            a = b + "Adapter."
            L.one(a + "channel.0.weight", hidden, c); L.one(a + "channel.2.weight", c, hidden)
            L.one(a + "spatial.0.weight", c, c, 3, 3); L.one(a + "spatial.2.weight", c, c, 4, 4); L.wb(a + "norm", c)
        else:
            for p in ("Space_Adapter.", "MLP_Adapter."): L.wb(b + p + "D_fc1", hidden, c); L.wb(b + p + "D_fc2", c, hidden)
    return L


def tinyvit_shapes(dims, depths, heads, windows, stem, classes=0):
    """TinyViT as in MobileSAM (stem 3, with an unused classification head) and LiteMedSAM (stem 1, none). num_batches_tracked is left out."""
    L, e = Shapes(), "image_encoder."

    def conv_bn(n, o, i, k):
        L.one(n + ".c.weight", o, i, k, k); L.wb(n + ".bn", o); L.one(n + ".bn.running_mean", o); L.one(n + ".bn.running_var", o)
    conv_bn(e + "patch_embed.seq.0", dims[0] // 2, 3, stem); conv_bn(e + "patch_embed.seq.2", dims[0], dims[0] // 2, stem)
    for l, (D, depth) in enumerate(zip(dims, depths)):
        for b in range(depth):
            n = f"{e}layers.{l}.blocks.{b}."
            if l == 0:
                conv_bn(n + "conv1", 4 * D, D, 1); conv_bn(n + "conv2", 4 * D, 1, 3); conv_bn(n + "conv3", D, 4 * D, 1)
                continue
            L.one(n + "attn.attention_biases", heads[l], windows[l] ** 2)
            L.wb(n + "attn.norm", D); L.wb(n + "attn.qkv", 3 * D, D); L.wb(n + "attn.proj", D, D)
            L.wb(n + "mlp.norm", D); L.wb(n + "mlp.fc1", 4 * D, D); L.wb(n + "mlp.fc2", D, 4 * D)
            conv_bn(n + "local_conv", D, 1, 3)
        if l + 1 < len(dims):
            n, O = f"{e}layers.{l}.downsample.", dims[l + 1]
            conv_bn(n + "conv1", O, D, 1); conv_bn(n + "conv2", O, 1, 3); conv_bn(n + "conv3", O, O, 1)
    if classes: L.wb(e + "norm_head", dims[-1]); L.wb(e + "head", classes, dims[-1])
    neck(L, e, dims[-1], 256)
    return L


def efficient_sam_shapes(embed, depth, heads, img, mlp, pos_grid, out=256):
    """EfficientSAM under the project's names (SAM's): a plain ViT, no background label, no mask input."""
    L, e = Shapes(), "image_encoder."
    L.one(e + "pos_embed", 1, 1 + pos_grid ** 2, embed); L.wb(e + "patch_embed.proj", embed, 3, 16, 16)
    for i in range(depth):
        b = f"{e}blocks.{i}."
        L.wb(b + "norm1", embed); L.wb(b + "attn.qkv", 3 * embed, embed); L.wb(b + "attn.proj", embed, embed); L.wb(b + "norm2", embed)
        L.wb(b + "mlp.lin1", mlp, embed); L.wb(b + "mlp.lin2", embed, mlp)
    neck(L, e, embed, out)
    absent = ("mask_downscaling", "no_mask_embed", "point_embeddings.0")
    return Shapes(L + [(n, s) for n, s in decoder_shapes(out) if not any(a in n for a in absent)])


def decoder_shapes(out=256, masks=4):
    """Prompt encoder (17 tensors) and mask decoder (120 tensors) of SAM 1; `masks`: tokens, another number in decoders of classes."""
    L = Shapes(); p = "prompt_encoder."
    L.one(p + "pe_layer.positional_encoding_gaussian_matrix", 2, out // 2)
    for i in range(4): L.one(f"{p}point_embeddings.{i}.weight", 1, out)
    L.one(p + "not_a_point_embed.weight", 1, out)
    L.wb(p + "mask_downscaling.0", 4, 1, 2, 2); L.wb(p + "mask_downscaling.1", 4); L.wb(p + "mask_downscaling.3", 16, 4, 2, 2)
    L.wb(p + "mask_downscaling.4", 16); L.wb(p + "mask_downscaling.6", out, 16, 1, 1); L.one(p + "no_mask_embed.weight", 1, out)
    m = "mask_decoder."; t = m + "transformer."

    def att(n, inner):
        for k in "qkv": L.wb(f"{n}.{k}_proj", inner, out)
        L.wb(n + ".out_proj", out, inner)
    for l in range(2):
        b = f"{t}layers.{l}."
        att(b + "self_attn", out); L.wb(b + "norm1", out); att(b + "cross_attn_token_to_image", out // 2); L.wb(b + "norm2", out)
        L.wb(b + "mlp.lin1", 2048, out); L.wb(b + "mlp.lin2", out, 2048); L.wb(b + "norm3", out); L.wb(b + "norm4", out)
        att(b + "cross_attn_image_to_token", out // 2)
    att(t + "final_attn_token_to_image", out // 2); L.wb(t + "norm_final_attn", out)
    L.one(m + "iou_token.weight", 1, out); L.one(m + "mask_tokens.weight", masks, out)

    def wt(n, i, o): L.one(n + ".weight", i, o, 2, 2); L.one(n + ".bias", o)      # ConvTranspose2d: (in, out, kh, kw)
    wt(m + "output_upscaling.0", out, out // 4); L.wb(m + "output_upscaling.1", out // 4); wt(m + "output_upscaling.3", out // 4, out // 8)
    for i in range(masks):
        for j, (a, b) in enumerate(((out, out), (out, out), (out // 8, out))): L.wb(f"{m}output_hypernetworks_mlps.{i}.layers.{j}", a, b)
    for j, (a, b) in enumerate(((256, out), (256, 256), (masks, 256))): L.wb(f"{m}iou_prediction_head.layers.{j}", a, b)
    return L


def sam_med3d_shapes(embed, depth, heads, img, global_blocks, out=384, window=14, mlp=None):
    """SAM-Med3D: SAM's names with a third axis; two point embeddings."""
    g, d, L, e = img // 16, embed // heads, Shapes(), "image_encoder."
    mlp = mlp or 4 * embed
    L.one(e + "pos_embed", 1, g, g, g, embed); L.wb(e + "patch_embed.proj", embed, 1, 16, 16, 16)
    for i in range(depth):
        b = f"{e}blocks.{i}."; r = 2 * (g if i in global_blocks else window) - 1
        L.wb(b + "norm1", embed)
        for axis in "dhw": L.one(b + "attn.rel_pos_" + axis, r, d)
        L.wb(b + "attn.qkv", 3 * embed, embed); L.wb(b + "attn.proj", embed, embed); L.wb(b + "norm2", embed)
        L.wb(b + "mlp.lin1", mlp, embed); L.wb(b + "mlp.lin2", embed, mlp)
    L.one(e + "neck.0.weight", out, embed, 1, 1, 1); L.wb(e + "neck.1", out); L.one(e + "neck.2.weight", out, out, 3, 3, 3); L.wb(e + "neck.3", out)
    flat = dict(decoder_shapes(out))                       # maps become volumes: one kernel side more
    for n in [f"prompt_encoder.point_embeddings.{i}.weight" for i in (2, 3)]: del flat[n]
    flat["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = (3, out // 3)
    for n, s in flat.items(): L.one(n, *(s + s[-1:] if len(s) == 4 else s))
    return L


def sam_shapes(*a, **k):
    return Shapes(sam_encoder_shapes(*a, **k) + decoder_shapes())


CONFIGS = {  # embed, depth, heads, img, global blocks
    "tiny320": (96, 4, 3, 320, (1, 3)),       # grid 20, windows of 14 pad it to 28; head width 32
    "vit_b": (768, 12, 12, 1024, (2, 5, 8, 11)),
}

# ---- safetensors -----------------------------------------------------------------------------------------------------

DT = {"F32": np.float32, "F64": np.float64, "U8": np.uint8, "I32": np.int32, "I64": np.int64, "U16": np.uint16, "I16": np.int16}


def st_write(path, tensors, meta=None):
    """tensors: list of (name, array or callable returning one, shape, dtype name) or dict name -> array. Written under a temporary name first."""
    if isinstance(tensors, dict):
        inv = {np.dtype(v): k for k, v in DT.items()}
        tensors = [(k, np.ascontiguousarray(v), np.shape(v), inv[v.dtype]) for k, v in tensors.items()]
    head, off = {}, 0
    if meta: head["__metadata__"] = {k: str(v) for k, v in meta.items()}
    for n, a, s, t in tensors:
        size = math.prod(s) * np.dtype(DT[t]).itemsize
        head[n] = {"dtype": t, "shape": list(s), "data_offsets": [off, off + size]}; off += size
    j = json.dumps(head, separators=(",", ":")).encode(); j += b" " * (-len(j) % 8)
    tmp = f"{path}.{os.getpid()}.part"
    with open(tmp, "wb") as f:
        f.write(struct.pack("<Q", len(j)) + j)
        for n, a, s, t in tensors: f.write(np.ascontiguousarray(a() if callable(a) else a).tobytes())
    os.replace(tmp, path)


def st_read(path):
    """-> (dict name -> array, dict of the metadata strings)."""
    with open(path, "rb") as f: b = f.read()
    n = struct.unpack("<Q", b[:8])[0]; h = json.loads(b[8:8 + n]); out = {}
    for k, v in h.items():
        if k == "__metadata__": continue
        s, e = v["data_offsets"]
        out[k] = np.frombuffer(b, DT[v["dtype"]], (e - s) // np.dtype(DT[v["dtype"]]).itemsize, 8 + n + s).reshape(v["shape"])
    return out, h.get("__metadata__", {})


def write_weights(path, seed, shapes):
    st_write(path, [(n, (lambda n=n, s=s: values(seed, n, s)), s, "F32") for n, s in shapes], {"generator": "hashgen 1", "seed": seed})


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1] == "--self-test":
        x = values(1, "image_encoder.patch_embed.proj.weight", (96, 3, 16, 16)).ravel()
        print("key", hex(fnv1a64("1:image_encoder.patch_embed.proj.weight")), "first", [float(v).hex() for v in x[:3]], "last", float(x[-1]).hex(), "sum", repr(float(x.astype(np.float64).sum())))
    elif len(sys.argv) == 4 and sys.argv[1] in CONFIGS:
        write_weights(sys.argv[3], int(sys.argv[2]), sam_shapes(*CONFIGS[sys.argv[1]]))
    elif len(sys.argv) == 3 and sys.argv[1].endswith(".safetensors"):      # the weights that a golden of this folder was made with
        m = st_read(sys.argv[1])[1]
        write_weights(sys.argv[2], int(m["seed"]), [(n, tuple(s)) for n, s in json.loads(m["weights"])])
    else:
        sys.exit("usage: hashgen.py --self-test | hashgen.py tiny320|vit_b SEED OUT.safetensors | hashgen.py goldens/NAME.safetensors OUT.safetensors")
