"""The demonstration data of SAM-Med2D, or any folder of its form, as a data set of `sampan evaluate`. Licence: Apache-2.0 (own code of the project).

What: FOLDER/images/NAME.png and FOLDER/masks/NAME_LABEL_NNN.png (SAM-Med2D's naming: source, case, slice, then label and number) -> its JSON description.
Patient and case are the image's name without its last part, the slice; AMOS cases from 500 on are MR, everything else there is CT.
Run: python sammed2d_dataset.py FOLDER OUT.json; paths in it are relative to OUT.json. Needs Python alone.
Not here: reading a single pixel.
"""
import json, os, sys


def modality(patient):
    source, _, number = patient.partition("_")
    return "MR" if source == "amos" and number.isdigit() and int(number) >= 500 else "CT"


def main(folder, out):
    def path(*parts):
        return os.path.relpath(os.path.join(folder, *parts), os.path.dirname(os.path.abspath(out)))

    names = sorted(os.path.splitext(f)[0] for f in os.listdir(os.path.join(folder, "images")) if f.endswith(".png"))
    masks = sorted(f for f in os.listdir(os.path.join(folder, "masks")) if f.endswith(".png"))
    images = []
    for name in names:
        own = [m for m in masks if m.startswith(name + "_")]
        if not own:
            continue
        patient = name.rpartition("_")[0]
        entry = {"image": path("images", name + ".png"), "case": name, "patient": patient, "modality": modality(patient), "masks": []}
        for m in own:
            label = m[len(name) + 1 : -len(".png")].rpartition("_")[0]
            entry["masks"].append({"file": path("masks", m), "label": label.replace("_", " ")})
        images.append(entry)
    with open(out, "w") as f:
        json.dump({"name": "SAM-Med2D demonstration slices", "images": images}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python sammed2d_dataset.py FOLDER OUT.json")
    main(sys.argv[1], sys.argv[2])
