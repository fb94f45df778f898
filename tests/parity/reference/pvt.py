"""The Pyramid Vision Transformer (Wang et al., 2021), which timm lacks, with the names of its authors' program."""

import torch
import torch.nn.functional as F
from torch import nn

# Norms after convolutions have PyTorch's epsilon, 1e-5.
EPS = 1e-6


class SpatialReductionAttention(nn.Module):
    """Queries of every token; keys and values of a map that a convolution has made R times coarser."""

    def __init__(self, width, heads, ratio):
        super().__init__()
        self.heads, self.ratio = heads, ratio
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if ratio > 1:
            self.sr = nn.Conv2d(width, width, ratio, ratio)
            self.norm = nn.LayerNorm(width)

    def forward(self, x, grid):
        batch, tokens, width = x.shape
        source = x
        if self.ratio > 1:
            source = self.sr(x.transpose(1, 2).reshape(batch, width, *grid))
            source = self.norm(source.flatten(2).transpose(1, 2))
        q, k, v = (
            y.reshape(batch, -1, self.heads, width // self.heads).transpose(1, 2)
            for y in (self.q(x), *self.kv(source).chunk(2, dim=-1))
        )
        weights = (q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads, mlp_ratio, ratio):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPS)
        self.attn = SpatialReductionAttention(width, heads, ratio)
        self.norm2 = nn.LayerNorm(width, EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x, grid):
        x = x + self.attn(self.norm1(x), grid)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, inputs, width, patch):
        super().__init__()
        self.proj = nn.Conv2d(inputs, width, patch, patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        x = self.proj(x)
        return self.norm(x.flatten(2).transpose(1, 2)), x.shape[-2:]


def positions_for(pos_embed, grid, class_token):
    """Positions of a square grid for another one; the class token's stays."""
    first, rest = pos_embed[:, :class_token], pos_embed[:, class_token:]
    side = round(rest.shape[1] ** 0.5)
    rest = rest.transpose(1, 2).reshape(1, -1, side, side)
    rest = F.interpolate(rest, size=tuple(grid), mode="bilinear", align_corners=False)
    return torch.cat([first, rest.flatten(2).transpose(1, 2)], dim=1)


class PyramidVisionTransformer(nn.Module):
    def __init__(self, img_size=224, patch_size=4, embed_dims=(64, 128, 320, 512), depths=(3, 4, 6, 3),
                 num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4), sr_ratios=(8, 4, 2, 1), num_classes=0):
        super().__init__()
        self.depths = depths
        inputs, side = 3, img_size
        for i, width in enumerate(embed_dims):
            patch = patch_size if i == 0 else 2
            side //= patch
            tokens = side * side + (i == 3)
            self.add_module(f"patch_embed{i + 1}", PatchEmbed(inputs, width, patch))
            self.register_parameter(
                f"pos_embed{i + 1}", nn.Parameter(0.02 * torch.randn(1, tokens, width)))
            self.add_module(f"block{i + 1}", nn.ModuleList(
                Block(width, num_heads[i], mlp_ratios[i], sr_ratios[i]) for _ in range(depths[i])))
            inputs = width
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, inputs))
        self.norm = nn.LayerNorm(inputs, EPS)
        if num_classes:
            self.head = nn.Linear(inputs, num_classes)

    def forward_features(self, x):
        """Images (B, 3, H, W) to tokens (B, 1 + N, C) after the final norm, the class token first."""
        for i in range(1, 5):
            x, grid = getattr(self, f"patch_embed{i}")(x)
            if i == 4:
                x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
            x = x + positions_for(getattr(self, f"pos_embed{i}"), grid, class_token=int(i == 4))
            for block in getattr(self, f"block{i}"):
                x = block(x, grid)
            if i < 4:
                x = x.transpose(1, 2).reshape(len(x), -1, *grid)
        return self.norm(x)
