"""ResNet as functions of named tensors: the base, and the block that its head shares."""

import torch.nn.functional as F

from .layers import batch_norm


def conv_norm(x, conv, norm, stride=1):
    kernel = conv["weight"]
    return batch_norm(F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2), norm)


def residual_block(x, block, stride=1, shortcut=True):
    """ReLU(x + F(x)), F being 1x1, k x k and 1x1, or k x k twice; the first k x k convolution strides."""
    bottleneck = block.count("conv3") > 0
    y = F.relu(conv_norm(x, block("conv1"), block("bn1"), 1 if bottleneck else stride))
    y = conv_norm(y, block("conv2"), block("bn2"), stride if bottleneck else 1)
    if bottleneck:
        y = conv_norm(F.relu(y), block("conv3"), block("bn3"))
    if block.count("downsample"):
        x = conv_norm(x, block("downsample")(0), block("downsample")(1), stride)
    return F.relu(x + y if shortcut else y)


def base(images, backbone, config, _mask=None):
    """The mean over positions stands for the image; there is no norm to come."""
    small = config.get("stem") == "cifar"
    x = F.relu(conv_norm(images, backbone("conv1"), backbone("bn1"), 1 if small else 2))
    if not small:
        x = F.max_pool2d(x, 3, stride=2, padding=1)
    layers = []
    for i in range(1, 5):
        stage = backbone(f"layer{i}")
        for j in range(backbone.count(f"layer{i}")):
            x = residual_block(x, stage(j), 2 if i > 1 and j == 0 else 1)
            layers.append(x.mean((2, 3)))
    return layers[-1], x.flatten(2).transpose(1, 2), x, layers
