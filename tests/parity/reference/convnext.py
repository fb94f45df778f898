"""ConvNeXt (Liu et al., 2022) as a function of named tensors, of blocks that its head shares."""

import torch.nn.functional as F

from .heads import convnext as blocks
from .layers import layer_norm

EPS = 1e-6


def patches(x, conv):
    """A convolution whose windows tile the map."""
    return F.conv2d(x, conv["weight"], conv["bias"], stride=conv["weight"].shape[-1])


def base(images, backbone, config, _mask=None):
    """The mean over positions stands for the image, and the norm follows the mean."""
    eps = config.get("ln_eps", EPS)
    at_each = lambda x, norm: layer_norm(x.permute(0, 2, 3, 1), norm, eps).permute(0, 3, 1, 2)
    of_blocks = {"ln_eps": eps, "layer_scale": config.get("layer_scale", 1e-6)}
    x = at_each(patches(images, backbone("stem")(0)), backbone("stem")(1))
    layers = []
    for i in range(backbone.count("stages")):
        stage = backbone("stages")(i)
        if stage.count("downsample"):
            x = patches(at_each(x, stage("downsample")(0)), stage("downsample")(1))
        for j in range(stage.count("blocks")):
            x = blocks.block(x, stage("blocks")(j), of_blocks)
            layers.append(x.mean((2, 3)))
    norm = backbone("head")("norm")
    vector = layer_norm(x.mean((2, 3)), norm, eps)
    return vector, at_each(x, norm).flatten(2).transpose(1, 2), x, layers
