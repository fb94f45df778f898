"""PVT, held against a reference of ours: positions resized at loading and on the way, own sizes."""

from functools import partial

import torch

from reference.pvt import PyramidVisionTransformer, positions_for

from . import Case, moved

DEPTHS = {
    "pvt_tiny": (2, 2, 2, 2),
    "pvt_small": (3, 4, 6, 3),
    "pvt_medium": (3, 4, 18, 3),
    "pvt_large": (3, 8, 27, 3),
}
# With a classifier of 1000 classes (513,000), these are the published 13.2, 24.5, 44.2 and 61.4 million.
COUNTS = {
    "pvt_tiny": ({"arch": "pvt_tiny"}, 12_716_288),
    "pvt_small": ({"arch": "pvt_small"}, 23_972_864),
    "pvt_medium": ({"arch": "pvt_medium"}, 43_695_104),
    "pvt_large": ({"arch": "pvt_large"}, 60_856_320),
}
# Reductions that do not divide the maps, 24, 12, 6 and 3 positions wide.
OWN = {"embed_dims": [24, 32, 40, 64], "depths": [1, 2, 1, 2], "num_heads": [1, 2, 5, 4],
       "mlp_ratios": [2.5, 3.0, 4.0, 2.0], "sr_ratios": [5, 5, 4, 1], "patch_size": 2}


def model(sizes, image_size, classes):
    torch.manual_seed(image_size)
    return moved(PyramidVisionTransformer(img_size=image_size, num_classes=classes, **sizes))


def resized(sizes, image_size, classes, weights):
    """The model for another image size with these weights."""
    other = model(sizes, image_size, classes)
    for i in range(1, 5):
        grid = [image_size // sizes.get("patch_size", 4) // 2 ** (i - 1)] * 2
        name = f"pos_embed{i}"
        weights = {**weights, name: positions_for(weights[name], grid, class_token=int(i == 4))}
    other.load_state_dict(weights, strict=True)
    return other


def features(model, images):
    tokens = model.forward_features(images)
    return tokens[:, 0], tokens[:, 1:]


def case(name, section, sizes, built_for, images, weights_for=0, classes=0, count=3):
    """`weights_for`: the image size of the weights, if it is another one."""
    source = f" from {weights_for}" if weights_for else ""
    return Case(
        name=f"{name} at {built_for}{source}, images {images[0]}x{images[1]}",
        section={**section, "img_size": built_for},
        images=images,
        build=partial(model, sizes, weights_for or built_for, classes),
        features=features,
        reference=partial(resized, sizes, built_for, classes) if weights_for else None,
        count=count,
    )


def named(arch, *arguments, **options):
    return case(arch, {"arch": arch}, {"depths": DEPTHS[arch]}, *arguments, **options)


CASES = [
    named("pvt_tiny", 64, (64, 64), classes=7),
    named("pvt_tiny", 64, (96, 64)),
    named("pvt_tiny", 96, (96, 96), weights_for=224, classes=7),
    case("own sizes", OWN, OWN, 48, (48, 48)),
    case("own sizes", OWN, OWN, 48, (48, 80), weights_for=64),
    named("pvt_small", 224, (224, 224), classes=7, count=2),
    named("pvt_small", 224, (96, 160), count=2),
    named("pvt_medium", 96, (96, 96), count=2),
]

SMALL = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 2, 2], "num_heads": [1, 2, 3, 4],
         "patch_size": 2, "img_size": 32}
EXPORT = (SMALL, partial(PyramidVisionTransformer, **SMALL))
