"""DINO's loss along the edges of a supervision graph."""

import torch
import torch.nn.functional as F

from .layers import linear
from .network import Scope, for_local_crops, image_vectors

HEADS = "heads"


def edges(hssl, head_names):
    """(teacher branch, student branch, weight) of a preset; a single head stands for `heads`."""
    joined = head_names[0] if len(head_names) == 1 else HEADS
    presets = {
        "none": [("base", "base", 1.0)],
        "hssl": [(joined, "base", 1.0), (joined, joined, 1.0)],
        "a2a": [(joined, joined, 1.0)],
        "a2a_b2b": [(joined, joined, 1.0), ("base", "base", 1.0)],
    }
    if hssl["supervision"] == "edges":
        named = {HEADS: joined}
        return [
            (named.get(e["teacher"], e["teacher"]), named.get(e["student"], e["student"]),
             e.get("weight", 1.0))
            for e in hssl["edges"]
        ]
    return presets[hssl["supervision"]]


def teacher_temperature(objective, epoch):
    """Linear from the warm-up's first epoch to its last one, then constant."""
    final = objective.get("teacher_temp", 0.04)
    first, epochs = objective.get("warmup_teacher_temp", 0.04), objective.get(
        "warmup_teacher_temp_epochs", 0)
    ramp = torch.linspace(first, final, epochs, dtype=torch.float64).tolist()
    return ramp[epoch] if epoch < epochs else final


def logits(vectors, branch, objective, hssl, last_layer="last_layer"):
    """lin, GELU, lin, GELU, lin; unit length; prototypes g v / |v|."""
    layers = objective("mlp")("shared" if hssl.get("share_mlp", False) else branch)
    x = F.gelu(linear(vectors, layers(0)))
    x = linear(F.gelu(linear(x, layers(2))), layers(4))
    x = x / x.norm(dim=-1, keepdim=True)
    last = objective(last_layer)
    if not hssl.get("share_last_layer", True):
        last = last(branch)
    v = last["weight_v"]
    return x @ (last["weight_g"] * v / v.norm(dim=1, keepdim=True)).T


def encode(crops, network, config, branches):
    """Crops (n, B, 3, H, W) to logits (n, B, K) by branch."""
    head_configs = {} if config["hssl"]["supervision"] == "none" else config.get("heads", {})
    vectors = image_vectors(
        crops.flatten(0, 1), network, config["backbone"], head_configs, branches)
    project = lambda branch: logits(
        vectors[branch], branch, network("objective"), config["hssl"]
    ).unflatten(0, crops.shape[:2])
    return {branch: project(branch) for branch in branches}


def trained(name, config):
    """Prototypes of a fixed norm have only a direction to learn."""
    frozen_norms = config["objective"].get("norm_last_layer", True)
    return not (frozen_norms and name.endswith("weight_g"))


def assignment(rows, centre, temperature):
    return ((rows - centre) / temperature).softmax(-1)


def balanced(rows, temperature):
    """Sinkhorn-Knopp over all crops of a batch, (G, B, K), beginning with the rows."""
    plan = (rows.flatten(0, 1) / temperature).softmax(-1)
    for _ in range(3):
        plan = plan / plan.sum(0)
        plan = plan / plan.sum(1, keepdim=True)
    return plan.unflatten(0, rows.shape[:2])


def prediction(rows, temperature):
    return (rows / temperature).log_softmax(-1)


def term(assignments, predictions):
    """Every student crop v predicts the teacher's assignment of every global crop q other than v: the
    mean cross-entropy over these pairs and the batch. (G, B, K) and (G + L, B, K)."""
    pairs = [
        -(q * v).sum(-1).mean()
        for i, q in enumerate(assignments)
        for j, v in enumerate(predictions)
        if i != j
    ]
    return sum(pairs) / len(pairs)


def loss(tensors, config, epoch):
    """Total, the edges' terms, and the moved centres."""
    graph = edges(config["hssl"], sorted(config.get("heads", {})))
    objective = config["objective"]
    sharp, soft = teacher_temperature(objective, epoch), objective.get("student_temp", 0.1)
    student, teacher = Scope(tensors, "student."), Scope(tensors, "teacher.")
    with torch.no_grad():
        targets = encode(
            tensors["input.global"], teacher, config, sorted({edge[0] for edge in graph}))
        spread = objective.get("centering", "mean") == "sinkhorn_knopp"
        if spread:
            assign = lambda branch, rows: balanced(rows, sharp)
        else:
            assign = lambda branch, rows: assignment(
                rows, tensors[f"state.center.{branch}"], sharp)
        assignments = {branch: assign(branch, rows) for branch, rows in targets.items()}
    branches = sorted({edge[1] for edge in graph})
    views = [encode(tensors["input.global"], student, config, branches)]
    if "input.local" in tensors:
        local = for_local_crops(branches, config.get("heads", {}))
        views.append(encode(tensors["input.local"], student, config, local))
    predictions = {
        branch: prediction(torch.cat([view[branch] for view in views if branch in view]), soft)
        for branch in branches
    }
    parts = {}
    for source, target, _ in graph:
        parts[f"{source}->{target}"] = term(assignments[source], predictions[target])
    weights = sum(weight for *_, weight in graph)
    share = weights if config["hssl"].get("branch_reduction", "mean") == "mean" else 1.0
    total = sum(parts[f"{a}->{b}"] * weight / share for a, b, weight in graph)
    keep = objective.get("center_momentum", 0.9)
    centres = {} if spread else {
        f"state.center.{branch}": keep * tensors[f"state.center.{branch}"]
        + (1 - keep) * rows.flatten(0, 1).mean(0, keepdim=True)
        for branch, rows in targets.items()
    }
    return total, parts, centres
