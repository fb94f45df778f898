"""One training step of VICReg and VICReg+HSSL, computed again in PyTorch."""

from comparison import Report
from joint_embedding_step import check_paper, steps
from reference import vicreg

WEIGHTS = {"invariance": 10.0, "variance": 5.0, "covariance": 2.0}
CASES = {
    "hssl, other weights, two layers": ({"objective": {**WEIGHTS, "expander_layers": 2}}, 5),
}


def main():
    report = Report()
    check_paper(report, "vicreg", vicreg)
    check_paper(report, "vicreg, other weights", vicreg, WEIGHTS)
    return steps("vicreg", vicreg, CASES, report)
