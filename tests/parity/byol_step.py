"""One training step of BYOL and BYOL+HSSL, computed again in PyTorch."""

from comparison import Report
from joint_embedding_step import check_paper, steps
from reference import byol


def main():
    report = Report()
    check_paper(report, "byol", byol)
    return steps("byol", byol, report=report)
