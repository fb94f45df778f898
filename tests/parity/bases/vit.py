"""timm's ViTs: several sizes, patches and image sizes, positions resized at loading and on the way."""

from functools import partial

import timm
import torch
from timm.layers import resample_abs_pos_embed

from . import Case, moved

COUNTS = {
    "vit_tiny": ({"arch": "vit_tiny"}, 5_524_416),
    "vit_small": ({"arch": "vit_small"}, 21_665_664),
    "vit_base": ({"arch": "vit_base"}, 85_798_656),
}


def model(arch, patch, image_size, classes):
    torch.manual_seed(patch * 1000 + image_size)
    return moved(timm.create_model(
        f"{arch}_patch16_224", patch_size=patch, img_size=image_size, num_classes=classes,
        dynamic_img_size=True,
    ))


def resized(arch, patch, image_size, classes, weights):
    """The model for another image size with these weights, as timm loads them."""
    grid = image_size // patch
    positions = resample_abs_pos_embed(weights["pos_embed"], new_size=(grid, grid))
    other = model(arch, patch, image_size, classes)
    other.load_state_dict({**weights, "pos_embed": positions}, strict=True)
    return other


def features(model, images):
    tokens = model.forward_features(images)
    return tokens[:, 0], tokens[:, 1:]


def case(arch, patch, built_for, images, weights_for=0, classes=0, count=5):
    """`weights_for`: the image size of the weights, if it is another one."""
    source = f" from {weights_for}" if weights_for else ""
    return Case(
        name=f"{arch}/{patch} at {built_for}{source}, images {images[0]}x{images[1]}",
        section={"arch": arch, "patch_size": patch, "img_size": built_for},
        images=images,
        build=partial(model, arch, patch, weights_for or built_for, classes),
        features=features,
        reference=partial(resized, arch, patch, built_for, classes),
        count=count,
    )


CASES = [
    case("vit_tiny", 4, 32, (32, 32), classes=7),
    case("vit_tiny", 8, 96, (96, 96)),
    case("vit_tiny", 16, 96, (96, 96), weights_for=224, classes=7),
    case("vit_tiny", 8, 32, (96, 64)),
    case("vit_small", 16, 224, (224, 224), classes=7, count=3),
    case("vit_small", 16, 224, (96, 96)),
    case("vit_small", 8, 96, (96, 96), weights_for=224, count=3),
    case("vit_base", 16, 96, (96, 96), classes=7, count=3),
    case("vit_base", 16, 224, (224, 224), count=2),
]

EXPORT = (
    {"arch": "vit_tiny", "embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 4, "img_size": 32},
    partial(
        timm.models.VisionTransformer,
        img_size=32, patch_size=4, embed_dim=48, depth=2, num_heads=3, num_classes=0,
    ),
)
