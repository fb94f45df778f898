"""MoCo v3's loss."""

import torch
import torch.nn.functional as F

MOMENTUM, TOGETHER = True, False


def ctr(queries, keys, temperature):
    """2 tau times the cross-entropy of finding one's own key."""
    similarity = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).T / temperature
    return 2 * temperature * F.cross_entropy(similarity, torch.arange(len(queries)))


def directed(target, prediction, own, objective):
    """Twice, so that the mean over both directions is their sum."""
    return 2 * ctr(prediction, target, objective.get("temperature", 0.2))


def paper(first, second, objective):
    """ctr(q1, k2) + ctr(q2, k1), with queries and keys that are the same; written as log-ratios."""
    temperature = objective.get("temperature", 0.2)
    total = 0.0
    for q, k in ((first, second), (second, first)):
        cosine = F.cosine_similarity(q[:, None], k[None], dim=-1) / temperature
        total += 2 * temperature * (cosine.logsumexp(1) - cosine.diagonal()).mean()
    return total
