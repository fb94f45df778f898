"""Barlow Twins' loss. The batch norm that it begins with ends the projector."""

import torch

MOMENTUM, TOGETHER = False, False


def directed(target, prediction, own, objective):
    matrix = target.T @ prediction / len(target)
    diagonal = matrix.diagonal()
    off_diagonal = (matrix - diagonal.diag()).square().sum()
    return (1 - diagonal).square().sum() + objective.get("lambd", 0.0051) * off_diagonal


def paper(first, second, objective):
    """The matrix's distance from the identity, with the off-diagonal's squares weighted."""
    matrix = torch.einsum("bi,bj->ij", first, second) / len(first)
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    weights = identity + objective.get("lambd", 0.0051) * (1 - identity)
    return ((matrix - identity).square() * weights).sum()
