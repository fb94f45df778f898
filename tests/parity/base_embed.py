"""The weights of timm, torchvision or a reference of ours in `hssl embed`, held against that model's own
forward pass.

Random weights go through a safetensors file, random PNGs through the command line; image vectors and
tokens (after the final norm) must agree. What a run exports must load in the model with nothing missing
and nothing left.
"""

import tempfile
from pathlib import Path

import numpy
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import bases
from comparison import Report
from program import Failed, hssl, toml, write_images

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
F32, BF16 = 1e-4, 2e-2


def read_image(path):
    """A PNG as the models take it: 0..1, minus the mean, over the deviation."""
    pixels = torch.from_numpy(numpy.asarray(Image.open(path).convert("RGB")).copy())
    image = pixels.permute(2, 0, 1).double() / 255
    return (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def check(plugin, case, report):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = case.build()
        weights = model.state_dict()
        save_file({k: v.contiguous() for k, v in weights.items()}, folder / "weights.safetensors")
        paths = write_images(folder / "images", [case.images] * case.count)
        (folder / "config.toml").write_text(toml({
            "backbone": {"plugin": plugin, **case.section},
            "objective": {"plugin": "dino"},
            "hssl": {"supervision": "none"},
            "data": {"train": "imagefolder:images"},
            # Nothing is trained, and their size would have to fit the patches.
            "views": {"local_crops_number": 0},
        }))
        reference = case.reference(weights) if case.reference else model
        with torch.no_grad():
            images = torch.stack(list(map(read_image, paths)))
            vectors, tokens = case.features(reference.double(), images)

        for precision, tolerance in (("f32", F32), ("bf16", BF16)):
            out = folder / f"{precision}.safetensors"
            hssl("embed", folder / "config.toml", "--weights", folder / "weights.safetensors",
                 "--data", f"imagefolder:{folder / 'images'}", "--resize", 0, "--crop", 0, "--tokens",
                 "--out", out, "--set", f"train.precision={precision}", "--set", "train.device=cpu")
            found = load_file(out)
            name = f"{plugin}: {case.name}, {precision}"
            report.close(f"{name}: features", found["features"], vectors, tolerance)
            report.close(f"{name}: tokens", found["tokens"], tokens, tolerance)
            report.equal(f"{name}: labels", found["labels"].tolist(),
                         [int(path.parent.name[-1]) for path in paths])


def check_export(plugin, section, build, report):
    """A run's export loads with `strict=True`."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "config.toml").write_text(toml({
            "backbone": {"plugin": plugin, **section},
            "heads": {"aux": {"plugin": "convnext", "depth": 1}},
            "objective": {"plugin": "dino", "out_dim": 16, "hidden_dim": 16, "bottleneck_dim": 8},
            "data": {"train": "generated:shapes?n=8&size=32"},
            "views": {"global_crops_size": 32, "local_crops_number": 0},
            "train": {"epochs": 1, "batch_size": 4, "warmup_epochs": 0, "device": "cpu"},
        }))
        hssl("pretrain", folder / "config.toml", "--out", folder / "run")
        weights = load_file(folder / "run" / "backbone.safetensors")
    name, model = f"{plugin}: backbone.safetensors, strict", build()
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        report.failed(name, str(error))
        return
    # Batch norms' counters say nothing where the momentum is fixed; PyTorch does without.
    needed = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    report.equal(f"{name}: elements", sum(value.numel() for value in weights.values()),
                 sum(value.numel() for value in needed.values()))


def main(plugins=None):
    report = Report()
    for plugin in bases.names(plugins):
        module = bases.module(plugin)
        for case in module.CASES:
            try:
                check(plugin, case, report)
            except Failed as error:
                report.failed(f"{plugin}: {case.name}", str(error))
        try:
            check_export(plugin, *module.EXPORT, report)
        except Failed as error:
            report.failed(f"{plugin}: export", str(error))
    return report
