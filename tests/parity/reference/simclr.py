"""SimCLR's NT-Xent."""

import torch
import torch.nn.functional as F

MOMENTUM, TOGETHER = False, True


def directed(target, prediction, own, objective):
    """-log of the softmax, over all candidates but one's own view, at the other view."""
    z, candidates = F.normalize(prediction, dim=-1), F.normalize(target, dim=-1)
    similarity = (z @ candidates.T / objective.get("temperature", 0.1)).exp()
    everything = similarity.sum(1)
    if own is not None:
        same = (z @ F.normalize(own, dim=-1).T / objective.get("temperature", 0.1)).exp()
        everything = everything + same.sum(1) - same.diagonal()
    return -(similarity.diagonal() / everything).log().mean()


def paper(first, second, objective):
    """Equation (1), averaged over the 2 N views: z_2k-1 and z_2k are two views of one image."""
    z = F.normalize(torch.stack([first, second], 1).flatten(0, 1), dim=-1)
    similarity = z @ z.T / objective.get("temperature", 0.1)
    similarity.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z)) ^ 1
    return F.cross_entropy(similarity, partner)
