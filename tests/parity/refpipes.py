"""Reference pre- and post-processing of the goldens, written after the documented behaviour of each project (numpy, torch, Pillow, OpenCV, scikit-image).

What: image uint8 -> network input, prompt in image pixels -> tokens, logits -> mask, for SAM, MedSAM and LiteMedSAM.
Where: make_goldens.py calls it around the networks of refnets.py. Works in float32 and, for the float64 twin, in float64.
Not here: networks, weights, other resizers than the ones these three pipelines use.
"""
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import hashgen as hg

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)


def three(img):
    """HxW -> HxWx3."""
    return np.repeat(img[..., None], 3, -1) if img.ndim == 2 else img


# ---- SAM: Pillow bilinear of the longest side, mean and deviation, zero padding after that -----------------------------

def sam_prep(img, size):
    """-> resized uint8 (h, w, 3), input (1, 3, size, size), (h, w)."""
    h, w = img.shape[:2]
    s = size / max(h, w)
    nh, nw = int(h * s + 0.5), int(w * s + 0.5)
    r = np.array(Image.fromarray(three(img)).resize((nw, nh), Image.BILINEAR))
    t = (torch.from_numpy(r).permute(2, 0, 1)[None].float() - MEAN) / STD
    return r, F.pad(t, (0, size - nw, 0, size - nh)), (nh, nw)


def sam_prompts(h, w, seed, grid):
    """The prompts of the SAM goldens, in pixels of the original image. The mask prompt is 8 * u, name "mask_input", shape 4G x 4G."""
    def q(fx, fy): return [round(w * fx, 1), round(h * fy, 1)]
    box = q(.2, .25) + q(.7, .8)
    mask = hg.f32_input(seed, "mask_input", (4 * grid, 4 * grid), 0, 8)
    return dict(point1=dict(points=[q(.45, .55)], labels=[1]), points3=dict(points=[q(.3, .3), q(.6, .55), q(.85, .2)], labels=[1, 1, 0]), box=dict(box=box),
                box_points2=dict(box=box, points=[q(.5, .5), q(.25, .7)], labels=[1, 0]), box_mask=dict(box=box, mask=mask), point1_multi=dict(points=[q(.45, .55)], labels=[1], multi=True),
                box_multi=dict(box=box, multi=True), none=dict())


@torch.no_grad()
def decode(net, emb, points=None, labels=None, box=None, mask=None, multi=False):
    """Prompt in model pixels (float32 arrays) -> sparse, logits, iou of batch 1."""
    as_t = lambda x: torch.as_tensor(x, dtype=torch.float32).to(emb.dtype)
    pts = None if points is None else (as_t(points)[None], torch.as_tensor([labels], dtype=torch.int))
    sp, de = net.prompt_encoder(points=pts, boxes=None if box is None else as_t(box).reshape(1, 4), masks=None if mask is None else as_t(mask)[None, None])
    lo, iou = net.mask_decoder(image_embeddings=emb, image_pe=net.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sp.to(emb.dtype), dense_prompt_embeddings=de, multimask_output=multi)
    return sp[0], lo, iou[0]


def sam_predict(net, emb, new, old, points=None, labels=None, box=None, mask=None, multi=False):
    """Prompt in image pixels -> sparse (n, 256), low-res logits (m, 4G, 4G), iou (m), full-size logits (m, H, W); mask = full > 0."""
    scale = np.array([new[1] / old[1], new[0] / old[0]])
    pts = None if points is None else np.array(points, np.float64) * scale
    bx = None if box is None else np.array(box, np.float64).reshape(2, 2) * scale
    sp, lo, iou = decode(net, emb, pts, labels, bx, mask, multi)
    up = F.interpolate(lo, (net.input_size, net.input_size), mode="bilinear", align_corners=False)[..., :new[0], :new[1]]
    full = F.interpolate(up, old, mode="bilinear", align_corners=False)
    return sp.numpy(), lo[0].numpy(), iou.numpy(), full[0].numpy()


# ---- MedSAM: stretch by scikit-image, min-max, sigmoid before the upsampling --------------------------------------------

def minmax(img):
    """float64 (x - min) / max(max - min, 1e-8) over all pixels and channels."""
    lo, hi = int(img.min()), int(img.max())
    return (img - lo) / np.clip(hi - lo, 1e-8, None)


def medsam_prep(img, size):
    """-> resized uint8 (size, size, 3), the same before the cast (float64), input (1, 3, size, size)."""
    from skimage.transform import resize
    f = resize(three(img), (size, size), order=3, preserve_range=True, anti_aliasing=True)
    r = f.astype(np.uint8)                                                                # truncates
    return r, f, torch.tensor(minmax(r)).float().permute(2, 0, 1)[None]


def medsam_predict(net, emb, old, box):
    """-> box in model pixels, sparse, low-res logits, iou, probability (H, W); mask = probability > 0.5."""
    h, w = old
    b = np.array(box, np.float64) / np.array([w, h, w, h]) * net.input_size
    sp, lo, iou = decode(net, emb, box=b)
    prob = F.interpolate(torch.sigmoid(lo), old, mode="bilinear", align_corners=False)
    wrong = F.interpolate(lo, old, mode="bilinear", align_corners=False)[0, 0] > 0          # the other order, to count how much it matters
    return b.astype(np.float32), sp.numpy(), lo[0].numpy(), iou.numpy(), prob[0, 0].numpy(), wrong.numpy()


# ---- LiteMedSAM: OpenCV area resize, min-max, zero padding after that ---------------------------------------------------

def lite_prep(img):
    """-> resized uint8 (h, w, 3), input (1, 3, 256, 256), (h, w)."""
    import cv2
    h, w = img.shape[:2]
    s = 256 * 1.0 / max(h, w)
    nw, nh = int(w * s + 0.5), int(h * s + 0.5)
    r = cv2.resize(three(img), (nw, nh), interpolation=cv2.INTER_AREA)
    return r, torch.tensor(np.pad(minmax(r), ((0, 256 - nh), (0, 256 - nw), (0, 0)))).float().permute(2, 0, 1)[None], (nh, nw)


def lite_predict(net, emb, new, old, box):
    """-> box at 256 (truncated, one factor), sparse, low-res logits, iou, full-size logits (H, W); mask = sigmoid > 0.5."""
    b = np.array([int(v * (256 / max(old))) for v in box])
    sp, lo, iou = decode(net, emb, box=b)
    full = F.interpolate(lo[..., :new[0], :new[1]], size=old, mode="bilinear", align_corners=False)[0, 0]
    return b.astype(np.int32), sp.numpy(), lo[0].numpy(), iou.numpy(), full.numpy()


# ---- pipelines of the fine-tunes: prep(pixels, size) -> input, place; predict(net, embedding, place, (h, w), prompt) -> sparse, logits, iou, full ---------

class Plain:
    """SAM's own, in this form."""

    def prep(self, img, size):
        _, x, new = sam_prep(img, size)
        return x, new

    def predict(self, net, emb, new, old, **p): return sam_predict(net, emb, new, old, **p)


class Stretched:
    """Both sides to the input's: what SAM-Med2D and ScribblePrompt share behind their resizers. place = (height, width, top, left) in the input."""

    def predict(self, net, emb, place, old, points=None, labels=None, box=None, mask=None, multi=False):
        ph, pw, top, left = place
        move = lambda v: np.array(v, np.float64).reshape(-1, 2) * np.array([pw / old[1], ph / old[0]]) + np.array([left, top])
        sp, lo, iou = decode(net, emb, None if points is None else move(points), labels, None if box is None else move(box), mask, multi)
        up = F.interpolate(lo, (net.input_size, net.input_size), mode="bilinear", align_corners=False)[..., top:top + ph, left:left + pw]
        full = up if (ph, pw) == old else F.interpolate(up, old, mode="bilinear", align_corners=False)
        return sp.numpy(), lo[0].numpy(), iou.numpy(), full[0].numpy()


class Med2d(Stretched):
    """OpenCV's nearest of the normalised image; evaluation: BGR, and images smaller than the input in both sides are centred instead."""

    def __init__(self, evaluation=False): self.evaluation = evaluation

    def prep(self, img, size):
        import cv2
        a = three(img)
        if self.evaluation: a = a[..., ::-1]
        a = (a - MEAN.numpy().reshape(3)) / STD.numpy().reshape(3)
        h, w = a.shape[:2]
        if self.evaluation and h < size and w < size:
            top, left = int((size - h) / 2), int((size - w) / 2)
            a = np.pad(a, ((top, size - h - top), (left, size - w - left), (0, 0)))
            place = (h, w, top, left)
        else:
            a, place = cv2.resize(a, (size, size), interpolation=cv2.INTER_NEAREST), (size, size, 0, 0)
        return torch.tensor(a).float().permute(2, 0, 1)[None], place


class Scribble(Stretched):
    """Grey image in [0, 1], bilinear as floats, three channels, SAM's normalisation."""

    def prep(self, img, size):
        t = F.interpolate(torch.from_numpy(img.astype(np.float32) / 255)[None, None], (size, size), mode="bilinear", align_corners=False)
        return (255 * t.repeat(1, 3, 1, 1) - MEAN) / STD, (size, size, 0, 0)


class PillowStretched(Stretched):
    """torchvision's Resize of a PIL image to both sides, SAM's normalisation: finetune-SAM ('sam'), SAM-Adapter."""

    def prep(self, img, size):
        r = np.array(Image.fromarray(three(img)).resize((size, size), Image.BILINEAR))
        return (torch.from_numpy(r).permute(2, 0, 1)[None].float() - MEAN) / STD, (size, size, 0, 0)


class Ultrasound(Stretched):
    """SAMUS: Pillow's bilinear resize of a grey image to both sides, three channels in [0, 1]."""

    def prep(self, img, size):
        r = np.array(Image.fromarray(img).resize((size, size), Image.BILINEAR))
        return torch.from_numpy(r.astype(np.float32) / 255)[None, None].repeat(1, 3, 1, 1), (size, size, 0, 0)
