"""Pooling, an MLP of 1x1 convolutions."""

import torch.nn.functional as F

from . import keeps

EPS = 1e-5
CASES = {
    "depth 1": {"depth": 1},
    "depth 3": {},
    "pooled alone, window 5": {"depth": 2, "pool_minus_x": False, "pool_size": 5},
    "no first shortcut at all, layer scale": {
        "depth": 2, "first_shortcut": "both", "layer_scale": 0.1},
    "first shortcut kept": {"depth": 2, "first_shortcut": "none"},
    "token mixer alone": {"depth": 2, "mlp": False},
    "mlp alone": {"depth": 2, "token_mixer": False},
}
# Parameters of a block of 384 channels.
COUNTS = {
    "384 wide": (384, {"depth": 1}, 1_183_104),
    "768 wide": (768, {"depth": 1}, 4_725_504),
}


def norm(x, layer):
    """Over all positions and channels of an image."""
    return F.group_norm(x, 1, layer["weight"], layer["bias"], EPS)


def pool(x, size, minus_x):
    mean = F.avg_pool2d(x, size, stride=1, padding=size // 2, count_include_pad=False)
    return mean - x if minus_x else mean


def mlp(x, layer):
    conv = lambda x, name: F.conv2d(x, layer(name)["weight"], layer(name)["bias"])
    return conv(F.gelu(conv(x, "fc1")), "fc2")


def head(x, head, config):
    for i in range(head.count("blocks")):
        block = head("blocks")(i)
        mixes = config.get("token_mixer", True)
        scaled = lambda y, name: (
            y * block(name)["scale"].view(-1, 1, 1) if config.get("layer_scale") else y)
        first, second = keeps(config, i, mixes)
        if mixes:
            y = pool(norm(x, block("norm1")), config.get("pool_size", 3), config.get("pool_minus_x", True))
            y = scaled(y, "layer_scale1")
            x = x + y if first else y
        if config.get("mlp", True):
            y = scaled(mlp(norm(x, block("norm2")), block("mlp")), "layer_scale2")
            x = x + y if second else y
    return x
