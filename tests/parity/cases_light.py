"""Goldens of the light networks: EfficientSAM. Own code, Apache-2.0.

What: one function per golden, its docstring says what it proves. Where: between reflight.py and make_goldens.py.
Not here: TinyViT (cases_networks.py, cases_medical.py).
"""
import hashgen as hg
import reflight as rl
import refnets as rn
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
