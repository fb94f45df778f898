"""timm's ConvNeXts: MLPs written as convolutions and as linears, several strides, images that are not
square."""

from functools import partial

import timm
import torch

from . import Case, moved

COUNTS = {
    "convnext_atto": ({"arch": "convnext_atto"}, 3_374_520),
    "convnext_nano": ({"arch": "convnext_nano"}, 14_952_560),
    "convnext_tiny": ({"arch": "convnext_tiny"}, 27_820_128),
    "convnext_tiny without layer scale": (
        {"arch": "convnext_tiny", "layer_scale": 0.0}, 27_813_504),
}


def model(arch, classes=0, **options):
    torch.manual_seed(1)
    return moved(timm.create_model(arch, num_classes=classes, **options))


def small(**options):
    return timm.models.ConvNeXt(
        depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), conv_mlp=True, num_classes=0, **options)


def features(model, images):
    """timm's norm follows the mean; a token's is that of its own vector."""
    x = model.forward_features(images)
    tokens = model.head.norm(x).flatten(2).transpose(1, 2)
    return model.forward_head(x, pre_logits=True), tokens


def case(arch, images, count=3, section=None, build=None, **options):
    other = "".join(f", {key} {value}" for key, value in (section or {}).items())
    return Case(
        name=f"{arch}{other}, images {images[0]}x{images[1]}",
        section={"arch": arch, **(section or {})},
        images=images,
        build=build or partial(model, arch, **options),
        features=features,
        count=count,
    )


SMALL = {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]}
CASES = [
    case("convnext_atto", (64, 96), classes=7),
    case("convnext_atto", (32, 40), section={"patch_size": 1}, patch_size=1),
    # `create_model` takes None for "not given".
    case("convnext_atto", (64, 64), section={"layer_scale": 0.0, **SMALL},
         build=lambda: moved(small(ls_init_value=None))),
    case("convnext_nano", (96, 96), classes=7, section={"kernel_size": 3}, kernel_sizes=3),
    case("convnext_tiny", (224, 224), count=2),
    case("convnext_tiny", (96, 160), classes=7,
         section={"depths": [1, 2, 3, 1], "conv_mlp": True, "ln_eps": 1e-5},
         depths=(1, 2, 3, 1), conv_mlp=True, norm_eps=1e-5),
    case("convnext_base", (64, 64), count=2),
]

EXPORT = ({"arch": "convnext_atto", "patch_size": 1, **SMALL}, partial(small, patch_size=1))
