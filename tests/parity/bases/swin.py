"""timm's Swin Transformers: several sizes, windows and image sizes, maps that windows do not tile and
that cannot be halved, tables resized at loading; and the original order of padding and shift."""

from functools import partial

import timm
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import window_partition, window_reverse

from . import Case, moved

COUNTS = {
    "swin_tiny": ({"arch": "swin_tiny"}, 27_519_354),
    # The last map of images of 224 has 7 x 7 cells and so one window of that size; all stages have
    # windows of 14 for images of 448.
    "swin_tiny, window 14": ({"arch": "swin_tiny", "window_size": 14}, 27_569_754),
    "swin_tiny, window 14 at 448": ({"arch": "swin_tiny", "window_size": 14, "img_size": 448}, 27_596_634),
    "swin_small": ({"arch": "swin_small"}, 48_837_258),
    "swin_base": ({"arch": "swin_base"}, 86_743_224),
    "swin_large": ({"arch": "swin_large"}, 194_995_476),
}
# Small enough for many cases: 4 stages of 2 blocks, 32 wide at first.
NARROW = {"embed_dim": 32, "depths": [2, 2, 2, 2]}


def model(section, classes=0, window=None):
    """timm's model of a configuration section, for images of any size."""
    torch.manual_seed(section["img_size"])
    sizes = {key: section[key] for key in ("embed_dim", "depths", "patch_size") if key in section}
    if "embed_dim" in sizes:
        sizes["num_heads"] = [sizes["embed_dim"] // 32 * 2**i for i in range(len(sizes["depths"]))]
    if "num_heads" in section:
        sizes["num_heads"] = section["num_heads"]
    return moved(timm.create_model(
        f"{section.get('arch', 'swin_tiny')}_patch4_window7_224", img_size=section["img_size"],
        window_size=window or section.get("window_size", 7), num_classes=classes, strict_img_size=False,
        norm_layer=partial(torch.nn.LayerNorm, eps=section.get("ln_eps", 1e-6)), **sizes,
    ))


def resized(section, weights):
    """The model with tables resized to its windows, as the original program loads them."""
    other = model(section)
    for name, value in other.state_dict().items():
        if name.endswith("relative_position_bias_table") and value.shape != weights[name].shape:
            side, given = (round(len(table) ** 0.5) for table in (value, weights[name]))
            table = weights[name].T.reshape(1, -1, given, given)
            table = F.interpolate(table, size=(side, side), mode="bicubic").flatten(2)[0].T
            weights = {**weights, name: table}
    other.load_state_dict(weights, strict=True)
    return other


def padded_before_shift(section, weights):
    """The model whose blocks pad the map before they shift it."""
    other = model(section)
    other.load_state_dict(weights, strict=True)
    for stage in other.layers:
        for block in stage.blocks:
            block._attn = partial(attention_padded_before_shift, block)
    return other


def attention_padded_before_shift(block, x):
    _, height, width, channels = x.shape
    (side, _), (shift, _) = block.window_size, block.shift_size
    x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    padded = x.shape[1:3]
    windows = window_partition(x.roll((-shift, -shift), (1, 2)), (side, side))
    y = block.attn(windows.flatten(1, 2), mask=block.get_attn_mask(x))
    y = window_reverse(y.reshape(-1, side, side, channels), (side, side), *padded)
    return y.roll((shift, shift), (1, 2))[:, :height, :width]


def features(model, images):
    tokens = model.forward_features(images).flatten(1, 2)
    return tokens.mean(1), tokens


def case(built_for, images, classes=0, count=2, weights_window=None, reference=None, **section):
    """`weights_window`: the window of the weights, if it is another one."""
    section = {"img_size": built_for, **section}
    words = [f"{key} {value}" for key, value in section.items() if key not in ("arch", *NARROW)]
    source = f" from {weights_window}" if weights_window else ""
    return Case(
        name=f"{section.get('arch', 'narrow')}, {', '.join(words)}{source}, images {images[0]}x{images[1]}",
        section=section,
        images=images,
        build=partial(model, section, classes, weights_window),
        features=features,
        reference=partial(reference, section) if reference else None,
        count=count,
    )


CASES = [
    case(64, (64, 64), classes=7, count=5, **NARROW),
    case(64, (32, 96), ln_eps=1e-5, **NARROW),
    # Maps of 25, 13, 7 and 4 cells, and of 15 x 31, 8 x 16, 4 x 8 and 2 x 4.
    case(100, (100, 100), window_size=4, **NARROW),
    case(100, (60, 124), window_size=5, **NARROW),
    case(100, (60, 124), window_size=5, padding="before_shift", reference=padded_before_shift, **NARROW),
    case(96, (96, 64), patch_size=2, num_heads=[2, 2, 4, 8], **NARROW),
    case(224, (96, 96), window_size=12, weights_window=7, reference=resized, **NARROW),
    case(224, (224, 224), arch="swin_tiny", ln_eps=1e-5),
    case(224, (96, 96), arch="swin_tiny", padding="before_shift", reference=padded_before_shift),
    case(224, (224, 224), arch="swin_tiny", window_size=14, count=1),
    case(224, (96, 96), arch="swin_base", classes=7),
]

EXPORT = (
    {"img_size": 32, "embed_dim": 32, "depths": [1, 2, 1], "window_size": 4},
    partial(
        timm.models.SwinTransformer,
        img_size=32, embed_dim=32, depths=(1, 2, 1), num_heads=(1, 2, 4), window_size=4, num_classes=0,
    ),
)
