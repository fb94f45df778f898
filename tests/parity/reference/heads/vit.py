"""Self-attention and MLP on the map's positions as tokens."""

from ..layers import transformer_block

EPS = 1e-6
CASES = {
    "depth 1": {"depth": 1},
    "depth 3": {},
    "first shortcut kept, 4 heads": {"first_shortcut": "none", "num_heads": 4, "depth": 2},
    "both shortcuts removed, narrow MLP": {"first_shortcut": "both", "mlp_ratio": 1.5, "depth": 2},
    "attention alone": {"mlp": False, "depth": 2},
    "MLP alone": {"token_mixer": False, "depth": 2},
    "layer scale": {"layer_scale": 0.5, "depth": 2},
}
COUNTS = {
    "384 wide": (384, {"depth": 1}, 1_774_464),
    "768 wide": (768, {"depth": 1}, 7_087_872),
}


def head(x, head, config):
    batch, width, rows, columns = x.shape
    heads = config.get("num_heads", max(width // 64, 1))
    removed = config.get("first_shortcut", "first")
    x = x.flatten(2).transpose(1, 2)
    for i in range(head.count("blocks")):
        # `first` is the shortcut around attention, or the only one of a block without attention.
        first = i > 0 or removed == "none"
        second = i > 0 or removed == "none" or (removed == "first" and config.get("token_mixer", True))
        x = transformer_block(x, head("blocks")(i), heads, EPS, (first, second))
    return x.transpose(1, 2).reshape(batch, width, rows, columns)
