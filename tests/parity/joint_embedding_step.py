"""What the checks of joint-embedding methods share: cases, and the papers' own form of each loss."""

import torch

from comparison import Report
from one_step import VIT, check_all, merged
from reference.joint_embedding import Reference

BASE = {
    "backbone": VIT,
    "heads": {"aux": {"plugin": "convnext", "depth": 2}},
    "objective": {"hidden_dim": 40, "out_dim": 24},
    "hssl": {"supervision": "hssl"},
    "data": {"train": "imagefolder:images"},
    "views": {"global_crops_number": 2, "global_crops_size": 32, "global_crops_scale": [0.4, 1.0],
              "local_crops_number": 0, "local_crops_size": 16, "local_crops_scale": [0.05, 0.4]},
    "train": {"epochs": 5, "batch_size": 8, "optimizer": "adamw", "momentum": 0.9, "lr": 0.5,
              "min_lr": 1e-6, "warmup_epochs": 1, "weight_decay": 0.04, "weight_decay_end": 0.4,
              "clip_grad": 0.3, "freeze_last_layer": 0, "momentum_teacher": 0.9,
              "momentum_teacher_end": 1.0, "drop_path": 0.0, "device": "cpu", "threads": 2},
}
SECOND = {"heads": {"second": {"plugin": "convnext", "depth": 1}}}

# What differs from BASE, and which optimizer step it is.
CASES = {
    "plain": ({"hssl": {"supervision": "none"}}, 2),
    "hssl": ({}, 5),
    "hssl, three global crops and a local one": (
        {"views": {"global_crops_number": 3, "local_crops_number": 1}}, 6),
}
# Of graphs, which are the same to all methods.
GRAPH_CASES = {
    "hssl, shared mlp, sum of branches": (
        {"hssl": {"share_mlp": True, "branch_reduction": "sum"}}, 5),
    "two heads joined, weighted edges": (merged(SECOND, {"hssl": {"supervision": "edges", "edges": [
        {"teacher": "heads", "student": "base", "weight": 2.0},
        {"teacher": "aux", "student": "second"},
        {"teacher": "base", "student": "heads", "weight": 0.5}]}}), 5),
    "two heads, a search": (merged(SECOND, {"hssl": {"supervision": "search"}}), 5),
}
# Of methods whose targets come from the student.
STUDENT_CASES = {
    "hssl, momentum target": ({"objective": {"momentum_target": True}}, 5),
    "hssl, targets with gradients": ({"objective": {"target_gradient": "always"}}, 5),
    "hssl, no target with a gradient": ({"objective": {"target_gradient": "never"}}, 5),
}


def check_paper(report, name, method, objective=None, tolerance=1e-12):
    """The mean over both directions is the loss as the paper writes it for two views."""
    random = torch.Generator().manual_seed(5)
    first, second = torch.randn(2, 7, 5, generator=random, dtype=torch.float64)
    objective = objective or {}
    directed = (method.directed(first, second, second, objective)
                + method.directed(second, first, first, objective)) / 2
    report.close(f"{name}: the paper's loss", directed, method.paper(first, second, objective), tolerance)


def steps(name, method, more=None, report=None, objective=None):
    """The cases of a method, with `more` of its own; `objective` overrides sizes."""
    report = report or Report()
    cases = {**CASES, **({} if method.MOMENTUM else STUDENT_CASES), **(more or {})}
    base = merged(BASE, {"objective": {"plugin": name, **(objective or {})}})
    return check_all(cases, base, Reference(method), report)
