"""Makes tests/ops/goldens/resize_extra.safetensors: cases of cv2.resize INTER_AREA that tests/parity/goldens/resize_cases.safetensors does not have.

Run: python3 make_resize_goldens.py (needs numpy and opencv-python-headless; any 4.x or 5.0 gives the same bytes). The file is committed, nothing runs this in
the tests. Names, metadata and input generator are those of resize_cases (../parity/hashgen.py), so that one reader serves both. Own code, Apache-2.0.
  sliver   a factor of 1003/1002: overlaps below a thousandth of a pixel are dropped; only the first and the last output have one, so only they
           are stored; the other axis shrinks as well, because a dropped thousandth changes no whole grey level
  recip    a factor of 98: 1/(1/98) is not 98 in double, so OpenCV does not see a whole factor, and halves are rounded after float sums
  two      2x2 blocks of two channels: no integer path, halves go to even
  four     2x2 blocks of four channels: integer path
"""
import json, os, sys

import cv2
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "parity"))
import hashgen as hg

SEED = 52
CASES = {"sliver1003x451": ([1003, 451], [(1002, 300)]), "sliver451x1003": ([451, 1003], [(300, 1002)]), "recip98x1000": ([98, 1000], [(1, 1000)]), "recip1000x98": ([1000, 98], [(1000, 1)]),
         "two40x60": ([40, 60, 2], [(20, 30), (13, 30), (50, 61)]), "four40x60": ([40, 60, 4], [(20, 30), (13, 30), (50, 61)])}


def main():
    out, tensors = {}, {}
    for name, (shape, sizes) in CASES.items():
        a = hg.noise_u8(SEED, "resize." + name, shape)
        for h, w in sizes:
            r = cv2.resize(a, (w, h), interpolation=cv2.INTER_AREA)
            key, r = f"cv2_area.{name}.{h}x{w}", r.reshape([h, w] + shape[2:])
            if name.startswith("sliver"):
                tensors[key] = dict(stride=[h - 1 if h == 1002 else 1, w - 1 if w == 1002 else 1])
                r = r[::tensors[key]["stride"][0], ::tensors[key]["stride"][1]]
            out[key] = np.ascontiguousarray(r)
    meta = dict(seed=SEED, config=json.dumps(dict(inputs={k: ["noise", v[0]] for k, v in CASES.items()})), tensors=json.dumps(tensors), versions=json.dumps(dict(opencv=cv2.__version__, numpy=np.__version__)))
    path = os.path.join(HERE, "goldens", "resize_extra.safetensors")
    hg.st_write(path, out, meta)
    print(len(out), "tensors,", os.path.getsize(path), "bytes")


if __name__ == "__main__": main()
