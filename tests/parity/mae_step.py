"""One training step of MAE and MFF, plain and with HSSL, computed again in PyTorch."""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

import one_step
from comparison import Report
from one_step import VIT, merged
from program import Failed, hssl, toml, write_images
from reference import mae

BASE = {
    "backbone": VIT,
    "heads": {"aux": {"plugin": "convnext", "depth": 2}},
    "objective": {"plugin": "mae", "decoder_embed_dim": 40, "decoder_depth": 2, "decoder_num_heads": 5},
    "hssl": {"supervision": "hssl"},
    "data": {"train": "imagefolder:images"},
    "views": {"global_crops_number": 1, "global_crops_size": 32, "global_crops_scale": [0.4, 1.0],
              "local_crops_number": 0},
    "train": {"epochs": 5, "batch_size": 4, "lr": 0.5, "min_lr": 0.0, "warmup_epochs": 1,
              "momentum": 0.9, "beta2": 0.95, "weight_decay": 0.05, "weight_decay_end": 0.05,
              "clip_grad": 0.0, "freeze_last_layer": 0, "momentum_teacher": 0.9,
              "momentum_teacher_end": 1.0, "drop_path": 0.0, "device": "cpu", "threads": 2},
}
PLAIN = {"hssl": {"supervision": "none"}}
MFF = {"objective": {**BASE["objective"], "plugin": "mff", "fuse_layers": [0, 2]}}
SECOND = {"heads": {"second": {"plugin": "convnext", "depth": 1}}}
FIXED = {"backbone": {"pos_embed": "sin_cos", "freeze_patch_embed": True}}

# What differs from BASE, which optimizer step it is, and how many of 64 patches are kept.
CASES = {
    "mae": (PLAIN, 5, 16),
    "mae, pixels as they are, half of the patches, two crops": (
        merged(PLAIN, {"objective": {"norm_pix_loss": False, "mask_ratio": 0.5},
                       "views": {"global_crops_number": 2}}), 2, 32),
    "mae, fixed positions, frozen patch embedding": (merged(PLAIN, FIXED), 5, 16),
    "mae, register tokens": (merged(PLAIN, {"backbone": {"reg_tokens": 2}}), 5, 16),
    "hssl": ({}, 5, 16),
    "hssl, fixed positions, blocks run twice": (
        merged(FIXED, {"train": {"checkpoint_blocks": True}}), 6, 16),
    "hssl, one patch kept, sum of branches": ({"hssl": {"branch_reduction": "sum"}}, 5, 1),
    "hssl, features weigh a third": ({"objective": {"feature_weight": 1 / 3}}, 5, 16),
    "hssl, pixels alone": ({"objective": {"feature_weight": 0.0}}, 5, 16),
    "hssl, no pixels from the head": ({"objective": {"head_pixels": False}}, 5, 16),
    "a2a": ({"hssl": {"supervision": "a2a"}}, 5, 16),
    "a2a_b2b": ({"hssl": {"supervision": "a2a_b2b"}}, 5, 16),
    "two heads joined": (SECOND, 5, 16),
    "two heads, a search": (merged(SECOND, {"hssl": {"supervision": "search"}}), 5, 16),
    "two heads, weighted edges": (merged(SECOND, {"hssl": {"supervision": "edges", "edges": [
        {"teacher": "heads", "student": "base", "weight": 2.0},
        {"teacher": "aux", "student": "second"},
        {"teacher": "second", "student": "base"},
        {"teacher": "base", "student": "heads", "weight": 0.5}]}}), 5, 16),
    "hssl with a head of transformer blocks": (
        {"heads": {"aux": {"plugin": "vit", "depth": 2, "num_heads": 3}}}, 5, 16),
    "mff": (merged(PLAIN, MFF), 5, 16),
    "mff, all blocks": (merged(PLAIN, merged(MFF, {"objective": {"fuse_layers": [0, 1, 2]}})), 5, 16),
    "mff, hssl": (MFF, 5, 16),
    "mff, hssl, heads see the mixture": (merged(MFF, {"objective": {"head_input": "fused"}}), 5, 16),
}


def kept(config, count):
    """Other patches than the program would draw, in any order."""
    views, backbone = config["views"], config["backbone"]
    side = views["global_crops_size"] // backbone["patch_size"]
    random = torch.Generator().manual_seed(11)
    images = views["global_crops_number"] * config["train"]["batch_size"]
    ids = torch.stack([torch.randperm(side * side, generator=random)[:count] for _ in range(images)])
    return {"kept": ids.unflatten(0, (views["global_crops_number"], -1))}


def dumped(config):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / "images", [(40, 40)] * config["train"]["batch_size"])
        (folder / "config.toml").write_text(toml(config))
        hssl("step", folder / "config.toml", "--dump", folder / "step.safetensors")
        return load_file(folder / "step.safetensors")


def check_golden(report):
    """The reference itself: positions, and how patches become targets."""
    expected = torch.tensor([0.841471, 0.01, 0.540302, 0.99995, 0, 0, 1, 1], dtype=torch.float64)
    report.close("worked example: position", mae.positions(2, 2, 8)[1], expected, 1e-6)
    images = torch.arange(96.0, dtype=torch.float64).reshape(2, 3, 4, 4)
    patches = mae.patchified(images, 2)
    # Row, column, channel of image 0's second patch: the cells (0, 2), (0, 3), (1, 2), (1, 3).
    expected = [cell + 16 * channel for cell in (2, 3, 6, 7) for channel in range(3)]
    report.equal("worked example: pixels", patches[0, 1].tolist(), [float(x) for x in expected])
    normed = mae.pixel_targets(images, 2, True)
    report.close("worked example: deviation of a target", normed[1, 2].std().item(), 1.0, 1e-6)


def check_first_values(report):
    """What the program draws by itself, and the positions that it does not train."""
    for option, first in (("sin_cos", "column"), ("sin_cos_row_first", "row")):
        found = dumped(merged(BASE, {"backbone": {"pos_embed": option}}))
        expected = torch.cat([torch.zeros(1, 48), mae.positions(8, 8, 48, first)])[None]
        for network in ("student", "teacher"):
            name = f"{network}.backbone.pos_embed"
            report.close(f"{option}: {name}", found[name], expected, 1e-6)
        # A teacher that averages what does not move must not drift.
        unmoved = torch.equal(found["updated.teacher.backbone.pos_embed"], found[name])
        report.equal(f"{option}: positions after a step", unmoved, True)
    drawn = found["drawn.kept"]
    report.equal("kept patches", tuple(drawn.shape), (1, 4, 16))
    different = {len(set(image.tolist())) for image in drawn[0]}
    report.equal("kept patches: different ones", different, {16})
    report.equal("kept patches: others in each image", len({tuple(sorted(i.tolist())) for i in drawn[0]}), 4)


def main():
    report = Report()
    check_golden(report)
    check_first_values(report)
    for name, (changes, step, count) in CASES.items():
        try:
            config = merged(BASE, changes)
            one_step.check(name, config, step, report, mae, drawn=kept(config, count))
        except Failed as error:
            report.failed(name, str(error))
    return report
