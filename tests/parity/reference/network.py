"""A base model with auxiliary heads, as functions of named tensors.

Nothing is initialised here and nothing is configured twice: sizes are read off the tensors.
"""

import math

import torch
import torch.nn.functional as F

from . import heads as heads_of
from .layers import attention_weights, layer_norm, transformer_block
from .resnet import resnet

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


def dino_positions(patches, rows, columns):
    """Positions of patches for another grid as DINO resizes them while it trains: 0.1 is added to the
    number of cells, and the sampling uses that scale as it is given."""
    built = math.isqrt(patches.shape[1])
    if rows == columns == built:
        return patches
    patches = patches.reshape(1, built, built, -1).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / built, (columns + 0.1) / built)
    patches = F.interpolate(patches, scale_factor=scale, mode="bicubic", align_corners=False)
    assert patches.shape[-2:] == (rows, columns)
    return patches.flatten(2).transpose(1, 2)


def vit(images, backbone, config, mask=None, depth=None):
    """Images (B, 3, H, W) to tokens (B, P + h w, C) before the final norm, how many of them come before
    the patches, and the grid (h, w). Register tokens lie behind the class token; they have positions if it
    has one. A learned vector replaces what `mask` (B, h w) hides. `depth`: only the first blocks."""
    kernel = backbone["patch_embed.proj.weight"]
    x = F.conv2d(images, kernel, backbone["patch_embed.proj.bias"], stride=kernel.shape[-1])
    grid = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    if mask is not None:
        x = torch.where(mask[..., None] != 0, backbone["masked_embed"], x)
    prefix = [backbone[name] for name in ("cls_token", "reg_token") if name in backbone]
    prefix, positions = torch.cat(prefix, dim=1), backbone["pos_embed"]
    if math.isqrt(positions.shape[1]) ** 2 < positions.shape[1]:
        prefix = prefix + positions[:, :prefix.shape[1]]
        positions = positions[:, prefix.shape[1]:]
    x = torch.cat([prefix.expand(len(x), -1, -1), x + dino_positions(positions, *grid)], dim=1)
    for i in range(backbone.count("blocks") if depth is None else depth):
        x = transformer_block(x, backbone("blocks")(i), config["num_heads"], BACKBONE_EPS)
    return x, prefix.shape[1], grid


def vit_base(images, backbone, config, mask):
    """Class token and patches after the final norm, and the map of the patches (B, C, h, w) before it."""
    x, prefix, grid = vit(images, backbone, config, mask)
    normed = layer_norm(x, backbone("norm"), BACKBONE_EPS)
    return normed[:, 0], normed[:, prefix:], x[:, prefix:].transpose(1, 2).unflatten(2, grid)


def resnet_base(images, backbone, config, _mask):
    """The mean of the last map, its positions, and itself: it has no norm to come."""
    vector, map_out = resnet(images, backbone, config)
    return vector, map_out.flatten(2).transpose(1, 2), map_out


BASES = {"vit": vit_base, "resnet": resnet_base}


def class_attention(images, backbone, config):
    """How much the last block's class token attends to each patch, (B, h w): the mean over its heads."""
    last = backbone.count("blocks") - 1
    tokens, prefix, _ = vit(images, backbone, config, depth=last)
    block = backbone("blocks")(last)
    weights, _ = attention_weights(
        layer_norm(tokens, block("norm1"), BACKBONE_EPS), block("attn"), config["num_heads"])
    return weights[:, :, 0, prefix:].mean(1)


def head_features(map_in, network, head_configs, branches):
    """What heads make of a map (B, C, h, w), by branch: the mean of their own map, normed *after* the mean,
    and the normed map as (B, h w, C)."""
    def ends_with(map_out, norm):
        patches = map_out.flatten(2).transpose(1, 2)
        return tuple(layer_norm(x, norm, HEAD_NORM_EPS) for x in (patches.mean(1), patches))

    found, maps = {}, []
    for name, config in sorted(head_configs.items()):
        head = network("heads")(name)
        map_out = heads_of.head(config["plugin"])(map_in, head, config)
        maps.append(map_out)
        if name in branches:
            found[name] = ends_with(map_out, head("norm"))
    if "heads" in branches:
        found["heads"] = ends_with(torch.cat(maps, dim=1), network("heads")("norm"))
    return found


def features(images, network, backbone, head_configs, branches, mask=None):
    """The vector that stands for each image, (B, C), and its patches, (B, h w, C), by branch: the base's
    own, and those of heads. `backbone` and `head_configs` are sections of the configuration."""
    base = BASES[backbone["plugin"]]
    vector, patches, map_in = base(images, network("backbone"), backbone, mask)
    found = {"base": (vector, patches)} | head_features(map_in, network, head_configs, branches)
    return {branch: found[branch] for branch in branches}


def image_vectors(images, network, backbone, head_configs, branches):
    """The vector that stands for each image, (B, C), by branch."""
    found = features(images, network, backbone, head_configs, branches)
    return {branch: vector for branch, (vector, _) in found.items()}
