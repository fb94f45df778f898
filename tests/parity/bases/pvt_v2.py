"""timm's PVT v2: sides that no stride divides, own sizes."""

from functools import partial

import timm
import torch

from . import Case, moved

# timm's, without the classifier.
COUNTS = {
    "pvt_v2_b0": ({"arch": "pvt_v2_b0"}, 3_409_760),
    "pvt_v2_b1": ({"arch": "pvt_v2_b1"}, 13_496_000),
    "pvt_v2_b2": ({"arch": "pvt_v2_b2"}, 24_849_856),
    "pvt_v2_b3": ({"arch": "pvt_v2_b3"}, 44_725_696),
    "pvt_v2_b4": ({"arch": "pvt_v2_b4"}, 62_043_072),
    "pvt_v2_b5": ({"arch": "pvt_v2_b5"}, 81_443_008),
}
# Reductions that do not divide the maps.
OWN = {"embed_dims": [24, 32, 40, 64], "depths": [1, 2, 1, 2], "num_heads": [1, 2, 5, 4],
       "mlp_ratios": [2.5, 3.0, 4.0, 2.0], "sr_ratios": [5, 5, 4, 1]}


def model(arch, sizes, classes):
    torch.manual_seed(len(sizes) + classes)
    return moved(timm.create_model(arch, num_classes=classes, **sizes))


def features(model, images):
    map_out = model.forward_features(images)
    return map_out.mean((2, 3)), map_out.flatten(2).transpose(1, 2)


def case(arch, images, sizes={}, classes=0, count=3):
    own = ", own sizes" if sizes else ""
    return Case(
        name=f"{arch}{own}, images {images[0]}x{images[1]}",
        section={"arch": arch, **sizes},
        images=images,
        build=partial(model, arch, sizes, classes),
        features=features,
        count=count,
    )


CASES = [
    case("pvt_v2_b0", (64, 64), classes=7),
    case("pvt_v2_b0", (100, 73)),
    case("pvt_v2_b0", (29, 32)),
    case("pvt_v2_b0", (96, 134), sizes=OWN),
    case("pvt_v2_b1", (224, 224), classes=7, count=2),
    case("pvt_v2_b2", (96, 96), classes=7),
    case("pvt_v2_b2", (224, 150), count=2),
]

SMALL = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 2, 2], "num_heads": [1, 2, 3, 4]}
EXPORT = ({**SMALL, "img_size": 32}, partial(timm.create_model, "pvt_v2_b0", num_classes=0, **SMALL))
