"""timm's PoolFormers, with maps of odd sides. timm norms the mean of the last map; the paper's model, which
is the default here, takes the mean of the normed map."""

from functools import partial

import timm
import torch
import torch.nn.functional as F
from timm.layers import GroupNorm1

from . import Case, moved

COUNTS = {
    "poolformer_s12": ({"arch": "poolformer_s12"}, 11_402_176),
    "poolformer_s24": ({"arch": "poolformer_s24"}, 20_875_968),
    "poolformer_s36": ({"arch": "poolformer_s36"}, 30_349_760),
}


def model(arch, classes=0, **options):
    torch.manual_seed(2)
    return moved(timm.create_model(arch, num_classes=classes, **options))


def small():
    return timm.models.MetaFormer(
        depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), downsample_norm=None, mlp_act=torch.nn.GELU,
        mlp_bias=True, norm_layers=GroupNorm1, layer_scale_init_values=1e-5,
        res_scale_init_values=None, use_mlp_head=False, num_classes=0,
    )


def tokens_of(x):
    return x.flatten(2).transpose(1, 2)


def features(model, images):
    norm = model.head.norm
    tokens = tokens_of(F.group_norm(model.forward_features(images), 1, norm.weight, norm.bias, 1e-5))
    return tokens.mean(1), tokens


def timm_features(model, images):
    x = model.forward_features(images)
    return model.forward_head(x, pre_logits=True), tokens_of(model.head.norm(x))


def case(arch, images, count=3, section=None, features=features, **options):
    other = "".join(f", {key} {value}" for key, value in (section or {}).items())
    return Case(
        name=f"{arch}{other}, images {images[0]}x{images[1]}",
        section={"arch": arch, **(section or {})},
        images=images,
        build=partial(model, arch, **options),
        features=features,
        count=count,
    )


TIMM = {"section": {"final_norm": "layer_norm"}, "features": timm_features}
CASES = [
    case("poolformer_s12", (224, 224), classes=7, count=2),
    case("poolformer_s12", (100, 76)),
    case("poolformer_s12", (64, 96), classes=7, **TIMM),
    case("poolformer_s12", (64, 64), section={"pool_size": 5}, pool_size=5),
    case("poolformer_s24", (96, 96)),
    case("poolformer_m36", (36, 64), count=2, **TIMM),
]

EXPORT = (
    {"arch": "poolformer_s12", "depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]},
    small,
)
