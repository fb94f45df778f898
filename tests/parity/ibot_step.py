"""One training step of iBOT and AttMask, plain and with HSSL, computed again in PyTorch; and that each is
the method that it is built on where what it adds is switched off."""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

import one_step
from comparison import Report
from dino_step import BASE as DINO
from one_step import merged, part
from program import Failed, hssl, toml, write_images
from reference import dino, ibot

HEAD = {"out_dim": 40, "hidden_dim": 56, "bottleneck_dim": 24, "norm_last_layer": True,
        "warmup_teacher_temp": 0.04, "teacher_temp": 0.07, "warmup_teacher_temp_epochs": 3}
BASE = merged({**DINO, "objective": {}}, {
    "heads": {"aux": {"plugin": "convnext", "depth": 2}},
    "objective": {"plugin": "ibot", **HEAD, "warmup_teacher_patch_temp": 0.05,
                  "teacher_patch_temp": 0.08},
    "views": {"local_crops_number": 2},
})
PLAIN = {"hssl": {"supervision": "none"}}
SECOND = {"heads": {"second": {"plugin": "convnext", "depth": 1}}}
ATTMASK = {**BASE["objective"], "plugin": "attmask"}
CERTAIN = {**ATTMASK, "masking_prob": 1.0, "pred_ratio_var": 0.0}


def edges(*listed):
    keys = ("teacher", "student", "level", "weight")
    return {"hssl": {"supervision": "edges", "edges": [dict(zip(keys, edge)) for edge in listed]}}


# With masks from the file: what differs from BASE, and which optimizer step it is.
GIVEN = {
    "ibot": (PLAIN, 2),
    "ibot, heads not shared": (
        merged(PLAIN, {"objective": {"shared_head": False, "shared_head_teacher": False,
                                     "patch_out_dim": 32, "norm_last_layer": False}}), 5),
    "ibot, student's head not shared": (merged(PLAIN, {"objective": {"shared_head": False}}), 5),
    "hssl": ({}, 6),
    "hssl, last layer frozen": ({}, 3),
    "hssl, three global crops, no local ones": (
        {"views": {"global_crops_number": 3, "local_crops_number": 0}}, 5),
    "hssl, weighted levels, sum of branches": (
        {"objective": {"lambda1": 0.5, "lambda2": 2.0}, "hssl": {"branch_reduction": "sum"}}, 5),
    "hssl, shared mlp": ({"hssl": {"share_mlp": True}}, 5),
    "hssl, own last layers": (
        {"hssl": {"share_last_layer": False},
         "objective": {"shared_head": False, "norm_last_layer": False}}, 13),
    "hssl, patches as images": ({"objective": {"patch_edges": "image"}}, 5),
    "hssl, patches from an epoch on": ({"objective": {"pred_start_epoch": 2}}, 13),
    "a2a_b2b": ({"hssl": {"supervision": "a2a_b2b"}}, 5),
    "two heads joined": (SECOND, 5),
    "two heads, edges of both levels": (merged(SECOND, edges(
        ("aux", "base", "image"), ("base", "second", "image", 2.0), ("second", "base", "patch"),
        ("heads", "aux", "patch", 0.5))), 5),
    "attmask, hssl": ({"objective": ATTMASK}, 5),
}
# With masks of the objective's own, where its options leave nothing to chance.
OWN = {
    "ibot, all single patches hidden": (
        merged(PLAIN, {"objective": {"pred_ratio": [1.0], "pred_ratio_var": [0.0],
                                     "pred_shape": "rand"}}), 5),
    "hssl, not hidden yet": ({"objective": {"pred_start_epoch": 3}}, 5),
    "attmask, high": (merged(PLAIN, {"objective": {**CERTAIN, "pred_shape": "high",
                                                   "pred_ratio": 0.3}}), 5),
    "attmask, low, hssl": ({"objective": {**CERTAIN, "pred_shape": "low", "pred_ratio": 0.4}}, 5),
    "attmask, hint, hssl": ({"objective": {**CERTAIN, "pred_shape": "hint", "pred_ratio": 1.0,
                                           "show_max": 0.2}}, 5),
}
# What is switched off, against what is left.
DINO_ONLY = {"objective": {"plugin": "dino", **HEAD}}
NOTHING_HIDDEN = {"pred_ratio": [0.0], "pred_ratio_var": [0.0]}
EQUIVALENT = {
    "ibot without patches is dino": (
        {"objective": {"lambda2": 0.0, **NOTHING_HIDDEN}}, DINO_ONLY),
    "attmask that masks nothing is ibot without masks": (
        {"objective": {**ATTMASK, "masking_prob": 0.0}}, {"objective": NOTHING_HIDDEN}),
}


def masks(config):
    """A third of the patches; none of the first image's first crop, all of its second."""
    views, backbone = config["views"], config["backbone"]
    side = views["global_crops_size"] // backbone["patch_size"]
    shape = (views["global_crops_number"], config["train"]["batch_size"], side * side)
    random = torch.Generator().manual_seed(7)
    hidden = (torch.rand(shape, generator=random) < 0.3).to(torch.uint8)
    hidden[0, 0], hidden[1, 0] = 0, 1
    return {"mask": hidden}


def dumped(config, step):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        batches = one_step.BATCHES * config["train"]["batch_size"]
        write_images(folder / "images", [(40, 40)] * batches)
        (folder / "config.toml").write_text(toml(config))
        hssl("step", folder / "config.toml", "--at", step, "--dump", folder / "step.safetensors")
        return load_file(folder / "step.safetensors")


def check_equivalent(name, changes, others, report):
    """Of what both have: losses but the patches', gradients, and all that moves."""
    plain = {"objective": BASE["objective"]} if "plugin" not in others["objective"] else {}
    for graph, supervision in (("plain", PLAIN), ("hssl", {})):
        base = merged(BASE, supervision)
        other = merged({**base, "objective": {}, **plain}, others)
        found, expected = dumped(merged(base, changes), 5), dumped(other, 5)
        for what in ("loss.", "grad.", "updated."):
            ours, theirs = part(found, what), part(expected, what)
            ours = {key: value for key, value in ours.items() if key in theirs}
            report.all_close(f"{name}, {graph}: {what}*", ours, theirs, 1e-6)


def check_golden(report):
    """The reference itself, on a worked example: K = 3, one image, two crops of two patches."""
    rows = lambda *values: torch.tensor(values, dtype=torch.float64)
    teacher = rows([[0.2, -0.1, 0.05]], [[0.0, 0.3, -0.2]])
    base = rows([[0.1, 0.0, -0.1]], [[0.05, 0.2, -0.05]])
    head = rows([[0.15, -0.05, 0.0]], [[-0.1, 0.25, 0.1]])
    teacher_patches = rows([[[0.1, 0.0, -0.1], [0.2, 0.1, -0.3]]], [[[-0.1, 0.1, 0.0], [0.05, 0.0, 0.15]]])
    base_patches = rows([[[0.0, 0.1, -0.1], [0.1, 0.05, -0.2]]], [[[-0.05, 0.05, 0.1], [0.1, -0.1, 0.2]]])
    masks = rows([[1.0, 0.0]], [[1.0, 1.0]])
    targets = dino.assignment(teacher, 0.0, 0.04)
    patches = ibot.patch_term(
        dino.assignment(teacher_patches, 0.0, 0.07), dino.prediction(base_patches, 0.1), masks)
    report.close("worked example: patches", patches.item(), 1.0938159, 1e-7)
    image = [("image", 1.0, dino.term(targets, dino.prediction(x, 0.1))) for x in (base, head)]
    total = ibot.combined([*image, ("patch", 1.0, patches)], {}, {}).item()
    report.close("worked example: total", total, 3.3885183, 1e-7)
    attention = torch.arange(196.0)[None]
    high = ibot.attended(attention, {"pred_ratio": 0.3, "pred_shape": "high"})
    report.equal("worked example: hidden by attention", int(high.sum()), 58)


def main():
    report = Report()
    check_golden(report)
    for cases, given in ((GIVEN, masks), (OWN, lambda config: {})):
        for name, (changes, step) in cases.items():
            try:
                config = merged(BASE, changes)
                one_step.check(name, config, step, report, ibot, drawn=given(config))
            except Failed as error:
                report.failed(name, str(error))
    for name, (changes, others) in EQUIVALENT.items():
        try:
            check_equivalent(name, changes, others, report)
        except Failed as error:
            report.failed(name, str(error))
    return report
