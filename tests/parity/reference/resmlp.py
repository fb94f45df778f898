"""ResMLP (Touvron et al., 2021) as a function of named tensors, of blocks that its head shares."""

import torch.nn.functional as F

from .heads import resmlp as blocks


def base(images, backbone, config, _mask=None):
    """The mean over positions stands for the image."""
    kernel = backbone["stem.proj.weight"]
    x = F.conv2d(images, kernel, backbone["stem.proj.bias"], stride=kernel.shape[-1])
    x, layers = x.permute(0, 2, 3, 1), []
    for i in range(backbone.count("blocks")):
        x = blocks.block(x, backbone("blocks")(i), config.get("layer_scale", 0.1))
        layers.append(x.mean((1, 2)))
    normed = blocks.affine(x, backbone("norm"))
    return normed.mean((1, 2)), normed.flatten(1, 2), x.permute(0, 3, 1, 2), layers
