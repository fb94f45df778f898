"""Depthwise convolution, norm, MLP."""

import torch.nn.functional as F

from ..layers import layer_norm, mlp
from . import keeps

CASES = {
    "depth 1": {"depth": 1},
    "first shortcut kept, kernel 3": {"first_shortcut": "none", "kernel_size": 3, "depth": 2},
    "layer scale, another epsilon": {"depth": 3, "layer_scale": 0.1, "ln_eps": 1e-3},
    "token mixer alone": {"depth": 2, "mlp": False},
    "mlp alone": {"depth": 2, "token_mixer": False},
}
# Parameters of a block of 384 channels.
COUNTS = {
    "384 wide": (384, {"depth": 1}, 1_201_536),
    "768 wide": (768, {"depth": 1}, 4_762_368),
}


def block(x, block, config, kept=True):
    """`kept`: whether it is added to what comes in."""
    y = x
    if config.get("token_mixer", True):
        kernel = block["conv_dw.weight"]
        y = F.conv2d(
            y, kernel, block["conv_dw.bias"], padding=kernel.shape[-1] // 2, groups=len(kernel)
        )
    y = layer_norm(y.permute(0, 2, 3, 1), block("norm"), config.get("ln_eps", 1e-5))
    y = mlp(y, block("mlp")) if config.get("mlp", True) else y
    y = y * block["gamma"] if config.get("layer_scale") else y
    y = y.permute(0, 3, 1, 2)
    return x + y if kept else y


def head(x, head, config):
    for i in range(head.count("blocks")):
        kept, _ = keeps(config, i)
        x = block(x, head("blocks")(i), config, kept)
    return x
