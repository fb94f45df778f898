"""timm's weights in `hssl embed`, held against timm's own forward pass.

For several sizes, patches and image sizes: random weights go through a safetensors file, random PNGs
through the command line; class token and patch tokens (after the final norm) must agree with
`forward_features`.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from comparison import Report
from program import Failed, hssl, toml, write_images

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
F32, BF16 = 1e-4, 2e-2


@dataclass
class Case:
    """A model, the images it sees, and how its weights were made."""

    arch: str
    patch: int
    built_for: int
    # Height and width of the images; another size than `built_for` resizes the positions.
    images: tuple
    # The weights' own grid, if it is another one.
    weights_for: int = 0
    classifier: bool = False
    count: int = 5

    @property
    def name(self):
        height, width = self.images
        weights = f" from {self.weights_for}" if self.weights_for else ""
        return f"{self.arch}/{self.patch} at {self.built_for}{weights}, images {height}x{width}"


CASES = [
    Case("vit_tiny", 4, 32, (32, 32), classifier=True),
    Case("vit_tiny", 8, 96, (96, 96)),
    Case("vit_tiny", 16, 96, (96, 96), weights_for=224, classifier=True),
    Case("vit_tiny", 8, 32, (96, 64)),
    Case("vit_small", 16, 224, (224, 224), classifier=True, count=3),
    Case("vit_small", 16, 224, (96, 96)),
    Case("vit_small", 8, 96, (96, 96), weights_for=224, count=3),
    Case("vit_base", 16, 96, (96, 96), classifier=True, count=3),
    Case("vit_base", 16, 224, (224, 224), count=2),
]


def timm_model(case, image_size, classes):
    """timm's model with weights as far from their first values as trained ones are: at first all biases
    are 0 and all norms 1, which would hide a mistake."""
    torch.manual_seed(case.patch * 1000 + case.built_for)
    model = timm.create_model(
        f"{case.arch}_patch16_224",
        patch_size=case.patch,
        img_size=image_size,
        num_classes=classes,
        dynamic_img_size=True,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.02 if parameter.ndim > 1 else 0.1
            parameter.add_(torch.randn_like(parameter), alpha=spread)
    return model.eval()


def read_image(path):
    """A PNG as the models take it: 0..1, minus the mean, over the deviation."""
    pixels = torch.from_numpy(numpy.asarray(Image.open(path).convert("RGB")).copy())
    image = pixels.permute(2, 0, 1).double() / 255
    return (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def check(case, report):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        classes = 7 if case.classifier else 0
        weights = timm_model(case, case.weights_for or case.built_for, classes).state_dict()
        save_file({k: v.contiguous() for k, v in weights.items()}, folder / "weights.safetensors")
        paths = write_images(folder / "images", [case.images] * case.count)
        (folder / "config.toml").write_text(toml({
            "backbone": {"plugin": "vit", "arch": case.arch, "patch_size": case.patch,
                         "img_size": case.built_for},
            "objective": {"plugin": "dino"},
            "hssl": {"supervision": "none"},
            "data": {"train": "imagefolder:images"},
        }))

        reference = timm_model(case, case.built_for, classes)
        grid = case.built_for // case.patch
        weights["pos_embed"] = resample_abs_pos_embed(weights["pos_embed"], new_size=(grid, grid))
        reference.load_state_dict(weights, strict=True)
        with torch.no_grad():
            expected = reference.double().forward_features(torch.stack(list(map(read_image, paths))))

        for precision, tolerance in (("f32", F32), ("bf16", BF16)):
            out = folder / f"{precision}.safetensors"
            hssl("embed", folder / "config.toml", "--weights", folder / "weights.safetensors",
                 "--data", f"imagefolder:{folder / 'images'}", "--resize", 0, "--crop", 0, "--tokens",
                 "--out", out, "--set", f"train.precision={precision}", "--set", "train.device=cpu")
            found = load_file(out)
            report.close(f"{case.name}, {precision}: features", found["features"], expected[:, 0],
                         tolerance)
            report.close(f"{case.name}, {precision}: tokens", found["tokens"], expected[:, 1:],
                         tolerance)
            report.equal(f"{case.name}, {precision}: labels", found["labels"].tolist(),
                         [int(path.parent.name[-1]) for path in paths])


def check_run(run, report):
    """A run's export loads in timm with nothing missing and nothing left."""
    weights = load_file(Path(run) / "backbone.safetensors")
    patch = weights["patch_embed.proj.weight"].shape[-1]
    grid = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
    model = timm.models.VisionTransformer(
        img_size=grid * patch,
        patch_size=patch,
        num_classes=0,
        embed_dim=weights["pos_embed"].shape[-1],
        depth=len({key.split(".")[1] for key in weights if key.startswith("blocks.")}),
    )
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        report.failed("backbone.safetensors in timm, strict", str(error))
        return
    report.equal("backbone.safetensors in timm, strict: elements",
                 sum(value.numel() for value in weights.values()),
                 sum(parameter.numel() for parameter in model.parameters()))


def main(run=None):
    report = Report()
    for case in CASES:
        try:
            check(case, report)
        except Failed as error:
            report.failed(case.name, str(error))
    if run:
        check_run(run, report)
    return report
