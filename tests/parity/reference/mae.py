"""MAE's and MFF's loss, and the derived form of both along the edges of a supervision graph."""

import torch
import torch.nn.functional as F

from . import dino
from .layers import layer_norm, linear, transformer_block
from .network import Scope, features, head_features
from .vit import BACKBONE_EPS, vit

DECODER_EPS = TARGET_EPS = 1e-6


def trained(name, config):
    """Fixed positions and a frozen patch embedding are not."""
    backbone = config["backbone"]
    if name == "backbone.pos_embed":
        return backbone.get("pos_embed", "learned") == "learned"
    return not (backbone.get("freeze_patch_embed") and name.startswith("backbone.patch_embed"))


def positions(rows, columns, width, first="column"):
    """(rows * columns, C): sines and cosines of one axis, then those of the other."""
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    axes = (column, row) if first == "column" else (row, column)
    angles = [axis.reshape(-1, 1) * omega for axis in axes]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)


def patchified(images, side):
    """(B, 3, H, W) to (B, h w, side side 3)."""
    cells = images.unfold(2, side, side).unfold(3, side, side)  # (B, 3, h, w, side, side)
    return cells.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def pixel_targets(images, side, norm):
    patches = patchified(images, side)
    if not norm:
        return patches
    mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True, unbiased=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def visible(images, backbone, config, kept):
    """What every block makes of the kept patches, behind the class token: a list of (B, 1 + K, C)."""
    (x,), prefix, grid = vit(images, backbone, config, depth=0)
    index = (kept + prefix)[..., None].expand(-1, -1, x.shape[-1])
    x = torch.cat([x[:, :prefix], x.gather(1, index)], dim=1)
    outputs = []
    for i in range(backbone.count("blocks")):
        x = transformer_block(x, backbone("blocks")(i), config["num_heads"], BACKBONE_EPS)
        outputs.append(torch.cat([x[:, :1], x[:, prefix:]], dim=1))
    return outputs, grid


def fused(outputs, scope, chosen):
    """MFF's mixture, before any norm."""
    weights = scope["proj_weights"].softmax(0)
    last = len(chosen) - 1
    layers = [outputs[i] if n == last else linear(outputs[i], scope("proj_layers")(n))
              for n, i in enumerate(chosen)]
    return sum(weight * layer for weight, layer in zip(weights, layers))


def scattered(tokens, kept, count, filler):
    """(B, K, C) at their places among (B, N, C), `filler` elsewhere."""
    whole = filler.reshape(1, 1, -1).expand(len(tokens), count, -1)
    return whole.scatter(1, kept[..., None].expand_as(tokens), tokens)


def decoded(latent, decoder, kept, grid, heads):
    """Behind the decoder's norm, (B, N, D)."""
    x = linear(latent, decoder("embed"))
    count = grid[0] * grid[1]
    patches = scattered(x[:, 1:], kept, count, decoder["mask_token"])
    x = torch.cat([x[:, :1], patches + positions(*grid, x.shape[-1])], dim=1)
    for i in range(decoder.count("blocks")):
        x = transformer_block(x, decoder("blocks")(i), heads, DECODER_EPS)
    return layer_norm(x, decoder("norm"), DECODER_EPS)[:, 1:]


def graph(config):
    heads = sorted(config.get("heads", {}))
    if config["hssl"]["supervision"] == "search":
        return [pair for head in heads for pair in ((head, "base", 1.0), ("base", head, 1.0))]
    return dino.edges(config["hssl"], heads)


def reduced(terms, hssl):
    """`terms`: (weight, term)."""
    mean = hssl.get("branch_reduction", "mean") == "mean"
    by = sum(weight for weight, _ in terms) if mean else 1.0
    return sum(weight * term for weight, term in terms) / by


def loss(tensors, config, _epoch):
    """Total and its terms; there are no buffers."""
    objective, hssl, backbone = config["objective"], config["hssl"], config["backbone"]
    student, teacher = Scope(tensors, "student."), Scope(tensors, "teacher.")
    heads = {} if hssl["supervision"] == "none" else config.get("heads", {})
    edges, own = graph(config), student("objective")
    weight = objective.get("feature_weight", 1.0)
    images = tensors["input.global"].flatten(0, 1)
    kept = tensors["drawn.kept"].long().flatten(0, 1)
    outputs, grid = visible(images, student("backbone"), backbone, kept)
    count = grid[0] * grid[1]
    dropped = torch.ones(len(images), count, dtype=torch.float64).scatter(1, kept, 0.0)

    def error(prediction, target):
        """The mean over dropped patches of the mean square."""
        return (((prediction - target) ** 2).mean(-1) * dropped).sum() / dropped.sum()

    mixture = None
    if objective["plugin"] == "mff":
        mixture = fused(outputs, own("fusion"), objective["fuse_layers"])
    known, students = {}, {student_branch for _, student_branch, _ in edges}
    if "base" in students:
        latent = layer_norm(outputs[-1] if mixture is None else mixture,
                            student("backbone")("norm"), BACKBONE_EPS)
        known["base"] = decoded(latent, own("decoder"), kept, grid, objective["decoder_num_heads"])
    if students - {"base"}:
        tokens = mixture if objective.get("head_input", "last") == "fused" else outputs[-1]
        filled = scattered(tokens[:, 1:], kept, count, own["map_token"])
        map_in = filled.transpose(1, 2).unflatten(2, grid)
        found = head_features(map_in, student, heads, students - {"base"})
        known |= {branch: patches for branch, (_, patches) in found.items()}

    pixels = pixel_targets(images, backbone["patch_size"], objective.get("norm_pix_loss", True))
    parts = {}
    for branch, x in known.items():
        if branch == "base":
            parts["pixels.base"] = error(linear(x, own("decoder")("pred")), pixels)
        elif objective.get("head_pixels", True):
            parts[f"pixels.{branch}"] = error(linear(x, own("pixels")(branch)), pixels)
    reconstructed = [(share, parts[f"pixels.{branch}"]) for _, branch, share in edges
                     if f"pixels.{branch}" in parts]
    total = reduced(reconstructed, hssl) if reconstructed else 0.0

    compared = [edge for edge in edges if edge[:2] != ("base", "base")] if weight else []
    if not compared:
        return total, parts, {}
    with torch.no_grad():
        branches = sorted({source for source, _, _ in compared})
        taught = features(images, teacher, backbone, heads, branches)
        targets = {branch: F.layer_norm(patches, patches.shape[-1:], eps=TARGET_EPS)
                   for branch, (_, patches) in taught.items()}
    terms = []
    for source, branch, share in compared:
        layers = own("features")(source)(branch)
        x = known[branch]
        prediction = linear(x, layers) if branch == "base" else linear(
            F.gelu(linear(x, layers("fc1"))), layers("fc2"))
        term = error(prediction, targets[source])
        parts[f"{source}->{branch}"] = term
        terms.append((share, term))
    return total + weight * reduced(terms, hssl), parts, {}
