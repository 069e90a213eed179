"""Holds the readers and writers of examples/medical against nibabel, SimpleITK and pynrrd, voxel by voxel and affine by affine. Not needed to test: goldens are committed.

usage: oracle_volumes.py MEDICAL_COPY [--fixtures]      MEDICAL_COPY: build/bin/medical_copy
Every dtype x byte order x format x orientation is written by a library, copied by us to .nii, .nii.gz, .nrrd, and read back by the libraries.
--fixtures writes tests/unit/volume_fixtures/ anew: small files as these libraries write them; value(i, j, k) = (i + 10 j + 60 k) mod 120 - (60 for signed types).
Needs: numpy nibabel SimpleITK pynrrd (PyPI).
"""
import itertools, os, subprocess, sys, tempfile
import numpy as np
import nibabel as nib
import nrrd
import SimpleITK as sitk

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (5, 4, 3)
OBLIQUE = np.array([[0.71, -0.22, 0.31, -12.5], [0.18, 0.93, 0.12, 40.25], [-0.4, 0.05, 2.9, 7.125], [0, 0, 0, 1.0]])


def values(dtype, shape=SHAPE):
    i, j, k = np.indices(shape)
    v = (i + 10 * j + 60 * k) % 120
    if np.dtype(dtype).kind != "u":
        v = v - 60
    return v.astype(dtype) + (np.dtype(dtype).type(0.25) if np.dtype(dtype).kind == "f" else np.dtype(dtype).type(0))


def orthogonal():
    """A rotation about an odd axis, with three different voxel sizes."""
    a = np.array([0.3, -0.5, 0.81]); a /= np.linalg.norm(a)
    k = np.array([[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]])
    r = np.eye(3) + np.sin(0.4) * k + (1 - np.cos(0.4)) * k @ k
    m = np.eye(4); m[:3, :3] = r @ np.diag([0.7, 1.1, 2.5]); m[:3, 3] = [-90.5, 31.25, 10.125]
    return m


def orientations():
    for perm in itertools.permutations(range(3)):
        for signs in itertools.product([1, -1], repeat=3):
            m = np.zeros((3, 3))
            for c, w in enumerate(perm):
                m[w, c] = signs[c]
            yield m


def save_nifti(path, data, affine, cls=nib.Nifti1Image, endian="<", slope=None, inter=None, codes=(1, 1)):
    data = data.astype(data.dtype.newbyteorder(endian))
    header = (nib.Nifti1Header if cls is nib.Nifti1Image else nib.Nifti2Header)(endianness=endian)
    header.set_data_dtype(data.dtype)
    image = cls(data, affine, header)
    image.set_qform(affine, codes[0]); image.set_sform(affine, codes[1])
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nib.save(image, path)


def save_nrrd(path, data, affine, encoding="raw", endian="little", space="left-posterior-superior", **kw):
    sign = {"left-posterior-superior": [-1, -1, 1], "right-anterior-superior": [1, 1, 1], "left-anterior-superior": [-1, 1, 1]}[space]
    m = np.diag(sign) @ affine[:3]
    header = {"space": space, "space directions": m[:, :3].T, "space origin": m[:, 3], "encoding": encoding, "endian": endian}
    if data.dtype.itemsize > 1:
        data = data.astype(data.dtype.newbyteorder({"little": "<", "big": ">"}[endian]))
    nrrd.write(path, data, header, **kw)


def check(condition, what):
    check.count += 1
    if not condition:
        check.failed += 1
        print("FAILED:", what)
check.count = check.failed = 0


def copy(tool, source, target, *options):
    r = subprocess.run([tool, source, target, *options], capture_output=True, text=True)
    if r.returncode:
        check(False, f"{os.path.basename(source)} -> {os.path.basename(target)}: {r.stderr.strip()}")
        return None
    return r.stdout.split()[2]


def read_all(path, expected, affine, what, exact=False, types=True):
    """Every library must see the same voxels in the same place."""
    tolerance = dict(rtol=0, atol=0) if exact else dict(rtol=3e-6, atol=3e-6)  # float32 matrices of NIfTI-1
    if path.endswith(".nrrd"):
        data, header = nrrd.read(path)
        check(np.array_equal(data, expected) and (not types or data.dtype == expected.dtype), what + ": pynrrd voxels")
        sign = {"left-posterior-superior": [-1, -1, 1], "right-anterior-superior": [1, 1, 1], "left-anterior-superior": [-1, 1, 1]}[header["space"]]
        m = np.diag(sign) @ np.column_stack([*header["space directions"], header["space origin"]])
        check(np.allclose(m, affine[:3], **tolerance), what + ": pynrrd place")
    else:
        image = nib.load(path)
        check(np.array_equal(np.asanyarray(image.dataobj), expected), what + ": nibabel voxels")
        check(np.allclose(image.affine, affine, **tolerance), what + ": nibabel affine")
    orth = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    nifti2 = not path.endswith(".nrrd") and isinstance(nib.load(path), nib.Nifti2Image)
    if not nifti2 and np.allclose(orth.T @ orth, np.eye(3), atol=1e-5):  # ITK reads neither shear nor NIfTI-2
        image = sitk.ReadImage(path)
        check(np.array_equal(sitk.GetArrayFromImage(image).T, expected), what + ": SimpleITK voxels")
        d = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
        m = LPS[:3, :3] @ np.column_stack([d, image.GetOrigin()])
        check(np.allclose(m, affine[:3], rtol=1e-5, atol=1e-5), what + ": SimpleITK place")


def main(tool):
    with tempfile.TemporaryDirectory() as folder:
        # Names of gzip files differ: beside "b.nii", ITK reads that when it is asked for "b.nii.gz".
        path = lambda n: os.path.join(folder, "z" + n if n.endswith(".gz") else n)
        types = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64]
        rotation = orthogonal()
        for t, endian in itertools.product(types, "<>"):
            data, name = values(t), f"{np.dtype(t).name} {endian}"
            for cls, ending in ((nib.Nifti1Image, ".nii"), (nib.Nifti1Image, ".nii.gz"), (nib.Nifti2Image, ".nii")):
                save_nifti(path("a" + ending), data, rotation, cls, endian)
                truth = nib.load(path("a" + ending)).affine
                for out in (".nii", ".nii.gz", ".nrrd"):
                    if copy(tool, path("a" + ending), path("b" + out)):
                        read_all(path("b" + out), data, truth, f"{name} {cls.__name__}{ending} -> {out}", exact=out != ".nrrd")
            for encoding, endian_name in itertools.product(("raw", "gzip"), ("little", "big")):
                save_nrrd(path("a.nrrd"), data, OBLIQUE, encoding, endian_name)
                for out in (".nii", ".nrrd"):
                    if copy(tool, path("a.nrrd"), path("b" + out)):
                        read_all(path("b" + out), data, OBLIQUE, f"{name} nrrd {encoding} {endian_name} -> {out}", exact=out == ".nrrd")
            np.savez(path("a.npz"), imgs=np.asfortranarray(data.T) if endian == ">" else data.astype(data.dtype.newbyteorder(endian)).T, spacing=[0.5, 0.75, 2.0])
            for out in (".nii", ".nrrd", ".npz"):
                if copy(tool, path("a.npz"), path("b" + out)):
                    if out == ".npz":
                        check(np.array_equal(np.load(path("b.npz"))["imgs"].T, data), name + ": npz")
                    else:
                        read_all(path("b" + out), data, np.diag([-0.5, -0.75, 2.0, 1]), f"{name} npz -> {out}")
        # detached data, the other spaces, slope and intercept, time series refused
        for space in ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior"):
            for encoding in ("raw", "gzip"):
                save_nrrd(path("d.nhdr"), values(np.int16), OBLIQUE, encoding, space=space)
                if copy(tool, path("d.nhdr"), path("b.nrrd")):
                    read_all(path("b.nrrd"), values(np.int16), OBLIQUE, f"detached {encoding} {space}", exact=True)
        save_nifti(path("a.nii"), values(np.int16), rotation, slope=0.5, inter=-1024)
        if copy(tool, path("a.nii"), path("b.nii.gz")):
            read_all(path("b.nii.gz"), np.asanyarray(nib.load(path("a.nii")).dataobj), nib.load(path("a.nii")).affine, "slope -> .nii.gz", exact=True)
        if copy(tool, path("a.nii"), path("b.nrrd")):
            check(np.array_equal(nrrd.read(path("b.nrrd"))[0], np.asanyarray(nib.load(path("a.nii")).dataobj)), "slope -> .nrrd")
        # orientations: axis codes as nibabel's, labels, exact matrices and codes; SimpleITK as a third witness
        for n, o in enumerate(orientations()):
            m = np.eye(4); m[:3, :3] = orthogonal()[:3, :3] / [0.7, 1.1, 2.5] @ o @ np.diag([0.7, 1.1, 2.5]); m[:3, 3] = [-90.5, 31.25, 10.125]
            labels = (values(np.uint8) % 5).astype(np.uint8)
            save_nifti(path("a.nii.gz"), labels, m, codes=(n % 5, 1 + n % 4))
            codes = copy(tool, path("a.nii.gz"), path("b.nii.gz"), "--labels")
            if codes:
                a, b = nib.load(path("a.nii.gz")), nib.load(path("b.nii.gz"))
                check(codes == "".join(nib.aff2axcodes(a.affine)), f"orientation {n}: {codes}, nibabel says {nib.aff2axcodes(a.affine)}")
                for f in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "pixdim", "xyzt_units"):
                    check(a.header[f].tobytes() == b.header[f].tobytes(), f"orientation {n}: {f} {a.header[f]} {b.header[f]}")
                read_all(path("b.nii.gz"), labels, a.affine, f"orientation {n}", exact=True)
            if copy(tool, path("a.nii.gz"), path("b.nrrd"), "--labels"):
                read_all(path("b.nrrd"), labels, a.affine, f"orientation {n} seg.nrrd")
                header = nrrd.read_header(path("b.nrrd"))
                check([header[f"Segment{i}_LabelValue"] for i in range(4)] == ["1", "2", "3", "4"], "segments")
        # only a qform; NIfTI from a grid that had none
        save_nifti(path("a.nii"), values(np.int16), rotation, codes=(1, 0))
        if copy(tool, path("a.nii"), path("b.nrrd")):
            read_all(path("b.nrrd"), values(np.int16), nib.load(path("a.nii")).affine, "qform alone")
        for n, o in enumerate(orientations()):
            m = np.eye(4); m[:3, :3] = orthogonal()[:3, :3] / [0.7, 1.1, 2.5] @ o @ np.diag([0.7, 1.1, 2.5]); m[:3, 3] = [-90.5, 31.25, 10.125]
            save_nrrd(path("a.nrrd"), values(np.int16), m)
            if copy(tool, path("a.nrrd"), path("b.nii")):
                image = nib.load(path("b.nii"))
                check(np.allclose(image.get_qform(), m, atol=1e-5) and np.allclose(image.get_sform(), m, atol=1e-5), f"new qform {n}")
                read_all(path("b.nii"), values(np.int16), m, f"new NIfTI {n}")
        rgb = np.stack([values(np.uint8)] * 3, -1) + np.array([0, 1, 2], np.uint8)
        nib.save(nib.Nifti1Image(np.ascontiguousarray(rgb).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0], rotation), path("a.nii"))
        if copy(tool, path("a.nii"), path("b.nrrd")):
            check(np.array_equal(np.moveaxis(nrrd.read(path("b.nrrd"))[0], 0, -1), rgb), "RGB")
    print(f"{check.count} checks, {check.failed} failed; nibabel {nib.__version__}, SimpleITK {sitk.Version_VersionString()}, pynrrd {nrrd.__version__}, numpy {np.__version__}")
    return check.failed


def fixtures():
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unit", "volume_fixtures")
    os.makedirs(out, exist_ok=True)
    path = lambda n: os.path.join(out, n)
    rotation = orthogonal()
    save_nifti(path("nibabel_i16_be.nii"), values(np.int16), rotation, endian=">")
    save_nifti(path("nibabel_f64_n2.nii.gz"), values(np.float64), rotation, nib.Nifti2Image)
    save_nifti(path("nibabel_u16_scaled.nii.gz"), values(np.uint16), rotation, slope=0.5, inter=-1024)
    save_nifti(path("nibabel_qform.nii"), values(np.uint8), rotation, codes=(3, 0))
    for name, t, rgb in (("sitk_i16.nii.gz", np.int16, False), ("sitk_u8.nrrd", np.uint8, False), ("sitk_rgb.nrrd", np.uint8, True), ("sitk_f32.nhdr", np.float32, False)):
        data = values(t).T
        image = sitk.GetImageFromArray(np.stack([data, data + 1, data + 2], -1) if rgb else data, isVector=rgb)
        m = LPS[:3] @ rotation
        s = np.linalg.norm(m[:, :3], axis=0)
        image.SetSpacing(s.tolist()); image.SetOrigin(m[:, 3].tolist()); image.SetDirection((m[:, :3] / s).ravel().tolist())
        sitk.WriteImage(image, path(name), useCompression=name.endswith("gz") or name == "sitk_u8.nrrd")
    save_nrrd(path("pynrrd_i32_be.nrrd"), values(np.int32), OBLIQUE, "gzip", "big", "right-anterior-superior")
    truth = (values(np.uint8) % 3).astype(np.uint8).T
    np.savez_compressed(path("cvpr24_3D.npz"), imgs=values(np.uint8).T, gts=truth, spacing=np.array([0.5, 0.75, 2.0]), boxes=np.array([[0, 1, 0, 3, 3, 2], [1, 0, 0, 4, 2, 1]]))
    np.savez(path("2D_cvpr24.npz"), imgs=np.stack([values(np.uint8)[:, :, 0].T] * 3, -1), boxes=np.array([[0, 1, 3, 3]]))
    box = dict(z_min=np.int64(0), z_max=2, z_mid=np.int32(1), z_mid_x_min=1, z_mid_y_min=0, z_mid_x_max=np.int64(4), z_mid_y_max=3.0)
    np.savez_compressed(path("cvpr25_3D.npz"), imgs=values(np.uint8).T, spacing=np.array([1.0, 1.0, 3.0]), boxes=[box, box],
                        clicks=[{"fg": [[0, 1, 2], [2, np.int64(3), 4]], "bg": []}, {"fg": [], "bg": [[1, 0, 0]]}], clicks_order=np.array([["fg", "fg"], ["bg"]], dtype=object))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1] == "--fixtures":
        fixtures()
    elif len(sys.argv) == 2:
        sys.exit(1 if main(os.path.abspath(sys.argv[1])) else 0)
    else:
        sys.exit(__doc__)
