"""A Vision Transformer with auxiliary heads, as functions of named tensors.

Nothing is initialised here and nothing is configured twice: sizes are read off the tensors.
"""

import math

import torch
import torch.nn.functional as F

from . import heads as heads_of
from .layers import attention, attention_weights, layer_norm, linear, mlp

BACKBONE_EPS = 1e-6
HEAD_NORM_EPS = 1e-6


class Scope:
    """Tensors whose names begin with a prefix."""

    def __init__(self, tensors, prefix=""):
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name):
        return self.tensors[self.prefix + name]

    def __contains__(self, name):
        return self.prefix + name in self.tensors

    def __call__(self, name):
        """The scope `name` inside this one."""
        return Scope(self.tensors, f"{self.prefix}{name}.")

    def count(self, name):
        """How many numbered scopes there are in `name`."""
        lead = f"{self.prefix}{name}."
        return len({key[len(lead):].split(".")[0] for key in self.tensors if key.startswith(lead)})


def dino_positions(pos_embed, rows, columns):
    """Positions for another grid as DINO resizes them while it trains: 0.1 is added to the number of
    cells, and the sampling uses that scale as it is given."""
    built = math.isqrt(pos_embed.shape[1] - 1)
    if rows == columns == built:
        return pos_embed
    patches = pos_embed[:, 1:].reshape(1, built, built, -1).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / built, (columns + 0.1) / built)
    patches = F.interpolate(patches, scale_factor=scale, mode="bicubic", align_corners=False)
    assert patches.shape[-2:] == (rows, columns)
    return torch.cat([pos_embed[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


def vit(images, backbone, heads, mask=None, depth=None):
    """Images (B, 3, H, W) to tokens (B, 1 + h w, C) before the final norm, and the grid (h, w). A learned
    vector replaces what `mask` (B, h w) hides. `depth`: only the first blocks."""
    kernel = backbone["patch_embed.proj.weight"]
    x = F.conv2d(images, kernel, backbone["patch_embed.proj.bias"], stride=kernel.shape[-1])
    grid = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    if mask is not None:
        x = torch.where(mask[..., None] != 0, backbone["masked_embed"], x)
    x = torch.cat([backbone["cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + dino_positions(backbone["pos_embed"], *grid)
    for i in range(backbone.count("blocks") if depth is None else depth):
        block = backbone("blocks")(i)
        x = x + attention(layer_norm(x, block("norm1"), BACKBONE_EPS), block("attn"), heads)
        x = x + mlp(layer_norm(x, block("norm2"), BACKBONE_EPS), block("mlp"))
    return x, grid


def class_attention(images, backbone, heads):
    """How much the last block's class token attends to each patch, (B, h w): the mean over its heads."""
    last = backbone.count("blocks") - 1
    tokens, _ = vit(images, backbone, heads, depth=last)
    block = backbone("blocks")(last)
    weights, _ = attention_weights(
        layer_norm(tokens, block("norm1"), BACKBONE_EPS), block("attn"), heads)
    return weights[:, :, 0, 1:].mean(1)


def features(images, network, heads, head_configs, branches, mask=None):
    """The vector that stands for each image, (B, C), and its patches, (B, h w, C), by branch. The base
    has its class token and its other tokens, after its norm; a head the mean of its map, normed *after*
    the mean, and the normed map."""
    tokens, (rows, columns) = vit(images, network("backbone"), heads, mask)
    normed = layer_norm(tokens, network("backbone")("norm"), BACKBONE_EPS)
    found = {"base": (normed[:, 0], normed[:, 1:])}
    map_in = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)

    def ends_with(map_out, norm):
        patches = map_out.flatten(2).transpose(1, 2)
        return tuple(layer_norm(x, norm, HEAD_NORM_EPS) for x in (patches.mean(1), patches))

    maps = []
    for name, config in sorted(head_configs.items()):
        head = network("heads")(name)
        map_out = heads_of.head(config["plugin"])(map_in, head, config)
        maps.append(map_out)
        if name in branches:
            found[name] = ends_with(map_out, head("norm"))
    if "heads" in branches:
        found["heads"] = ends_with(torch.cat(maps, dim=1), network("heads")("norm"))
    return {branch: found[branch] for branch in branches}


def image_vectors(images, network, heads, head_configs, branches):
    """The vector that stands for each image, (B, C), by branch."""
    found = features(images, network, heads, head_configs, branches)
    return {branch: vector for branch, (vector, _) in found.items()}
