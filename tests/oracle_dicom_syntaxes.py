"""Holds compressed DICOM files of every transfer syntax against their uncompressed twins, and prints a table by syntax. Not needed to test.

usage: oracle_dicom_syntaxes.py MEDICAL_COPY MEDICAL_COPY_PLAIN [FOLDER...]      MEDICAL_COPY: built with -DSAMPAN_GDCM=ON; MEDICAL_COPY_PLAIN: without
Files: pydicom's own test files and those of FOLDER (data_store/data of the wheel pydicom-data), and pictures that gdcmconv and dcmtk encode here, each syntax and pixel format.
Lossless: our voxels equal the twin's. Lossy: they equal what GDCM makes of the file (gdcmconv --raw), and lie beside pydicom's decoders, or dcmtk's where those have none, by rounding alone.
A file that is refused must be refused for a reason of REFUSED; without GDCM every JPEG, JPEG-LS and JPEG 2000 file must be refused with the name of its syntax and what to do.
Needs: numpy pydicom pynrrd, pylibjpeg with its three plugins, pyjpegls (PyPI); gdcmconv, dcmconv, dcmcjpeg, dcmdjpeg, dcmcjpls, dcmcrle (Debian libgdcm-tools, dcmtk).
"""
import collections, glob, os, subprocess, sys, tempfile, warnings
import numpy as np
import nrrd
import pydicom
from pydicom.encaps import encapsulate, generate_frames

from oracle_dicom import dataset, save

NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"}
LOSSLESS = NATIVE | {"1.2.840.10008.1.2.4." + n for n in ("57", "70", "80", "90")}
# Pixels that no build reads, whatever their syntax.
REFUSED = ("pixels that index a palette", "colours of more than 8 bits", "colours stored neither as RGB nor as YBR_FULL", "pixels of one bit", "truncated", "modality look-up table", "number of frames", "names no transfer syntax", "holds no pixel data", "no DICOM image (1 segmentations",
           "has no value representation")
# Files of the wheels and who holds the same picture without compression.
TWINS = {"693_J2KR": "693_UNCR", "693_J2KI": "693_UNCI", "MR2_J2KR": "MR2_UNCR", "MR2_J2KI": "MR2_UNCI", "RG1_J2KR": "RG1_UNCR", "RG1_J2KI": "RG1_UNCI", "RG3_J2KR": "RG3_UNCR", "RG3_J2KI": "RG3_UNCI",
         "US1_J2KR": "US1_UNCR", "US1_J2KI": "US1_UNCI", "JPEG2000": "JPEG2000_UNC", "emri_small_RLE": "emri_small", "emri_small_big_endian": "emri_small", "emri_small_jpeg_2k_lossless": "emri_small",
         "emri_small_jpeg_ls_lossless": "emri_small", "MR_small_RLE": "MR_small", "MR_small_jp2klossless": "MR_small", "MR_small_jpeg_ls_lossless": "MR_small", "MR_small_bigendian": "MR_small",
         "MR_small_expb": "MR_small", "MR_small_implicit": "MR_small", "SC_rgb_rle": "SC_rgb", "SC_rgb_rle_2frame": "SC_rgb_2frame", "SC_rgb_expb": "SC_rgb", "SC_rgb_expb_2frame": "SC_rgb_2frame",
         "SC_rgb_jpeg_gdcm": "SC_rgb", "SC_rgb_gdcm_KY": "SC_rgb_gdcm2k_uncompressed", "rtdose_rle": "rtdose", "rtdose_expb": "rtdose", "rtdose_rle_1frame": "rtdose_1frame", "rtdose_expb_1frame": "rtdose_1frame",
         "SC_rgb_dcmtk_+eb+cr": "SC_rgb_dcmtk_ebcr_dcmd", "SC_rgb_dcmtk_+eb+cy+n1": "SC_rgb_dcmtk_ebcyn1_dcmd", "SC_rgb_dcmtk_+eb+cy+n2": "SC_rgb_dcmtk_ebcyn2_dcmd", "SC_rgb_dcmtk_+eb+cy+np": "SC_rgb_dcmtk_ebcynp_dcmd",
         "SC_rgb_dcmtk_+eb+cy+s2": "SC_rgb_dcmtk_ebcys2_dcmd", "SC_rgb_dcmtk_+eb+cy+s4": "SC_rgb_dcmtk_ebcys4_dcmd"}


class Row:
    """What happened to the files of one syntax."""
    def __init__(self):
        self.files = self.plain = self.read = self.refused = self.twins = self.gdcm = self.others = 0
        self.worst_gdcm = self.worst_other = 0.0
        self.failed, self.odd = [], []


def run(*words):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True)


def voxels(path):
    """[frames, rows, columns] or [frames, rows, columns, 3] of a NRRD file of ours."""
    data = nrrd.read(path)[0]
    return (data.T if data.ndim == 3 else np.moveaxis(data, 0, -1).transpose(2, 1, 0, 3)).astype(float)


def opinion(ds, raw):
    """What the pixel values `raw` of a decoder mean: one more axis, MONOCHROME1 reversed, rescaled."""
    frames = int(ds.get("NumberOfFrames", 1))
    v = raw if frames > 1 else raw[None]
    if ds.PhotometricInterpretation == "MONOCHROME1":
        v = (1 << ds.BitsStored) - 1 - v.astype(float) if ds.PixelRepresentation == 0 else -1 - v.astype(float)
    group = ds.get("SharedFunctionalGroupsSequence", [ds])[0].get("PixelValueTransformationSequence", [ds])[0]
    return v * float(group.RescaleSlope) + float(group.RescaleIntercept) if group.get("RescaleSlope") is not None else v.astype(float)


def decompressed(path, folder, *words):
    """The file as another program decompresses it, colours as RGB; None where it cannot."""
    out = os.path.join(folder, "raw.dcm")
    if os.path.exists(out):
        os.remove(out)
    if run(*words, path, out).returncode or not os.path.exists(out):
        return None
    ds = pydicom.dcmread(out)
    return None if ds.file_meta.TransferSyntaxUID.is_encapsulated else opinion(ds, ds.pixel_array)


def others(path, folder):
    """pydicom's decoders; where they have none, dcmtk's."""
    try:
        ds = pydicom.dcmread(path)
        return opinion(ds, ds.pixel_array)
    except Exception:
        return decompressed(path, folder, "dcmdjpeg")


def difference(a, b):
    """Largest and mean distance; frames are compared in either order (ours are sorted by place)."""
    if b is None or a.shape != b.shape:
        return np.inf, np.inf
    both = [np.abs(a - c) for c in (b, b[::-1])]
    e = min(both, key=lambda d: d.mean())
    return float(e.max()), float(e.mean())


def hold(row, tools, path, folder, twin=None):
    """One file through both builds. `twin`: voxels that a lossless file must hold."""
    name, out = os.path.basename(path), os.path.join(folder, "o.nrrd")
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    uid, colour = str(ds.file_meta.TransferSyntaxUID), ds.get("SamplesPerPixel", 1) == 3
    row.files += 1
    fail = lambda what: row.failed.append(f"{name}: {what}")
    plain = run(tools[1], path, out)
    if uid in NATIVE:
        row.plain += plain.returncode == 0
        if plain.returncode == 0:
            without = voxels(out)
        elif not any(why in plain.stderr for why in REFUSED):
            fail(f"refused without GDCM: {plain.stderr.strip()}")
    elif plain.returncode != 3 or plain.stderr.count("\n") != 1 or not any(why in plain.stderr for why in REFUSED) and not ("compressed as " in plain.stderr and "gdcmconv --raw" in plain.stderr):
        fail(f"without GDCM: {plain.returncode} {plain.stderr.strip()}")
    r = run(tools[0], path, out)
    if r.returncode:
        row.refused += 1
        lines = r.stderr.strip().splitlines()
        if r.returncode != 3 or not any(why in lines[-1] for why in REFUSED) and not ("that GDCM cannot decode" in lines[-1] and decompressed(path, folder, "gdcmconv", "--raw") is None and others(path, folder) is None):
            fail(f"refused with GDCM: {lines[-1] if lines else r.returncode}")
        return
    row.read += 1
    ours = voxels(out)
    if uid in NATIVE and not np.array_equal(ours, without):
        fail("the two builds read different voxels")
    if twin is not None:
        row.twins += 1
        most, mean = difference(ours, twin)
        # An uncompressed twin of a lossy file was made by another decoder: it may round otherwise, and interpolate subsampled colour otherwise.
        if not (most == 0 if uid in LOSSLESS else most <= 2 or colour and mean <= 2):
            fail(f"not its twin: {most}, mean {mean:.3f}")
    if uid in NATIVE:
        return
    theirs = decompressed(path, folder, "gdcmconv", "--raw")
    if theirs is not None:
        row.gdcm += 1
        most, mean = difference(ours, theirs)
        row.worst_gdcm = max(row.worst_gdcm, most)
        if not most <= (1 if colour else 0):  # YBR becomes RGB by our rounding and by pydicom's
            fail(f"not what GDCM decodes: {most}, mean {mean:.3f}")
    theirs = others(path, folder)
    if theirs is None:
        if twin is None:
            fail("nobody else decodes it")
        return
    most, mean = difference(ours, theirs)
    if uid in LOSSLESS and twin is not None and most > 0 and np.array_equal(ours, twin):
        row.odd.append(f"{name}: equal to its twin, {most:g} from pydicom's decoder")
        return
    row.others += 1
    row.worst_other = max(row.worst_other, most)
    if not (most == 0 if uid in LOSSLESS else most <= 2 or colour and mean <= 2):
        fail(f"not what others decode: {most}, mean {mean:.3f}")


def phantom(kind):
    """A smooth picture with a little noise, and how it is stored."""
    stored, allocated, signed, samples, frames = {"u8": (8, 8, 0, 1, 0), "u12": (12, 16, 0, 1, 0), "i12": (12, 16, 1, 1, 0), "u16": (16, 16, 0, 1, 0), "i16": (16, 16, 1, 1, 0), "rgb": (8, 8, 0, 3, 0), "u12 3 frames": (12, 16, 0, 1, 3),
                                                      "u8 MONOCHROME1": (8, 8, 0, 1, 0), "rgb 2 frames": (8, 8, 0, 3, 2)}[kind]
    y, x = np.indices((48, 64))
    rng = np.random.default_rng(len(kind))
    v = 0.5 + 0.3 * np.sin(x / 9) * np.cos(y / 7) + rng.uniform(-0.02, 0.02, (48, 64))
    v = np.rint(v * ((1 << stored) - 1)).astype(np.int64) - (signed << (stored - 1))
    if samples == 3:
        v = np.stack([v, v[::-1], v[:, ::-1]], -1)
    if frames:
        v = np.stack([np.roll(v, 5 * i, 0) for i in range(frames)])
    photometric = "RGB" if samples == 3 else "MONOCHROME1" if "MONOCHROME1" in kind else "MONOCHROME2"
    return dataset(v, signed=bool(signed), stored=stored, allocated=allocated, frames=frames or None, photometric=photometric)


GREY, WIDE, ALL = ("u8", "u8 MONOCHROME1"), ("u12", "u12 3 frames"), ("u8", "u8 MONOCHROME1", "u12", "i12", "u16", "i16", "rgb", "u12 3 frames", "rgb 2 frames")
UNSIGNED = tuple(k for k in ALL if not k.startswith("i"))
# Who writes which syntax, and of what. dcmtk's lossy JPEG scales what it encodes, so that the original is no twin of it.
ENCODERS = [
    ("1.2.840.10008.1.2", ("dcmconv", "+ti"), ALL), ("1.2.840.10008.1.2.2", ("dcmconv", "+tb"), ALL), ("1.2.840.10008.1.2.1.99", ("dcmconv", "+td"), ALL), ("1.2.840.10008.1.2.1.99", ("gdcmconv", "--deflated"), ALL),
    ("1.2.840.10008.1.2.5", ("dcmcrle",), ALL), ("1.2.840.10008.1.2.5", ("gdcmconv", "--rle"), ALL),
    ("1.2.840.10008.1.2.4.50", ("dcmcjpeg", "+eb"), (*GREY, "rgb", "rgb 2 frames")), ("1.2.840.10008.1.2.4.50", ("dcmcjpeg", "+eb", "+cr"), ("rgb",)), ("1.2.840.10008.1.2.4.50", ("dcmcjpeg", "+eb", "+s4"), ("rgb",)),
    ("1.2.840.10008.1.2.4.50", ("gdcmconv", "--jpeg", "--lossy", "-q", "90"), GREY), ("1.2.840.10008.1.2.4.51", ("dcmcjpeg", "+ee", "+bt"), WIDE), ("1.2.840.10008.1.2.4.51", ("dcmcjpeg", "+ee", "+be"), (*GREY, "rgb")),
    ("1.2.840.10008.1.2.4.53", ("dcmcjpeg", "+es"), (*GREY, "rgb", "u12")), ("1.2.840.10008.1.2.4.55", ("dcmcjpeg", "+ep"), (*GREY, "rgb", "u12")),
    *(("1.2.840.10008.1.2.4.57", ("dcmcjpeg", "+el", "+sv", n), UNSIGNED) for n in range(1, 8)), ("1.2.840.10008.1.2.4.57", ("dcmcjpeg", "+el"), ALL),
    ("1.2.840.10008.1.2.4.70", ("dcmcjpeg", "+e1"), ALL), ("1.2.840.10008.1.2.4.70", ("gdcmconv", "--jpeg"), ALL), ("1.2.840.10008.1.2.4.80", ("dcmcjpls",), ALL), ("1.2.840.10008.1.2.4.80", ("gdcmconv", "--jpegls"), ALL),
    ("1.2.840.10008.1.2.4.81", ("dcmcjpls", "+en", "+md", "2"), UNSIGNED), ("1.2.840.10008.1.2.4.81", ("gdcmconv", "--jpegls", "--lossy", "-e", "2"), UNSIGNED), ("1.2.840.10008.1.2.4.90", ("gdcmconv", "--j2k"), ALL),
    ("1.2.840.10008.1.2.4.91", ("gdcmconv", "--j2k", "--lossy", "-r", "6"), ALL), ("1.2.840.10008.1.2.4.91", ("gdcmconv", "--j2k", "--lossy", "--irreversible"), ALL)]
# Frames in several fragments each, found by the offset table.
SPLIT = [("1.2.840.10008.1.2.4.70", ("gdcmconv", "--jpeg")), ("1.2.840.10008.1.2.4.80", ("gdcmconv", "--jpegls")), ("1.2.840.10008.1.2.4.90", ("gdcmconv", "--j2k")), ("1.2.840.10008.1.2.5", ("gdcmconv", "--rle"))]
# Syntaxes that nothing here decodes: each must be named.
NAMED = {"1.2.840.10008.1.2.4.92": "JPEG 2000 multi-component", "1.2.840.10008.1.2.4.100": "MPEG-2", "1.2.840.10008.1.2.4.102": "H.264", "1.2.840.10008.1.2.4.107": "HEVC", "1.2.840.10008.1.2.4.110": "JPEG XL",
         "1.2.840.10008.1.2.4.201": "HTJ2K", "1.2.840.10008.1.2.4.203": "HTJ2K"}


def main(tools, folders):
    rows, unmade = collections.defaultdict(Row), []
    with tempfile.TemporaryDirectory() as folder:
        path = lambda n: os.path.join(folder, n)
        own = os.path.join(os.path.dirname(pydicom.__file__), "data", "test_files")
        files = {}
        for f in sorted(g for top in [own, *folders] for g in glob.glob(os.path.join(top, "**", "*"), recursive=True)):
            if os.path.isfile(f) and pydicom.misc.is_dicom(f):
                files.setdefault(os.path.splitext(os.path.basename(f))[0], f)
        for name, f in files.items():
            ds = pydicom.dcmread(f, force=True)
            if "PixelData" not in ds or "TransferSyntaxUID" not in ds.file_meta or "Rows" not in ds:
                continue
            twin = None
            if name in TWINS and TWINS[name] in files and run(tools[1], files[TWINS[name]], path("t.nrrd")).returncode == 0:
                twin = voxels(path("t.nrrd"))
            hold(rows[str(ds.file_meta.TransferSyntaxUID)], tools, f, folder, twin)
        found = sum(r.files for r in rows.values())

        for uid, words, kinds, split in [*((*e, False) for e in ENCODERS), *((uid, words, ("u12", "rgb", "u12 3 frames", "rgb 2 frames"), True) for uid, words in SPLIT)]:
            for kind in kinds:
                save(phantom(kind), path("original.dcm"))
                if run(tools[1], path("original.dcm"), path("t.nrrd")).returncode:
                    sys.exit(f"the original of {kind} cannot be read")
                encoded = path(" ".join([*map(str, words), kind]).replace(" ", "_") + ".dcm")
                r = run(*words, path("original.dcm"), encoded)
                if r.returncode or not os.path.exists(encoded) or str(pydicom.dcmread(encoded, stop_before_pixels=True).file_meta.TransferSyntaxUID) != uid:
                    unmade.append(f"{' '.join(map(str, words))}, {kind}")
                    continue
                if split:
                    ds = pydicom.dcmread(encoded)
                    ds.PixelData = encapsulate(list(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1)))), fragments_per_frame=3)
                    save(ds, encoded)
                hold(rows[uid], tools, encoded, folder, voxels(path("t.nrrd")) if uid in LOSSLESS else None)
                os.remove(encoded)

        named = 0
        for uid, name in NAMED.items():
            save(phantom("u8"), path("original.dcm"))
            run("gdcmconv", "--j2k", path("original.dcm"), path("named.dcm"))
            element = lambda v: b"\2\0\x10\0UI" + bytes([len(v) + len(v) % 2, 0]) + v.encode() + b"\0" * (len(v) % 2)
            whole = open(path("named.dcm"), "rb").read()
            open(path("named.dcm"), "wb").write(whole.replace(element("1.2.840.10008.1.2.4.90"), element(uid)))  # pydicom writes no syntax that it does not know
            for tool in tools:
                r = run(tool, path("named.dcm"), path("o.nrrd"))
                if r.returncode != 3 or name not in r.stderr or "gdcmconv" in r.stderr or r.stderr.count("\n") != 1:
                    rows[uid].failed.append(f"{uid}: {r.returncode} {r.stderr.strip()}")
                named += 1

    print(f"{found} files of pydicom and FOLDER; the others are encoded here. 'most' is the largest distance to that decoder, in grey values.\n")
    print("| transfer syntax | files | read without GDCM | read with GDCM | refused, with the reason | equal to their twin | to GDCM's decoding, most | to pydicom's decoders or dcmtk's, most |\n|---|---|---|---|---|---|---|---|")
    for uid, r in sorted(rows.items(), key=lambda kv: [int(n) for n in kv[0].split(".")]):
        if r.files:
            print(f"| {pydicom.uid.UID(uid).name.split(' Image Compression')[0]} ({uid}) | {r.files} | {r.plain if uid in NATIVE else 'none, said'} | {r.read} | {r.refused} | {r.twins} | "
                  + (f"{r.gdcm}, {r.worst_gdcm:g}" if r.gdcm else "-") + " | " + (f"{r.others}, {r.worst_other:g}" if r.others else "-") + " |")
    print(f"\n{named} refusals of syntaxes that nothing here decodes.")
    for u in unmade:
        print("not made (its encoder refuses, or writes another syntax):", u)
    for o in (o for r in rows.values() for o in r.odd):
        print("the other decoder is wrong:", o)
    failed = [f for r in rows.values() for f in r.failed]
    print("\n".join(["FAILED: " + f for f in failed] + [f"{len(failed)} failed"]))
    return len(failed)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    sys.exit(1 if main([os.path.abspath(t) for t in sys.argv[1:3]], sys.argv[3:]) else 0)
