"""The Vision Transformer as functions of named tensors."""

import math

import torch
import torch.nn.functional as F

from .layers import attention_weights, layer_norm, transformer_block

BACKBONE_EPS = 1e-6


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
    """Images (B, 3, H, W) to tokens (B, P + h w, C) as they come to the first block and as each block leaves
    them, before the final norm; how many of them come before the patches; and the grid (h, w). Register
    tokens lie behind the class token; they have positions if it has one. A learned vector replaces what
    `mask` (B, h w) hides. `depth`: only the first blocks."""
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
    outputs = [torch.cat([prefix.expand(len(x), -1, -1), x + dino_positions(positions, *grid)], dim=1)]
    for i in range(backbone.count("blocks") if depth is None else depth):
        block = backbone("blocks")(i)
        outputs.append(transformer_block(outputs[-1], block, config["num_heads"], BACKBONE_EPS))
    return outputs, prefix.shape[1], grid


def base(images, backbone, config, mask=None):
    """The class token stands for the image."""
    outputs, prefix, grid = vit(images, backbone, config, mask)
    x = outputs[-1]
    normed = layer_norm(x, backbone("norm"), BACKBONE_EPS)
    map_out = x[:, prefix:].transpose(1, 2).unflatten(2, grid)
    return normed[:, 0], normed[:, prefix:], map_out, [tokens[:, 0] for tokens in outputs[1:]]


def class_attention(images, backbone, config):
    """How much the last block's class token attends to each patch, (B, h w): the mean over its heads."""
    last = backbone.count("blocks") - 1
    (*_, tokens), prefix, _ = vit(images, backbone, config, depth=last)
    block = backbone("blocks")(last)
    weights, _ = attention_weights(
        layer_norm(tokens, block("norm1"), BACKBONE_EPS), block("attn"), config["num_heads"])
    return weights[:, :, 0, prefix:].mean(1)
