"""Attention in windows, which every other block shifts; written without cutting the map: all cells meet,
and the scores of those that share no window are left out."""

import math

import torch

from ..layers import layer_norm, linear, mlp

EPS = 1e-6
# Cells per side of the map of global crops, for which windows are chosen.
GRID = 8
CASES = {
    "depth 1": {"depth": 1},
    "depth 3": {"num_heads": 3},
    "windows of 4 tile the map": {"num_heads": 3, "window_size": 4, "depth": 2},
    "one window": {"num_heads": 3, "window_size": 8, "depth": 2},
    "a window larger than the map": {"num_heads": 2, "window_size": 12, "depth": 2},
    "windows of 3, padded after the shift": {
        "num_heads": 3, "window_size": 3, "padding": "after_shift", "depth": 2},
    "windows of 3, padded before the shift": {"num_heads": 3, "window_size": 3, "depth": 2},
    "no shortcut in the first block": {"num_heads": 3, "first_shortcut": "both", "depth": 2},
    "every shortcut kept": {"num_heads": 3, "first_shortcut": "none", "depth": 2},
    "token mixer alone": {"num_heads": 3, "mlp": False, "depth": 2},
    "mlp alone": {"token_mixer": False, "depth": 2},
    "layer scale": {"num_heads": 3, "layer_scale": 0.5, "depth": 2, "ln_eps": 1e-5},
}

COUNTS = {
    "384 wide": (384, {"depth": 1}, 1_776_492),
    "768 wide": (768, {"depth": 1}, 7_091_928),
}


def places(cells, side, shift, before):
    """One side of the map after padding and shift: the cell at each place (`cells` where there is none),
    and the place's region: windows but the last; what did not wrap around; what did."""
    padded = -(-cells // side) * side
    place = torch.arange(padded)
    if before:
        cell = (place + shift) % padded
    else:
        cell = torch.where(place < cells, (place + shift) % cells, cells)
    region = (place >= padded - side).long() + (place >= padded - shift).long() * (shift > 0)
    return cell.clamp(max=cells), region


def window_attention(x, layer, shifts, before):
    """x (B, h, w, C)."""
    batch, rows, columns, width = x.shape
    table = layer["relative_position_bias_table"]
    side, heads = (math.isqrt(len(table)) + 1) // 2, table.shape[1]
    shift = side // 2 if shifts and side < GRID else 0
    (row_cell, row_region), (column_cell, column_region) = (
        places(cells, side, shift, before) for cells in (rows, columns))

    # Another row and column of zeros, which what is padded is read from.
    x = torch.nn.functional.pad(x, (0, 0, 0, 1, 0, 1))[:, row_cell][:, :, column_cell]
    shape = x.shape[1:3]
    row, column = (index.flatten() for index in torch.meshgrid(*map(torch.arange, shape), indexing="ij"))
    differ = lambda values: values[:, None] != values[None, :]
    apart = differ(row // side) | differ(column // side)
    # Cells of one window that only the shift made neighbours.
    torn = differ(row_region[row]) | differ(column_region[column])
    # Cells of a window lie less than its side apart; others are left out anyway.
    offset = lambda values: ((values % side)[:, None] - (values % side)[None, :]) + side - 1
    bias = table[offset(row) * (2 * side - 1) + offset(column)].permute(2, 0, 1)
    bias = bias - 100.0 * torn
    bias = bias.masked_fill(apart, -torch.inf)

    qkv = linear(x.flatten(1, 2), layer("qkv")).unflatten(-1, (3, heads, width // heads))
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / math.sqrt(width // heads) + bias).softmax(-1)
    y = linear((weights @ v).transpose(1, 2).flatten(2), layer("proj")).unflatten(1, shape)
    back = [torch.argsort(cell)[:cells] for cell, cells in ((row_cell, rows), (column_cell, columns))]
    return y[:, back[0]][:, :, back[1]]


def head(x, head, config):
    x = x.permute(0, 2, 3, 1)
    eps, removed = config.get("ln_eps", EPS), config.get("first_shortcut", "first")
    before = config.get("padding", "before_shift") == "before_shift"
    for i in range(head.count("blocks")):
        block = head("blocks")(i)
        branches = []
        if "attn.qkv.weight" in block:
            branches.append((1, lambda y: window_attention(y, block("attn"), i % 2 == 1, before)))
        if "mlp.fc1.weight" in block:
            branches.append((2, lambda y: mlp(y, block("mlp"))))
        for position, (number, branch) in enumerate(branches):
            y = branch(layer_norm(x, block(f"norm{number}"), eps))
            if f"ls{number}.gamma" in block:
                y = y * block(f"ls{number}")["gamma"]
            gone = i == 0 and (removed == "both" or removed == "first" and position == 0)
            x = y if gone else x + y
    return x.permute(0, 3, 1, 2)
