"""Depthwise convolution, norm, MLP."""

import torch.nn.functional as F

from ..layers import layer_norm, mlp

EPS = 1e-5
CASES = {
    "depth 1": {"depth": 1},
    "first shortcut kept, kernel 3": {"first_shortcut": "none", "kernel_size": 3, "depth": 2},
}


def head(x, head, config):
    """The first block has no shortcut unless `first_shortcut` is "none" (none is removed)."""
    for i in range(head.count("blocks")):
        block = head("blocks")(i)
        kernel = block["conv_dw.weight"]
        y = F.conv2d(
            x, kernel, block["conv_dw.bias"], padding=kernel.shape[-1] // 2, groups=len(kernel)
        )
        y = mlp(layer_norm(y.permute(0, 2, 3, 1), block("norm"), EPS), block("mlp"))
        y = y.permute(0, 3, 1, 2)
        x = y if i == 0 and config.get("first_shortcut", "first") != "none" else x + y
    return x
