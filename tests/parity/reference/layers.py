"""Layers as functions of an input and a scope of named tensors."""

import math

import torch.nn.functional as F

# What batch norms keep of former batches; no optimizer and no teacher's average touches it.
STATISTICS = ("running_mean", "running_var")


def linear(x, layer):
    return F.linear(x, layer["weight"], layer["bias"])


def layer_norm(x, layer, eps):
    return F.layer_norm(x, x.shape[-1:], layer["weight"], layer["bias"], eps)


def mlp(x, layer):
    return linear(F.gelu(linear(x, layer("fc1"))), layer("fc2"))


def attention_weights(x, layer, heads):
    """softmax(q k^T / sqrt(d)) and v, (B, heads, N, N) and (B, heads, N, d)."""
    batch, tokens, width = x.shape
    qkv = linear(x, layer("qkv")).reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return (q @ k.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1), v


def attention(x, layer, heads):
    """softmax(q k^T / sqrt(d)) v, spelt out."""
    weights, v = attention_weights(x, layer, heads)
    return linear((weights @ v).transpose(1, 2).reshape(x.shape), layer("proj"))


def batch_norm(x, layer):
    """By the statistics of the batch (B, C, h, w), which move the running ones in place."""
    mean, var = (layer[name] for name in STATISTICS)
    return F.batch_norm(x, mean, var, layer["weight"], layer["bias"], training=True, momentum=0.1)


def transformer_block(x, block, heads, eps, shortcuts=(True, True)):
    """Attention and MLP, of those that the block has, each behind its norm; `shortcuts`: which of the two
    are added to what comes in."""
    for norm, layer, part, scale, kept in (
        ("norm1", "attn", lambda y, layer: attention(y, layer, heads), "ls1", shortcuts[0]),
        ("norm2", "mlp", mlp, "ls2", shortcuts[1]),
    ):
        if not block.count(layer):
            continue
        y = part(layer_norm(x, block(norm), eps), block(layer))
        if block.count(scale):
            y = y * block(scale)["gamma"]
        x = x + y if kept else y
    return x
