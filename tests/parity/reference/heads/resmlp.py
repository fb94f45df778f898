"""A dense layer over positions, an MLP over channels."""

import math

import torch.nn.functional as F

from ..layers import linear, mlp
from . import keeps

CASES = {
    "depth 1, smaller crops resized": {"depth": 1, "other_grids": "resize"},
    "depth 3, smaller crops resized": {"other_grids": "resize"},
    "global crops alone": {"depth": 2},
    "no first shortcut at all, layer scale": {
        "depth": 2, "first_shortcut": "both", "layer_scale": 0.1, "other_grids": "resize"},
    "first shortcut kept, narrow mlp": {
        "depth": 2, "first_shortcut": "none", "mlp_ratio": 1.5, "other_grids": "resize"},
    "token mixer alone": {"depth": 2, "mlp": False, "other_grids": "resize"},
    "mlp alone": {"depth": 2, "token_mixer": False},
}
CHANGES = {"global crops alone": {"views": {"local_crops_number": 0}}}
# Parameters of a block of 384 channels and 14x14 positions.
COUNTS = {
    "384 wide": (384, {"depth": 1}, 1_221_716),
    "768 wide": (768, {"depth": 1}, 4_764_116),
}


def affine(x, layer):
    return x * layer["alpha"] + layer["beta"]


def token_linear(x, layer):
    """(B, h, w, C), whose positions are those of the layer, or are resampled to its grid and back."""
    side = math.isqrt(len(layer["weight"]))
    x = x.permute(0, 3, 1, 2)
    grid = x.shape[-2:]
    resized = lambda x, size: F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    x = resized(x, (side, side)) if grid != (side, side) else x
    x = linear(x.flatten(2), layer).unflatten(2, (side, side))
    x = resized(x, grid) if grid != (side, side) else x
    return x.permute(0, 2, 3, 1)


def block(x, block, scaled, mixes=True, has_mlp=True, kept=(True, True)):
    """(B, h, w, C); `kept`: which of both parts are added to what comes in."""
    scale = lambda name: block[name] if scaled else 1
    if mixes:
        y = token_linear(affine(x, block("norm1")), block("linear_tokens")) * scale("ls1")
        x = x + y if kept[0] else y
    if has_mlp:
        y = mlp(affine(x, block("norm2")), block("mlp_channels")) * scale("ls2")
        x = x + y if kept[1] else y
    return x


def head(x, head, config):
    x = x.permute(0, 2, 3, 1)
    mixes, has_mlp = config.get("token_mixer", True), config.get("mlp", True)
    for i in range(head.count("blocks")):
        kept = keeps(config, i, mixes)
        x = block(x, head("blocks")(i), config.get("layer_scale"), mixes, has_mlp, kept)
    return x.permute(0, 3, 1, 2)
