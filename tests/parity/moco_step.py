"""One training step of MoCo v3 and MoCo v3+HSSL, computed again in PyTorch."""

import math

import torch

from comparison import Report
from joint_embedding_step import GRAPH_CASES, check_paper, steps
from reference import moco
from reference.update import cosine

CASES = {
    **GRAPH_CASES,
    "hssl, the ResNet's design": ({"objective": {
        "projector_layers": 2, "predictor_norm": False, "temperature": 1.0}}, 5),
}


def check_golden(report):
    """The reference itself: two queries and keys, and the momentum's schedule."""
    queries = torch.tensor([[1.0, 0.2], [-0.3, 1.0]], dtype=torch.float64)
    keys = torch.tensor([[0.9, 0.1], [0.1, 1.0]], dtype=torch.float64)
    found = moco.ctr(queries, keys, 0.2).item()
    report.close("worked example: ctr", found, 0.0066460, 1e-5)
    report.close("worked example: cross-entropy", found / 0.4, 0.0166150, 1e-5)
    for share, expected in ((0, 0.99), (0.5, 0.995), (1, 1.0)):
        paper = 1 - 0.5 * (1 + math.cos(math.pi * share)) * (1 - 0.99)
        report.close(f"momentum after {share:.0%} of a run: the paper's", paper, expected, 1e-12)
        found = cosine(0.99, 1.0, round(share * 100), 100, 0)
        report.close(f"momentum after {share:.0%} of a run: the schedule's", found, expected, 1e-12)


def main():
    report = Report()
    check_golden(report)
    check_paper(report, "moco", moco)
    return steps("moco", moco, CASES, report)
