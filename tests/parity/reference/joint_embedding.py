"""Joint-embedding methods along the edges of a supervision graph.

A method is a module with `MOMENTUM` and `TOGETHER`: whether the teacher makes the targets unless the
configuration says otherwise, and whether batch norms see all crops as one batch; and with
`directed(target, prediction, own, objective)`: the loss of one view's prediction, where `own` is the
target of its own view, if there is one.
"""

import torch
import torch.nn.functional as F

from .dino import edges
from .network import Scope, for_local_crops, image_vectors

EPS, MOMENTUM = 1e-5, 0.1


class Reference:
    """What a check of a step takes, made of a method."""

    def __init__(self, method):
        self.method = method

    def trained(self, name, config):
        return not name.endswith(("running_mean", "running_var"))

    def loss(self, tensors, config, epoch):
        return loss(self.method, tensors, config)


def graph(config):
    """(teacher end, student end, weight); an end is a pair's name, if there is one, and a branch."""
    heads, hssl = sorted(config.get("heads", {})), config["hssl"]
    if hssl["supervision"] == "search":
        ends = [((head, head), (head, "base")) for head in heads]
        return [(*edge, 1.0) for a, b in ends for edge in ((a, b), (b, a))]
    return [((None, a), (None, b), weight) for a, b, weight in edges(hssl, heads)]


def batch_norm(x, layer, buffers):
    """By the batch's statistics; `buffers` receives the running ones that they move, which hold the
    unbiased variance."""
    mean, deviation = x.mean(0), x - x.mean(0)
    for name, new in (("running_mean", mean), ("running_var", x.var(0))):
        name = layer.prefix + name
        old = buffers.get(name, layer.tensors[name])
        buffers[name] = (1 - MOMENTUM) * old + MOMENTUM * new.detach()
    x = deviation / (deviation.square().mean(0) + EPS).sqrt()
    return x * layer["weight"] + layer["bias"] if "weight" in layer else x


def mlp(x, layers, buffers):
    """A `Sequential` of lin, BN, ReLU, .., lin, and perhaps another BN."""
    lead = layers.prefix
    below = {k[len(lead):].split(".")[0] for k in layers.tensors if k.startswith(lead)}
    # `base` has branches below it.
    places = sorted(int(name) for name in below if name.isdigit())
    weights = [i for i in places if "running_mean" not in layers(i)]
    for i in weights:
        x = F.linear(x, layers(i)["weight"])
        if i + 1 in places:
            x = batch_norm(x, layers(i + 1), buffers)
        if i != weights[-1]:
            x = x.relu()
    return x


def mlp_of(network, name, end, hssl):
    pair, branch = end
    objective = network("objective")
    scope = objective if pair is None else objective("pairs")(pair)
    return scope(name)("shared" if hssl.get("share_mlp", False) else branch)


def embed(crops, network, config, ends, together, buffers):
    """Crops (n, B, 3, H, W) to n vectors (B, D) by end."""
    head_configs = {} if config["hssl"]["supervision"] == "none" else config.get("heads", {})
    branches = sorted({branch for _, branch in ends})
    embedded = {end: [] for end in ends}
    for images in [crops.flatten(0, 1)] if together else crops:
        vectors = image_vectors(images, network, config["backbone"], head_configs, branches)
        for end in ends:
            layers = mlp_of(network, "projector", end, config["hssl"])
            rows = mlp(vectors[end[1]], layers, buffers)
            embedded[end] += rows.chunk(len(crops)) if together else [rows]
    return embedded


def order(end):
    """None before every name."""
    return (end[0] or "", end[1])


def loss(method, tensors, config):
    """Total, the edges' terms, and the moved running statistics."""
    objective, hssl, buffers = config["objective"], config["hssl"], {}
    edges_of = graph(config)
    teacher_ends = sorted({teacher for teacher, *_ in edges_of}, key=order)
    student_ends = sorted({student for _, student, _ in edges_of}, key=order)
    student, teacher = Scope(tensors, "student."), Scope(tensors, "teacher.")
    momentum = objective.get("momentum_target", method.MOMENTUM)
    globals_, together = tensors["input.global"], method.TOGETHER
    ends = student_ends
    if momentum:
        with torch.no_grad():
            targets = embed(globals_, teacher, config, teacher_ends, together, buffers)
    else:
        ends = sorted({*student_ends, *teacher_ends}, key=order)
    vectors = embed(globals_, student, config, ends, together, buffers)
    if not momentum:
        targets = vectors
    predictions = {end: list(vectors[end]) for end in student_ends}
    if "input.local" in tensors:
        known = for_local_crops([branch for _, branch in student_ends], config.get("heads", {}))
        ends = [end for end in student_ends if end[1] in known]
        local = embed(tensors["input.local"], student, config, ends, together, buffers)
        predictions = {end: rows + local.get(end, []) for end, rows in predictions.items()}
    if method.MOMENTUM:
        predict = lambda end, rows: mlp(rows, mlp_of(student, "predictor", end, hssl), buffers)
        predictions = {end: [predict(end, x) for x in rows] for end, rows in predictions.items()}

    parts, total = {}, 0.0
    share = sum(weight for *_, weight in edges_of)
    share = share if hssl.get("branch_reduction", "mean") == "mean" else 1.0
    for source, end, weight in edges_of:
        gradient = {"own": source == end, "always": True, "never": False}
        gradient = not momentum and gradient[objective.get("target_gradient", "own")]
        fixed = [t if gradient else t.detach() for t in targets[source]]
        terms = [
            method.directed(t, p, fixed[v] if v < len(fixed) else None, objective)
            for q, t in enumerate(fixed)
            for v, p in enumerate(predictions[end])
            if q != v
        ]
        term = sum(terms) / len(terms)
        parts[f"{source[1]}->{end[1]}"] = term
        total = total + term * weight / share
    return total, parts, buffers
