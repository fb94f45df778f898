"""One training step of Barlow Twins and Barlow Twins+HSSL, computed again in PyTorch."""

from comparison import Report
from joint_embedding_step import check_paper, steps
from reference import barlow

CASES = {
    "hssl, another lambd, two layers": (
        {"objective": {"lambd": 0.1, "projector_layers": 2}}, 5),
}


def main():
    report = Report()
    check_paper(report, "barlow", barlow)
    return steps("barlow", barlow, CASES, report)
