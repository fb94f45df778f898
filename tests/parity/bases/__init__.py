"""Base models, a module for each plugin.

A module has `CASES`, a list of `Case`; `COUNTS`: configuration sections and the number of parameters
that each must have, under a name each (counted on crops of `COUNT_CROP` pixels, where it is there); and
`EXPORT`: a section small enough to train a few steps of, and the function that makes the model whose
`load_state_dict(strict=True)` must take what the run exports.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Callable

import torch


def names(only=None):
    """The plugins that there is a reference for, or those of `only` among them."""
    known = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in known if only is None or name in only)


def module(plugin):
    return importlib.import_module(f"{__name__}.{plugin}")


@dataclass
class Case:
    """A model, and the images it sees."""

    name: str
    # The configuration section, without `plugin`.
    section: dict
    # Height and width of the images.
    images: tuple
    # Makes the model whose weights `hssl` is given.
    build: Callable
    # (model, images (B, 3, H, W)) to image vectors (B, C) and tokens (B, N, C), after the final norm.
    features: Callable
    # From that model's weights, the one to compare with; the same model where nothing is resized.
    reference: Callable = None
    count: int = 3


def moved(model):
    """Weights as far from their first values as trained ones are: at first all biases are 0 and all norms
    1, which would hide a mistake."""
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.02 if parameter.ndim > 1 else 0.1
            parameter.add_(torch.randn_like(parameter), alpha=spread)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(torch.randn_like(buffer), alpha=0.1)
            if name.endswith("running_var"):
                buffer.mul_(0.5 + torch.rand_like(buffer))
    return model.eval()
