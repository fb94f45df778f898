"""timm's ResMLPs, made for several image sizes: each takes no other."""

from functools import partial

import timm
import torch
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock

from . import Case, moved

COUNTS = {
    "resmlp_12": ({"arch": "resmlp_12"}, 14_965_872),
    "resmlp_24": ({"arch": "resmlp_24"}, 29_635_680),
}
# Side of the crops that the counted models take.
COUNT_CROP = 224


def model(arch, image_size, classes=0):
    torch.manual_seed(image_size)
    return moved(timm.create_model(f"{arch}_224", img_size=image_size, num_classes=classes))


def small():
    return MlpMixer(
        img_size=32, patch_size=4, num_blocks=2, embed_dim=48, mlp_ratio=3, block_layer=ResBlock,
        norm_layer=Affine, num_classes=0,
    )


def features(model, images):
    tokens = model.forward_features(images)
    return tokens.mean(1), tokens


def case(arch, image_size, build, section=None, count=3):
    return Case(
        name=f"{arch}, images {image_size}x{image_size}",
        section={"arch": arch, "img_size": image_size, **(section or {})},
        images=(image_size, image_size),
        build=build,
        features=features,
        count=count,
    )


SMALL = {"patch_size": 4, "depth": 2, "embed_dim": 48, "mlp_ratio": 3}
CASES = [
    case("resmlp_12", 224, partial(model, "resmlp_12", 224, classes=7), count=2),
    case("resmlp_12", 96, partial(model, "resmlp_12", 96)),
    case("resmlp_24", 112, partial(model, "resmlp_24", 112)),
    case("resmlp_big_24", 40, partial(model, "resmlp_big_24", 40), count=2),
    case("resmlp_12", 32, lambda: moved(small()), SMALL),
]

EXPORT = ({"arch": "resmlp_12", "img_size": 32, **SMALL}, small)
