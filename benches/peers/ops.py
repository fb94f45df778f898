"""Single operations in PyTorch: what `hssl bench --ops` is timed against.

    python ops.py ops.toml [--precision f32] [--threads N]

Reads the same file, and prints one line of JSON with the keys of `hssl bench --ops --json`. Images are
in PyTorch's channels-last format, which is what its CPU and tensor-core kernels like best.
"""

import argparse
import json
import statistics
import time
import tomllib

import torch
import torch.nn.functional as F

SECONDS = 0.4


def channels_last(x):
    """A map (B, H, W, C) as PyTorch names its dimensions, where it lies."""
    return x.permute(0, 3, 1, 2)


def forward(case):
    """A function of the case's inputs."""
    match case["op"]:
        case "linear":
            return F.linear
        case "conv2d":
            return lambda x, w, b: F.conv2d(
                channels_last(x), w, b, padding=case["padding"], groups=case["groups"])
        case "layer_norm":
            return lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, 1e-6)
        case "batch_norm":
            return lambda x, mean, var, w, b: F.batch_norm(
                channels_last(x), mean, var, w, b, training=True)
        case "gelu":
            return F.gelu
        case "softmax":
            return lambda x: F.softmax(x, -1)
        case "attention":
            return F.scaled_dot_product_attention
        case "soft_cross_entropy":
            return lambda x, target: -(
                target * F.log_softmax(x.float() / case["temperature"], -1)).sum(-1)
    raise SystemExit(f"no operation {case['op']!r}")


def given(case):
    """Places of the inputs that have no gradient."""
    return {"batch_norm": (1, 2), "soft_cross_entropy": (1,)}.get(case["op"], ())


def activations(case):
    """Places of the inputs that come from another layer."""
    return (0, 1, 2) if case["op"] == "attention" else (0,)


def repeat(device, call):
    def timed():
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3

    timed()
    timed()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < SECONDS:
        times.append(timed())
    return {"ms": statistics.median(times), "ms_min": min(times), "calls": len(times)}


def update(case, device):
    students = [torch.randn(shape, device=device, requires_grad=True) for shape in case["shapes"]]
    teachers = [student.detach().clone() for student in students]
    for student in students:
        student.grad = torch.randn_like(student)
    optimizer = torch.optim.AdamW(students, lr=1e-4, weight_decay=0.04, fused=True)

    @torch.no_grad()
    def step():
        gradients = [student.grad for student in students]
        norms = torch._foreach_norm(gradients)
        torch._foreach_mul_(gradients, [(3.0 / (norm + 1e-6)).clamp(max=1.0) for norm in norms])
        optimizer.step()
        torch._foreach_lerp_(teachers, [student.detach() for student in students], 0.004)

    return step


def times(case, device, precision):
    named = {"name": case["name"], "precision": precision}
    brief = precision == "bf16"
    if case["op"] == "update":
        if not brief:
            yield {**named, "pass": "update", **repeat(device, update(case, device))}
        return
    inputs = []
    for place, shape in enumerate(case["shapes"]):
        x = torch.randn(shape, device=device)
        if brief and place in activations(case):
            x = x.bfloat16()
        if case["op"] == "conv2d" and place == 1:
            x = x.contiguous(memory_format=torch.channels_last)
        inputs.append(x.requires_grad_(place not in given(case)))
    function = forward(case)
    with torch.autocast(device.type, torch.bfloat16, enabled=brief):
        grad = torch.randn_like(function(*inputs).detach())

    def both():
        with torch.autocast(device.type, torch.bfloat16, enabled=brief):
            output = function(*inputs)
        output.backward(grad)
        for x in inputs:
            x.grad = None

    def alone():
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=brief):
            function(*inputs)

    yield {**named, "pass": "forward", **repeat(device, alone)}
    yield {**named, "pass": "both", **repeat(device, both)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--precision", choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    with open(arguments.file, "rb") as file:
        cases = tomllib.load(file)["op"]
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precisions = [arguments.precision] if arguments.precision else ["f32", "bf16"]
    print(json.dumps([found for case in cases for precision in precisions
                      for found in times(case, device, precision)]))


if __name__ == "__main__":
    main()
