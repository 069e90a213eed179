"""Table and plot of results.json: medians of every peer and of sampan, rows that sampan loses included. Licence: Apache-2.0 (own code of the project).

Where: run.py calls table() and draw(). The plot has one panel per model; bars are medians, whiskers the median absolute deviation, sampan stands out by colour.
"""
NAMES = {"sampan_fast": "sampan, fast", "sampan": "sampan", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "compile": "torch.compile", "eager": "PyTorch eager"}
TITLES = {"lite_medsam": "LiteMedSAM, 256 px", "mobile_sam": "MobileSAM, 1024 px", "sam_vit_b_256": "SAM ViT-B, 256 px", "sam_vit_b": "SAM ViT-B, 1024 px"}


def ordered(rows): return sorted(rows, key=lambda r: (list(TITLES).index(r["model"]), r["threads"], list(NAMES).index(r["peer"])))


def verdict(row):
    if row["peer"].startswith("sampan") or "times_ours" not in row: return ""
    return f"{row['times_ours']:.2f}x of ours" + (" (faster than sampan)" if row["times_ours"] < 1 else "")


def table(rows, path):
    lines = ["| model | engine | threads | rounds | median ms | MAD | min | against sampan, same round | error | peak MiB | load average |", "|---|---|--:|--:|--:|--:|--:|---|---|--:|---|"]
    for r in ordered(rows):
        name = r.get("version", NAMES[r["peer"]])
        if not r["ms"]:
            lines.append(f"| {TITLES[r['model']]} | {name} | {r['threads']} | 0 | failed: {r.get('failed', 'no round')} | | | | | | |")
            continue
        error = "reference of the others" if r["peer"] == "eager" else f"{r['error']:.1e} vs {'Reference (twin)' if r['peer'].startswith('sampan') else 'eager'}" if r.get("error") is not None else ""
        peak = f"{r['peak_mib']:.0f}" if r.get("peak_mib") else ""
        lines.append(f"| {TITLES[r['model']]} | {name} | {r['threads']} | {len(r['ms'])} | {r['median_ms']:.0f} | {r['mad_ms']:.0f} | {r['min_ms']:.0f} | {verdict(r)} | {error} | {peak} | {min(r['load']):.1f} to {max(r['load']):.1f} |")
    machines = sorted({f"{r['cpu']}, {r['cores']} cores" for r in rows})
    with open(path, "w") as f: f.write("\n".join(lines) + "\n\n" + "Machine: " + "; ".join(machines) + ".\n")


def draw(rows, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    rows = [r for r in ordered(rows) if r.get("median_ms")]
    panels = [(m, t) for m in TITLES for t in sorted({r["threads"] for r in rows if r["model"] == m})]
    if not panels: return
    figure, axes = plt.subplots(1, len(panels), figsize=(3.4 * len(panels) + 1, 3.2), squeeze=False)
    for axis, (model, threads) in zip(axes[0], panels):
        mine = [r for r in rows if r["model"] == model and r["threads"] == threads][::-1]
        colours = [{"sampan": "#c0392b", "sampan_fast": "#e59a92"}.get(r["peer"], "#8795a1") for r in mine]
        axis.barh([NAMES[r["peer"]] for r in mine], [r["median_ms"] / 1e3 for r in mine], xerr=[r["mad_ms"] / 1e3 for r in mine], color=colours, error_kw={"elinewidth": 1, "ecolor": "#333333"})
        for i, r in enumerate(mine): axis.annotate(f" {r['median_ms'] / 1e3:.2f} s", ((r["median_ms"] + r["mad_ms"]) / 1e3, i), va="center", fontsize=8)
        axis.set_title(f"{TITLES[model]}, {threads} threads", fontsize=9)
        axis.set_xlim(0, 1.25 * max((r["median_ms"] + r["mad_ms"]) / 1e3 for r in mine))
        axis.tick_params(labelsize=8)
        for side in ("top", "right"): axis.spines[side].set_visible(False)
    axes[0][0].set_xlabel("seconds per image (median); float32 except sampan, fast (16-bit integers)", fontsize=8)
    figure.suptitle("Image encoder on " + " / ".join(sorted({r["cpu"] for r in rows})), fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
