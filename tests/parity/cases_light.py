"""Goldens of the light networks: EfficientSAM, EfficientViT-SAM, EdgeSAM. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between reflight.py and make_goldens.py.
Not here: TinyViT (cases_networks.py, cases_medical.py).
"""
import hashgen as hg
import reflight as rl
import refnets as rn
import refpipes as rp
from golden_file import Golden, encode, golden, image, prompt_case

E = "image_encoder."


def run(g, net, pixels, pipe, captures, prompts, embedding=4000, logits=1300, full=800):
    """Image -> embedding -> prompts {name: prompt in pixels of the image}."""
    twin, old = rn.doubled(net), pixels.shape[:2]
    x, place = pipe.prep(pixels, net.input_size)
    g.add("input", x.numpy(), None, 1500)
    e32, e64 = encode(g, net, twin, x, captures, embedding)
    for n, p in prompts.items():
        g.meta["prompts"][n] = prompt_case(g, n, p, pipe.predict(net, e32, place, old, **p), pipe.predict(twin, e64, place, old, **p), logits, full)


@golden
def efficient_sam_tiny256():
    """EfficientSAM: blocks without windows and relative positions, a table of 6x6 and a class token brought to 16x16 bicubically; its decoder with one, four and six
    tokens given (a background point, a click left of the image), bicubic masks."""
    c = dict(embed=128, depth=2, heads=2, img=256, mlp=320, pos_grid=6)
    shapes = hg.efficient_sam_shapes(**c)
    g = Golden(71, dict(family="plain_vit", **c), shapes)
    net = rn.load_hash(rl.build_efficient_sam(**c), 71, shapes)
    captures = {E + "blocks.0": 3000, E + "blocks.1.attn": 3000, E + "blocks.1": 3000}
    prompts = dict(point1_multi=dict(points=[[63.0, 55.0]], labels=[1], multi=True), box_points2_multi=dict(box=[28.0, 25.0, 98.0, 80.0], points=[[70.0, 50.0], [35.0, 70.0]], labels=[1, 0], multi=True),
                   points6_multi=dict(points=[[42.0, 30.0], [84.0, 55.0], [-3.0, 20.0], [119.0, 20.0], [5.5, 90.5], [60.0, 99.0]], labels=[1, 1, 0, 0, 1, 0], multi=True))
    run(g, net, image(g, hg.phantom_rgb(100, 140), "phantom_rgb(100,140)"), rl.EfficientPipe(), captures, prompts)
    return g


def efficient_vit(seed, img, captures, prompts, **c):
    net = rl.build_efficient_vit_sam(**c)
    shapes = rl.shapes_of(net)
    g = Golden(seed, dict(family="efficient_vit", package="efficientsam 1.0.0", img=img, **c), shapes)
    known = rp.sam_prompts(100, 140, seed, net.grid)
    run(g, rn.load_hash(net, seed, shapes), image(g, hg.phantom_rgb(100, 140), "phantom_rgb(100,140)"), rl.FramedPipe(img), captures, {n: known[n] for n in prompts}, embedding=3000, logits=1000, full=500)
    return g


@golden
def efficient_vit_large192():
    """EfficientViT-SAM's L form: every kind of block by its own output, the second scale 5x5, 36 tokens of linear attention, three maps brought to one grid (12 and 6 up to
    24); the image at 192 px, prompts and masks in a frame of 384."""
    b = E + "backbone.stages."
    captures = {b + "0": 1200, b + "1": 1200, b + "2.op_list.1": 1200, b + "3": 1000, b + "4.op_list.1.context_module": 1000, b + "4": 1000, E + "neck.middle.op_list.0": 1200}
    return efficient_vit(72, 192, captures, ["box_points2", "box_mask", "point1_multi"], kind="large", widths=[8, 12, 16, 24, 64], depths=[1, 1, 1, 1, 2], head_width=32, head_depth=2, grid=24, prompt=384)


@golden
def efficient_vit_xl256():
    """Its XL form: six stages, a first stage without blocks, the second scale 3x3, attention in two stages (64 and 16 tokens: the package takes its quadratic form for the
    second), wider blocks in the neck; image and prompts at 256 px."""
    b = E + "backbone.stages."
    captures = {b + "0": 1200, b + "3": 1000, b + "4.op_list.1.context_module": 1000, b + "4": 1000, b + "5": 800, E + "neck.middle.op_list.0": 1200}
    return efficient_vit(73, 256, captures, ["box", "points3"], kind="extra_large", widths=[8, 12, 16, 24, 32, 64], depths=[0, 1, 1, 2, 1, 1], head_width=24, head_depth=1, grid=16, prompt=256)


@golden
def edge_sam_tiny256():
    """EdgeSAM: blocks of both kinds with and without squeeze and excite, token mixers by their own output, the last stage brought up bicubically, its predictor."""
    c = dict(widths=[16, 24, 40, 64], depths=[2, 3, 3, 2], se_blocks=[0, 2, 3, 6], img=256)
    net = rl.build_edge_sam(**c)
    shapes = rl.shapes_of(net)
    g = Golden(74, dict(family="rep_vit", **c), shapes)
    captures = {E + "features." + k: 1200 for k in ("0", "1.token_mixer", "1", "2", "3.token_mixer", "3", "4", "8", "10")}
    known = rp.sam_prompts(100, 140, 74, net.grid)
    run(g, rn.load_hash(net, 74, shapes), image(g, hg.phantom_rgb(100, 140), "phantom_rgb(100,140)"), rp.Plain(), captures, {n: known[n] for n in ("box", "points3", "point1_multi")}, embedding=3000, logits=1000, full=500)
    return g
