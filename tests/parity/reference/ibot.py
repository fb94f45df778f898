"""iBOT's and AttMask's loss along the edges of a supervision graph."""

import torch

from . import dino
from .network import Scope, features, for_local_crops
from .vit import class_attention

trained = dino.trained


def graph(config):
    """(teacher branch, student branch, weight, level). A graph without patch edges gets some: base to
    base, or those of the image level again."""
    hssl = config["hssl"]
    pairs = dino.edges(hssl, sorted(config.get("heads", {})))
    levels = [e.get("level", "image") for e in hssl.get("edges", [])] or ["image"] * len(pairs)
    edges = [(*pair, level) for pair, level in zip(pairs, levels)]
    if "patch" not in levels:
        again = config["objective"].get("patch_edges", "base") == "image"
        edges += [(*pair, "patch") for pair in (pairs if again else [("base", "base", 1.0)])]
    return edges


def temperatures(objective, epoch):
    """Of targets for images and for patches, whose warm-up waits for the first masks."""
    of_patches = {
        "teacher_temp": objective["teacher_patch_temp"],
        "warmup_teacher_temp": objective["warmup_teacher_patch_temp"],
        "warmup_teacher_temp_epochs": objective["warmup_teacher_temp_epochs"],
    }
    waited = max(epoch - objective.get("pred_start_epoch", 0), 0)
    return dino.teacher_temperature(objective, epoch), dino.teacher_temperature(of_patches, waited)


def attended(attention, objective):
    """AttMask's masks where they leave nothing to chance: 1 for the most (or least) attended patches, but
    for a hint of the very most."""
    patches = attention.shape[1]
    count = int(objective["pred_ratio"] * patches)
    order = attention.argsort(dim=1, descending=objective["pred_shape"] != "low")
    masks = torch.zeros_like(attention).scatter(1, order[:, :count], 1.0)
    if objective["pred_shape"] == "hint":
        shown = int(objective["show_max"] * objective["pred_ratio"] * patches)
        assert shown == int(objective["show_max"] * patches), "which of them is drawn"
        masks = masks.scatter(1, order[:, :shown], 0.0)
    return masks


def masks_of(tensors, config, epoch, teacher):
    """(G * B, N): those of the file, or what the objective makes of its own without chance."""
    objective = config["objective"]
    crops = tensors["input.global"].flatten(0, 1)
    attention = class_attention(crops, teacher("backbone"), config["backbone"])
    if "drawn.mask" in tensors:
        return tensors["drawn.mask"].flatten(0, 1)
    if epoch < objective.get("pred_start_epoch", 0):
        return torch.zeros_like(attention)
    if objective["plugin"] == "attmask":
        return attended(attention, objective) * objective["masking_prob"]
    (ratio,) = objective["pred_ratio"]
    assert ratio in (0.0, 1.0), "which patches are hidden is drawn"
    return torch.full_like(attention, ratio)


def patch_term(assignments, predictions, masks):
    """For every global crop, the mean over images of the mean over hidden patches; then the mean over
    crops. (G, B, N, K) twice, (G, B, N)."""
    terms = []
    for q, v, mask in zip(assignments, predictions, masks):
        entropy = -(q * v).sum(-1)
        terms.append(((entropy * mask).sum(1) / mask.sum(1).clamp_min(1)).mean())
    return sum(terms) / len(terms)


def combined(parts, objective, hssl):
    """Each level's weighted mean (or sum), times the level's weight. `parts`: (level, weight, term)."""
    total = 0.0
    for level, share in (("image", objective.get("lambda1", 1.0)), ("patch", objective.get("lambda2", 1.0))):
        terms = [(weight, term) for of, weight, term in parts if of == level]
        mean = hssl.get("branch_reduction", "mean") == "mean"
        by = sum(weight for weight, _ in terms) if mean else 1.0
        total = total + share * sum(weight * term for weight, term in terms) / by
    return total


class Encoded:
    """Logits of crops (n, B, 3, H, W), by level and branch."""

    def __init__(self, crops, network, config, edges_ends, shared, mask=None):
        heads = {} if config["hssl"]["supervision"] == "none" else config.get("heads", {})
        branches = sorted({branch for branch, _ in edges_ends})
        found = features(crops.flatten(0, 1), network, config["backbone"], heads, branches,
                         mask)
        last_layer = {"image": "last_layer", "patch": "last_layer" if shared else "patch_last_layer"}
        self.logits = {}
        for branch, level in edges_ends:
            vectors = found[branch][0 if level == "image" else 1]
            rows = dino.logits(vectors, branch, network("objective"), config["hssl"], last_layer[level])
            self.logits[branch, level] = rows.unflatten(0, crops.shape[:2])


def loss(tensors, config, epoch):
    """Total, the edges' terms, and the moved centres."""
    objective, hssl, edges = config["objective"], config["hssl"], graph(config)
    sharp = dict(zip(("image", "patch"), temperatures(objective, epoch)))
    student, teacher = Scope(tensors, "student."), Scope(tensors, "teacher.")
    centre = {"image": "center", "patch": "patch_center"}
    crops = tensors["input.global"]
    keep, centres = objective.get("center_momentum", 0.9), {}
    with torch.no_grad():
        masks = masks_of(tensors, config, epoch, teacher)
        ends = sorted({(edge[0], edge[3]) for edge in edges})
        shared = objective.get("shared_head_teacher", True)
        targets = {}
        for (branch, level), rows in Encoded(crops, teacher, config, ends, shared).logits.items():
            name = f"state.{centre[level]}.{branch}"
            targets[branch, level] = dino.assignment(rows, tensors[name], sharp[level])
            mean = rows.flatten(0, -2).mean(0, keepdim=True)
            centres[name] = keep * tensors[name] + (1 - keep) * mean

    ends = sorted({(edge[1], edge[3]) for edge in edges})
    shared = objective.get("shared_head", True)
    seen = Encoded(crops, student, config, ends, shared, masks).logits
    images = [end for end in ends if end[1] == "image"]
    local = for_local_crops([branch for branch, _ in images], config.get("heads", {}))
    images = [(branch, "image") for branch in local]
    if "input.local" in tensors and images:
        local = Encoded(tensors["input.local"], student, config, images, shared).logits
        seen |= {end: torch.cat([seen[end], local[end]]) for end in images}
    parts = {}
    for source, target, weight, level in edges:
        prediction = dino.prediction(seen[target, level], objective.get("student_temp", 0.1))
        assigned, name = targets[source, level], f"{source}->{target}"
        if level == "image":
            parts[name] = (level, weight, dino.term(assigned, prediction))
        else:
            of_crops = masks.unflatten(0, crops.shape[:2])
            parts[f"patch.{name}"] = (level, weight, patch_term(assigned, prediction, of_crops))
    total = combined(parts.values(), objective, hssl)
    return total, {name: term for name, (_, _, term) in parts.items()}, centres
