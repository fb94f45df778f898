"""Bottlenecks, or pairs of k x k convolutions, with batch norms."""

import torch.nn.functional as F

from ..resnet import conv_norm, residual_block

CASES = {
    "depth 1": {"depth": 1},
    "depth 3": {},
    "first shortcut kept, kernel 5": {"first_shortcut": "none", "kernel_size": 5, "depth": 2},
    "both shortcuts, reduction 3": {"first_shortcut": "both", "reduction": 3, "depth": 2},
    "basic blocks": {"block": "basic", "depth": 2},
    "narrower": {"width": 20, "depth": 2},
}
COUNTS = {
    "384 wide": (384, {"depth": 1}, 157_824),
    "768 wide": (768, {"depth": 1}, 628_992),
}


def head(x, head, config):
    """The first block has no shortcut unless `first_shortcut` is "none" (none is removed)."""
    if head.count("reduce"):
        x = F.relu(conv_norm(x, head("reduce")(0), head("reduce")(1)))
    for i in range(head.count("blocks")):
        kept = i > 0 or config.get("first_shortcut", "first") == "none"
        x = residual_block(x, head("blocks")(i), shortcut=kept)
    return x
