"""One training step with heads beside the base, and with blocks of the base as branches, computed again in
PyTorch: of DINO, and of a method of each other kind."""

import dino_step
import ibot_step
import joint_embedding_step
import mae_step
from comparison import Report
from one_step import check_all, merged
from reference import byol, dino, ibot, mae, models, simclr
from reference.joint_embedding import Reference

CONVNEXT = {"plugin": "convnext", "connection": "parallel", "patch_size": 2, "depths": [1, 2],
            "dims": [16, 32], "kernel_size": 3}
GLOBAL_ALONE = {**CONVNEXT, "connection": "parallel_global"}
# Takes images of one size alone.
RESMLP = {"plugin": "resmlp", "connection": "parallel", "img_size": 32, "patch_size": 8, "embed_dim": 24,
          "depth": 2, "layer_scale": 0.1}
# Shallow: what rounding moves across ReLU's kink is no error, but would look like one.
RESNET = {"plugin": "resnet", "connection": "parallel", "arch": "resnet18", "stem": "cifar",
          "depths": [1, 1, 1, 1], "widths": [8, 8, 12, 12]}
# With the base's grid.
VIT = {"plugin": "vit", "connection": "parallel", "arch": "vit_tiny", "embed_dim": 32, "depth": 2,
       "num_heads": 2, "patch_size": 4, "img_size": 32}
ON_MAP = {"plugin": "convnext", "depth": 1}
# Names, and a block of the last stage. Their strides are long.
MODELS = {"poolformer": ("PoolFormer", 4), "pvt": ("PVT", 4), "pvt_v2": ("PVT v2", 5), "swin": ("Swin", 3)}
WIDE = {"views": {"global_crops_size": 64, "local_crops_size": 32, "local_crops_number": 2}}


def head(section, **more):
    return {"heads": {"aux": section}, **more}


def base(section, **more):
    return {"backbone": {key: value for key, value in section.items() if key != "connection"}, **more}


def edges(*listed, **more):
    """(teacher, student, weight, level), the last two perhaps left out."""
    keys = ("teacher", "student", "weight", "level")
    edges = [dict(zip(keys, edge)) for edge in listed]
    return {"hssl": {"supervision": "edges", "edges": edges, **more}}


SECOND_BLOCK = edges(("base", "base"), ("base", "base.layers.1"))

# Equation (1) unless said otherwise: Table 19's comparison.
BESIDE = {
    "ConvNeXt beside the base": head(CONVNEXT),
    "ConvNeXt beside the base, for global crops alone": head(GLOBAL_ALONE),
    "ConvNeXt beside the base, no layer scale, another epsilon": head(
        {**CONVNEXT, "layer_scale": 0.0, "ln_eps": 1e-3}),
    "ConvNeXt beside the base, shared mlp": head(
        {**CONVNEXT, "dims": [16, 48]}, hssl={"share_mlp": True}),
    "ConvNeXt beside the base, own last layers": head(
        CONVNEXT, hssl={"share_last_layer": False}, objective={"norm_last_layer": False}),
    "ConvNeXt beside the base, three global crops, no local ones": head(
        GLOBAL_ALONE, views={"global_crops_number": 3, "local_crops_number": 0}),
    "ConvNeXt beside the base, a2a_b2b": head(CONVNEXT, hssl={"supervision": "a2a_b2b"}),
    "ConvNeXt beside the base, never trained": head(CONVNEXT, **edges(("aux", "base"))),
    "ConvNeXt beside the base, never a target": head(
        CONVNEXT, **edges(("base", "base"), ("base", "aux", 2.0))),
    "ConvNeXt beside a ConvNeXt, sum of branches": base(
        CONVNEXT, **head(CONVNEXT, hssl={"branch_reduction": "sum"})),
    "ResMLP beside the base, which no local crop fits": head(RESMLP),
    "ViT beside the base, register tokens": head({**VIT, "reg_tokens": 2}),
    "ResNet beside the base": head(RESNET),
    # The teacher's base does not run: it has no running statistics of its own.
    "ResNet beside a ResNet": base(RESNET, **head(RESNET)),
    "ResNet beside a ResNet, blocks run twice": base(
        RESNET, **head(RESNET, train={"checkpoint_blocks": True})),
    **{f"{name} beside the base": head({**models.section(plugin), "connection": "parallel"}, **WIDE)
       for plugin, (name, _) in MODELS.items()},
    "heads on the map and beside the base": {
        "heads": {"map": ON_MAP, "wide": CONVNEXT, "whole": RESMLP},
        **edges(("map", "base"), ("wide", "map", 0.5), ("base", "wide", 2.0), ("map", "whole"))},
}

# From deep to shallow, as in Table 21, and other ways.
LAYERS = {
    "the base for its second block": SECOND_BLOCK,
    "the base for its second block, shared mlp": merged(SECOND_BLOCK, {"hssl": {"share_mlp": True}}),
    "the base for its second block, own last layers": merged(
        SECOND_BLOCK, {"hssl": {"share_last_layer": False}}),
    "the base for its second block, blocks run twice": {
        **SECOND_BLOCK, "train": {"checkpoint_blocks": True}},
    "the base for its second block, register tokens, layer scale": {
        **SECOND_BLOCK, "backbone": {"reg_tokens": 3, "layer_scale": 0.5}},
    "the base for its second block, balanced by Sinkhorn-Knopp": {
        **SECOND_BLOCK, "objective": {"centering": "sinkhorn_knopp", "teacher_temp": 0.02}},
    "the base for every block, sum of branches": edges(
        ("base", "base"), ("base", "base.layers.0"), ("base", "base.layers.1", 0.5),
        ("base", "base.layers.2", 2.0), branch_reduction="sum"),
    "the base for its first block alone": edges(("base", "base.layers.0")),
    "blocks for the base and each other": edges(
        ("base.layers.2", "base.layers.0"), ("base.layers.0", "base"),
        ("base.layers.1", "base.layers.1", 2.0)),
    "ResNet, blocks of other widths": base({**RESNET, "widths": [8, 12, 16, 20]}, **edges(
        ("base", "base"), ("base", "base.layers.1"), ("base.layers.2", "base.layers.0"))),
    "ConvNeXt, blocks of both stages": base(CONVNEXT, **edges(
        ("base", "base"), ("base", "base.layers.0"), ("base", "base.layers.2"))),
    "ResMLP, no local crops": base(
        RESMLP, **edges(("base", "base"), ("base", "base.layers.0")), views={"local_crops_number": 0}),
    **{f"{name}, blocks of several stages": base(models.section(plugin), **WIDE, **edges(
        ("base", "base"), ("base", "base.layers.0"), (f"base.layers.{last}", "base.layers.2"),
        ("base", f"base.layers.{last}"))) for plugin, (name, last) in MODELS.items()},
    "a head on the map for the base and its second block": head(ON_MAP, **edges(
        ("aux", "base"), ("aux", "aux"), ("aux", "base.layers.1"))),
    "a head beside the base for its second block alone": head(CONVNEXT, **edges(
        ("aux", "aux"), ("aux", "base.layers.1"))),
    "the second block for a head beside the base": head(GLOBAL_ALONE, **edges(
        ("base.layers.1", "aux"), ("aux", "base"))),
}

# With masks from the file: a head beside the base sees whole images, a block what the base sees.
IBOT = {
    "ConvNeXt beside the base": head(CONVNEXT),
    "ConvNeXt beside the base, for global crops alone": head(GLOBAL_ALONE),
    "ViT beside the base, patches as images": head(VIT, objective={"patch_edges": "image"}),
    "ViT beside the base, edges of both levels": head(VIT, **edges(
        ("aux", "base"), ("base", "aux", 0.5, "patch"), ("aux", "base", 1.0, "patch"))),
    "the base for its second block": SECOND_BLOCK,
    "a head on the map for the second block": head(ON_MAP, **edges(
        ("aux", "base"), ("aux", "base.layers.1"), ("aux", "aux", 1.0, "patch"))),
}
JOINT_EMBEDDING = {
    "ConvNeXt beside the base": head(CONVNEXT),
    "ConvNeXt beside the base, for global crops alone": head(
        GLOBAL_ALONE, views={"local_crops_number": 2}),
    "heads on the map and beside the base, a search": {
        "heads": {"map": ON_MAP, "wide": CONVNEXT}, "hssl": {"supervision": "search"}},
    "the base for its second block": SECOND_BLOCK,
}
# A map of the base's grid can be a target; no head beside the base sees kept patches alone.
MAE = {
    "ConvNeXt beside the base, never trained": head(
        {**CONVNEXT, "depths": [1], "dims": [16], "patch_size": 4},
        **edges(("aux", "base"), ("base", "base"))),
}
# The optimizer step that is compared.
STEP = 5


def main():
    report = Report()

    def check(method, base, reference, *groups, drawn=None, **more):
        """The cases' own heads take the place of the method's."""
        cases = {f"{method}: {name}": (changes, STEP) for group in groups for name, changes in group.items()}
        check_all(cases, merged({**base, "heads": {}}, more), reference, report, drawn)

    check("dino", dino_step.BASE, dino, BESIDE, LAYERS)
    check("ibot", ibot_step.BASE, ibot, IBOT, drawn=ibot_step.masks)
    for method, reference in (("simclr", simclr), ("byol", byol)):
        check(method, joint_embedding_step.BASE, Reference(reference), JOINT_EMBEDDING,
              objective={"plugin": method})
    check("mae", mae_step.BASE, mae, MAE, drawn=lambda config: mae_step.kept(config, 16))
    return report
