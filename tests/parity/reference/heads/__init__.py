"""Auxiliary heads, a module for each plugin.

A module has `head(x, scope, config)`: a map (B, C, h, w), the head's tensors, its section of the
configuration; `CASES`: configuration sections under a name each, which `head_step` trains a step of;
perhaps `CHANGES`, what else a case changes in the configuration; and, where numbers are published,
`COUNTS`: the base's width, a section and the parameters that the blocks must have on a map of 14 x 14
positions, under a name each.
"""

import importlib
import pkgutil


def names(only=None):
    """The plugins that there is a reference for, or those of `only` among them."""
    known = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in known if only is None or name in only)


def module(plugin):
    return importlib.import_module(f"{__name__}.{plugin}")


def head(plugin):
    return module(plugin).head


def keeps(config, block, token_mixer=True):
    """Whether a block keeps the shortcut around its token mixer, and the one around its MLP, which is the
    first where there is no token mixer."""
    removed = config.get("first_shortcut", "first") if block == 0 else "none"
    first = removed == "none"
    return first, removed != "both" if token_mixer else first
