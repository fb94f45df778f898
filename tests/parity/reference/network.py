"""A base model with auxiliary heads, as functions of named tensors.

Nothing is initialised here and nothing is configured twice: sizes are read off the tensors.

A base is a function of images (B, 3, H, W), its tensors, its section of the configuration and perhaps a mask.
It returns the vector that stands for each image (B, C) and the positions (B, h w, C), both after the final
norm; the map (B, C, h, w) before that, or None where no head on it is compared; and what stands for the
image after each block, without any norm.
"""

import torch

from . import convnext, models, resmlp, resnet, vit
from . import heads as heads_of
from .layers import layer_norm

BASES = {"convnext": convnext.base, "resmlp": resmlp.base, "resnet": resnet.base, "vit": vit.base,
         **dict.fromkeys(models.BLOCKS, models.base)}
# Networks that take images of one size alone.
ONE_SIZE = ("resmlp",)
LAYERS = "base.layers."
# Of the norm that a branch has where its network's own does not serve.
NORM_EPS = 1e-6


class Scope:
    """Tensors whose names begin with a prefix."""

    def __init__(self, tensors, prefix=""):
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name):
        return self.tensors[self.prefix + name]

    def __contains__(self, name):
        return self.prefix + name in self.tensors

    def __call__(self, name):
        """The scope `name` inside this one."""
        return Scope(self.tensors, f"{self.prefix}{name}.")

    def count(self, name):
        """How many numbered scopes there are in `name`."""
        lead = f"{self.prefix}{name}."
        return len({key[len(lead):].split(".")[0] for key in self.tensors if key.startswith(lead)})


def beside(head_config):
    """Whether a head is a network on the images, beside the base."""
    return head_config.get("connection", "serial") != "serial"


def for_local_crops(branches, head_configs):
    """Those of `branches` that local crops have: a network beside the base may be told to sit them out, or
    take images of the global crops' size alone."""
    def sees(config):
        alone = config.get("connection") == "parallel_global" or config["plugin"] in ONE_SIZE
        return not (beside(config) and alone)

    return [branch for branch in branches if sees(head_configs.get(branch, {"plugin": None}))]


def head_features(map_in, network, head_configs, branches):
    """What heads on the map make of a map (B, C, h, w), by branch: the mean of their own map, normed *after*
    the mean, and the normed map as (B, h w, C)."""
    def ends_with(map_out, norm):
        patches = map_out.flatten(2).transpose(1, 2)
        return tuple(layer_norm(x, norm, NORM_EPS) for x in (patches.mean(1), patches))

    found, maps = {}, []
    for name, config in sorted(head_configs.items()):
        if beside(config) or not {name, "heads"} & set(branches):
            continue
        head = network("heads")(name)
        map_out = heads_of.head(config["plugin"])(map_in, head, config)
        maps.append(map_out)
        if name in branches:
            found[name] = ends_with(map_out, head("norm"))
    if "heads" in branches:
        found["heads"] = ends_with(torch.cat(maps, dim=1), network("heads")("norm"))
    return found


def base_features(images, network, backbone, head_configs, branches, mask):
    """Branches of the base: its own, its intermediate layers under norms of theirs, heads on its map."""
    vector, patches, map_out, layers = BASES[backbone["plugin"]](images, network("backbone"), backbone, mask)
    found = {"base": (vector, patches)}
    if map_out is not None:
        found |= head_features(map_out, network, head_configs, branches)
    for branch in branches:
        if branch.startswith(LAYERS):
            layer = layers[int(branch.removeprefix(LAYERS))]
            found[branch] = (layer_norm(layer, network(branch)("norm"), NORM_EPS), None)
    return found


def features(images, network, backbone, head_configs, branches, mask=None):
    """The vector that stands for each image, (B, C), and its patches, (B, h w, C), by branch: the base's
    own, and those of heads. `backbone` and `head_configs` are sections of the configuration. A network
    beside the base sees whole images; the base runs only where a branch needs it."""
    apart = {name: config for name, config in head_configs.items() if beside(config) and name in branches}
    found = {}
    if set(branches) - set(apart):
        found = base_features(images, network, backbone, head_configs, branches, mask)
    for name, config in apart.items():
        found[name] = BASES[config["plugin"]](images, network("heads")(name), config)[:2]
    return {branch: found[branch] for branch in branches}


def image_vectors(images, network, backbone, head_configs, branches):
    """The vector that stands for each image, (B, C), by branch."""
    found = features(images, network, backbone, head_configs, branches)
    return {branch: vector for branch, (vector, _) in found.items()}
