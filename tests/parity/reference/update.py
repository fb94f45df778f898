"""What follows the gradients: clip, freeze, AdamW, the teacher's average."""

import math

import torch

from .layers import STATISTICS


def cosine(base, last, step, total, warmup):
    """Linear from 0 to `base` over `warmup` steps (both ends included), then half a cosine to `last`."""
    if step < warmup:
        return torch.linspace(0, base, warmup, dtype=torch.float64)[step].item()
    progress = (step - warmup) / (total - warmup)
    return last + 0.5 * (base - last) * (1 + math.cos(math.pi * progress))


def rates(train, step, steps_per_epoch):
    """lr (for this batch size), weight decay and teacher momentum of a step."""
    total = train["epochs"] * steps_per_epoch
    lr = train["lr"] * train["batch_size"] / 256
    return (
        cosine(lr, train["min_lr"], step, total, train["warmup_epochs"] * steps_per_epoch),
        cosine(train["weight_decay"], train["weight_decay_end"], step, total, 0),
        cosine(train["momentum_teacher"], train["momentum_teacher_end"], step, total, 0),
    )


def clipped(gradient, limit):
    """Scaled down to the norm `limit`, each tensor on its own."""
    factor = limit / (gradient.norm() + 1e-6)
    return gradient * factor if limit > 0 and factor < 1 else gradient


def updated(tensors, gradients, buffers, config, step, steps_per_epoch):
    """All of `student.*`, `teacher.*` and `state.*` after the step; `buffers` are those that the forward
    pass or the objective has moved. The teacher has running statistics of its own; but a base or a head of
    it that has not run takes the student's."""
    train = config["train"]
    lr, decay, momentum = rates(train, step, steps_per_epoch)
    frozen = step // steps_per_epoch < train["freeze_last_layer"]
    after = {name: value.clone() for name, value in tensors.items() if name.startswith("student.")}
    decaying, plain = [], []
    for name, gradient in gradients.items():
        if frozen and "last_layer" in name:
            continue
        parameter = after[f"student.{name}"].requires_grad_()
        parameter.grad = clipped(gradient, train["clip_grad"])
        matrix = parameter.ndim >= 2 and not name.endswith(".bias")
        (decaying if matrix else plain).append(parameter)
    groups = [{"params": decaying, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    betas = (train.get("momentum", 0.9), train.get("beta2", 0.999))
    torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8).step()
    after = {name: value.detach() for name, value in after.items()}
    for name, value in tensors.items():
        if name.startswith("teacher."):
            student = name.replace("teacher.", "student.", 1)
            if not name.endswith(STATISTICS):
                after[name] = momentum * value + (1 - momentum) * after[student]
            elif name.startswith("teacher.objective.") or not torch.equal(buffers[name], value):
                after[name] = value
            else:
                buffers = {**buffers, name: buffers[student]}
    return after | buffers
