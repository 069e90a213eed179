"""One JSON and one Markdown table of what tests/gpu/run.sh ran. Licence: Apache-2.0 (own code of the project).

How:  report.py FOLDER; reads FOLDER/parts/steps.tsv (step, outcome, seconds) and FOLDER/parts/<step>.json, writes FOLDER/gpu.json and FOLDER/gpu.md.
      gpu.json: {"device", "commit", "steps": [...], "parts": {step: what the program wrote}}; parts that are missing or no JSON are steps that say so.
Percent of peak and of the roof as bench/README.md has them; the roofs are each program's own, measured in its run.
Targets that have a number here are compared in a column of their own (H100 or H200; other devices are no evidence).
"""
import json, os, sys

KERNELS, PEERS = "kernels", "peers"
# step, name begins with, name contains, precision, column, bound; at least for shares, at most for milliseconds
TARGETS = [
    ("attention", "sam_vit_b attend", "global", "bf16", "of_peak", 0.35),
    ("attention", "sam_vit_b attend", "window 14", "bf16", "of_roof", 0.60),
    ("encoder", "sam_vit_b", "", "bf16", "ms", 6.0),
    ("encoder_batch", "sam_vit_b", "", "bf16", "ms", 8 / 350 * 1e3),  # eight images
    ("decoder", "sam_vit_b decoder, 1 box", "", "f32", "ms", 1.0),
]


def rows_of(step, part):
    """Rows of a program in one form: name, precision, ms, flop, bytes, of_peak, of_roof, error, note."""
    if step == KERNELS:
        for r in part["rows"]:
            rate = r["flop"] / r["ms"] * 1e-9
            yield dict(name=r["name"], precision="bf16", ms=r["ms"], flop=r["flop"], bytes=r["bytes"], of_peak=rate / part["bf16_tflops"], of_roof=r["of_roof"], error=None, note="")
    elif step == PEERS:
        for r in part["rows"]:
            yield dict(name=f'{r["engine"]}: {r["name"]}', precision=r["precision"], ms=r.get("ms"), flop=r["flop"], bytes=None, of_peak=None, of_roof=None, error=r.get("error"), note=r.get("failed", ""))
        for r in part["published"]:
            yield dict(name=f'{r["engine"]}: {r["name"]}', precision="f16", ms=8e3 / r["images_per_s"], flop=None, bytes=None, of_peak=None, of_roof=None, error=None, note=f'quoted: {r["images_per_s"]} images/s on another device')
    else:
        for r in part.get("rows", []):
            note = "; ".join((["WRONG: " + r["wrong"]] if r["wrong"] else []) + (["rejected: " + ", ".join(r["noise"])] if r["noise"] else []))
            yield dict(name=r["name"], precision=r["precision"], ms=r["median_ms"], flop=r["flop"], bytes=r["bytes"], of_peak=r["of_peak"], of_roof=r["of_roof"], error=r["error"], note=note)


def target(step, row):
    for where, begins, has, precision, column, bound in TARGETS:
        if where != step or not row["name"].startswith(begins) or has not in row["name"] or row["precision"] != precision or row[column] is None:
            continue
        good = row[column] <= bound if column == "ms" else row[column] >= bound
        return ("met" if good else "missed") + (f": at most {bound:.3g} ms" if column == "ms" else f": at least {bound * 100:.0f}% of the {column[3:]}")
    return ""


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "parts", "steps.tsv")) as f:
        steps = [dict(zip(("step", "outcome", "seconds"), line.rstrip("\n").split("\t"))) for line in f]
    parts = {}
    for s in steps:
        path = os.path.join(folder, "parts", s["step"] + ".json")
        if not os.path.exists(path):
            continue
        try:
            with open(path) as f:
                parts[s["step"]] = json.load(f)
        except ValueError as e:
            s["outcome"] += f"; its JSON is broken: {e}"
    device = next((p["device"]["name"] if isinstance(p["device"], dict) else p["device"] for p in parts.values() if p.get("device")), "no device")
    commit = next((p["build"]["commit"] for p in parts.values() if "build" in p), "unknown")
    with open(os.path.join(folder, "gpu.json"), "w") as f:
        json.dump(dict(device=device, commit=commit, steps=steps, parts=parts), f, indent=1)
    number = lambda v, form, factor=1: "-" if v is None or v == 0 else format(v * factor, form)
    with open(os.path.join(folder, "gpu.md"), "w") as f:
        f.write(f"- sampan on {device}, commit {commit}\n")
        for name, p in parts.items():
            if name == KERNELS:
                f.write(f'- roofs of {name}: bf16 {p["bf16_tflops"]:.1f} TFLOP/s, copy {p["copy_gbs"]:.0f} GB/s\n')
            elif isinstance(p.get("device"), dict):
                f.write(f"- roofs of {name}: " + ", ".join(f"{k} {v * 1e-3:.1f} TFLOP/s" for k, v in p["device"]["gflops"].items()) + f', copy {p["device"]["copy_gbs"]:.0f} GB/s\n')
        f.write("".join(f'- {s["step"]}: {s["outcome"]}, {s["seconds"]} s\n' for s in steps))
        f.write("\n| step | name | precision | ms | GFLOP | MB | TFLOP/s | % peak | GB/s | % roof | error | target | notes |\n|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|---|\n")
        for step, part in parts.items():
            for r in rows_of(step, part):
                ms = r["ms"]
                rate = lambda v, factor: None if not v or not ms else v / ms * factor
                cells = [step, r["name"], r["precision"], number(ms, ".4f"), number(r["flop"], ".3g", 1e-9), number(r["bytes"], ".3g", 1e-6), number(rate(r["flop"], 1e-9), ".1f"), number(r["of_peak"], ".1f", 100),
                         number(rate(r["bytes"], 1e-6), ".0f"), number(r["of_roof"], ".1f", 100), number(r["error"], ".1e"), target(step, r), r["note"].replace("|", "/")]
                f.write("| " + " | ".join(cells) + " |\n")


if __name__ == "__main__":
    main()
