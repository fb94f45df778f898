"""Attention of every position to a map that may have been made coarser, then an MLP."""

import torch.nn.functional as F

from ..layers import layer_norm, linear, mlp

EPS, REDUCTION_EPS = 1e-6, 1e-5
CASES = {
    "depth 1": {"depth": 1},
    "depth 3": {"depth": 3, "num_heads": 3},
    "reduced by 2": {"depth": 2, "sr_ratio": 2, "num_heads": 3},
    "reduced by 3, which leaves positions over": {"depth": 1, "sr_ratio": 3},
    "both first shortcuts removed": {"depth": 2, "first_shortcut": "both"},
    "first shortcuts kept, narrow MLP": {"depth": 2, "first_shortcut": "none", "mlp_ratio": 1.5},
    "attention alone, reduced by 2": {"depth": 3, "mlp": False, "sr_ratio": 2},
    "MLP alone": {"depth": 2, "token_mixer": False},
    "layer scale": {"depth": 2, "layer_scale": 0.5, "num_heads": 2},
}
# On 14 x 14 positions: the width, the section, and the parameters of the blocks.
COUNTS = {
    "384 wide": (384, {"depth": 1}, 1_774_464),
    "384 wide, reduced by 2": (384, {"depth": 1, "sr_ratio": 2}, 2_365_440),
    "768 wide": (768, {"depth": 1}, 7_087_872),
}


def attention(x, grid, layer, heads):
    """softmax(q k^T / sqrt(d)) v with keys and values of the map that `sr` and `norm` leave."""
    batch, tokens, width = x.shape
    source = x
    if "sr.weight" in layer:
        kernel = layer["sr.weight"]
        map_in = x.transpose(1, 2).reshape(batch, width, *grid)
        source = F.conv2d(map_in, kernel, layer["sr.bias"], stride=kernel.shape[-1])
        source = layer_norm(source.flatten(2).transpose(1, 2), layer("norm"), REDUCTION_EPS)
    q, k, v = (
        y.reshape(batch, -1, heads, width // heads).transpose(1, 2)
        for y in (linear(x, layer("q")), *linear(source, layer("kv")).chunk(2, dim=-1))
    )
    weights = (q @ k.transpose(-1, -2) / (width // heads) ** 0.5).softmax(-1)
    return linear((weights @ v).transpose(1, 2).reshape(batch, tokens, width), layer("proj"))


def head(x, head, config):
    """In the first block, "first" removes the shortcut around the part that comes first, "both" all."""
    batch, width, *grid = x.shape
    heads = config.get("num_heads", max(width // 64, 1))
    removed = {"first": 1, "both": 2, "none": 0}[config.get("first_shortcut", "first")]
    x = x.flatten(2).transpose(1, 2)
    for i in range(head.count("blocks")):
        block = head("blocks")(i)
        parts = []
        if "norm1.weight" in block:
            parts.append(("1", lambda y: attention(y, grid, block("attn"), heads)))
        if "norm2.weight" in block:
            parts.append(("2", lambda y: mlp(y, block("mlp"))))
        for place, (number, part) in enumerate(parts):
            y = part(layer_norm(x, block(f"norm{number}"), EPS))
            y = y * block[f"ls{number}.gamma"] if f"ls{number}.gamma" in block else y
            x = y if i == 0 and place < removed else x + y
    return x.transpose(1, 2).reshape(batch, width, *grid)
