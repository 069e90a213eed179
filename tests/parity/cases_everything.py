"""Golden of everything mode: segment-anything's own SamAutomaticMaskGenerator on a small random network. Own code, Apache-2.0.

What: the records that the reference writes, for several sets of its parameters, as JSON in the metadata key `everything` (run lengths as COCO's text).
Where: between refnets.py and make_goldens.py; tests/predict/everything_test.cpp reads it.
Not here: torchvision, which the package imports: its NMS and its resize of a PIL image are given by their definitions.
"""
import numpy as np
import torch
from PIL import Image

import hashgen as hg
import refnets as rn
from cases_networks import sam_net
from golden_file import golden, image

import segment_anything.automatic_mask_generator as generator
import segment_anything.utils.transforms as transforms
from segment_anything.modeling import Sam


def batched_nms(boxes, scores, idxs, iou_threshold):
    """torchvision.ops.nms: descending scores (stable), float32 IoU without +1, suppressed if above the threshold; 0/0 suppresses nothing."""
    b, keep = boxes.numpy().astype(np.float32), []
    area = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    for i in torch.sort(scores, descending=True, stable=True)[1].tolist():
        w = np.maximum(0, np.minimum(b[i, 2], b[keep, 2]) - np.maximum(b[i, 0], b[keep, 0]))
        h = np.maximum(0, np.minimum(b[i, 3], b[keep, 3]) - np.maximum(b[i, 1], b[keep, 1]))
        with np.errstate(invalid="ignore"): iou = w * h / (area[i] + area[keep] - w * h)
        if not (iou.astype(np.float64) > iou_threshold).any(): keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


generator.batched_nms = batched_nms
generator.box_area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
transforms.to_pil_image = Image.fromarray
transforms.resize = lambda picture, size: picture.resize((size[1], size[0]), Image.BILINEAR)


def coco_text(counts):
    """COCO's rleToString."""
    text = ""
    for i, x in enumerate(counts):
        if i > 2: x -= counts[i - 2]
        more = True
        while more:
            c = x & 31
            x >>= 5
            more = x != -1 if c & 16 else x != 0
            text += chr((c | 32 if more else c) + 48)
    return text


@golden
def everything_tiny256():
    """Grid alone; grid with crops, fewer clicks in them and small regions removed; no filters. On a network whose random masks are large and ragged."""
    g, net, shapes = sam_net(21, embed=64, depth=2, heads=2, img=256, global_blocks=(1,))
    rn.load_hash(net, 21, shapes)
    pixels = hg.phantom_rgb(150, 200)
    image(g, pixels, "phantom_rgb(150,200)")
    sam = Sam(net.image_encoder, net.prompt_encoder, net.mask_decoder, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]).eval()
    sam.mask_threshold = g.meta["mask_threshold"] = 1.0   # random logits have no sign of their own: higher, the masks are islands
    runs = []
    for options in (dict(points_per_side=8, pred_iou_thresh=0.1, stability_score_thresh=0.8, stability_score_offset=0.02, box_nms_thresh=0.95),
                    dict(points_per_side=6, pred_iou_thresh=0.05, stability_score_thresh=0.5, stability_score_offset=0.1, box_nms_thresh=0.98, crop_n_layers=1, crop_nms_thresh=0.98,
                         crop_n_points_downscale_factor=2, min_mask_region_area=40),
                    dict(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)):
        found = generator.SamAutomaticMaskGenerator(sam, output_mode="uncompressed_rle", **options).generate(pixels)
        for m in found: m["segmentation"] = coco_text(m["segmentation"]["counts"])
        print("everything:", options, len(found), "masks, areas", sorted(m["area"] for m in found)[:30], "boxes", [m["bbox"] for m in found][:8])
        runs.append(dict(options=options, masks=found))
    g.meta["everything"] = runs
    return g

