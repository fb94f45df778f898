"""One training step of DINO and DINO+HSSL, computed again in PyTorch."""

import torch

import one_step
from comparison import Report
from one_step import VIT, merged
from program import Failed
from reference import dino

BASE = {
    "backbone": VIT,
    "heads": {"aux": {"plugin": "convnext", "depth": 3}},
    "objective": {"plugin": "dino", "out_dim": 40, "hidden_dim": 56, "bottleneck_dim": 24,
                  "warmup_teacher_temp": 0.04, "teacher_temp": 0.07,
                  "warmup_teacher_temp_epochs": 3},
    "hssl": {"supervision": "hssl"},
    "data": {"train": "imagefolder:images"},
    "views": {"global_crops_number": 2, "global_crops_size": 32, "global_crops_scale": [0.4, 1.0],
              "local_crops_number": 3, "local_crops_size": 16, "local_crops_scale": [0.05, 0.4]},
    "train": {"epochs": 5, "batch_size": 3, "lr": 0.5, "min_lr": 1e-6, "warmup_epochs": 1,
              "weight_decay": 0.04, "weight_decay_end": 0.4, "clip_grad": 0.3,
              "freeze_last_layer": 1, "momentum_teacher": 0.9, "momentum_teacher_end": 1.0,
              "drop_path": 0.0, "device": "cpu", "threads": 2},
}

# What differs from BASE, and which optimizer step it is.
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


def check(name, config, step, report):
    one_step.check(name, config, step, report, dino, views_given=name == VIEWS_GIVEN)


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
