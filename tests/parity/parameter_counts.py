"""Numbers of parameters, held against the published ones.

They are read off a step's dump. Most sizes do not depend on the crops, so these are small.
"""

import tempfile
from pathlib import Path

from safetensors import safe_open

import bases
from comparison import Report
from program import Failed, hssl, toml, write_images
from reference import heads
from reference.layers import STATISTICS

# ViT-S/16 with a ConvNeXt head (kernel 7, no layer scale) and the head's own norm.
WITH_HEAD = {1: 22_867_968, 3: 25_271_040}
# Two projection MLPs and one last layer of 8192 prototypes with their norms, 384 wide.
PROJECTIONS = 13_124_096

# What masked autoencoders add to a base of 768 channels: the decoder (without 197 fixed positions of 512
# channels) and what mixes six layers; and the decoder on one of 384.
DECODER = {768: 26_109_184 - 197 * 512, 384: 47_578_240 - 21_665_664 - 197 * 512}
FUSION = 2_952_966


def count(names, prefixes):
    """Elements of the parameters whose names begin with one of the prefixes."""
    total = 0
    for name, shape in names.items():
        if name.startswith(tuple(prefixes)) and not name.endswith(STATISTICS):
            size = 1
            for side in shape:
                size *= side
            total += size
    return total


def shapes(backbone, heads, hssl_section, objective, crop=32):
    """Names and shapes of a step's dump."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / "images", [(40, 40)] * 2)
        config = {
            "backbone": backbone,
            **({"heads": heads} if heads else {}),
            "objective": {"plugin": "dino", **objective},
            "hssl": hssl_section,
            "data": {"train": "imagefolder:images"},
            "views": {"global_crops_size": crop, "local_crops_number": 0},
            "train": {"batch_size": 2, "epochs": 1, "warmup_epochs": 0, "device": "cpu"},
        }
        (folder / "config.toml").write_text(toml(config))
        hssl("step", folder / "config.toml", "--dump", folder / "step.safetensors")
        with safe_open(folder / "step.safetensors", "pt") as dump:
            return {name: dump.get_slice(name).get_shape() for name in dump.keys()}


def main(plugins=None):
    report = Report()
    small = {"out_dim": 64, "hidden_dim": 32, "bottleneck_dim": 16}
    for plugin in bases.names(plugins):
        module = bases.module(plugin)
        crop = getattr(module, "COUNT_CROP", 32)
        for name, (section, expected) in module.COUNTS.items():
            try:
                names = shapes({"plugin": plugin, **section}, {}, {"supervision": "none"}, small, crop)
                report.equal(name, count(names, ["student.backbone."]), expected)
            except Failed as error:
                report.failed(name, str(error))
    for plugin in heads.names(plugins):
        for name, (width, section, expected) in getattr(heads.module(plugin), "COUNTS", {}).items():
            name = f"{plugin} head, {name}"
            try:
                report.equal(name, head_count(plugin, width, section, small), expected)
            except Failed as error:
                report.failed(name, str(error))
    if plugins is None or "vit" in plugins:
        with_head(report)
        masked_autoencoders(report)
    return report


def head_count(plugin, width, section, objective):
    """Elements of a head's blocks on a map of 14 x 14 positions."""
    base = {"plugin": "vit", "embed_dim": width, "num_heads": 1, "depth": 1, "patch_size": 2, "img_size": 28}
    names = shapes(base, {"aux": {"plugin": plugin, **section}}, {"supervision": "hssl"}, objective, crop=28)
    return count(names, ["student.heads.aux.blocks."])


def with_head(report):
    """ViT-S/16 with a ConvNeXt head."""
    for depth, expected in WITH_HEAD.items():
        name = f"vit_small with a convnext head of depth {depth}"
        try:
            heads = {"aux": {"plugin": "convnext", "depth": depth}}
            names = shapes({"plugin": "vit", "arch": "vit_small"}, heads, {"supervision": "hssl"}, {"out_dim": 8192})
            report.equal(name, count(names, ["student.backbone.", "student.heads."]), expected)
            report.equal(f"{name}: projections", count(names, ["student.objective."]), PROJECTIONS)
        except Failed as error:
            report.failed(name, str(error))


def masked_autoencoders(report):
    """Decoders and the mixture of layers; the base's depth does not matter to them."""
    def added(width, depth, objective):
        base = {"plugin": "vit", "embed_dim": width, "num_heads": 6, "depth": depth, "patch_size": 16,
                "img_size": 32}
        return shapes(base, {}, {"supervision": "none"}, objective)

    mff = {"plugin": "mff", "fuse_layers": list(range(6)), "decoder_depth": 1}
    cases = [
        *((f"decoder of mae on {width} channels", (width, 1, {"plugin": "mae"}), "", expected)
          for width, expected in DECODER.items()),
        ("layers mixed by mff", (768, 6, mff), "fusion.", FUSION),
    ]
    for name, sizes, scope, expected in cases:
        try:
            found = count(added(*sizes), [f"student.objective.{scope}"])
            report.equal(name, found, expected)
        except Failed as error:
            report.failed(name, str(error))
