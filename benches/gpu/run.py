"""Everything that has to be seen on a GPU, in one go: `cargo xtask gpu` packs this with the program.

    python run.py --out RESULTS [gate agreement views steps data ops training]

Needs a driver and PyTorch, and neither Rust nor a network. Each part is tried, whatever became of those
before it; results.json and results.txt are written anew after each, so that nothing is lost when time
runs out. Exit code 1 if a part failed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
HSSL = HERE / "bin/hssl"
GATE = HERE / "bin/gate"

# Name, file of benches/cases, and what it takes to fill a GPU.
STEPS = [
    ("DINO + HSSL, ViT-S/16, 2x224, batch 256", "dino_hssl_vit_small_224",
     {"train.batch_size": 256}),
    ("DINO, ViT-S/16, 2x224, batch 256", "dino_hssl_vit_small_224",
     {"train.batch_size": 256, "hssl.supervision": "none"}),
    ("DINO + HSSL, ViT-B/16, 2x224, batch 128", "dino_hssl_vit_small_224",
     {"train.batch_size": 128, "backbone.arch": "vit_base"}),
    ("DINO + HSSL, ViT-S/16, 2x224, batch 256, 65,536 prototypes", "dino_hssl_vit_small_224",
     {"train.batch_size": 256, "objective.out_dim": 65536}),
]

# Small bases and methods: loss and gradients of their compositions must agree between CPU and GPU.
BASES = {
    "vit": "patch_size = 16\nimg_size = 64\nembed_dim = 32\ndepth = 2\nnum_heads = 2",
    "swin": "patch_size = 2\nimg_size = 64\nwindow_size = 4\nembed_dim = 8\n"
            "depths = [1, 1, 2, 1]\nnum_heads = [1, 1, 1, 2]",
    "convnext": "patch_size = 2\ndims = [8, 16, 24, 32]\ndepths = [1, 1, 2, 1]",
    "resnet": 'arch = "resnet18"\nwidths = [8, 16, 24, 32]\ndepths = [1, 1, 1, 1]',
    "resmlp": "patch_size = 16\nimg_size = 64\nembed_dim = 32\ndepth = 2",
    "poolformer": "dims = [8, 16, 24, 32]\ndepths = [1, 1, 2, 1]",
    "pvt": "patch_size = 2\nimg_size = 64\nembed_dims = [8, 16, 24, 32]\n"
           "depths = [1, 1, 2, 1]\nnum_heads = [1, 1, 1, 2]",
}
PROTOTYPES = "out_dim = 24\nhidden_dim = 16\nbottleneck_dim = 8"
PROJECTION = "out_dim = 12\nhidden_dim = 16"
METHODS = {"dino": PROTOTYPES, "ibot": PROTOTYPES, "simclr": PROJECTION, "byol": PROJECTION,
           "moco": PROJECTION, "vicreg": PROJECTION, "barlow": PROJECTION}
AGREEMENT = ([(base, "convnext", "dino") for base in BASES]
             + [("vit", head, "dino") for head in BASES if head != "convnext"]
             + [("vit", "convnext", method) for method in METHODS if method != "dino"])


class Failed(Exception):
    pass


def call(arguments, limit=600, environment=None):
    """A program's output; on failure its last words."""
    done = subprocess.run([str(word) for word in arguments], capture_output=True, text=True,
                          timeout=limit, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        raise Failed(f"{Path(arguments[0]).name}: exit code {done.returncode}\n"
                     + (done.stdout + done.stderr)[-3000:])
    return done.stdout


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


def sets(values):
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def tensors(file):
    """The tensors of a safetensors file, as float64."""
    data = Path(file).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    types = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "U8": np.uint8, "U32": np.uint32}
    found = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in types:
            continue
        start, end = (8 + length + place for place in entry["data_offsets"])
        values = np.frombuffer(data[start:end], types[entry["dtype"]])
        found[name] = values.astype(np.float64).reshape(entry["shape"])
    return found


def gate(_):
    """The kernels compile, and every operation's gradient is that of finite differences on the GPU too."""
    if not GATE.exists():
        raise Failed("bin/gate is not in this folder")
    done = subprocess.run([GATE, "gradient", "compiles", "agree", "--test-threads", "4"], capture_output=True, text=True,
                          timeout=900)
    failures = [line.split()[1] for line in done.stdout.splitlines()
                if line.startswith("test ") and line.endswith("FAILED")]
    summary = [line for line in done.stdout.splitlines() if line.startswith("test result")]
    found = {"summary": summary[0] if summary else done.stdout[-500:], "failed": failures}
    if done.returncode != 0:
        raise Failed(json.dumps(found) + "\n" + done.stdout[-3000:])
    return found


def composition(base, head, method, folder):
    text = (f'[backbone]\nplugin = "{base}"\n{BASES[base]}\n'
            f'[heads.aux]\nplugin = "{head}"\ndepth = 2\n'
            f'[objective]\nplugin = "{method}"\n{METHODS[method]}\n[hssl]\nsupervision = "hssl"\n'
            '[data]\ntrain = "generated:shapes?n=8&size=64"\n'
            "[views]\nglobal_crops_size = 64\nlocal_crops_number = 0\n"
            "[train]\nbatch_size = 4\ndrop_path = 0.0\n")
    file = folder / f"{base}-{head}-{method}.toml"
    file.write_text(text)
    return file


def agreement(folder):
    """One step on both devices from the same weights and views."""
    found = []
    for base, head, method in AGREEMENT:
        name = f"{base} + {head}, {method}"
        config = composition(base, head, method, folder)
        here, there = folder / "cpu.safetensors", folder / "cuda.safetensors"
        try:
            call([HSSL, "step", config, "--set", "train.device=cpu", "--dump", here])
            call([HSSL, "step", config, "--set", f"train.device={DEVICE}", "--load", here, "--dump", there])
            cpu, cuda = tensors(here), tensors(there)
            loss = abs(cpu["loss.total"] - cuda["loss.total"]).max() / abs(cpu["loss.total"]).max()
            worst = max((float(np.linalg.norm(cpu[key] - cuda[key])
                               / max(np.linalg.norm(cpu[key]), 1e-6)), key)
                        for key in cpu if key.startswith("grad."))
            found.append({"composition": name, "loss": float(loss), "gradient": worst[0],
                          "worst": worst[1], "good": bool(loss < 1e-4 and worst[0] < 1e-2)})
        except (Failed, KeyError, subprocess.TimeoutExpired) as error:
            found.append({"composition": name, "error": str(error)[-800:], "good": False})
    if not all(one["good"] for one in found):
        raise Failed(json.dumps(found, indent=1))
    return found


def views(folder):
    """A batch's views made by the processor and by the GPU: the same, to the last bit."""
    config = composition("vit", "convnext", "dino", folder)
    here, there = folder / "cpu.safetensors", folder / "cuda.safetensors"
    drawn = sets({"data.train": "generated:shapes?n=256&size=200", "train.batch_size": 64,
                  "views.local_crops_number": 2, "views.local_crops_size": 32,
                  "data.augment_on_device": "true"})
    for device, dump in (("cpu", here), (DEVICE, there)):
        call([HSSL, "step", config, *drawn, "--set", f"train.device={device}", "--dump", dump])
    cpu, cuda = tensors(here), tensors(there)
    found = {key: int((cpu[key] != cuda[key]).sum()) for key in ("input.global", "input.local")}
    if any(found.values()):
        raise Failed(f"numbers that differ: {found}")
    return {key: int(cpu[key].size) for key in found}


def data(folder):
    """Training steps with images from the loader: its threads or the GPU make the views."""
    found = []
    for augment in ("false", "true"):
        turn = last_json(call([
            HSSL, "bench", HERE / "benches/cases/dino_hssl_vit_small_224.toml", "--data", "--json",
            "--steps", 20, "--warmup", 5,
            *sets({"train.device": DEVICE, "train.precision": "bf16", "train.batch_size": 256,
                   "data.train": "generated:shapes?n=2048&size=256", "data.cache_mb": 2048,
                   "data.augment_on_device": augment})], 400))
        found.append({"augment_on_device": augment, **turn})
    return found


def steps(folder):
    """Training steps beside PyTorch's, in turns."""
    found = []
    for name, case, values in STEPS:
        config = folder / f"{case}.toml"
        shown = call([HSSL, "config", "show", "--toml", HERE / f"benches/cases/{case}.toml",
                      *sets({"train.device": DEVICE, **values})])
        config.write_text(shown)
        counted = ["--steps", 10, "--warmup", 3]
        peer = [sys.executable, HERE / "benches/peers/dino.py", config, *counted, "--precision", "bf16"]
        sides = {
            "hssl bf16": [HSSL, "bench", config, "--json", *counted, "--set", "train.precision=bf16"],
            "eager bf16": peer,
            "compile bf16": [*peer, "--compile"],
        }
        turns = {side: [] for side in sides}
        for _ in range(2):
            for side, arguments in sides.items():
                try:
                    turns[side].append(last_json(call(arguments, 300)))
                except (Failed, subprocess.TimeoutExpired) as error:
                    turns[side].append({"error": str(error)[-800:]})
        found.append({"case": name, "turns": turns})
    return found


def speed(turns):
    values = [turn["images_per_s"] for turn in turns if "images_per_s" in turn]
    return statistics.median(values) if values else None


def ops(_):
    """Single operations beside PyTorch's."""
    file = HERE / "benches/ops.toml"
    ours = last_json(call([HSSL, "bench", "--ops", file, "--json"]))
    theirs = last_json(call([sys.executable, HERE / "benches/peers/ops.py", file]))
    key = lambda one: (one["name"], one["pass"], one["precision"])
    times = {key(one): one["ms"] for one in theirs}
    return [{**one, "torch_ms": times.get(key(one))} for one in ours]


def training(folder):
    """CIFAR-10 for real: images from the packed set, then nearest neighbours."""
    if not (HERE / "data/cifar10-jpeg.tar.gz").exists():
        raise Failed("data/cifar10-jpeg.tar.gz is not in this folder")
    data = {"HSSL_DATA": str(HERE / "data")}
    run = folder / "cifar10"
    start = time.perf_counter()
    call([HSSL, "pretrain", HERE / "configs/cifar10.toml", "--out", run,
          *sets({"train.device": DEVICE, "train.precision": "bf16", "train.batch_size": 256})],
         900, data)
    seconds = time.perf_counter() - start
    call([HSSL, "eval", run, "--suite", HERE / "configs/suites/cifar10.toml"], 300, data)
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    return {"seconds": seconds, "last": last, "results": json.loads((run / "results.json").read_text())}


PARTS = {"gate": gate, "agreement": agreement, "views": views, "steps": steps, "data": data,
         "ops": ops, "training": training}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def machine():
    found = {"torch": torch.__version__, "python": platform.python_version(),
             "date": time.strftime("%Y-%m-%d"), "device": DEVICE}
    if DEVICE == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    return found


def table(results):
    lines = [", ".join(f"{key} {value}" for key, value in results["machine"].items()), ""]
    for part in PARTS:
        if part not in results:
            continue
        result = results[part]
        lines.append(f"## {part} ({result['seconds']:.0f} s)")
        if "error" in result:
            lines += ["FAILED", result["error"], ""]
            continue
        found = result["found"]
        if part == "gate":
            lines.append(found["summary"])
        elif part == "agreement":
            lines += [f"{one['composition']:<28} loss {one['loss']:.1e}  gradient {one['gradient']:.1e}"
                      for one in found]
        elif part == "views":
            lines += [f"{key}: {size} numbers, all the same" for key, size in found.items()]
        elif part == "data":
            lines += [f"augment_on_device {one['augment_on_device']}: {one['images_per_s']:.1f} images/s"
                      for one in found]
        elif part == "steps":
            for one in found:
                speeds = {side: speed(turns) for side, turns in one["turns"].items()}
                lines.append(f"{one['case']}: " + ", ".join(
                    f"{side} {value:.1f}" if value else f"{side} failed"
                    for side, value in speeds.items()) + " images/s")
        elif part == "ops":
            lines += [f"{one['name']:<32} {one['pass']:<8} {one['precision']:<5} {one['ms']:9.3f} ms"
                      + (f"  PyTorch {one['torch_ms']:9.3f}  x{one['torch_ms'] / one['ms']:.2f}"
                         if one["torch_ms"] else "") for one in found]
        else:
            lines += [f"trained and evaluated; pre-training {found['seconds']:.0f} s",
                      json.dumps(found["results"])[:2000]]
        lines.append("")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    folder = arguments.out / "work"
    folder.mkdir(exist_ok=True)
    results = {"machine": machine()}
    for part in arguments.parts or PARTS:
        start = time.perf_counter()
        try:
            result = {"found": PARTS[part](folder)}
        except Exception as error:  # whatever it was, the other parts are worth having
            result = {"error": f"{type(error).__name__}: {error}"}
        results[part] = {**result, "seconds": time.perf_counter() - start}
        (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (arguments.out / "results.txt").write_text(table(results) + "\n")
    print(table(results))
    sys.exit(any("error" in results[part] for part in results if part != "machine"))


if __name__ == "__main__":
    main()
