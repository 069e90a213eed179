"""Goldens of volumetric networks: SAM-Med3D in small sizes, as MedIM builds it. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves; build_sam_med3d, doubled_3d and Capture3d are refnets.py's counterparts for three axes.
Where: between hashgen.py (weights) and make_goldens.py. Network code comes from medim 0.1.2 (PyPI); nothing is copied. Needed for these goldens only.
Not here: the volume pipeline (resampling, crop, normalisation), real weights.
"""
import copy, importlib.util, os, sys, types
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

import hashgen as hg
import refnets as rn
from golden_file import Golden, golden


def _medim():
    """The one file of the package, without its __init__ (which imports every other network and their libraries)."""
    root = importlib.util.find_spec("medim").submodule_search_locations[0]
    package = types.ModuleType("medim_models")
    package.__path__ = [os.path.join(root, "models")]
    sys.modules["medim_models"] = package
    for name, member in (("_registry", "register_model"), ("_pretrain", "load_pretrained_weights")):      # neither is called here
        stub = sys.modules["medim_models." + name] = types.ModuleType("medim_models." + name)
        setattr(stub, member, lambda *a, **k: lambda f: f)
    return importlib.import_module("medim_models.sam_med3d")


def build_sam_med3d(m, embed, depth, heads, img, global_blocks, out, window=14):
    """The published builder has free sizes but for the window, so the window is set where its encoder is made."""
    encoder = m.ImageEncoderViT3D
    m.ImageEncoderViT3D = lambda **k: encoder(**dict(k, window_size=window))
    net = m.build_sam3D_vit_b_ori(encoder_embed_dim=embed, encoder_depth=depth, encoder_num_heads=heads, encoder_global_attn_indexes=list(global_blocks), prompt_embed_dim=out, image_size=img)
    m.ImageEncoderViT3D = encoder
    net.grid = img // 16
    return net


def doubled_3d(net):
    """A float64 copy. The position encoding of the package rounds to float32 inside; the twin must not."""
    twin = copy.deepcopy(net).double().eval()
    pe = twin.prompt_encoder.pe_layer

    def with_coords(coords, size):
        return pe._pe_encoding(coords.double() / torch.tensor(size, dtype=torch.float64))

    def grid(size):
        a, b, c = torch.meshgrid(*((torch.arange(n).double() + 0.5) / n for n in size), indexing="ij")
        return pe._pe_encoding(torch.stack([b, a, c], -1)).permute(3, 0, 1, 2)
    pe.forward_with_coords, pe.forward = with_coords, grid
    return twin


class Capture3d(rn.Capture):
    """Outputs of windowed modules in raster order without pads, as rn.Capture gives them for maps."""

    def __init__(self, m, net, names):
        self.m = m
        windows = {f"image_encoder.blocks.{i}.attn": b.window_size for i, b in enumerate(net.image_encoder.blocks) if b.window_size}
        self.grid = net.grid
        super().__init__(net, names, windows)

    def _hook(self, name, windows, module, args, out):
        for prefix, win in windows.items():
            if name == prefix or name.startswith(prefix + "."):
                up = -(-self.grid // win) * win
                out = self.m.window_unpartition3D(out, win, (up,) * 3, (self.grid,) * 3)
        super()._hook(name, {}, module, args, out)


PROMPTS = {  # clicks in voxels, in the order of the axes in memory; mask: "zeros" as the published pipeline gives on the first click, "logits" of an earlier one, or none
    "click1": dict(points=[[.5, .5, .5]], labels=[1], mask="zeros"),
    "clicks3_logits": dict(points=[[.25, .5, .75], [.8, .1, .4], [0, 1, .3]], labels=[1, 0, 1], mask="logits"),
    "click_ignored_multi": dict(points=[[.3, .6, .2], [.1, .2, .9]], labels=[1, -1], mask="zeros", multi=True),
    "click1_no_mask": dict(points=[[.6, .3, .4]], labels=[0]),
    "logits_only": dict(mask="logits"),
}


@torch.no_grad()
def volume_case(seed, captures, prompts, logits, **c):
    m = _medim()
    shapes = hg.sam_med3d_shapes(**c)
    config = dict(family="sam_med3d", mlp=4 * c["embed"], **{k: list(v) if isinstance(v, tuple) else v for k, v in c.items()})
    config.setdefault("window", 14)
    g = Golden(seed, config, shapes)
    net = rn.load_hash(build_sam_med3d(m, **c), seed, shapes)
    twin, grid, size = doubled_3d(net), net.grid, c["img"]
    low = 4 * grid
    x = g.input("input.volume", (1, 1, size, size, size), scale=2.0)
    earlier = g.input("input.logits", (1, 1, low, low, low), scale=8.0)
    with Capture3d(m, net, captures) as c32: e32 = net.image_encoder(x)
    with Capture3d(m, twin, captures) as c64: e64 = twin.image_encoder(x.double())
    for n, budget in captures.items(): g.add(n, c32.out[n], c64.out[n], budget)
    g.add("image_embedding", e32.numpy(), e64.numpy())
    g.add("dense_pe", net.prompt_encoder.get_dense_pe().numpy(), twin.prompt_encoder.get_dense_pe().numpy())
    for n in prompts:
        p = dict(PROMPTS[n])
        p["points"] = [[round(v * (size - 1), 2) for v in at] for at in p.get("points", [])]
        p.setdefault("labels", [])

        def run(net, e, dt):
            points = (torch.tensor([p["points"]], dtype=torch.float32).to(dt), torch.tensor([p["labels"]])) if p["points"] else None
            mask = {"zeros": torch.zeros_like(earlier), "logits": earlier}[p["mask"]].to(dt) if "mask" in p else None
            sp, de = net.prompt_encoder(points=points, boxes=None, masks=mask)
            lo, iou = net.mask_decoder(image_embeddings=e, image_pe=net.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sp.to(dt), dense_prompt_embeddings=de, multimask_output=p.get("multi", False))
            return sp.numpy(), de.numpy(), lo.numpy(), iou.numpy(), F.interpolate(lo, (size,) * 3, mode="trilinear", align_corners=False).numpy()
        o32, o64 = run(net, e32, torch.float32), run(twin, e64, torch.float64)
        for k, a, b, budget in zip((".sparse", ".dense", ".low_res_logits", ".iou_predictions", ".full_logits"), o32, o64, (0, 600, logits, 0, 500)):
            if a.size: g.add(n + k, a, b, budget)
        g.meta["prompts"][n] = p
    return g


E = "image_encoder."


@golden
def sam_med3d_tiny64():
    """64^3, grid 4 in a window of 14 (64 tokens, 2680 pads), then a global block; head width 16; every module; five kinds of prompt. Prompt width 48: heads of 6 and 3."""
    captures = {E + "patch_embed": 0}
    for i in range(2):
        for name, budget in ((".norm1", 600), (".attn.qkv", 1200), (".attn", 0), (".norm2", 600), (".mlp.lin1", 1500), (".mlp", 700), ("", 0)): captures[f"{E}blocks.{i}{name}"] = budget
    for i in range(4): captures[f"{E}neck.{i}"] = 700
    return volume_case(61, captures, list(PROMPTS), 1200, embed=48, depth=2, heads=3, img=64, global_blocks=(1,), out=48)


@golden
def sam_med3d_windows80():
    """80^3, grid 5 in windows of 3: eight windows, seven of them with pads along one, two or three axes."""
    captures = {E + "blocks.0.attn": 3000, E + "blocks.0": 1500, E + "blocks.2": 1500}
    return volume_case(62, captures, ["clicks3_logits"], 2500, embed=32, depth=3, heads=2, img=80, global_blocks=(1,), out=48, window=3)


# ---- the volume pipeline ---------------------------------------------------------------------------------------------

def pipeline_volume(seed, size):
    """int16, as a scan: noise around a level, brighter in an ellipsoid, some of it below 0."""
    i, j, k = np.mgrid[:size[0], :size[1], :size[2]]
    inside = sum(w * (2 * a - n) ** 2 * 4096 // n ** 2 for w, a, n in zip((3, 4, 2), (i, j, k), size)) < 4096
    return hg.noise_u8(seed, "volume", size).astype(np.int16) // 4 - 20 + 120 * inside.astype(np.int16)


@golden
@torch.no_grad()
def sam_med3d_pipeline64():
    """From a scan with oblique axes in another order to masks on its grid, as utils/infer_utils.py of SAM-Med3D does it with torchio: resampling, canonical axes, crop around a
    voxel (padded along two axes, cut along the third), normalisation over x > 0, two clicks, the second with the logits of the first, and back by nearest neighbour."""
    import torchio as tio
    m, seed, c = _medim(), 61, dict(embed=48, depth=2, heads=3, img=64, global_blocks=(1,), out=48)
    shapes = hg.sam_med3d_shapes(**c)
    size, spacing = (60, 50, 40), np.array([0.913, 1.117, 2.731])     # no small ratios to 1.5: results at whole numbers would be cut by rounding noise, and nearest voxels be ties
    g = Golden(seed, dict(family="sam_med3d", mlp=4 * c["embed"], window=14, size=list(size), **{k: list(v) if isinstance(v, tuple) else v for k, v in c.items()}), shapes)
    net = rn.load_hash(build_sam_med3d(m, **c), seed, shapes)
    twin = doubled_3d(net)
    a, b = 0.2, -0.15                                     # turns around z and x
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    axes = np.array([[0., 1, 0], [-1, 0, 0], [0, 0, -1]])    # i runs to posterior, j to the right, k to inferior
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * spacing
    affine[:3, 3] = [12.5, -30.25, 7.125]
    volume = pipeline_volume(seed, size)
    subject = tio.Subject(image=tio.ScalarImage(tensor=torch.from_numpy(volume)[None], affine=affine))
    canonical = tio.ToCanonical()(tio.Resample(target=1.5)(subject))
    shape = canonical.image.spatial_shape
    # A label of one voxel where the user clicks; its place in the scan is what the C++ side is told.
    centre = [shape[0] // 2 + 1, shape[1] // 2 - 2, shape[2] // 2 - 3]
    label = torch.zeros((1,) + tuple(shape), dtype=torch.uint8)
    label[(0, *centre)] = 1
    canonical.add_image(tio.LabelMap(tensor=label, affine=canonical.image.affine), "label")
    roi = tio.CropOrPad(mask_name="label", target_shape=(64, 64, 64))(canonical)
    assert [int(v) for v in torch.argwhere(roi.label.data)[0][1:]] == [32, 32, 32]
    raw = roi.image.data[0]
    normal = tio.ZNormalization(masking_method=lambda x: x > 0)(roi.image.data)[None]
    r64 = raw.double()
    normal64 = ((r64 - r64[r64 > 0].mean()) / r64[r64 > 0].std())[None, None]
    g.t["crop_i16"] = np.ascontiguousarray(raw.numpy()[::5, ::5, ::3])
    g.meta["crop_stride"] = [5, 5, 3]
    g.meta["crop_sum"] = int(raw.long().sum())
    g.add("crop", normal.numpy(), normal64.numpy(), 1500)
    to_scan = np.linalg.inv(affine) @ roi.image.affine
    clicks = [([32, 32, 32], 1), ([40, 27, 45], 0)]
    g.meta["clicks"] = [[float(v) for v in (to_scan @ (at + [1]))[:3]] + [label] for at, label in clicks]
    g.meta["affine"] = affine[:3].tolist()
    e32, e64 = net.image_encoder(normal), twin.image_encoder(normal64)
    low32 = low64 = torch.zeros(1, 1, 16, 16, 16)
    for n in (1, 2):
        at = torch.tensor([[p for p, _ in clicks[:n]]], dtype=torch.float32)
        labels = torch.tensor([[l for _, l in clicks[:n]]])

        def step(net, e, low, dt):
            sp, de = net.prompt_encoder(points=(at.to(dt), labels), boxes=None, masks=low.to(dt))
            return net.mask_decoder(image_embeddings=e, image_pe=net.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sp.to(dt), dense_prompt_embeddings=de)
        (low32, iou32), (low64, iou64) = step(net, e32, low32, torch.float32), step(twin, e64, low64, torch.float64)
        full32, full64 = (F.interpolate(x, (64,) * 3, mode="trilinear", align_corners=False) for x in (low32, low64))
        name = f"click{n}"
        g.add(name + ".low_res_logits", low32.numpy(), low64.numpy(), 1500)
        g.add(name + ".iou_predictions", iou32.numpy(), iou64.numpy())
        mask = full32[0] > 0
        back = tio.Resample(target=tio.ScalarImage(tensor=torch.zeros((1,) + size), affine=affine), image_interpolation="nearest")(tio.LabelMap(tensor=mask.float(), affine=roi.image.affine))
        g.t[name + ".mask_bits"] = np.packbits(back.data[0].numpy().astype(np.uint8).reshape(-1))       # i slowest, k fastest
        g.meta["prompts"][name] = dict(mask_voxels=int(back.data.sum()), near_tie_voxels=int((full32.abs() <= 1e-4).sum()), fp64_differs_voxels=int(((full32 > 0) != (full64 > 0)).sum()))
    return g


class Cubes:
    """An object larger than the cube, in NumPy around a network: what predict/session_3d.hpp says, on a scan that already has the network's voxels and axes.
    The rule for a click beyond the cube is that of medim_infer.py (SAM-Med3D, branch CVPR25_3DFM): a cube around the click, what was found so far as its mask prompt (nearest, 0 and 1)."""

    def __init__(self, net, scan, dt, side=64):
        self.net, self.scan, self.dt, self.side, self.cubes = net, scan, dt, side, []

    def encode(self, at):
        begin, side = np.array(at) - self.side // 2, self.side
        crop = np.zeros((side,) * 3, self.scan.dtype)
        low, high = np.maximum(begin, 0), np.minimum(begin + side, self.scan.shape)
        crop[tuple(slice(a, b) for a, b in zip(low - begin, high - begin))] = self.scan[tuple(slice(a, b) for a, b in zip(low, high))]
        x = torch.from_numpy(crop).to(self.dt)
        x = (x - x[x > 0].mean()) / x[x > 0].std()
        return dict(begin=begin, e=self.net.image_encoder(x[None, None]), prompt=torch.zeros((1, 1) + (side // 4,) * 3), clicks=[], only_new=False)

    def cover_map(self, cubes):
        """Voxels of the scan that these cubes lie over."""
        out = np.zeros(self.scan.shape, bool)
        for c in cubes: out[tuple(slice(max(0, b), max(0, b + self.side)) for b in c["begin"])] = True
        return out

    def mask(self):
        """Found so far, on the scan."""
        out = np.zeros(self.scan.shape, bool)
        for c in self.cubes:
            low, high = np.maximum(c["begin"], 0), np.minimum(c["begin"] + self.side, self.scan.shape)
            out[tuple(slice(a, b) for a, b in zip(low, high))] |= c["mask"][tuple(slice(a, b) for a, b in zip(low - c["begin"], high - c["begin"]))]
        return out

    def cut(self, volume, begin):
        big = np.pad(volume, self.side)
        return big[tuple(slice(b + self.side, b + 2 * self.side) for b in begin)]

    def decode(self, c, at, label):
        c["clicks"].append((np.array(at) - c["begin"], label))
        points = torch.tensor(np.array([[p for p, _ in c["clicks"]]]), dtype=torch.float32).to(self.dt), torch.tensor([[l for _, l in c["clicks"]]])
        sp, de = self.net.prompt_encoder(points=points, boxes=None, masks=c["prompt"].to(self.dt))
        c["prompt"], c["iou"] = self.net.mask_decoder(image_embeddings=c["e"], image_pe=self.net.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sp.to(self.dt), dense_prompt_embeddings=de)
        self.full = F.interpolate(c["prompt"], (self.side,) * 3, mode="trilinear", align_corners=False)[0, 0].numpy()
        before = self.cubes[:next((n for n, other in enumerate(self.cubes) if other is c), len(self.cubes))]
        c["mask"] = (self.full > 0) & ~(self.cut(self.cover_map(before), c["begin"]) & c["only_new"])

    def click(self, at, label, only_new=False):
        if self.cubes and not only_new and all(0 <= a - b < self.side for a, b in zip(at, self.cubes[-1]["begin"])): return self.decode(self.cubes[-1], at, label)
        c = self.encode(at)
        c["only_new"] = only_new
        if self.cubes: c["prompt"] = torch.from_numpy(self.cut(self.mask(), c["begin"])[::4, ::4, ::4].astype(np.float32))[None, None]
        self.decode(c, at, label)
        self.cubes.append(c)

    def way_out(self):
        for c in self.cubes:
            for a in range(3):
                for step in (-1, 1):
                    face, outside = (0, c["begin"][a] - 1) if step < 0 else (self.side - 1, c["begin"][a] + self.side)
                    if not 0 <= outside < self.scan.shape[a]: continue
                    on = np.zeros((self.side,) * 3, bool)
                    on[tuple(face if i == a else slice(None) for i in range(3))] = True
                    places = np.argwhere(on & c["mask"]) + c["begin"]
                    places = places[((places >= 0) & (places < self.scan.shape)).all(1)]
                    beyond = places + step * (np.arange(3) == a)
                    covered = np.array([((beyond >= o["begin"]) & (beyond < o["begin"] + self.side)).all(1) for o in self.cubes]).any(0)
                    places = places[~covered]
                    if len(places): return places[np.argmin(((places * len(places) - places.sum(0)) ** 2).sum(1))]

    def cover(self, most):
        while len(self.cubes) < most:
            at = self.way_out()
            if at is None: break
            self.click(at, 1, only_new=True)


@golden
@torch.no_grad()
def sam_med3d_beyond64():
    """Objects larger than the cube: a click beyond it and one that refines there; then one click, followed by cubes where the mask leaves what they cover."""
    m, seed, c = _medim(), 61, dict(embed=48, depth=2, heads=3, img=64, global_blocks=(1,), out=48)
    shapes = hg.sam_med3d_shapes(**c)
    size = (130, 70, 60)
    g = Golden(seed, dict(family="sam_med3d", mlp=4 * c["embed"], window=14, size=list(size), **{k: list(v) if isinstance(v, tuple) else v for k, v in c.items()}), shapes)
    net = rn.load_hash(build_sam_med3d(m, **c), seed, shapes)
    twin, scan = doubled_3d(net), pipeline_volume(seed, size)
    clicks = [([40, 35, 30], 1), ([85, 30, 33], 1), ([95, 40, 35], 0)]
    g.meta["clicks"] = [[float(v) for v in at] + [label] for at, label in clicks]
    g.meta["affine"] = [[1.5, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 1.5, 0]]
    one, two = Cubes(net, scan, torch.float32), Cubes(twin, scan, torch.float64)
    ties = 0
    for n, (at, label) in enumerate(clicks):
        one.click(at, label), two.click(at, label)
        ties += int((np.abs(one.full) <= 1e-4).sum())
        g.add(f"click{n + 1}.low_res_logits", one.cubes[-1]["prompt"].numpy(), two.cubes[-1]["prompt"].numpy(), 1500)
    g.t["clicks.mask_bits"] = np.packbits(one.mask().astype(np.uint8).reshape(-1))       # i slowest, k fastest
    g.meta["prompts"]["clicks"] = dict(mask_voxels=int(one.mask().sum()), near_tie_voxels=ties, cubes=len(one.cubes))
    one, two = Cubes(net, scan, torch.float32), Cubes(twin, scan, torch.float64)
    for o in (one, two):
        o.click(*clicks[0])
        o.cover(5)
    assert [c["begin"].tolist() for c in one.cubes] == [c["begin"].tolist() for c in two.cubes] and len(one.cubes) > 2, "another seed is needed"
    g.add("cover.low_res_logits", one.cubes[-1]["prompt"].numpy(), two.cubes[-1]["prompt"].numpy(), 1500)
    g.t["cover.mask_bits"] = np.packbits(one.mask().astype(np.uint8).reshape(-1))
    g.meta["prompts"]["cover"] = dict(mask_voxels=int(one.mask().sum()), near_tie_voxels=int((one.mask() != two.mask()).sum()) + 20, begins=[c["begin"].tolist() for c in one.cubes])
    return g
