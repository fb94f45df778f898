"""A base model with auxiliary heads, as functions of named tensors.

Nothing is initialised here and nothing is configured twice: sizes are read off the tensors.
"""

import math

import torch
import torch.nn.functional as F

from . import heads as heads_of
from .layers import layer_norm, transformer_block
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


def vit(images, backbone, config):
    """Images (B, 3, H, W) to image vectors (B, C), the class token after the final norm, and the map of the
    patches (B, C, h, w) before it. Register tokens lie behind the class token; they have positions if it
    has one."""
    kernel = backbone["patch_embed.proj.weight"]
    x = F.conv2d(images, kernel, backbone["patch_embed.proj.bias"], stride=kernel.shape[-1])
    grid = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    prefix = [backbone[name] for name in ("cls_token", "reg_token") if name in backbone]
    prefix, positions = torch.cat(prefix, dim=1), backbone["pos_embed"]
    if math.isqrt(positions.shape[1]) ** 2 < positions.shape[1]:
        prefix = prefix + positions[:, :prefix.shape[1]]
        positions = positions[:, prefix.shape[1]:]
    x = torch.cat([prefix.expand(len(x), -1, -1), x + dino_positions(positions, *grid)], dim=1)
    for i in range(backbone.count("blocks")):
        x = transformer_block(x, backbone("blocks")(i), config["num_heads"], BACKBONE_EPS)
    vectors = layer_norm(x[:, 0], backbone("norm"), BACKBONE_EPS)
    return vectors, x[:, prefix.shape[1]:].transpose(1, 2).unflatten(2, grid)


BASES = {"vit": vit, "resnet": resnet}


def image_vectors(images, network, backbone, head_configs, branches):
    """The vector that stands for each image, (B, C), by branch: the base's own, and for a head the mean of
    its map, normed *after* the mean. `backbone` and `head_configs` are sections of the configuration."""
    vector, map_in = BASES[backbone["plugin"]](images, network("backbone"), backbone)
    vectors = {"base": vector}
    maps = []
    for name, config in sorted(head_configs.items()):
        head = network("heads")(name)
        map_out = heads_of.head(config["plugin"])(map_in, head, config)
        maps.append(map_out)
        if name in branches:
            vectors[name] = layer_norm(map_out.mean((2, 3)), head("norm"), HEAD_NORM_EPS)
    if "heads" in branches:
        mean = torch.cat(maps, dim=1).mean((2, 3))
        vectors["heads"] = layer_norm(mean, network("heads")("norm"), HEAD_NORM_EPS)
    return {branch: vectors[branch] for branch in branches}
