"""Makes the image files of tests/unit/image_fixtures and the starting inputs of tests/fuzz/corpus/image. Own code, Apache-2.0.

Run: python3 make_image_fixtures.py (needs Pillow 11 or later and numpy); the files are committed, nothing runs this in the tests.
PNG files are written here byte by byte (Pillow cannot write interlaced, 2-bit or 4-bit files) and read back with Pillow; JPEG and BMP come from Pillow.
Pixels follow one formula, so that tests need no stored copy:
  PNG, BMP   v(x, y, c) = (37 x + 101 y + 59 c + 7 x y) mod (maxval + 1)
  JPEG       v(x, y, c) = 40 + 3 x + 2 y + 20 c, smooth and below 255 (lossy: tests allow a few grey levels); busy*.jpg hold the pattern of PNG
"""
import io, os, struct, zlib

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "unit", "image_fixtures")
CORPUS = os.path.join(HERE, "fuzz", "corpus", "image")


def pattern(h, w, c, maxval):
    y, x, k = np.mgrid[:h, :w, :c].astype(np.int64)
    return (37 * x + 101 * y + 59 * k + 7 * x * y) % (maxval + 1)


def chunk(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def scanlines(v, depth):
    """Rows of samples [h, n] as bytes, packed, each with filter 0 or (every third row) filter 1 to 4 in turn."""
    out, up = b"", None
    step = max(1, depth * v.shape[2] // 8)
    for y, row in enumerate(v.reshape(v.shape[0], -1)):
        if depth == 16: raw = row.astype(">u2").tobytes()
        elif depth == 8: raw = row.astype(np.uint8).tobytes()
        else:
            bits = ((row[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).ravel()
            raw = np.packbits(bits).tobytes()
        up = up if up is not None else bytes(len(raw))
        f = y % 5 if depth >= 8 else 0
        line = bytearray()
        for i, b in enumerate(raw):
            a, u, ul = raw[i - step] if i >= step else 0, up[i], up[i - step] if i >= step else 0
            p = a + u - ul
            paeth = min((a, u, ul), key=lambda q: (abs(p - q), (a, u, ul).index(q)))
            line.append((b - [0, a, u, (a + u) // 2, paeth][f]) & 255)
        out += bytes([f]) + bytes(line)
        up = raw
    return out


def png(v, depth, colour, interlace=False, extra=b"", pieces=1):
    h, w, _ = v.shape
    if interlace:
        raw = b"".join(scanlines(v[y0::dy, x0::dx], depth) for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] if v[y0::dy, x0::dx].size)
    else: raw = scanlines(v, depth)
    z = zlib.compress(raw, 9)
    cut = [len(z) * i // pieces for i in range(pieces + 1)]
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(interlace))) + extra
            + b"".join(chunk(b"IDAT", z[a:b]) for a, b in zip(cut, cut[1:])) + chunk(b"IEND", b""))


def palette(n): return chunk(b"PLTE", bytes(int(v) for i in range(n) for v in ((i * 40) & 255, (255 - i * 20) & 255, (i * 7) & 255)))


def pillow(v, fmt, **kw):
    a = v.astype(np.uint8)
    b = io.BytesIO()
    Image.fromarray(a[..., 0] if a.shape[2] == 1 else a).save(b, fmt, **kw)
    return b.getvalue()


def smooth(h, w, c):
    y, x, k = np.mgrid[:h, :w, :c].astype(np.int64)
    return 40 + 3 * x + 2 * y + 20 * k


def segments(jpeg):
    """(marker, body, entropy-coded data behind it) of each segment of a JPEG with one scan."""
    at, found = 2, []
    while jpeg[at + 1] != 0xD9:
        n = struct.unpack(">H", jpeg[at + 2:at + 4])[0]
        end = jpeg.rindex(b"\xff\xd9") if jpeg[at + 1] == 0xDA else at + 2 + n
        found.append((jpeg[at + 1], jpeg[at + 4:at + 2 + n], jpeg[at + 2 + n:end]))
        at = end
    return found


def separate_scans(luma):
    """A colour JPEG with one scan per component and 4:2:0, which Pillow does not write: the data of three grey files under one frame header. Chroma is neutral."""
    h, w, _ = luma.shape
    neutral = np.full(((h + 1) // 2, (w + 1) // 2, 1), 128)
    planes = [segments(pillow(v, "JPEG", quality=100)) for v in (luma, neutral, neutral)]
    seg = lambda marker, body: b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body
    out = b"\xff\xd8"
    for marker, body, _ in planes[0]:
        if marker in (0xDB, 0xC4): out += seg(marker, body)
    out += seg(0xC0, struct.pack(">BHHB", 8, h, w, 3) + bytes([1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]))
    for i, plane in enumerate(planes):
        out += seg(0xDA, bytes([1, i + 1, 0, 0, 63, 0])) + plane[-1][2]
    return out + b"\xff\xd9"


def files():
    f = {}
    for depth in (1, 2, 4, 8, 16): f[f"grey{depth}.png"] = png(pattern(7, 13, 1, 2 ** depth - 1), depth, 0)
    for depth in (8, 16):
        f[f"rgb{depth}.png"] = png(pattern(7, 13, 3, 2 ** depth - 1), depth, 2)
        f[f"grey_alpha{depth}.png"] = png(pattern(7, 13, 2, 2 ** depth - 1), depth, 4)
        f[f"rgba{depth}.png"] = png(pattern(7, 13, 4, 2 ** depth - 1), depth, 6)
    for depth in (1, 2, 4, 8):
        n = min(2 ** depth, 6)
        f[f"palette{depth}.png"] = png(pattern(7, 13, 1, n - 1), depth, 3, extra=palette(n))
    f["palette4_transparent.png"] = png(pattern(7, 13, 1, 5), 4, 3, extra=palette(6) + chunk(b"tRNS", bytes([0, 128])))
    f["palette8_out_of_range.png"] = png(pattern(7, 13, 1, 9), 8, 3, extra=palette(6))            # indices 6 to 9 have no colour
    f["rgb8_transparent.png"] = png(pattern(7, 13, 3, 255), 8, 2, extra=chunk(b"tRNS", struct.pack(">HHH", 0, 59, 118)))
    f["grey8_interlaced.png"] = png(pattern(7, 13, 1, 255), 8, 0, interlace=True)
    f["rgb16_interlaced.png"] = png(pattern(9, 11, 3, 65535), 16, 2, interlace=True)
    f["grey1_interlaced.png"] = png(pattern(5, 3, 1, 1), 1, 0, interlace=True)
    f["grey8_pieces.png"] = png(pattern(7, 13, 1, 255), 8, 0, extra=chunk(b"tEXt", b"Comment\0hello") + chunk(b"pHYs", struct.pack(">IIB", 1000, 1000, 1)), pieces=5)
    f["grey8_1x1.png"] = png(pattern(1, 1, 1, 255), 8, 0)
    f["grey8_20000x1.png"] = png(pattern(1, 20000, 1, 3), 8, 0)
    f["grey8_1x20000.png"] = png(pattern(20000, 1, 1, 3), 8, 0)
    f["grey.jpg"] = pillow(smooth(19, 37, 1), "JPEG", quality=100)
    f["rgb444.jpg"] = pillow(smooth(19, 37, 3), "JPEG", quality=100, subsampling=0)
    f["rgb420.jpg"] = pillow(smooth(19, 37, 3), "JPEG", quality=100, subsampling=2)
    f["progressive.jpg"] = pillow(smooth(19, 37, 3), "JPEG", quality=100, subsampling=0, progressive=True)
    f["restart.jpg"] = pillow(smooth(19, 37, 3), "JPEG", quality=100, subsampling=2, restart_marker_blocks=1)
    # Busy pixels: every length of code, all passes of a progressive file, restart markers in each; 4:2:2 and 4:2:0 with sides off the block grid.
    f["busy422.jpg"] = pillow(pattern(29, 45, 3, 255), "JPEG", quality=80, subsampling=1, optimize=True)
    f["busy_progressive420.jpg"] = pillow(pattern(29, 45, 3, 255), "JPEG", quality=80, subsampling=2, progressive=True, restart_marker_blocks=2)
    f["separate_scans.jpg"] = separate_scans(smooth(19, 37, 1))
    f["grey_1x1.jpg"] = pillow(smooth(1, 1, 1), "JPEG", quality=100)
    b = io.BytesIO()
    Image.fromarray(smooth(19, 37, 4).astype(np.uint8), "CMYK").save(b, "JPEG", quality=90)
    f["cmyk.jpg"] = b.getvalue()
    f["rgb24.bmp"] = pillow(pattern(7, 13, 3, 255), "BMP")
    f["rgba32.bmp"] = pillow(pattern(7, 13, 4, 255), "BMP")
    f["grey8.bmp"] = pillow(pattern(7, 13, 1, 255), "BMP")
    b = io.BytesIO()
    Image.fromarray((pattern(7, 13, 1, 1)[..., 0] * 255).astype(np.uint8)).convert("1", dither=0).save(b, "BMP")
    f["bits1.bmp"] = b.getvalue()
    return f


def verify(name, data):
    """Pillow must read what the formula says, so that the files are right whatever sampan does."""
    a = np.array(Image.open(io.BytesIO(data)))
    if name.endswith(".jpg") or "palette" in name or "transparent" in name: return
    h, w = a.shape[:2]
    bits = 1 if name.startswith(("grey1.", "grey1_", "bits1")) else 2 if name.startswith("grey2.") else 4 if name.startswith("grey4.") else 16 if "16" in name else 8
    if bits == 16 and a.dtype == np.uint8: return                                                    # Pillow reads 16-bit colour as 8-bit
    small = 3 if "20000" in name else 2 ** bits - 1
    want = pattern(h, w, 1 if a.ndim == 2 else a.shape[2], small)
    want = want * (255 // (2 ** bits - 1)) if bits < 8 else want
    got = (a.astype(np.int64) * (255 if a.dtype == bool else 1)).reshape(want.shape)
    assert (got == want).all(), name


def main():
    for folder in (FIXTURES, CORPUS): os.makedirs(folder, exist_ok=True)
    made = files()
    for name, data in made.items():
        verify(name, data)
        open(os.path.join(FIXTURES, name), "wb").write(data)
        if len(data) < 2000: open(os.path.join(CORPUS, name), "wb").write(data)
    pgm = {"grey8.pgm": b"P5\n# made by hand\n4 3\n255\n" + bytes(range(0, 120, 10)), "grey16.pgm": b"P5 2 2 4095\n" + struct.pack(">4H", 0, 1, 1000, 4095), "rgb8.ppm": b"P6 2 2 255\n" + bytes(range(12))}
    for name, data in pgm.items(): open(os.path.join(CORPUS, name), "wb").write(data)
    print(len(made), "files,", sum(map(len, made.values())), "bytes")


if __name__ == "__main__": main()
