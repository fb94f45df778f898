"""torchvision's ResNets, with the stem for large images and the one for small ones."""

from functools import partial

import torch
import torchvision
from torchvision.models.resnet import Bottleneck, ResNet

from . import Case, moved

COUNTS = {
    "resnet18": ({"arch": "resnet18"}, 11_176_512),
    "resnet34": ({"arch": "resnet34"}, 21_284_672),
    "resnet50": ({"arch": "resnet50"}, 23_508_032),
    "resnet101": ({"arch": "resnet101"}, 42_500_160),
}


def with_stem(model, stem, classes=0):
    """The model as the option `stem` makes it; without its classifier if there are no classes."""
    if stem == "cifar":
        model.conv1 = torch.nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    if classes == 0:
        model.fc = torch.nn.Identity()
    return model


def model(arch, stem, classes):
    torch.manual_seed(len(arch) + classes)
    build = getattr(torchvision.models, arch)
    return moved(with_stem(build(num_classes=max(classes, 1)), stem, classes))


def features(model, images):
    x = images
    for name, layer in model.named_children():
        if name == "avgpool":
            break
        x = layer(x)
    return x.mean((2, 3)), x.flatten(2).transpose(1, 2)


def case(arch, images, stem="imagenet", classes=0, count=3):
    return Case(
        name=f"{arch}, {stem} stem, images {images[0]}x{images[1]}",
        section={"arch": arch, "stem": stem},
        images=images,
        build=partial(model, arch, stem, classes),
        features=features,
        count=count,
    )


CASES = [
    case("resnet18", (64, 64), classes=7),
    case("resnet18", (32, 32), stem="cifar"),
    case("resnet34", (75, 110)),
    case("resnet50", (224, 224), classes=7, count=2),
    case("resnet50", (41, 24), stem="cifar"),
    case("resnet101", (96, 96), count=2),
]

EXPORT = (
    {"arch": "resnet50", "depths": [1, 1, 1, 1], "stem": "cifar"},
    lambda: with_stem(ResNet(Bottleneck, [1, 1, 1, 1]), "cifar"),
)
