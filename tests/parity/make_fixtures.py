"""Writes `fixtures/`: what timm and PyTorch compute, for tests that have neither.

    python tests/parity/make_fixtures.py

`vit.safetensors`: a small ViT of timm with a classifier. `native.*`: images of its own size, the class
token and the patch tokens of `forward_features`; `resized.*`: the same of a model built for another size,
whose positions timm resized from these weights, on images that are not square.

`dino_hssl_step.safetensors`: a step of DINO+HSSL under the names of `hssl step --dump`, with the
configuration beside it. It is step STEP of a run with STEPS_PER_EPOCH steps per epoch.
"""

import tomllib
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from one_step import reference_step
from reference import dino
from reference.update import updated

FOLDER = Path(__file__).parent / "fixtures"
STEP, STEPS_PER_EPOCH = 6, 4


def small_vit(image_size):
    return timm.models.VisionTransformer(
        img_size=image_size, patch_size=4, num_classes=5, embed_dim=24, depth=2, num_heads=3,
        dynamic_img_size=True,
    ).eval()


def write_vit():
    random = torch.Generator().manual_seed(11)
    noise = lambda *shape: torch.randn(shape, generator=random)
    native = small_vit(24)
    with torch.no_grad():
        for parameter in native.parameters():
            parameter.copy_(parameter.mean().round() + 0.15 * noise(*parameter.shape))
    weights = {name: value.clone() for name, value in native.state_dict().items()}
    resized = small_vit(16)
    resampled = resample_abs_pos_embed(weights["pos_embed"], new_size=(4, 4))
    resized.load_state_dict({**weights, "pos_embed": resampled})
    tensors = dict(weights)
    for name, model, images in (
        ("native", native, noise(2, 3, 24, 24)),
        ("resized", resized, noise(2, 3, 16, 28)),
    ):
        with torch.no_grad():
            tokens = model.double().forward_features(images.double()).float()
        tensors[f"{name}.images"] = images
        tensors[f"{name}.features"] = tokens[:, 0].contiguous()
        tensors[f"{name}.tokens"] = tokens[:, 1:].contiguous()
    save_file(tensors, FOLDER / "vit.safetensors")


def network_shapes(config):
    """Names and shapes of one network and its projections."""
    backbone, objective = config["backbone"], config["objective"]
    width, hidden = backbone["embed_dim"], int(backbone["embed_dim"] * backbone["mlp_ratio"])
    grid = backbone["img_size"] // backbone["patch_size"]
    shapes = {}

    def pair(name, *weight):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    shapes["backbone.cls_token"] = (1, 1, width)
    shapes["backbone.pos_embed"] = (1, 1 + grid * grid, width)
    pair("backbone.patch_embed.proj", width, 3, backbone["patch_size"], backbone["patch_size"])
    for i in range(backbone["depth"]):
        block = f"backbone.blocks.{i}"
        pair(f"{block}.norm1", width)
        pair(f"{block}.attn.qkv", 3 * width, width)
        pair(f"{block}.attn.proj", width, width)
        pair(f"{block}.norm2", width)
        pair(f"{block}.mlp.fc1", hidden, width)
        pair(f"{block}.mlp.fc2", width, hidden)
    pair("backbone.norm", width)
    for name, head in config["heads"].items():
        for i in range(head["depth"]):
            block = f"heads.{name}.blocks.{i}"
            pair(f"{block}.conv_dw", width, 1, head["kernel_size"], head["kernel_size"])
            pair(f"{block}.norm", width)
            pair(f"{block}.mlp.fc1", 4 * width, width)
            pair(f"{block}.mlp.fc2", width, 4 * width)
        pair(f"heads.{name}.norm", width)
    inner, bottleneck = objective["hidden_dim"], objective["bottleneck_dim"]
    for branch in ("base", *config["heads"]):
        pair(f"objective.mlp.{branch}.0", inner, width)
        pair(f"objective.mlp.{branch}.2", inner, inner)
        pair(f"objective.mlp.{branch}.4", bottleneck, inner)
    shapes["objective.last_layer.weight_v"] = (objective["out_dim"], bottleneck)
    shapes["objective.last_layer.weight_g"] = (objective["out_dim"], 1)
    return shapes


def write_step():
    config = tomllib.loads((FOLDER / "dino_hssl_step.toml").read_text())
    random = torch.Generator().manual_seed(5)
    noise = lambda *shape: torch.randn(shape, generator=random)
    given = {}
    views, batch = config["views"], config["train"]["batch_size"]
    for kind in ("global", "local"):
        side = views[f"{kind}_crops_size"]
        given[f"input.{kind}"] = noise(views[f"{kind}_crops_number"], batch, 3, side, side)
    for network in ("student", "teacher"):
        for name, shape in network_shapes(config).items():
            is_scale = name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "weight_g"))
            given[f"{network}.{name}"] = 0.2 * noise(*shape) + float(is_scale)
    centre = "state.center.aux"
    given[centre] = 0.1 * noise(1, config["objective"]["out_dim"])

    losses, gradients, buffers = reference_step(given, config, STEP // STEPS_PER_EPOCH, dino)
    doubled = {name: value.double() for name, value in given.items()}
    after = updated(doubled, gradients, buffers, config, STEP, STEPS_PER_EPOCH)
    tensors = dict(given)
    tensors |= {f"loss.{name}": value for name, value in losses.items()}
    tensors |= {f"grad.{name}": value for name, value in gradients.items()}
    # The teacher's update is the same average everywhere: its last layer stands for the rest.
    kept = ("student.", "state.", "teacher.objective.last_layer")
    tensors |= {f"updated.{name}": after[name] for name in after if name.startswith(kept)}
    save_file({name: value.float().contiguous() for name, value in tensors.items()},
              FOLDER / "dino_hssl_step.safetensors")


if __name__ == "__main__":
    write_vit()
    write_step()
    for file in sorted(FOLDER.glob("*.safetensors")):
        print(f"{file.stat().st_size:7} bytes  {file.relative_to(FOLDER.parent)}")
