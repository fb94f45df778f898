"""Bases that are whole models, timm's or ours: those of `bases/` that a run's export must load in, run on
named tensors. None has batch norms or a mask, and heads on their map are not compared."""

import torch
from torch.func import functional_call

import bases

# How their blocks are found, and over which axes of what a block returns the mean stands for the image.
BLOCKS = {
    "poolformer": (lambda model: (block for stage in model.stages for block in stage.blocks), (2, 3)),
    "pvt": (lambda model: (block for i in range(1, 5) for block in getattr(model, f"block{i}")), 1),
    "pvt_v2": (lambda model: (block for stage in model.stages for block in stage.blocks), 1),
    "swin": (lambda model: (block for stage in model.layers for block in stage.blocks), (1, 2)),
}


def section(plugin):
    """The section of the configuration that makes the same model."""
    eps = {"ln_eps": 1e-5} if plugin == "swin" else {}
    return {"plugin": plugin, **bases.module(plugin).EXPORT[0], **eps}


class Whole(torch.nn.Module):
    """A model whose forward pass returns vectors, positions, and what each block returns."""

    def __init__(self, plugin):
        super().__init__()
        options = {"strict_img_size": False} if plugin == "swin" else {}
        self.model = bases.module(plugin).EXPORT[1](**options).double().eval()
        self.features = bases.module(plugin).CASES[0].features
        self.outputs = []
        for block in BLOCKS[plugin][0](self.model):
            block.register_forward_hook(lambda _block, _inputs, output: self.outputs.append(output))

    def forward(self, images):
        return *self.features(self.model, images), self.outputs


def base(images, backbone, config, _mask=None):
    plugin = config["plugin"]
    whole = Whole(plugin)
    tensors = {f"model.{name}": backbone[name] for name in whole.model.state_dict()}
    vector, patches, outputs = functional_call(whole, tensors, (images,))
    layers = [output.mean(BLOCKS[plugin][1]) for output in outputs]
    if plugin == "pvt":
        # The class token comes with the last stage.
        last = len(whole.model.block4)
        layers[-last:] = [output[:, 0] for output in outputs[-last:]]
    return vector, patches, None, layers
