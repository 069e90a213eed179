"""PyTorch on a CUDA device beside sampan's rows: attention with relative positions and the ViT-B encoder. Licence: Apache-2.0 (own code of the project).

Where: tests/gpu/run.sh calls it on a machine with a device; --ours names what bench_attention, bench_encoder wrote (--format json).
How:   device.py [--device cuda|cpu] [--size full|tiny] [--precision bf16,f16,f32] [--ours FILE ...] [--json FILE] [--budget SECONDS]
       Prints Markdown rows; ends with 3 and the reason where PyTorch or its device is missing.
What:  attention   one image's global attention of ViT-B, 64x64 tokens, 12 heads of 64, decomposed relative positions: the formula in eager mode, SDPA with the bias as a
                   tensor (made in the timed part, as an encoder must), torch.compile of the formula; flex_attention where this PyTorch has it
       encoder     ViT-B at 1024x1024, batch 1 and 8: own module with PyTorch's names, SDPA where there is one, eager and torch.compile
Times: medians of 3 to 20 runs, device events on cuda, each row with its warm-up before; inputs stay on the device. A row that fails says so.
Error: attention against the formula in float64, on a few queries; an encoder against the first row of its network and batch. --check compares the module with the package segment-anything.
Quoted, not measured: what segment-anything-fast publishes (blog and README of its repository).
Not here: other engines (run.py has those of the processor), pre- and post-processing.
"""
import argparse, copy, json, os, re, statistics, sys, time

PUBLISHED = [  # segment-anything-fast, A100, batch 8, images per second
    ("ViT-B encoder, batch 8", "segment-anything-fast, own Triton kernel, A100 (published)", 85.5),
    ("ViT-B encoder, batch 8", "segment-anything-fast, with int8, A100 (published)", 90.3),
    ("ViT-H encoder, batch 8", "segment-anything-fast, own Triton kernel, A100 (published)", 22.9),
    ("ViT-H encoder, batch 8", "segment-anything-fast, with int8, A100 (published)", 24.9),
]
FULL = dict(grid=64, width=768, heads=12, depth=12, window=14, patch=16, batches=(1, 8), out=256, global_blocks=(2, 5, 8, 11))
TINY = dict(grid=8, width=64, heads=2, depth=3, window=5, patch=4, batches=(1, 2), out=16, global_blocks=(2,))


def missing(why):
    print(f"peers/device.py: {why}", file=sys.stderr)
    sys.exit(3)


try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError as e:
    missing(f"no PyTorch here ({e}): pip install torch")

HAS_SDPA, HAS_COMPILE = hasattr(F, "scaled_dot_product_attention"), hasattr(torch, "compile")
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def positions(q, rel_h, rel_w, h, w):
    """q [b, heads, h*w, d], rel [2 size - 1, d] -> terms [b, heads, h*w, h] and [b, heads, h*w, w]: q . rel_h[qy - ky + h - 1], q . rel_w[qx - kx + w - 1]."""
    b, heads, n, d = q.shape
    y, x = torch.arange(h, device=q.device), torch.arange(w, device=q.device)
    rows, columns = rel_h[y[:, None] - y[None, :] + h - 1], rel_w[x[:, None] - x[None, :] + w - 1]
    grid = q.reshape(b, heads, h, w, d)
    return torch.einsum("bnyxd,ykd->bnyxk", grid, rows).reshape(b, heads, n, h), torch.einsum("bnyxd,xkd->bnyxk", grid, columns).reshape(b, heads, n, w)


def bias_of(q, rel_h, rel_w, h, w):
    rows, columns = positions(q, rel_h, rel_w, h, w)
    return (rows[..., :, None] + columns[..., None, :]).reshape(*rows.shape[:3], h * w)


def by_formula(q, k, v, rel_h, rel_w, h, w):
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias_of(q, rel_h, rel_w, h, w)
    return scores.softmax(-1) @ v


def by_sdpa(q, k, v, rel_h, rel_w, h, w):
    if not HAS_SDPA:
        raise RuntimeError(f"PyTorch {torch.__version__} has no scaled_dot_product_attention")
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias_of(q, rel_h, rel_w, h, w))


def by_flex(q, k, v, rel_h, rel_w, h, w):
    from torch.nn.attention.flex_attention import flex_attention
    rows, columns = positions(q, rel_h, rel_w, h, w)
    return flex_attention(q, k, v, score_mod=lambda score, b, head, i, j: score + rows[b, head, i, j // w] + columns[b, head, i, j % w])


class LayerNorm2d(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x):  # [b, c, h, w], over c
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class Attention(nn.Module):
    def __init__(self, c, heads, side):
        super().__init__()
        self.heads, d = heads, c // heads
        self.qkv, self.proj = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.rel_pos_h, self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, d)), nn.Parameter(torch.zeros(2 * side - 1, d))

    def forward(self, x):  # [b, h, w, c]
        b, h, w, c = x.shape
        q, k, v = self.qkv(x).reshape(b, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        out = (by_sdpa if HAS_SDPA else by_formula)(q, k, v, self.rel_pos_h, self.rel_pos_w, h, w)
        return self.proj(out.transpose(1, 2).reshape(b, h, w, c))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x):
        return self.lin2(F.gelu(self.lin1(x)))


class Block(nn.Module):
    def __init__(self, c, heads, window, grid):
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(c, eps=1e-6), nn.LayerNorm(c, eps=1e-6)
        self.attn, self.mlp = Attention(c, heads, window or grid), Mlp(c)

    def forward(self, x):
        b, h, w, c = x.shape
        y, n = self.norm1(x), self.window
        if n:  # windows, padded with zeros below and to the right
            y = F.pad(y, (0, 0, 0, -w % n, 0, -h % n))
            rows, columns = y.shape[1] // n, y.shape[2] // n
            y = y.reshape(b, rows, n, columns, n, c).transpose(2, 3).reshape(-1, n, n, c)
            y = self.attn(y).reshape(b, rows, columns, n, n, c).transpose(2, 3).reshape(b, rows * n, columns * n, c)[:, :h, :w]
        else:
            y = self.attn(y)
        x = x + y
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    def __init__(self, c, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, c, patch, patch)

    def forward(self, x):
        return self.proj(x).permute(0, 2, 3, 1)


class Encoder(nn.Module):
    """SAM's image encoder; tensor names as in its files, without the prefix image_encoder."""

    def __init__(self, grid, width, heads, depth, window, patch, out, global_blocks, **_):
        super().__init__()
        self.patch_embed = Patches(width, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width))
        self.blocks = nn.ModuleList(Block(width, heads, 0 if i in global_blocks else window, grid) for i in range(depth))
        self.neck = nn.Sequential(nn.Conv2d(width, out, 1, bias=False), LayerNorm2d(out), nn.Conv2d(out, out, 3, padding=1, bias=False), LayerNorm2d(out))

    def forward(self, image):  # [b, 3, s, s]
        x = self.patch_embed(image) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


def fill(net):
    """Reproducible weights of the size that trained ones have."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in net.named_parameters():
            fan = p[0].numel() if p.dim() > 1 else 1
            norm = p.dim() == 1 and name.endswith("weight")
            p.copy_(torch.randn(p.shape, generator=g) * (0.1 if p.dim() == 1 else fan ** -0.5) + (1 if norm else 0))
    return net.eval()


def check(size):
    """The module above against the package segment-anything, in float32."""
    from functools import partial
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "parity"))
    from refnets import ImageEncoderViT  # the package's, without what it does not need
    ours = fill(Encoder(**size))
    theirs = ImageEncoderViT(img_size=size["grid"] * size["patch"], patch_size=size["patch"], embed_dim=size["width"], depth=size["depth"], num_heads=size["heads"], out_chans=size["out"],
                             norm_layer=partial(nn.LayerNorm, eps=1e-6), qkv_bias=True, use_rel_pos=True, rel_pos_zero_init=True, window_size=size["window"], global_attn_indexes=size["global_blocks"])
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, size["grid"] * size["patch"], size["grid"] * size["patch"], generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        want = theirs.eval()(x)
        error = float((ours(x) - want).norm() / want.norm())
    print(f"the module against segment-anything: relative L2 {error:.1e}")
    sys.exit(0 if error <= 1e-5 else 1)


class Clock:
    def __init__(self, device, deadline):
        self.device, self.deadline = device, deadline

    def median_ms(self, run):
        """Of 3 to 20 runs behind two that warm up (compilation among them); within two seconds."""
        for _ in range(2):
            run()
        times, start = [], time.perf_counter()
        while len(times) < 3 or (len(times) < 20 and time.perf_counter() - start < 2):
            if self.device == "cuda":
                torch.cuda.synchronize()
                a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                a.record()
                run()
                b.record()
                b.synchronize()
                times.append(a.elapsed_time(b))
            else:
                begin = time.perf_counter()
                run()
                times.append((time.perf_counter() - begin) * 1e3)
        return statistics.median(times)


def compiled(f):
    if not HAS_COMPILE:
        raise RuntimeError(f"PyTorch {torch.__version__} has no torch.compile")
    return torch.compile(f, dynamic=False)


def add(rows, clock, name, engine, precision, batch, flop, make, judge):
    """make() -> what is timed; a failure is a row that says why."""
    row = dict(name=name, engine=engine, precision=precision, batch=batch, flop=flop)
    if time.perf_counter() > clock.deadline:
        row["failed"] = "left out: the budget of seconds is used up"
    else:
        try:
            run = make()
            row["ms"] = clock.median_ms(run)
            row["error"] = judge(run())
        except Exception as e:  # a peer's failure is a result
            row["failed"] = f"{type(e).__name__}: {e}".splitlines()[0][:200]
    rows.append(row)


def attention_rows(rows, clock, device, size, precisions):
    g, heads, d = size["grid"], size["heads"], size["width"] // size["heads"]
    seed = torch.Generator().manual_seed(3)
    base = [torch.randn(1, heads, g * g, d, generator=seed) for _ in range(3)] + [torch.randn(2 * g - 1, d, generator=seed) * 0.1 for _ in range(2)]
    name, flop = f"attention {g}x{g}, {heads} heads of {d}, rel-pos", 4.0 * (g * g) ** 2 * heads * d
    some = sorted({i * (g * g - 1) // 5 for i in range(6)})
    for precision in precisions:
        inputs = [t.to(device, TYPES[precision]) for t in base]
        q, k, v, rel_h, rel_w = [t.double().cpu() for t in inputs]  # rounded as the peers see them
        ys, xs = torch.tensor(some) // g, torch.tensor(some) % g
        grid = torch.arange(g)
        terms = torch.stack([(q[0, :, s] @ rel_h[y - grid + g - 1].T)[:, :, None] + (q[0, :, s] @ rel_w[x - grid + g - 1].T)[:, None, :] for s, y, x in zip(some, ys, xs)], 1).reshape(heads, len(some), g * g)
        want = ((q[0][:, some] * d ** -0.5) @ k[0].transpose(-2, -1) + terms).softmax(-1) @ v[0]
        judge = lambda got: float((got[0][:, some].double().cpu() - want).norm() / want.norm())
        ways = [("eager, the formula", lambda: by_formula), ("SDPA, bias as a tensor", lambda: by_sdpa), ("torch.compile, the formula", lambda: compiled(by_formula)), ("torch.compile, flex_attention", lambda: compiled(by_flex))]
        for engine, way in ways:
            def make(way=way):
                f = way()
                return lambda: f(*inputs, g, g)
            add(rows, clock, name, f"PyTorch {engine}", precision, 1, flop, make, judge)


def encoder_flop(grid, width, heads, depth, window, patch, out, global_blocks, **_):
    """Useful FLOP of one image: windows without their padding, positions left out."""
    n, d = grid * grid, width
    edges = [min(window, grid - a) for a in range(0, grid, window)]
    in_windows = sum((y * x) ** 2 for y in edges for x in edges)
    pairs = len(global_blocks) * n * n + (depth - len(global_blocks)) * in_windows
    return 2.0 * n * d * 3 * patch ** 2 + depth * 24.0 * n * d * d + 4.0 * pairs * d + 2.0 * n * d * out + 18.0 * n * out * out


def encoder_rows(rows, clock, device, size, precisions):
    side = size["grid"] * size["patch"]
    net = fill(Encoder(**size)).to(device)
    for batch in size["batches"]:
        image = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(4)).to(device)
        first = {}

        def judge(got):
            got = got.float().cpu()
            want = first.setdefault("embedding", got)
            if not torch.isfinite(got).all():
                raise RuntimeError("NaN or infinity in the embedding")
            return float((got - want).norm() / want.norm())
        with torch.no_grad():
            try:
                judge(net(image))  # float32 is what the others are compared with
            except RuntimeError as e:
                print(f"peers/device.py: no float32 embedding at batch {batch} to compare with: {e}", file=sys.stderr)
        for precision in precisions:
            for engine, wrap in [("torch.compile", compiled), ("eager", lambda f: f)]:
                if precision == "f32" and engine == "torch.compile":
                    continue  # float32 is not what a device is for: one row, for the ratio
                def make(wrap=wrap, precision=precision):
                    f, x = wrap(copy.deepcopy(net).to(TYPES[precision])), image.to(TYPES[precision])
                    return lambda: f(x)
                way = "SDPA" if HAS_SDPA else "the formula"
                add(rows, clock, f"ViT-B encoder, batch {batch}" if size is FULL else f"tiny encoder, batch {batch}", f"PyTorch {engine}, {way}", precision, batch, batch * encoder_flop(**size), make, judge)


def ours(paths):
    """Rows of bench_attention and bench_encoder on the device that have a peer here."""
    out = []
    for path in paths:
        with open(path) as f:
            data = json.load(f)
        for part in data.get("parts", {"": data}).values():
            for r in part.get("rows", []):
                if r.get("isa") != "cuda" or r.get("median_ms") is None:
                    continue
                named = re.search(r"(?: x|batch )(\d+)$", r["name"])
                batch = int(named[1] if named else r.get("extra", {}).get("batch", 1))
                if r["name"].startswith("sam_vit_b attend") and "global" in r["name"]:
                    name = "attention 64x64, 12 heads of 64, rel-pos"
                elif r["name"].startswith("sam_vit_b") and part.get("program") == "bench_encoder":
                    name = f"ViT-B encoder, batch {batch}"
                else:
                    continue
                out.append(dict(name=name, engine="sampan", precision=r["precision"], batch=batch, flop=r["flop"], ms=r["median_ms"], error=r["error"]))
    return out


def table(rows):
    print("| what | engine | precision | ms | images/s | TFLOP/s | error |\n|---|---|---|--:|--:|--:|--:|")
    number = lambda v, f: "-" if v is None else format(v, f)
    for r in sorted(rows, key=lambda r: (r["name"], r["engine"] != "sampan", "published" in r["engine"])):
        ms = r.get("ms")
        rate = r.get("images_per_s") or (None if ms is None or "encoder" not in r["name"] else r["batch"] / ms * 1e3)
        cells = [r["name"], r["engine"], r.get("precision", "-"), number(ms, ".3f"), number(rate, ".1f"), number(None if ms is None else r["flop"] / ms * 1e-9, ".1f"), r.get("failed") or number(r.get("error"), ".1e")]
        print("| " + " | ".join(cells) + " |")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    a.add_argument("--size", choices=("full", "tiny"), default="full")
    a.add_argument("--precision", default="bf16,f16,f32")
    a.add_argument("--ours", nargs="*", default=[], help="JSON files of bench_attention, bench_encoder, or of tests/gpu/run.sh")
    a.add_argument("--json", help="file for the rows")
    a.add_argument("--budget", type=float, default=150, help="seconds after which no further row begins")
    a.add_argument("--check", action="store_true", help="compare the encoder with the package segment-anything, and end")
    o = a.parse_args()
    size = TINY if o.size == "tiny" else FULL
    if o.check:
        check(size)
    if o.device == "cuda" and not torch.cuda.is_available():
        missing(f"PyTorch {torch.__version__} sees no CUDA device; --device cpu --size tiny shows that the script works")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_grad_enabled(False)
    precisions = o.precision.split(",")
    for p in precisions:
        if p not in TYPES:
            a.error(f"--precision {p}: f32, f16, bf16")
    device = torch.cuda.get_device_name(0) if o.device == "cuda" else "cpu"
    clock, rows = Clock(o.device, time.perf_counter() + o.budget), []
    attention_rows(rows, clock, o.device, size, precisions)
    encoder_rows(rows, clock, o.device, size, precisions)
    measured = list(rows)
    if size is FULL:
        rows += ours(o.ours) + [dict(name=n, engine=e, precision="f16", batch=8, images_per_s=v) for n, e, v in PUBLISHED]
    print(f"- PyTorch {torch.__version__} on {device}; TF32 off\n- rows marked (published) are quoted from segment-anything-fast, not measured here\n")
    table(rows)
    if o.json:
        with open(o.json, "w") as f:
            json.dump(dict(program="peers/device.py", device=device, torch=torch.__version__, rows=measured, published=[dict(name=n, engine=e, images_per_s=v) for n, e, v in PUBLISHED]), f, indent=1)
    sys.exit(0 if any("ms" in r for r in measured) else 1)


if __name__ == "__main__":
    main()
