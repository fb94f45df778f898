"""Layers as functions of an input and a scope of named tensors."""

import math

import torch.nn.functional as F


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
