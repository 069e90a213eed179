"""Data sets of `sampan evaluate` from what ordinary packages ship with labels. Licence: Apache-2.0 (own code of the project).

  python package_datasets.py colin27 /usr/share/mricron/templates OUT     Debian's mricron-data: MR of one head (ch2), AAL regions (aal)
  python package_datasets.py nuclei .../stardist/data/images OUT          PyPI's stardist: fluorescence microscopy, a picture and a stack of nuclei
  python package_datasets.py mni .../nilearn/datasets/data OUT            PyPI's nilearn: mean MR of 152 heads, grey and white matter where their probability is above one half

What: writes OUT/d.json, and beside it only what the packages hold in other forms (pictures as 8-bit PNG, stacks as NRRD); of colin27 nothing but d.json.
Needs numpy, and Pillow for nuclei, nibabel for mni. Not here: downloads (apt-get install, pip install), resampling, anything about the results.
"""
import json, os, sys

import numpy as np


def grey8(a):
    low, high = np.percentile(a, (0.5, 99.5))
    return np.clip((a.astype(np.float64) - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def write_nrrd(path, a, spacing):
    """[z, y, x], steps of x, y, z along the axes of the picture."""
    kind = {"uint8": "uint8", "uint16": "uint16"}[str(a.dtype)]
    x, y, z = spacing
    with open(path, "wb") as f:
        f.write((f"NRRD0004\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\nsizes: {a.shape[2]} {a.shape[1]} {a.shape[0]}\nspace directions: ({x},0,0) (0,{y},0) (0,0,{z})\n"
                 "kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n").encode())
        f.write(np.ascontiguousarray(a).tobytes())


def read_tiff(path):
    from PIL import Image, ImageSequence

    frames = [np.array(f) for f in ImageSequence.Iterator(Image.open(path))]
    return np.stack(frames) if len(frames) > 1 else frames[0]


def colin27(folder, out):
    labels = {}
    with open(os.path.join(folder, "aal.nii.txt")) as f:
        for line in f:
            if words := line.split(): labels[words[0]] = words[1].replace("_", " ")
    entry = {"volume": os.path.join(folder, "ch2.nii.gz"), "label_map": os.path.join(folder, "aal.nii.gz"), "case": "Colin27", "modality": "MR", "slices": "every:10"}
    return {"name": "Colin27, AAL regions, every tenth axial slice", "labels": labels, "images": [entry]}


def nuclei(folder, out):
    from PIL import Image

    flat, flat_labels, stack, stack_labels = (read_tiff(os.path.join(folder, n + ".tif")) for n in ("img2d", "mask2d", "img3d", "mask3d"))
    Image.fromarray(grey8(flat)).save(os.path.join(out, "nuclei2d.png"))
    Image.fromarray(flat_labels.astype(np.uint16)).save(os.path.join(out, "nuclei2d_labels.png"))
    write_nrrd(os.path.join(out, "nuclei3d.nrrd"), grey8(stack), (1, 1, 2))
    write_nrrd(os.path.join(out, "nuclei3d_labels.nrrd"), stack_labels.astype(np.uint16), (1, 1, 2))
    flat = {"name": "stardist's picture of nuclei", "labels": {str(v): "nucleus" for v in np.unique(flat_labels) if v}, "images": [{"image": "nuclei2d.png", "label_map": "nuclei2d_labels.png", "modality": "microscopy"}]}
    # In the stack every nucleus is an object of its own, or none could be put together from its slices.
    stack = {"name": "stardist's stack of nuclei", "images": [{"volume": "nuclei3d.nrrd", "label_map": "nuclei3d_labels.nrrd", "modality": "microscopy"}]}
    with open(os.path.join(out, "stack.json"), "w") as f: json.dump(stack, f, indent=1)
    return flat


def mni(folder, out):
    import nibabel

    def file(kind): return os.path.join(folder, f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")

    parts = [nibabel.load(file(k)) for k in ("gm", "wm")]
    grey, white = (np.asanyarray(p.dataobj) > 127 for p in parts)
    labels = nibabel.Nifti1Image((grey + 2 * (white & ~grey)).astype(np.uint8), parts[0].affine)
    nibabel.save(labels, os.path.join(out, "mni_labels.nii.gz"))
    entry = {"volume": file("t1"), "label_map": "mni_labels.nii.gz", "case": "MNI152", "modality": "MR", "slices": "every:10"}
    return {"name": "MNI152, tissue, every tenth axial slice", "labels": {"1": "grey matter", "2": "white matter"}, "images": [entry]}


if __name__ == "__main__":
    known = {"colin27": colin27, "nuclei": nuclei, "mni": mni}
    if len(sys.argv) != 4 or sys.argv[1] not in known:
        sys.exit(f"usage: python package_datasets.py {'|'.join(known)} FOLDER OUT")
    folder, out = (os.path.abspath(p) for p in sys.argv[2:])
    os.makedirs(out, exist_ok=True)
    dataset = known[sys.argv[1]](folder, out)
    with open(os.path.join(out, "d.json"), "w") as f:
        json.dump(dataset, f, indent=1)
        f.write("\n")
