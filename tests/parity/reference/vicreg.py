"""VICReg's loss."""

import torch

MOMENTUM, TOGETHER = False, False
EPS = 1e-4


def variance(z):
    """Equations (1) and (2)."""
    return (1 - (z.var(0) + EPS).sqrt()).relu().mean()


def covariance(z):
    """Equations (3) and (4)."""
    matrix = torch.cov(z.T)
    return (matrix - matrix.diagonal().diag()).square().sum() / z.shape[1]


def weights(objective):
    return [objective.get(name, default) for name, default in
            (("invariance", 25.0), ("variance", 25.0), ("covariance", 1.0))]


def directed(target, prediction, own, objective):
    lambda_, mu, nu = weights(objective)
    invariance = (prediction - target).square().mean()
    return lambda_ * invariance + mu * variance(prediction) + 2 * nu * covariance(prediction)


def paper(first, second, objective):
    """Equation (6) with equation (5): lambda and mu stand for the paper's times D and over 2."""
    lambda_, mu, nu = weights(objective)
    lambda_, mu = lambda_ / first.shape[1], mu / 2
    invariance = (first - second).norm(dim=1).square().mean()
    return (lambda_ * invariance + mu * (variance(first) + variance(second))
            + nu * (covariance(first) + covariance(second)))
