"""Makes the goldens of this folder with PyTorch, and checks itself. Own code, Apache-2.0. README.md says what each golden proves.

usage: make_goldens.py make OUT_DIR [NAME ...]     write all goldens, or the named ones
       make_goldens.py check DIR [NAME ...]        make them again elsewhere and compare byte for byte
       make_goldens.py selftest SHARED_DATA        run this code on the cases of the project's shared goldens and compare
       make_goldens.py list                        names

Where: hashgen.py (weights, inputs), refnets.py (networks), refpipes.py (pre- and post-processing) -> here -> goldens/*.safetensors -> C++ tests.
Images of the shared data folder are found through SAMPAN_SHARED_DATA; only mobile_sam_s0114_111 needs one.
Not here: goldens of the op level (the C++ tests compute those in double), timing.

Every golden's metadata holds JSON strings:
  versions, seed, config           how it was made
  weights, weights_sha256          [[name, shape], ...] in order; hash of all values one after another, little-endian float32
  tensors                          per float tensor: shape and stride (stored = full[::s0, ::s1, ...]), rel_l2 and max_abs = PyTorch's own float32 error
                                   against its float64 twin over the full tensor; sum, abs_sum, abs_max, l2 of the full float32 tensor
  inputs                           generated inputs that are not stored: key, add, scale, shape, sum
  prompts, image                   what was asked of which image
"""
import os, sys

# Pinned so that the same bytes come out on every x86-64 with AVX2: the libraries otherwise choose kernels by the processor and split sums by threads.
PIN = dict(OPENBLAS_CORETYPE="Haswell", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", ATEN_CPU_CAPABILITY="avx2", DNNL_MAX_CPU_ISA="AVX2", PYTHONDONTWRITEBYTECODE="1")
if __name__ == "__main__" and any(os.environ.get(k) != v for k, v in PIN.items()):
    os.execve(sys.executable, [sys.executable] + sys.argv, dict(os.environ, **PIN))

import filecmp, tempfile

import numpy as np
import torch
from PIL import Image

import hashgen as hg
import refnets as rn
import refpipes as rp
from golden_file import GOLDENS
from cases_modules import RESIZERS
import cases_networks, cases_medical, cases_everything, cases_finetunes, cases_hq, cases_classes, cases_light, cases_volumes, cases_blocks  # noqa: F401  (each registers its goldens)

# ---- self test against the shared goldens ----------------------------------------------------------------------------

def selftest(shared):
    """The same code paths on the cases of the shared data folder: ViT tiny320, ViT-B, LiteMedSAM, resizers. -> number of failures"""
    bad = 0

    def same(what, got, want, rel=0.0):
        nonlocal bad
        d = np.linalg.norm(got.astype(np.float64) - want) / max(np.linalg.norm(want.astype(np.float64)), 1e-30)
        ok = got.shape == want.shape and d <= rel
        bad += not ok
        print("ok  " if ok else "FAIL", what, "identical" if np.array_equal(got, want) else "rel L2 %.2e" % d)
    pixels = lambda *p: np.array(Image.open(os.path.join(shared, "images", *p)))

    for cfg, file, img in (("tiny320", "tiny320_seed1_s0114_111", ("sammed2d", "images", "s0114_111.png")), ("vit_b", "vit_b_seed1_img_demo", ("medsam", "img_demo.png"))):
        want, _ = hg.st_read(os.path.join(shared, "sam_golden", file + ".safetensors"))
        e, d, h, s, glob = hg.CONFIGS[cfg]
        net = rn.load_hash(rn.build_sam(e, d, h, s, glob), 1, hg.sam_shapes(e, d, h, s, glob))
        a = np.array(Image.fromarray(pixels(*img)).convert("RGB"))
        r, x, new = rp.sam_prep(a, s)
        names = [f"image_encoder.blocks.{i}" for i in range(d)]
        with torch.no_grad(), rn.Capture(net, names, rn.windowed_modules(net)) as c: emb = net.image_encoder(x)
        full = "image_embedding" in want
        same(cfg + " embedding", emb.numpy() if full else emb.numpy()[:, ::4, ::4, ::4], want["image_embedding" if full else "image_embedding_stride_4_4_4"], 2e-6)
        if full:
            for n in names: same(cfg + " " + n, c.out[n], want[n], 2e-6)
            same(cfg + " resized", r, want["resized_u8"]); same(cfg + " input", x.numpy(), want["input"])
        for n, p in rp.sam_prompts(*a.shape[:2], 1, net.grid).items():
            sp, lo, iou, fl = rp.sam_predict(net, emb, new, a.shape[:2], **p)
            same(f"{cfg} {n} logits", lo if full else lo[:, ::4, ::4], want[n + (".low_res_logits" if full else ".low_res_logits_stride_4")], 4e-6)
            same(f"{cfg} {n} mask", np.packbits((fl > 0).reshape(-1)), want[n + ".mask_bits"])
    net, _ = rn.build_lite_medsam()
    for file, img in (("img_demo", ("medsam", "img_demo.png")), ("s0114_111", ("sammed2d", "images", "s0114_111.png"))):
        want, _ = hg.st_read(os.path.join(shared, "litemedsam_golden", file + ".safetensors"))
        a = pixels(*img)
        r, x, new = rp.lite_prep(a[..., :3] if a.ndim == 3 else a)
        with torch.no_grad():
            emb = net.image_encoder(x)
            same("litemedsam " + file + " forward of the package", emb.numpy(), type(net.image_encoder).forward(net.image_encoder, x).numpy())
        same("litemedsam " + file + " resized", r, want["resized_u8"]); same("litemedsam " + file + " embedding", emb.numpy(), want["image_embedding"], 4e-6)
        for i, box in enumerate(want["boxes"]):
            b, sp, lo, iou, fl = rp.lite_predict(net, emb, new, a.shape[:2], box)
            same(f"litemedsam {file} box {i}", lo, want["low_res_logits"][i], 4e-6)
            bits = want["mask_bits"][i] if "mask_bits" in want else np.packbits(want["mask"][i].reshape(-1))
            same(f"litemedsam {file} mask {i}", np.packbits((torch.sigmoid(torch.from_numpy(fl)) > 0.5).numpy().reshape(-1)), bits)
    want, _ = hg.st_read(os.path.join(shared, "resize_golden", "resize_golden.safetensors"))
    for kind, resize in RESIZERS.items():
        cases = [k for k in want if k.startswith(f"out.{kind}.")]
        got = [resize(want["in." + k.split(".")[2]], *(int(v) for v in k.split(".")[3].split("x"))) for k in cases]
        join = lambda parts: np.concatenate([np.asarray(p, np.float32).ravel() for p in parts])
        same(f"{kind}, {len(cases)} sizes", join(got), join([want[k] for k in cases]), 0 if got[0].dtype == np.uint8 else 1e-6)
    return bad


def main(a):
    if a[:1] == ["list"]: print("\n".join(GOLDENS)); return 0
    if a[:1] == ["selftest"] and len(a) == 2:
        bad = selftest(a[1]); print("self test:", "failed" if bad else "passed"); return int(bad > 0)
    if a[:1] not in (["make"], ["check"]) or len(a) < 2: sys.exit(__doc__.split("\n\n")[1])
    rn.blas()                                            # stops here if torch runs on another BLAS
    names, differ = a[2:] or list(GOLDENS), 0
    if set(names) - set(GOLDENS): sys.exit("no such golden: " + " ".join(sorted(set(names) - set(GOLDENS))))
    with tempfile.TemporaryDirectory() as tmp:
        for n in names:
            out = os.path.join(tmp if a[0] == "check" else a[1], n + ".safetensors")
            GOLDENS[n]().write(out)
            if a[0] == "make": print("%-24s %7d bytes" % (n, os.path.getsize(out)), flush=True); continue
            old = os.path.join(a[1], n + ".safetensors")
            ok = os.path.exists(old) and filecmp.cmp(out, old, shallow=False)
            differ += not ok
            print("same  " if ok else "DIFFER", n, flush=True)
    return int(differ > 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
