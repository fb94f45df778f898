"""A training step of DINO, with or without a ConvNeXt head (HSSL), in PyTorch: what `hssl bench` is
timed against.

    python dino.py CONFIG.toml --steps 20 --warmup 3 [--precision bf16] [--compile] [--threads N]

CONFIG is a resolved configuration (`hssl config show FILE --toml`), so that both sides do the same work:
the same sizes, views, precision, supervision, clipping and averages. Prints one line of JSON with the
keys of `hssl bench --json`. Written as a PyTorch user would write it for speed: fused attention and
AdamW, multi-tensor clipping and averages, no synchronisation inside a step.
"""

import argparse
import copy
import json
import resource
import statistics
import time
import tomllib

import torch
import torch.nn.functional as F
from torch import nn

SIZES = {  # width, blocks, heads
    "vit_tiny": (192, 12, 3),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
    "vit_large": (1024, 24, 16),
}


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training or self.rate == 0.0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(1 - self.rate).div_(1 - self.rate)


def mlp(width, hidden):
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, width, heads, hidden, drop_path):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, x):
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ConvNeXtBlock(nn.Module):
    def __init__(self, width, kernel, shortcut, drop_path):
        super().__init__()
        self.conv_dw = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width, 4 * width)
        self.shortcut = shortcut
        self.drop_path = DropPath(drop_path)

    def forward(self, x):
        y = self.conv_dw(x).permute(0, 2, 3, 1)
        y = self.mlp(self.norm(y)).permute(0, 3, 1, 2)
        return x + self.drop_path(y) if self.shortcut else y


class Pooled(nn.Module):
    """Any base of timm's, without a head: the vector of the branch `base`."""

    def __init__(self, config):
        super().__init__()
        import timm

        self.base = timm.create_model(config["backbone"]["arch"], num_classes=0)
        self.width = self.base.num_features

    def forward(self, images, base=True):
        return {"base": self.base(images)}


class Network(nn.Module):
    """A ViT and, behind it, the head: vectors of the branches `base` and `aux`."""

    def __init__(self, config, drop_path):
        super().__init__()
        backbone = config["backbone"]
        width, depth, heads = SIZES[backbone.get("arch", "vit_small")]
        width = backbone.get("embed_dim", width)
        depth = backbone.get("depth", depth)
        heads = backbone.get("num_heads", heads)
        hidden = int(width * backbone.get("mlp_ratio", 4.0))
        patch = backbone.get("patch_size", 16)
        self.grid = backbone.get("img_size", 224) // patch
        head = next(iter(config["heads"].values())) if is_hssl(config) else None
        layers = head.get("depth", 3) if head else 0
        ramp = [drop_path * i / max(depth + layers - 1, 1) for i in range(depth + layers)]
        self.width = width
        self.patch_embed = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, self.grid**2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(
            *(Block(width, heads, hidden, rate) for rate in ramp[:depth]))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        kernel = head.get("kernel_size", 7) if head else 0
        self.aux = nn.Sequential(
            *(ConvNeXtBlock(width, kernel, i > 0, rate) for i, rate in enumerate(ramp[depth:])))
        self.aux_norm = nn.LayerNorm(width, eps=1e-6) if head else None

    def positions(self, rows, columns):
        if rows == self.grid and columns == self.grid:
            return self.pos_embed
        patches = self.pos_embed[:, 1:].reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        patches = F.interpolate(patches, size=(rows, columns), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], patches.flatten(2).transpose(1, 2)], 1)

    def forward(self, images, base=True):
        x = self.patch_embed(images)
        b, c, rows, columns = x.shape
        x = torch.cat([self.cls_token.expand(b, -1, -1), x.flatten(2).transpose(1, 2)], 1)
        x = self.blocks(x + self.positions(rows, columns))
        branches = {"base": self.norm(x)[:, 0]} if base else {}
        if self.aux_norm is not None:
            y = x[:, 1:].transpose(1, 2).reshape(b, c, rows, columns)
            branches["aux"] = self.aux_norm(self.aux(y).mean((2, 3)))
        return branches


class Projection(nn.Module):
    """An MLP for each branch, and prototypes that they share."""

    def __init__(self, branches, width, objective):
        super().__init__()
        hidden = objective.get("hidden_dim", 2048)
        bottleneck = objective.get("bottleneck_dim", 256)
        self.mlps = nn.ModuleDict({
            branch: nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden),
                                  nn.GELU(), nn.Linear(hidden, bottleneck))
            for branch in branches})
        last = nn.Linear(bottleneck, objective.get("out_dim", 65536), bias=False)
        self.last_layer = nn.utils.parametrizations.weight_norm(last)
        norm = self.last_layer.parametrizations.weight.original0
        norm.data.fill_(1)
        norm.requires_grad = not objective.get("norm_last_layer", True)

    def forward(self, branches):
        normed = {name: F.normalize(self.mlps[name](x), dim=-1) for name, x in branches.items()}
        return {name: self.last_layer(x) for name, x in normed.items()}


class Model(nn.Module):
    def __init__(self, config, drop_path):
        super().__init__()
        plain = config["backbone"]["plugin"] != "vit"
        if plain and (is_hssl(config) or drop_path > 0):
            raise SystemExit("this script knows heads and stochastic depth behind and in a ViT only")
        self.network = Pooled(config) if plain else Network(config, drop_path)
        branches = ["base", "aux"] if is_hssl(config) else ["base"]
        self.projection = Projection(branches, self.network.width, config["objective"])

    def forward(self, images, base=True):
        return self.projection(self.network(images, base))


def is_hssl(config):
    supervision = config["hssl"]["supervision"]
    if supervision not in ("none", "hssl"):
        raise SystemExit(f"hssl.supervision is {supervision!r}; this script knows \"none\" and \"hssl\"")
    return supervision == "hssl"


class Step:
    """What one step does, on views that lie on the device."""

    def __init__(self, config, device, precision, compiled):
        train, views = config["train"], config["views"]
        self.objective, self.batch = config["objective"], train["batch_size"]
        self.clip, self.hssl = train["clip_grad"], is_hssl(config)
        self.device, self.autocast = device, precision == "bf16"
        self.student = Model(config, train["drop_path"]).to(device).train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        for module in self.teacher.modules():
            if isinstance(module, DropPath):
                module.rate = 0.0
        self.pairs = [(t, s) for t, s in
                      zip(self.teacher.parameters(), self.student.parameters())]
        self.trained = [p for p in self.student.parameters() if p.requires_grad]
        decay = [p for p in self.trained if p.ndim >= 2]
        plain = [p for p in self.trained if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.04}, {"params": plain, "weight_decay": 0.0}],
            lr=1e-4, fused=True)
        self.center = torch.zeros(1, self.objective.get("out_dim", 65536), device=device)
        noise = lambda n, size: torch.randn(n * self.batch, 3, size, size, device=device)
        self.crops = views["global_crops_number"]
        self.locals = views["local_crops_number"]
        self.views = [noise(self.crops, views["global_crops_size"])]
        if self.locals:
            self.views.append(noise(self.locals, views["local_crops_size"]))
        self.forward_student, self.forward_teacher = self.student, self.teacher
        if compiled:
            self.forward_student = torch.compile(self.student)
            self.forward_teacher = torch.compile(self.teacher)

    def __call__(self):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            with torch.no_grad():
                branch = "aux" if self.hssl else "base"
                # With a head, only the teacher's head is a target.
                logits = self.forward_teacher(self.views[0], not self.hssl)[branch].float()
                targets = F.softmax(
                    (logits - self.center) / self.objective.get("teacher_temp", 0.04), -1)
                targets = targets.chunk(self.crops)
                mean = logits.mean(0, keepdim=True)
            outputs = [self.forward_student(view) for view in self.views]
        losses = []
        for name in outputs[0]:
            crops = [crop for view, n in zip(outputs, (self.crops, self.locals))
                     for crop in view[name].float().chunk(n)]
            terms = []
            for v, crop in enumerate(crops):
                log = F.log_softmax(crop / self.objective.get("student_temp", 0.1), -1)
                for q, target in enumerate(targets):
                    if q != v:
                        terms.append(-(target * log).sum(-1).mean())
            losses.append(torch.stack(terms).mean())
        loss = torch.stack(losses).mean()
        loss.backward()
        with torch.no_grad():
            gradients = [p.grad for p in self.trained]
            if self.clip > 0:
                norms = torch._foreach_norm(gradients)
                factors = [(self.clip / (norm + 1e-6)).clamp(max=1.0) for norm in norms]
                torch._foreach_mul_(gradients, factors)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            torch._foreach_lerp_([t for t, _ in self.pairs], [s for _, s in self.pairs], 0.004)
            self.center.mul_(0.9).add_(mean, alpha=0.1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", choices=["f32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    with open(arguments.config, "rb") as file:
        config = tomllib.load(file)
    threads = arguments.threads or config["train"]["threads"]
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    wanted = config["train"]["device"]
    device = torch.device("cuda" if wanted == "auto" and torch.cuda.is_available()
                          else "cpu" if wanted == "auto" else wanted)
    precision = arguments.precision or config["train"]["precision"]
    step = Step(config, device, precision, arguments.compile)
    times = []
    for index in range(arguments.warmup + arguments.steps):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if index >= arguments.warmup:
            times.append((time.perf_counter() - start) * 1e3)
    median = statistics.median(times)
    peak = (torch.cuda.max_memory_reserved() / 2**20 if device.type == "cuda"
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps({
        "images_per_s": step.batch * 1e3 / median,
        "step_ms": median,
        "step_ms_min": min(times),
        "step_ms_max": max(times),
        "peak_mb": peak,
        "device": device.type,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "batch_size": step.batch,
    }))


if __name__ == "__main__":
    main()
