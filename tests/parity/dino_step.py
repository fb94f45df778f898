"""One training step of `hssl step`, computed again in PyTorch.

A first dump gives names, shapes and augmented views. Every parameter and centre is then moved off its
first value (zero biases and a teacher equal to the student would hide mistakes), and a second step,
from that file, is what is compared: losses, every gradient, and how far the step moves everything.
"""

import copy
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from comparison import Report
from program import Failed, hssl, toml, write_images
from reference import dino
from reference.layers import STATISTICS
from reference.update import updated

LOSS, GRADIENT, UPDATE = 1e-5, 1e-4, 1e-3
IMAGES, BATCH = 12, 3

BASE = {
    "backbone": {"plugin": "vit", "arch": "vit_tiny", "embed_dim": 48, "depth": 3, "num_heads": 3,
                 "patch_size": 4, "img_size": 32},
    "heads": {"aux": {"plugin": "convnext", "depth": 3}},
    "objective": {"plugin": "dino", "out_dim": 40, "hidden_dim": 56, "bottleneck_dim": 24,
                  "warmup_teacher_temp": 0.04, "teacher_temp": 0.07,
                  "warmup_teacher_temp_epochs": 3},
    "hssl": {"supervision": "hssl"},
    "data": {"train": "imagefolder:images"},
    "views": {"global_crops_number": 2, "global_crops_size": 32, "global_crops_scale": [0.4, 1.0],
              "local_crops_number": 3, "local_crops_size": 16, "local_crops_scale": [0.05, 0.4]},
    "train": {"epochs": 5, "batch_size": BATCH, "lr": 0.5, "min_lr": 1e-6, "warmup_epochs": 1,
              "weight_decay": 0.04, "weight_decay_end": 0.4, "clip_grad": 0.3,
              "freeze_last_layer": 1, "momentum_teacher": 0.9, "momentum_teacher_end": 1.0,
              "drop_path": 0.0, "device": "cpu", "threads": 2},
}

def merged(base, changes):
    """A section that names another plugin takes the place of the former one."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        both = both and value.get("plugin") in (None, result[key].get("plugin"))
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


# A base with running statistics, under a head with some of its own. It is shallow: what rounding moves
# across ReLU's kink is no error, but would look like one.
RESNET = {
    "backbone": {"plugin": "resnet", "arch": "resnet18", "stem": "cifar", "depths": [1, 1, 1, 1],
                 "widths": [16, 16, 24, 24]},
    "heads": {"aux": {"plugin": "resnet", "depth": 2}},
}

# What differs from BASE, and which optimizer step it is: IMAGES / BATCH of them make an epoch, or one if
# the views too come from the file, since then no data are opened.
VIEWS_GIVEN = "hssl, views from the file"
CASES = {
    "dino": ({"hssl": {"supervision": "none"}}, 2),
    "dino, one epoch on, prototypes of any length": (
        {"hssl": {"supervision": "none"}, "objective": {"norm_last_layer": False}}, 5),
    "hssl": ({}, 6),
    VIEWS_GIVEN: ({}, 1),
    "hssl, last layer frozen": ({}, 3),
    "hssl, sum of branches": ({"hssl": {"branch_reduction": "sum"}}, 5),
    "hssl, shared mlp": ({"hssl": {"share_mlp": True}}, 5),
    "hssl, own last layers": (
        {"hssl": {"share_last_layer": False}, "objective": {"norm_last_layer": False}}, 13),
    "hssl, global crops off the positions' grid, no local ones": (
        {"views": {"global_crops_size": 48, "local_crops_number": 0}}, 5),
    "hssl, three global crops, no clipping": (
        {"views": {"global_crops_number": 3}, "train": {"clip_grad": 0.0}}, 5),
    "hssl, balanced by Sinkhorn-Knopp": (
        {"objective": {"centering": "sinkhorn_knopp", "teacher_temp": 0.02}}, 5),
    "hssl, register tokens, layer scale": (
        {"backbone": {"reg_tokens": 3, "layer_scale": 0.5}}, 5),
    "hssl, register tokens without positions": (
        {"backbone": {"reg_tokens": 2, "no_embed_class": True}}, 5),
    "hssl on a ResNet": (RESNET, 5),
    "hssl on a ResNet, blocks run twice": (merged(RESNET, {"train": {"checkpoint_blocks": True}}), 5),
    "a2a": ({"hssl": {"supervision": "a2a"}}, 5),
    "a2a_b2b": ({"hssl": {"supervision": "a2a_b2b"}}, 5),
    "two heads joined": ({"heads": {"second": {"plugin": "convnext", "depth": 1}}}, 5),
    "two heads, edges of a search": (
        {"heads": {"second": {"plugin": "convnext", "depth": 1}},
         "hssl": {"supervision": "edges", "edges": [
             {"teacher": "aux", "student": "base"},
             {"teacher": "base", "student": "aux", "weight": 2.0},
             {"teacher": "second", "student": "base", "weight": 0.5},
             {"teacher": "base", "student": "second"}]}}, 5),
}


def moved(tensors, norm_last_layer):
    """Parameters and centres away from their first values, and other views."""
    random = torch.Generator().manual_seed(3)
    changed = {}
    for name, value in tensors.items():
        noise = torch.randn(value.shape, generator=random)
        if name.startswith(("student.", "teacher.")):
            if name.endswith("weight_g"):
                changed[name] = value if norm_last_layer else value * (1 + 0.3 * noise.tanh())
            else:
                changed[name] = value + 0.1 * noise
        elif name.startswith("state."):
            changed[name] = 0.1 * noise
        elif name.startswith("input."):
            changed[name] = noise
    return changed


def reference_step(tensors, config, epoch):
    """Losses, gradients by name, the teacher's mean logits and the running statistics that are left, all in
    f64."""
    tensors = {name: value.double() for name, value in tensors.items()}
    frozen_norms = config["objective"].get("norm_last_layer", True)
    trained = {
        name.removeprefix("student."): value.requires_grad_()
        for name, value in tensors.items()
        if name.startswith("student.") and not (frozen_norms and name.endswith("weight_g"))
        and not name.endswith(STATISTICS)
    }
    total, parts, means = dino.loss(tensors, config, epoch)
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    gradients = {name: g for name, g in zip(trained, gradients) if g is not None}
    losses = {"total": total, **parts}
    statistics = {name: value for name, value in tensors.items() if name.endswith(STATISTICS)}
    return {name: loss.detach() for name, loss in losses.items()}, gradients, means, statistics


def part(tensors, prefix):
    """The tensors below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def check(name, config, step, report):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / "images", [(40, 40)] * IMAGES)
        (folder / "config.toml").write_text(toml(config))
        first, given, dumped = (folder / f"{n}.safetensors" for n in ("first", "given", "dumped"))
        hssl("step", folder / "config.toml", "--at", step, "--dump", first)
        norms = config["objective"].get("norm_last_layer", True)
        first_dump = load_file(first)
        given_tensors = moved(first_dump, norms)
        if name != VIEWS_GIVEN:
            views = part(first_dump, "input.")
            given_tensors |= {f"input.{key}": value for key, value in views.items()}
        sent = {k: v for k, v in given_tensors.items()
                if name == VIEWS_GIVEN or not k.startswith("input.")}
        save_file(sent, given)
        hssl("step", folder / "config.toml", "--at", step, "--load", given, "--dump", dumped)
        given, dumped = given_tensors, load_file(dumped)

    unlike = [key for key in given if key not in dumped or not torch.equal(dumped[key], given[key])]
    report.equal(f"{name}: what the step starts from", unlike, [])
    epoch_steps = 1 if name == VIEWS_GIVEN else IMAGES // BATCH
    losses, gradients, means, statistics = reference_step(given, config, step // epoch_steps)
    report.all_close(f"{name}: losses", part(dumped, "loss."), losses, LOSS)
    found = part(dumped, "grad.")
    report.all_close(f"{name}: gradients", found, gradients, GRADIENT)
    # From the dumped gradients: AdamW's first step is nearly the gradient's sign, which rounding may
    # turn where a gradient is zero in theory (the bias of attention's keys).
    doubled = {key: value.double() for key, value in given.items()} | statistics
    found = {key: value.double() for key, value in found.items()}
    after = updated(doubled, found, means, config, step, epoch_steps)
    report.changes_close(f"{name}: what the step moves", given, part(dumped, "updated."), after, UPDATE)


def check_golden(report):
    """The reference itself, on a worked example: K = 3, one image, two crops, no centre."""
    teacher = torch.tensor([[[0.2, -0.1, 0.05]], [[0.0, 0.3, -0.2]]], dtype=torch.float64)
    base = torch.tensor([[[0.1, 0.0, -0.1]], [[0.05, 0.2, -0.05]]], dtype=torch.float64)
    head = torch.tensor([[[0.15, -0.05, 0.0]], [[-0.1, 0.25, 0.1]]], dtype=torch.float64)
    targets = dino.assignment(teacher, 0.0, 0.04)
    for name, rows, expected in (("base", base, 1.5977898), ("head", head, 2.9916151)):
        found = dino.term(targets, dino.prediction(rows, 0.1)).item()
        report.close(f"worked example: {name}", found, expected, 1e-7)


def main():
    report = Report()
    check_golden(report)
    for name, (changes, step) in CASES.items():
        try:
            check(name, merged(BASE, changes), step, report)
        except Failed as error:
            report.failed(name, str(error))
    return report
