"""A Vision Transformer and ConvNeXt heads as functions of named tensors.

Nothing is initialised here and nothing is configured twice: sizes are read off the tensors.
"""

import math

import torch
import torch.nn.functional as F

BACKBONE_EPS = 1e-6
CONVNEXT_EPS = 1e-5
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


def linear(x, layer):
    return F.linear(x, layer["weight"], layer["bias"])


def layer_norm(x, layer, eps):
    return F.layer_norm(x, x.shape[-1:], layer["weight"], layer["bias"], eps)


def mlp(x, layer):
    return linear(F.gelu(linear(x, layer("fc1"))), layer("fc2"))


def attention(x, layer, heads):
    """softmax(q k^T / sqrt(d)) v, spelt out."""
    batch, tokens, width = x.shape
    qkv = linear(x, layer("qkv")).reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1)
    return linear((weights @ v).transpose(1, 2).reshape(batch, tokens, width), layer("proj"))


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


def vit(images, backbone, heads):
    """Images (B, 3, H, W) to tokens (B, 1 + h w, C) before the final norm, and the grid (h, w)."""
    kernel = backbone["patch_embed.proj.weight"]
    x = F.conv2d(images, kernel, backbone["patch_embed.proj.bias"], stride=kernel.shape[-1])
    grid = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([backbone["cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + dino_positions(backbone["pos_embed"], *grid)
    for i in range(backbone.count("blocks")):
        block = backbone("blocks")(i)
        x = x + attention(layer_norm(x, block("norm1"), BACKBONE_EPS), block("attn"), heads)
        x = x + mlp(layer_norm(x, block("norm2"), BACKBONE_EPS), block("mlp"))
    return x, grid


def convnext_head(x, head, first_shortcut):
    """A map (B, C, h, w) through depthwise convolution, norm and MLP; the first block has no shortcut
    unless `first_shortcut` is "none" (none is removed)."""
    for i in range(head.count("blocks")):
        block = head("blocks")(i)
        kernel = block["conv_dw.weight"]
        y = F.conv2d(
            x, kernel, block["conv_dw.bias"], padding=kernel.shape[-1] // 2, groups=len(kernel)
        )
        y = mlp(layer_norm(y.permute(0, 2, 3, 1), block("norm"), CONVNEXT_EPS), block("mlp"))
        y = y.permute(0, 3, 1, 2)
        x = y if i == 0 and first_shortcut != "none" else x + y
    return x


def image_vectors(images, network, heads, head_configs, branches):
    """The vector that stands for each image, (B, C), by branch: the class token after the base's norm,
    and for a head the mean of its map, normed *after* the mean."""
    tokens, (rows, columns) = vit(images, network("backbone"), heads)
    vectors = {"base": layer_norm(tokens, network("backbone")("norm"), BACKBONE_EPS)[:, 0]}
    map_in = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)
    maps = []
    for name, config in sorted(head_configs.items()):
        head = network("heads")(name)
        map_out = convnext_head(map_in, head, config.get("first_shortcut", "first"))
        maps.append(map_out)
        if name in branches:
            vectors[name] = layer_norm(map_out.mean((2, 3)), head("norm"), HEAD_NORM_EPS)
    if "heads" in branches:
        mean = torch.cat(maps, dim=1).mean((2, 3))
        vectors["heads"] = layer_norm(mean, network("heads")("norm"), HEAD_NORM_EPS)
    return {branch: vectors[branch] for branch in branches}
