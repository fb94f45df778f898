"""One training step of `hssl step`, held against a reference: what the checks of all methods share.

A first dump gives names, shapes and augmented views. Every parameter and buffer is then moved off its
first value (zero biases and a teacher equal to the student would hide mistakes), and a second step,
from that file, is what is compared: losses, every gradient, and how far the step moves everything.

A reference is a module with `loss(tensors, config, epoch)`: total, the edges' terms, and the new values of
the buffers by their full names; and with `trained(name, config)`: whether the optimizer may move a
parameter of the student.
"""

import copy
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from comparison import Report
from program import Failed, hssl, toml, write_images
from reference.layers import STATISTICS
from reference.update import updated

LOSS, GRADIENT, UPDATE = 1e-5, 1e-4, 1e-3
# Batches of an epoch.
BATCHES = 4

VIT = {"plugin": "vit", "arch": "vit_tiny", "embed_dim": 48, "depth": 3, "num_heads": 3,
       "patch_size": 4, "img_size": 32}


def merged(base, changes):
    """A section that names another plugin takes the place of the former one."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        same = both and result[key].get("plugin", value.get("plugin")) == value.get("plugin")
        keeps = both and (same or "plugin" not in value)
        result[key] = merged(result[key], value) if keeps else copy.deepcopy(value)
    return result


def part(tensors, prefix):
    """The tensors below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def moved(tensors, config, trained):
    """Parameters and buffers away from their first values, and other views."""
    random = torch.Generator().manual_seed(3)
    changed = {}
    for name, value in tensors.items():
        noise = torch.randn(value.shape, generator=random)
        if name.startswith(("student.", "teacher.")):
            if name.endswith("weight_g"):
                free = trained(name.split(".", 1)[1], config)
                changed[name] = value * (1 + 0.3 * noise.tanh()) if free else value
            else:
                changed[name] = value + 0.1 * noise
        elif name.startswith("state."):
            changed[name] = 0.1 * noise
        elif name.startswith("input."):
            changed[name] = noise
    return changed


def reference_step(tensors, config, epoch, reference):
    """Losses, gradients by name and the buffers' new values, all in f64."""
    tensors = {name: value.double() for name, value in tensors.items()}
    trained = {
        name: value.requires_grad_()
        for name, value in part(tensors, "student.").items()
        if reference.trained(name, config) and not name.endswith(STATISTICS)
    }
    total, parts, buffers = reference.loss(tensors, config, epoch)
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    gradients = {name: g for name, g in zip(trained, gradients) if g is not None}
    losses = {"total": total, **parts}
    # The networks' batch norms move theirs in place.
    statistics = {name: value for name, value in tensors.items() if name.endswith(STATISTICS)}
    return {name: loss.detach() for name, loss in losses.items()}, gradients, statistics | buffers


def check(name, config, step, report, reference, views_given=False, drawn=None):
    """`views_given`: the file brings the views, other ones than the data set's; no data are opened then,
    and an epoch is one step. `drawn`: random choices by name, which the file brings in place of those of
    the first step."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / "images", [(40, 40)] * (BATCHES * config["train"]["batch_size"]))
        (folder / "config.toml").write_text(toml(config))
        first, given, dumped = (folder / f"{n}.safetensors" for n in ("first", "given", "dumped"))
        hssl("step", folder / "config.toml", "--at", step, "--dump", first)
        first_dump = load_file(first)
        given_tensors = moved(first_dump, config, reference.trained)
        if not views_given:
            views = part(first_dump, "input.")
            given_tensors |= {f"input.{key}": value for key, value in views.items()}
        given_tensors |= {f"drawn.{key}": value for key, value in (drawn or {}).items()}
        sent = {k: v for k, v in given_tensors.items() if views_given or not k.startswith("input.")}
        save_file(sent, given)
        hssl("step", folder / "config.toml", "--at", step, "--load", given, "--dump", dumped)
        given, dumped = given_tensors, load_file(dumped)

    unlike = [key for key in given if key not in dumped or not torch.equal(dumped[key], given[key])]
    report.equal(f"{name}: what the step starts from", unlike, [])
    epoch_steps = 1 if views_given else BATCHES
    losses, gradients, buffers = reference_step(given, config, step // epoch_steps, reference)
    report.all_close(f"{name}: losses", part(dumped, "loss."), losses, LOSS)
    found = part(dumped, "grad.")
    report.all_close(f"{name}: gradients", found, gradients, GRADIENT)
    # From the dumped gradients: AdamW's first step is nearly the gradient's sign, which rounding may
    # turn where a gradient is zero in theory (the bias of attention's keys).
    doubled = {key: value.double() for key, value in given.items()}
    found = {key: value.double() for key, value in found.items()}
    after = updated(doubled, found, buffers, config, step, epoch_steps)
    report.changes_close(f"{name}: what the step moves", given, part(dumped, "updated."), after, UPDATE)


def check_all(cases, base, reference, report=None, drawn=None):
    """A step for each of `cases`: what differs from `base`, and which step it is. `drawn` makes the random
    choices that the file brings of a configuration."""
    report = report or Report()
    for name, (changes, step) in cases.items():
        try:
            config = merged(base, changes)
            check(name, config, step, report, reference, drawn=drawn(config) if drawn else None)
        except Failed as error:
            report.failed(name, str(error))
    return report
