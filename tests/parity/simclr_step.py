"""One training step of SimCLR and SimCLR+HSSL, computed again in PyTorch."""

from comparison import Report
from joint_embedding_step import GRAPH_CASES, check_paper, steps
from reference import simclr

CASES = {
    **GRAPH_CASES,
    "hssl, deep projector without output norm": (
        {"objective": {"projector_layers": 3, "output_norm": False, "temperature": 0.5}}, 5),
}


def main():
    report = Report()
    check_paper(report, "simclr", simclr)
    return steps("simclr", simclr, CASES, report)
