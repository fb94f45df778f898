"""BYOL's loss."""

import torch.nn.functional as F

MOMENTUM, TOGETHER = True, False


def squared_distance(prediction, target):
    """Of vectors of unit length, equation (2)."""
    difference = F.normalize(prediction, dim=-1) - F.normalize(target, dim=-1)
    return difference.square().sum(-1).mean()


def directed(target, prediction, own, objective):
    """Twice, so that the mean over both directions is their sum."""
    return 2 * squared_distance(prediction, target)


def paper(first, second, objective):
    """Both directions added up, with predictions and targets that are the same."""
    cosine = F.cosine_similarity(first, second, dim=-1).mean()
    return 2 * (2 - 2 * cosine)
