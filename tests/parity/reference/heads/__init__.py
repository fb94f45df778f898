"""Auxiliary heads, a module for each plugin.

A module has `head(x, scope, config)`: a map (B, C, h, w), the head's tensors, its section of the
configuration; `CASES`: configuration sections under a name each, which `head_step` trains a step of; and
perhaps `COUNTS`: the number of parameters of one block by width, with the default options.
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
