"""One peer in its own process: loads a network, then times one run per request. Licence: Apache-2.0 (own code of the project).

Where: run.py starts one worker per peer and asks them in turn, so that every peer meets the same machine.
How:   worker.py MODEL PEER THREADS WORKDIR; JSON lines on stdin and stdout: {"run": true} -> {"ms": ...}; the first line it prints says what it is.
Peers: eager (PyTorch), compile (torch.compile, inductor), onnxruntime, openvino; all float32 on THREADS threads, batch 1, static shapes.
Networks and random weights are those of the parity tests (tests/parity/refnets.py, hashgen.py): public packages, nothing is copied.
Not here: pre- and post-processing; sampan itself (run.py calls bench_encoder).
"""
import json, os, resource, sys, time

MODEL, PEER, THREADS, WORK = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(THREADS)
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(WORK, "inductor"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "parity"))

SAM_B = (768, 12, 12)
GLOBAL_B = (2, 5, 8, 11)
SIZES = {"lite_medsam": 256, "mobile_sam": 1024, "sam_vit_b_256": 256, "sam_vit_b": 1024}


def build():
    """-> the image encoder as a torch module with weights of the documented generator."""
    import hashgen as hg
    import refnets as rn
    if MODEL in ("lite_medsam", "mobile_sam"):
        stem, img = (1, 256) if MODEL == "lite_medsam" else (3, 1024)
        shapes = hg.tinyvit_shapes(*rn.TINYVIT_5M.values(), stem, 0 if stem == 1 else 1000)
        net = rn.build_tinyvit(stem, img=img, **rn.TINYVIT_5M)
    else:
        shapes = hg.sam_encoder_shapes(*SAM_B, SIZES[MODEL], GLOBAL_B)
        net = rn.build_sam(*SAM_B, SIZES[MODEL], GLOBAL_B).image_encoder
    # refnets puts empty modules in place of two packages that inference never calls; what follows asks for them by their files.
    for name in [n for n, m in sys.modules.items() if n.split(".")[0] in ("torchvision", "timm") and getattr(m, "__file__", None) is None]:
        del sys.modules[name]
    prefix = "image_encoder."
    named = {k[len(prefix):]: s for k, s in shapes}
    have = {k: tuple(v.shape) for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert have == named, "the key list differs from the real module"
    import torch
    net.load_state_dict({k: torch.from_numpy(hg.values(1, prefix + k, s)) for k, s in named.items()}, strict=False)
    return net.eval()


def image():
    """Reproducible input [1, 3, s, s] in the range of the network's own normalisation."""
    import hashgen as hg
    s = SIZES[MODEL]
    x = hg.f32_input(1, "bench.input", (1, 3, s, s))
    return x * 0.5 + 0.5 if MODEL == "lite_medsam" else x * 2


def onnx_file():
    """Exports once; both ONNX runtimes share the file."""
    path = os.path.join(WORK, f"{MODEL}.onnx")
    if os.path.exists(path): return path
    import torch
    net, x = build(), torch.from_numpy(image())
    part = os.path.join(WORK, f"{MODEL}.{os.getpid()}.onnx")
    with torch.no_grad():
        torch.onnx.export(net, (x,), part, input_names=["image"], output_names=["embedding"], dynamo=True, external_data=False, verbose=False)
    os.replace(part, path)
    return path


def prepare():
    """-> (callable: numpy image -> numpy embedding, version text)"""
    if PEER in ("eager", "compile"):
        import torch
        torch.set_num_threads(THREADS)
        torch.set_num_interop_threads(1)
        net, x = build(), torch.from_numpy(image())
        if PEER == "compile": net = torch.compile(net)

        def run(_):
            with torch.inference_mode(): return net(x).numpy()
        return run, f"PyTorch {torch.__version__.split('+')[0]} {PEER}"
    if PEER == "onnxruntime":
        import onnxruntime as ort
        o = ort.SessionOptions()
        o.intra_op_num_threads, o.inter_op_num_threads = THREADS, 1
        o.add_session_config_entry("session.intra_op.allow_spinning", "1")
        s = ort.InferenceSession(onnx_file(), o, providers=["CPUExecutionProvider"])
        return lambda x: s.run(None, {"image": x})[0], f"ONNX Runtime {ort.__version__}"
    if PEER == "openvino":
        import openvino as ov
        core = ov.Core()
        # f32: on processors with bf16 instructions OpenVINO would otherwise compute in bf16.
        model = core.compile_model(core.read_model(onnx_file()), "CPU",
                                   {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
        request = model.create_infer_request()

        def run(x):
            request.infer({0: x}, share_inputs=True)
            return request.get_output_tensor(0).data
        return run, f"OpenVINO {ov.__version__.split('-')[0]}"
    sys.exit(f"unknown peer {PEER}")


def main():
    say = lambda **k: print(json.dumps(k), file=answers, flush=True)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    import numpy as np
    x = image()
    start = time.perf_counter()
    run, version = prepare()
    first = np.array(run(x))
    ready = time.perf_counter() - start
    assert first.shape == (1, 256, first.shape[2], first.shape[3]) and np.isfinite(first).all(), f"embedding {first.shape} is wrong or not finite"
    reference = os.path.join(WORK, f"{MODEL}.eager.npy")  # PyTorch eager's embedding: the others are compared with it
    if PEER == "eager": np.save(reference, first)
    error = None
    if PEER != "eager" and os.path.exists(reference):
        want = np.load(reference).astype(np.float64)
        error = float(np.linalg.norm(first - want) / np.linalg.norm(want))
    say(version=version, prepare_s=round(ready, 2), error=error)
    for line in sys.stdin:
        if not json.loads(line).get("run"): break
        start = time.perf_counter()
        run(x)
        say(ms=(time.perf_counter() - start) * 1e3, peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
