"""timm's ViTs: several sizes, patches and image sizes, positions resized at loading and on the way, with
register tokens and layer scales or without."""

from functools import partial

import timm
import torch
from timm.layers import resample_abs_pos_embed

from . import Case, moved

# DINOv2 with registers, under the names of the options and of timm.
REGISTERS = {"reg_tokens": 4, "no_embed_class": True, "layer_scale": 1e-5}
TIMM = {"layer_scale": "init_values"}

COUNTS = {
    "vit_tiny": ({"arch": "vit_tiny"}, 5_524_416),
    "vit_small": ({"arch": "vit_small"}, 21_665_664),
    "vit_base": ({"arch": "vit_base"}, 85_798_656),
    # One block of 24, because a step of all takes gigabytes.
    "vit_large, one block": ({"arch": "vit_large", "depth": 1}, 303_301_632 - 23 * 12_596_224),
    # Four tokens and two scales a block more, and no position for the class token.
    "vit_small, registers and layer scales": (
        {**REGISTERS, "arch": "vit_small"}, 21_665_664 + 4 * 384 + 12 * 2 * 384 - 384),
}


def model(arch, patch, image_size, classes, options):
    torch.manual_seed(patch * 1000 + image_size)
    return moved(timm.create_model(
        f"{arch}_patch16_224", patch_size=patch, img_size=image_size, num_classes=classes,
        dynamic_img_size=True, **{TIMM.get(key, key): value for key, value in options.items()},
    ))


def resized(arch, patch, image_size, classes, options, weights):
    """The model for another image size with these weights, as timm loads them."""
    grid = image_size // patch
    other = model(arch, patch, image_size, classes, options)
    positions = resample_abs_pos_embed(
        weights["pos_embed"], new_size=(grid, grid),
        num_prefix_tokens=0 if other.no_embed_class else other.num_prefix_tokens,
    )
    other.load_state_dict({**weights, "pos_embed": positions}, strict=True)
    return other


def features(model, images):
    tokens = model.forward_features(images)
    return tokens[:, 0], tokens[:, model.num_prefix_tokens:]


def case(arch, patch, built_for, images, weights_for=0, classes=0, count=5, **options):
    """`weights_for`: the image size of the weights, if it is another one."""
    listed = "".join(f", {key} {value}" for key, value in options.items())
    source = f" from {weights_for}" if weights_for else ""
    return Case(
        name=f"{arch}/{patch} at {built_for}{source}, images {images[0]}x{images[1]}{listed}",
        section={"arch": arch, "patch_size": patch, "img_size": built_for, **options},
        images=images,
        build=partial(model, arch, patch, weights_for or built_for, classes, options),
        features=features,
        reference=partial(resized, arch, patch, built_for, classes, options),
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
    case("vit_tiny", 8, 32, (48, 32), reg_tokens=3, layer_scale=0.1),
    case("vit_tiny", 16, 96, (96, 96), weights_for=224, reg_tokens=2),
    case("vit_small", 14, 98, (98, 98), **REGISTERS),
    case("vit_small", 14, 98, (98, 126), weights_for=70, **REGISTERS),
]

EXPORT = (
    {"arch": "vit_tiny", "embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 4, "img_size": 32,
     "reg_tokens": 2, "layer_scale": 0.1},
    partial(
        timm.models.VisionTransformer,
        img_size=32, patch_size=4, embed_dim=48, depth=2, num_heads=3, num_classes=0, reg_tokens=2,
        init_values=0.1,
    ),
)
