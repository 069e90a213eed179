"""Goldens of the medical pipelines: MedSAM's inference script around a tiny SAM, LiteMedSAM with its real weights. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between refnets.py / refpipes.py and make_goldens.py.
Not here: networks alone (cases_networks.py), single modules and resizers (cases_modules.py).
"""
import hashlib, importlib.util, os

import numpy as np
from PIL import Image

import hashgen as hg
import refnets as rn
import refpipes as rp
from cases_networks import STAGES, sam_net
from golden_file import Golden, encode, golden, image, masks

def medsam(seed, img, pixels, source, boxes):
    """MedSAM's inference script around a tiny SAM: stretch, truncating cast, min-max, box scaling per axis, sigmoid before the upsampling."""
    g, net, shapes = sam_net(seed, embed=64, depth=2, heads=2, img=img, global_blocks=(1,))
    g.meta["config"]["profile"] = "medsam"
    rn.load_hash(net, seed, shapes)
    image(g, pixels, source)
    r, f, x = rp.medsam_prep(pixels, img)
    grey = pixels.ndim == 2
    assert not grey or (r[..., :1] == r).all()
    g.t["resized_u8"] = np.ascontiguousarray(r[..., 0] if grey else r)
    g.meta["image"]["values_within_1e-6_of_a_whole_number"] = int((np.abs(f - np.round(f)) < 1e-6).sum()) // (3 if grey else 1)      # the cast may go either way there
    g.add("resized_before_cast", (f[..., 0] if grey else f).astype(np.float32), None, 6000)
    g.add("input", x.numpy(), None, 1500)
    twin = rn.doubled(net)
    e32, e64 = encode(g, net, twin, x, {"image_encoder.blocks.1": 4000}, 8000)
    for n, box in boxes.items():
        o32, o64 = (rp.medsam_predict(a, e, pixels.shape[:2], box) for a, e in ((net, e32), (twin, e64)))
        g.t[n + ".box_model"] = o32[0]
        for k, a, b, budget in zip((".sparse", ".low_res_logits", ".iou_predictions", ".probability"), o32[1:5], o64[1:5], (0, 1500, 0, 1500)): g.add(n + k, a, b, budget)
        info = dict(box=box, **masks(g, n, o32[4][None], o64[4][None], 0.5))
        info["differs_if_logits_are_upsampled_first"] = int((o32[5] != (o32[4] > 0.5)).sum())
        assert info["differs_if_logits_are_upsampled_first"] > 5 * info["near_tie_pixels"][0]      # else the golden could not tell the two orders apart
        g.meta["prompts"][n] = info
    return g


@golden
def medsam_tiny256_gray():
    """Grey image 301x190 -> 256x256: shrunk with antialias along y, enlarged along x."""
    return medsam(31, 256, hg.phantom_gray(301, 190), "phantom_gray(301,190)", dict(middle=[40, 80, 150, 220], corner=[0, 0, 95, 110], thin=[20, 140, 171, 163]))


@golden
def medsam_tiny128_rgb():
    """RGB image 150x110 -> 128x128."""
    return medsam(32, 128, hg.phantom_rgb(150, 110), "phantom_rgb(150,110)", dict(middle=[20, 30, 90, 120], edge=[60, 0, 110, 149]))


@golden
def litemedsam_retina():
    """The README's demo: real LiteMedSAM weights, optic disc of scikit-image's retina photograph (public domain). The decoders of JPEG differ by a grey
    level, so the golden also holds the 256x256 image that PyTorch saw."""
    box = [146, 549, 366, 769]
    net, ckpt = rn.build_lite_medsam()
    g = Golden(0, dict(family="tiny_vit", stem="1x1_s1", img=256, grids=[256, 128, 64, 64], profile="litemedsam", **rn.TINYVIT_5M,
                       checkpoint_sha256=hashlib.sha256(open(ckpt, "rb").read()).hexdigest()), [])
    path = os.path.join(importlib.util.find_spec("skimage").submodule_search_locations[0], "data", "retina.jpg")
    pixels = image(g, np.array(Image.open(path).convert("RGB")), "scikit-image 0.26.0: skimage/data/retina.jpg, decoded by Pillow")
    g.meta["image"]["file_sha256"] = hashlib.sha256(open(path, "rb").read()).hexdigest()
    r, x, new = rp.lite_prep(pixels)
    g.t["resized_u8"] = np.ascontiguousarray(r)
    g.add("input", x.numpy(), None, 1500)
    twin = rn.doubled(net)
    e32, e64 = encode(g, net, twin, x, STAGES, 9000)
    o32, o64 = (rp.lite_predict(n, e, new, pixels.shape[:2], box) for n, e in ((net, e32), (twin, e64)))
    g.t["disc.box256"] = o32[0]
    for k, a, b, budget in zip((".sparse", ".low_res_logits", ".iou_predictions", ".full_logits"), o32[1:], o64[1:], (0, 4100, 0, 3000)): g.add("disc" + k, a, b, budget)
    x0, y0, x1, y1 = [int(v) // 4 for v in o32[0]]           # around the box, in steps of 4 model pixels, every logit
    crop = (slice(None), slice(4 * y0 - 8, 4 * y1 + 12), slice(4 * x0 - 8, 4 * x1 + 12))
    g.add("disc.low_res_logits_crop", np.ascontiguousarray(o32[2][crop]), o64[2][crop])
    info = dict(box=box, crop_rows=[crop[1].start, crop[1].stop], crop_columns=[crop[2].start, crop[2].stop], **masks(g, "disc", o32[4][None], o64[4][None]))
    m = o32[4] > 0
    ys, xs = np.flatnonzero(m.any(1)), np.flatnonzero(m.any(0))
    info["mask_box"] = [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]            # the bits below cover this box; outside the mask is empty
    a, b, c, d = info["mask_box"]
    g.t["disc.mask_bits"] = np.packbits(m[b:d, a:c].reshape(-1))
    g.meta["prompts"]["disc"] = info
    return g
