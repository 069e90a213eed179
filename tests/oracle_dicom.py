"""Holds the DICOM reader and the segmentation writer of examples/medical against pydicom, highdicom and SimpleITK. Not needed to test: goldens are committed.

usage: oracle_dicom.py MEDICAL_COPY [FOLDER...] | --fixtures      MEDICAL_COPY: build/bin/medical_copy; FOLDER: more DICOM files, e.g. data_store/data of the wheel pydicom-data
Reads every image among pydicom's own test files (whatever we refuse must be refused for a reason of REFUSED), then makes series: shuffled names, gaps, copies,
several times, tilted gantries, every pixel format and transfer syntax, and compares values and places voxel by voxel. Segmentations are read back by pydicom and highdicom.
--fixtures writes tests/unit/dicom_fixtures/ anew (with pylibjpeg, pylibjpeg-openjpeg, pyjpegls and Debian's libgdcm-tools).
Needs: numpy pydicom highdicom SimpleITK pynrrd (PyPI); dciodvfy (Debian dicom3tools) if it is there.
"""
import glob, itertools, os, shutil, subprocess, sys, tempfile
import numpy as np
import nrrd
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (CTImageStorage, DeflatedExplicitVRLittleEndian, EnhancedCTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless)

SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian, "big": ExplicitVRBigEndian, "deflated": DeflatedExplicitVRLittleEndian, "rle": RLELossless}
EVEN = np.array([0.96, 0.28, 0, 0, 0, 1.0])  # row and column directions


def check(condition, what):
    check.count += 1
    if not condition:
        check.failed += 1
        print("FAILED:", what)
check.count = check.failed = 0


def run(tool, source, target, *options):
    return subprocess.run([tool, source, target, *options], capture_output=True, text=True)


def dataset(pixels, syntax="explicit", signed=False, stored=16, allocated=16, high=None, uid="1", number=1, position=None, orientation=EVEN, photometric="MONOCHROME2", slope=None, frames=None, planar=None):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{uid}"
    meta.TransferSyntaxUID = SYNTAXES[syntax] if syntax != "rle" else ExplicitVRLittleEndian
    ds = Dataset()
    ds.file_meta, ds.preamble = meta, b"\0" * 128
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.PatientName, ds.PatientID = "CT", "Doe^Jane", "secret-7"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.50", "1.2.826.0.1.3680043.8.498.51", "1.2.826.0.1.3680043.8.498.52"
    ds.InstanceNumber = number
    if position is not None:
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [f"{v:.6g}" for v in position], [f"{v:.6g}" for v in orientation]
        ds.PixelSpacing, ds.SliceThickness = ["0.75", "0.5"], "2.5"
    shape = pixels.shape[1:] if frames else pixels.shape
    ds.Rows, ds.Columns, ds.SamplesPerPixel = shape[0], shape[1], shape[2] if len(shape) == 3 else 1
    if frames:
        ds.NumberOfFrames = frames
    ds.PhotometricInterpretation = photometric
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = planar or 0
        if planar:
            pixels = np.moveaxis(pixels, -1, -3)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = allocated, stored, stored - 1 if high is None else high, int(signed)
    if slope is not None:
        ds.RescaleSlope, ds.RescaleIntercept = str(slope[0]), str(slope[1])
    raw = np.ascontiguousarray(pixels)
    mask = (1 << stored) - 1
    bits = (raw.astype(np.int64) & mask) << (ds.HighBit + 1 - stored)
    word = bits.astype({8: np.uint8, 16: np.uint16, 32: np.uint32}[allocated])
    if syntax == "big":
        word = word.astype(word.dtype.newbyteorder(">"))
    data = word.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if allocated == 8 else "OW"
    if syntax == "rle":
        ds.compress(RLELossless)
    return ds


def save(ds, path):
    ds.save_as(path, enforce_file_format=True)
    return path


def enhanced(pixels, positions, syntax="explicit", shared_orientation=True):
    """A multi-frame file with functional groups, frames in the order given."""
    ds = dataset(np.stack(pixels), syntax if syntax != "rle" else "explicit", signed=True, frames=len(pixels), uid="900")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    measures, orientation, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["0.75", "0.5"], "2.5"
    orientation.ImageOrientationPatient = [f"{v:.6g}" for v in EVEN]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "2", "-100", "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    if shared_orientation:
        shared.PlaneOrientationSequence = [orientation]
    shared.PixelValueTransformationSequence = [values]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for p in positions:
        g, pos = Dataset(), Dataset()
        pos.ImagePositionPatient = [f"{v:.6g}" for v in p]
        g.PlanePositionSequence = [pos]
        if not shared_orientation:
            g.PlaneOrientationSequence = [orientation]
        groups.append(g)
    ds.PerFrameFunctionalGroupsSequence = groups
    if syntax == "rle":
        ds.compress(RLELossless)
    return ds


def positions(n, step=(0.8, -2.4, 0.2), start=(-20.5, 10.25, -7)):
    return [np.array(start) + i * np.array(step) for i in range(n)]


def pixels(n, signed=False, stored=16, rows=6, columns=5):
    k, i, j = np.indices((n, rows, columns))
    v = (7 * j + 31 * i + 111 * k + 5) % (1 << stored)
    return v - (1 << (stored - 1)) if signed else v


def expected_affine(step=(0.8, -2.4, 0.2), start=(-20.5, 10.25, -7)):
    m = np.eye(4)
    m[:3, 0], m[:3, 1], m[:3, 2], m[:3, 3] = EVEN[:3] * 0.5, EVEN[3:] * 0.75, step, start
    return np.diag([-1, -1, 1, 1]) @ m


def compare(tool, source, target, values, affine, what, *options):
    r = run(tool, source, target, *options)
    if r.returncode:
        return check(False, f"{what}: {r.stderr.strip()}")
    data, header = nrrd.read(target)
    check(np.array_equal(data.T if data.ndim == 3 else np.moveaxis(data, 0, -1).transpose(2, 1, 0, 3), values), what + ": values")
    if affine is not None:
        m = np.diag([-1, -1, 1]) @ np.column_stack([*header["space directions"][-3:], header["space origin"]])
        check(np.allclose(m, affine[:3], atol=1e-5), what + f": place\n{m}\n{affine[:3]}")
    return r.stdout


REFUSED = ("compressed as ", "not a DICOM file", "neither NIfTI", "no DICOM image", "holds no pixel data", "pixels that index a palette", "colours of more than 8 bits", "colours stored neither as RGB nor as YBR_FULL",
           "pixels of one bit", "names no transfer syntax", "truncated", "modality look-up table", "number of frames", "no value representation", "bits allocated", "that GDCM cannot decode")


def main(tool, folders):
    with tempfile.TemporaryDirectory() as folder:
        path = lambda *n: os.path.join(folder, *n)
        read = refused = 0
        unheld = []
        out = path("o.nrrd")
        # pydicom's own files
        own = os.path.join(os.path.dirname(pydicom.__file__), "data", "test_files")
        for f in sorted(g for top in [own, *folders] for g in glob.glob(os.path.join(top, "**", "*"), recursive=True)):
            name = os.path.basename(f)
            if os.path.isdir(f) or not pydicom.misc.is_dicom(f) and not name.endswith(".dcm"):
                continue
            r = run(tool, f, out)
            try:
                ds = pydicom.dcmread(f)
                raw = ds.pixel_array
            except Exception:
                raw = None
            if r.returncode:
                refused += 1
                check(r.returncode == 3 and (r.stderr.count("\n") == 1 or "that GDCM" in r.stderr) and any(why in r.stderr for why in REFUSED), f"{name}: {r.returncode} {r.stderr}")
                continue
            read += 1
            compressed = ds.file_meta.TransferSyntaxUID.is_encapsulated and ds.file_meta.TransferSyntaxUID != RLELossless
            if raw is None:
                check(compressed, f"{name}: read by us, not by pydicom")  # a decoder that pydicom lacks here
                unheld.append(name)
                continue
            frames = int(ds.get("NumberOfFrames", 1))
            data = nrrd.read(out)[0]
            ours = data.T if data.ndim == 3 else np.moveaxis(data, 0, -1).transpose(2, 1, 0, 3)
            theirs = raw if frames > 1 else raw[None]
            if ds.PhotometricInterpretation == "MONOCHROME1":
                theirs = (1 << ds.BitsStored) - 1 - theirs if ds.PixelRepresentation == 0 else -1 - theirs
            group = ds.get("SharedFunctionalGroupsSequence", [Dataset()])[0].get("PixelValueTransformationSequence", [ds])[0]
            if "RescaleSlope" in group:
                theirs = theirs * float(group.RescaleSlope) + float(group.RescaleIntercept)
            lossy = compressed and not ds.file_meta.TransferSyntaxUID.name.endswith(("Lossless", "Lossless Only)", "Lossless, Non-Hierarchical", "Selection Value 1])"))
            # Two decoders of a lossy format may round differently; of subsampled colour they also interpolate differently.
            error = np.abs(ours.astype(float) - theirs) if ours.shape == theirs.shape else np.array([np.inf])
            same = error.max() <= (1 if ds.PhotometricInterpretation == "YBR_FULL" and not compressed else 0) or lossy and error.mean() <= 1 and (error.max() <= 2 or "422" in ds.PhotometricInterpretation)
            check(same or ours[::-1].shape == theirs.shape and np.array_equal(ours[::-1], theirs), f"{name}: values {ours.shape} {theirs.shape}, error {error.max()}, mean {error.mean()}")
        print(f"pydicom {pydicom.__version__}: {read} files read, {refused} refused; no second opinion on {len(unheld)}: {' '.join(unheld)}")

        # every pixel format in every transfer syntax
        for (name, signed, stored, allocated, high), syntax in itertools.product([("u16", False, 16, 16, None), ("i16", True, 16, 16, None), ("u12", False, 12, 16, None), ("i12", True, 12, 16, None), ("u12 high 15", False, 12, 16, 15),
                                                                                 ("i10 high 12", True, 10, 16, 12), ("u8", False, 8, 8, None), ("i8", True, 8, 8, None), ("u6", False, 6, 8, None), ("u32", False, 32, 32, None), ("i32", True, 32, 32, None)], SYNTAXES):
            if syntax == "rle" and allocated == 32:
                continue  # pydicom writes none; its own rtdose_rle.dcm is one
            p = pixels(1, signed, stored)
            save(dataset(p[0], syntax, signed, stored, allocated, high, position=positions(1)[0]), path("a.dcm"))
            compare(tool, path("a.dcm"), out, p, None, f"{name} {syntax}")
            save(dataset(p[0], syntax, signed, stored, allocated, high, position=positions(1)[0], photometric="MONOCHROME1"), path("a.dcm"))
            compare(tool, path("a.dcm"), out, (-1 if signed else (1 << stored) - 1) - p, None, f"{name} {syntax} MONOCHROME1")
        for syntax, planar in itertools.product(SYNTAXES, (0, 1)):
            rgb = np.stack([pixels(2, stored=8)] * 3, -1) + np.array([0, 1, 2])
            if syntax == "rle" and planar:
                continue
            save(dataset(rgb % 256, syntax, stored=8, allocated=8, photometric="RGB", frames=2, planar=planar), path("a.dcm"))
            compare(tool, path("a.dcm"), out, (rgb % 256).astype(np.uint8), None, f"RGB {syntax} planar {planar}")

        # series: names say nothing, order by place
        for syntax in SYNTAXES:
            shutil.rmtree(path("s"), ignore_errors=True)
            os.makedirs(path("s", "deep", "er"))
            p = pixels(7, True, 12)
            for i, n in enumerate(np.random.default_rng(1).permutation(7)):
                save(dataset(p[n], syntax, True, 12, uid=f"1{n}", number=int(20 - i), position=positions(7)[n], slope=(2, -1024)), path("s", "deep" if i % 2 else "deep/er", f"im{i}"))
            open(path("s", "notes.txt"), "w").write("hello")
            compare(tool, path("s"), out, p * 2.0 - 1024, expected_affine(), f"series {syntax}")
        import SimpleITK as sitk
        reader = sitk.ImageSeriesReader()
        names = [os.path.join(d, f) for d, _, fs in os.walk(path("s")) for f in fs if f.startswith("im")]
        names.sort(key=lambda f: np.dot(np.cross(EVEN[:3], EVEN[3:]), [float(v) for v in pydicom.dcmread(f, stop_before_pixels=True).ImagePositionPatient]))
        for f in names:  # ITK's GDCM reads no RLE of 12 signed bits reliably: compare uncompressed
            ds = pydicom.dcmread(f)
            ds.decompress()
            ds.save_as(f, enforce_file_format=True)
        reader.SetFileNames(names)
        compare(tool, path("s"), out, sitk.GetArrayFromImage(reader.Execute()).astype(float), expected_affine(), "series, SimpleITK")
        # a gap, a copy, an extra image at one position, several times, another orientation
        os.remove(names[3])
        r = run(tool, path("s"), out)
        check(r.returncode == 3 and "1 slices are missing (1 between" in r.stderr, f"gap: {r.stderr}")
        shutil.copy(names[0], path("s", "again"))
        r = run(tool, path("s"), out, "--fill-gaps")
        check(r.returncode == 0 and "copies of others" in r.stdout and "were missing and are empty" in r.stdout, f"filled: {r.stdout}{r.stderr}")
        data = nrrd.read(out)[0].T
        filled = p * 2.0 - 1024
        filled[3] = filled[[0, 1, 2, 4, 5, 6]].min()
        check(np.array_equal(data, filled), "filled values")
        shutil.rmtree(path("s"))
        os.makedirs(path("s"))
        for t, n in itertools.product(range(3), range(4)):
            save(dataset(pixels(4)[n] + t, uid=f"2{t}{n}", number=1 + t + 3 * n, position=positions(4)[n]), path("s", f"{t}{n}"))
        r = run(tool, path("s"), out)
        check("holds 3 images at every position" in r.stderr, f"times: {r.stderr}")
        for t in range(3):
            compare(tool, path("s"), out, pixels(4) + t, expected_affine(), f"time {t}", "--volume", str(t))
        turned = dataset(pixels(1)[0], uid="3", position=[0, 0, 0], orientation=[1, 0, 0, 0, 0, -1])
        save(turned, path("s", "scout"))
        r = run(tool, path("s"), out)
        check("holds 2 series" in r.stderr and "0: CT 12 images of 5x6; 1: CT 1 images of 5x6" in r.stderr, f"scout: {r.stderr}")
        # multi-frame with functional groups, in any order of frames
        order = [2, 0, 3, 1]
        for syntax, shared in itertools.product(SYNTAXES, (True, False)):
            p, at = pixels(4, True), positions(4)
            save(enhanced([p[i] for i in order], [at[i] for i in order], syntax, shared), path("a.dcm"))
            compare(tool, path("a.dcm"), out, p * 2.0 - 100, expected_affine(), f"enhanced {syntax} {shared}")
        shutil.rmtree(path("s"))

        segmentations(tool, folder)
        real_segmentations(tool, folder, folders)
    print(f"{check.count} checks, {check.failed} failed")
    return check.failed


def segmentations(tool, folder):
    import highdicom as hd
    path = lambda *n: os.path.join(folder, *n)
    os.makedirs(path("ct"))
    n, straight = 5, (0.7, -2.4, 0)  # along the normal: highdicom's volumes have no shear
    for k in np.random.default_rng(2).permutation(n):
        save(dataset(pixels(n, True, 12)[k], signed=True, stored=12, uid=f"7{k}", number=int(k), position=positions(n, straight)[k], slope=(1, -1024)), path("ct", f"x{k * 37 % 11}"))
    labels = np.zeros((n, 6, 5), np.uint8)
    labels[1:4, 1:3, 1:4], labels[2:, 4:, :2] = 1, 3
    np.savez(path("labels.npz"), imgs=labels)
    for options in ((), ("--keep-patient",)):
        r = run(tool, path("ct"), path("seg.dcm"), "--segments", path("labels.npz"), *options)
        if r.returncode:
            return check(False, f"segmentation: {r.stderr}")
        raw = open(path("seg.dcm"), "rb").read()
        check((b"Jane" in raw) == bool(options) and (b"secret-7" in raw) == bool(options), "patient data only when asked")
        ds = pydicom.dcmread(path("seg.dcm"))
        check(ds.SegmentationType == "BINARY" and [s.SegmentLabel for s in ds.SegmentSequence] == ["label 1", "label 3"], "pydicom: segments")
        seg = hd.seg.segread(path("seg.dcm"))
        sources = sorted((pydicom.dcmread(path("ct", f)) for f in os.listdir(path("ct"))), key=lambda d: -float(d.ImagePositionPatient[1]))
        found = seg.get_pixels_by_source_instance([s.SOPInstanceUID for s in sources], combine_segments=True, relabel=False, assert_missing_frames_are_empty=True)
        check(np.array_equal(found, np.where(labels == 3, 2, labels)), "highdicom: pixels by source")
        volume = seg.get_volume(combine_segments=True, relabel=True)
        check(set(np.unique(volume.array)) == {0, 1, 2} and np.count_nonzero(volume.array) == np.count_nonzero(labels), "highdicom: volume")
        check(np.allclose(np.sort(volume.spacing), [0.5, 0.75, 2.5]), f"highdicom: spacing {volume.spacing}")
        valid(path("seg.dcm"), "segmentation")
    os.remove(path("seg.dcm"))


def valid(path, what):
    """dciodvfy finds no error, and warns of nothing but patient and study data that are left out on purpose."""
    if not shutil.which("dciodvfy"):
        return
    v = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
    # Some test files use one UID for study and frame of reference; both are theirs, and both are needed to find them.
    lines = [l for l in (v.stdout + v.stderr).splitlines() if l.startswith(("Error", "Warning")) and "needed to build DICOMDIR" not in l and "StudyInstanceUID has same value as FrameOfReferenceUID" not in l]
    check("Segmentation" in v.stdout + v.stderr and not lines, f"{what}: dciodvfy: " + "; ".join(lines))
    valid.count = getattr(valid, "count", 0) + 1


def real_segmentations(tool, folder, folders):
    """Two segments over every image of pydicom and FOLDER that can have a segmentation, and over a series with the whole header of a scanner; back through pydicom and highdicom."""
    import highdicom as hd
    path = lambda *n: os.path.join(folder, *n)
    own = os.path.join(os.path.dirname(pydicom.__file__), "data", "test_files")
    os.makedirs(path("ge"), exist_ok=True)
    for k in range(6):  # a GE scanner's file with its private elements, moved by 5 mm each
        ds = pydicom.dcmread(os.path.join(own, "CT_small.dcm"))
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID + f".{k}"
        ds.InstanceNumber, ds.ImagePositionPatient = k + 1, [*ds.ImagePositionPatient[:2], f"{float(ds.ImagePositionPatient[2]) - 5 * k:.6f}"]
        save(ds, path("ge", f"{k * 7 % 6}"))
    secrets = {str(e.value).encode() for e in pydicom.dcmread(path("ge", "0")).iterall() if e.VR in ("LO", "PN", "LT", "ST") and len(str(e.value)) > 3 and e.keyword not in ("Manufacturer",)}
    files = sorted(g for top in [own, *folders] for g in glob.glob(os.path.join(top, "*.dcm")))
    made, without = 0, []
    for source, keep in [(path("ge"), False), (path("ge"), True), *((f, False) for f in files)]:
        name = os.path.basename(source)
        if run(tool, source, path("o.nrrd")).returncode:
            continue
        data = nrrd.read(path("o.nrrd"))[0]
        shape = data.shape[-3:][::-1]
        labels = np.zeros(shape, np.uint8)
        labels[:, :3, :4], labels[shape[0] // 2:, 3:5, 2:7] = 1, 7
        np.savez(path("l.npz"), imgs=labels)
        r = run(tool, source, path("seg.dcm"), "--segments", path("l.npz"), *(["--keep-patient"] if keep else []))
        if r.returncode:
            last = r.stderr.strip().splitlines()[-1]  # GDCM's JPEG library may write lines of its own before
            check("to refer to" in last or "character set" in last, f"{name}: {r.stderr}")
            without.append(name)
            continue
        made += 1
        valid(path("seg.dcm"), name)
        ds = pydicom.dcmread(path("seg.dcm"))
        frames = ds.pixel_array.reshape(-1, *shape[1:])
        back = np.zeros(shape, np.uint8)
        for group, f in zip(ds.PerFrameFunctionalGroupsSequence, frames):
            segment, k = group.FrameContentSequence[0].DimensionIndexValues
            back[k - 1][f > 0] = 1 if segment == 1 else 7
        check(np.array_equal(back, labels), f"{name}: voxels of the segmentation")
        seg = hd.seg.segread(path("seg.dcm"))
        if shape[0] > 1:
            volume = seg.get_volume(combine_segments=True, relabel=False)
            check(np.count_nonzero(volume.array) == np.count_nonzero(labels) and volume.array.shape == shape, f"{name}: highdicom's volume {volume.array.shape}, {shape}")
        instances = [i.ReferencedSOPInstanceUID for i in ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
        check(len(instances) == len(set(instances)), f"{name}: an instance is named twice")
        if source == path("ge"):
            raw = open(path("seg.dcm"), "rb").read()
            leaked = [s for s in secrets if s in raw]
            check(not leaked if not keep else leaked, f"{name}: {'nothing kept' if keep else f'leaks {leaked}'}")
    print(f"{made} segmentations of real files, {getattr(valid, 'count', 0)} looked at by dciodvfy; images without what a segmentation refers to: {len(without)}")


def fixtures():
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unit", "dicom_fixtures")
    os.makedirs(out, exist_ok=True)
    path = lambda n: os.path.join(out, n)
    for syntax in SYNTAXES:
        save(dataset(pixels(1, True, 12)[0], syntax, True, 12, position=positions(1)[0], slope=(2, -1024)), path(f"i12_{syntax}.dcm"))
    subprocess.run(["gdcmconv", "--jpeg", path("i12_explicit.dcm"), path("i12_jpeg_lossless.dcm")], check=True)  # pydicom writes none
    for name, syntax, side in (("jpeg_ls", JPEGLSLossless, (6, 5)), ("jpeg_2000", JPEG2000Lossless, (32, 32))):  # OpenJPEG makes no picture of 6x5
        ds = dataset(pixels(1, True, 12, *side)[0], "explicit", True, 12, position=positions(1)[0], slope=(2, -1024))
        ds.compress(syntax, generate_instance_uid=False)
        save(ds, path(f"i12_{name}.dcm"))
    save(dataset(np.stack([pixels(2, stored=8)] * 3, -1) % 256, "rle", stored=8, allocated=8, photometric="RGB", frames=2), path("rgb_rle_2frame.dcm"))
    save(enhanced([pixels(4, True)[i] for i in (2, 0, 3, 1)], [positions(4)[i] for i in (2, 0, 3, 1)], "explicit"), path("enhanced.dcm"))
    save(enhanced([pixels(4, True)[i] for i in (2, 0, 3, 1)], [positions(4)[i] for i in (2, 0, 3, 1)], "implicit", False), path("enhanced_implicit.dcm"))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1] == "--fixtures":
        fixtures()
    elif len(sys.argv) >= 2:
        sys.exit(1 if main(os.path.abspath(sys.argv[1]), sys.argv[2:]) else 0)
    else:
        sys.exit(__doc__)
