"""Loading and augmenting with torchvision v2 and a DataLoader: what `hssl bench --loading` is timed
against.

    python loading.py CONFIG.toml --steps 100 --warmup 3 [--backend pil]

CONFIG is a resolved configuration whose data.train is NAME#SPLIT of a set that lies packed under
HSSL_DATA: its images are read into memory once, still compressed, so that both sides decode, augment and
collate and neither waits for a disk. Written for speed: uint8 tensors through torchvision's v2
transforms, one worker for each core, persistent workers. Prints one line of JSON with the keys of
`hssl bench --loading --json`.
"""

import argparse
import io
import json
import os
import resource
import tarfile
import time
import tomllib
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2


def compressed(spec):
    """The images of NAME#SPLIT, as they lie in the archive."""
    name, _, split = spec.partition("#")
    root = Path(os.environ.get("HSSL_DATA", "."))
    found = [path for path in (root / f"{name}.tar", root / f"{name}.tar.gz") if path.exists()]
    if not found:
        raise SystemExit(f"neither {name}.tar nor {name}.tar.gz lies in {root}; set HSSL_DATA")
    with tarfile.open(found[0]) as archive:
        return [archive.extractfile(member).read() for member in archive
                if member.isfile() and f"/{split}/" in f"/{member.name}"]


def crop(views, size, scale, blur, solarize):
    jitter = views["color_jitter"]
    colour = v2.ColorJitter(
        jitter["brightness"], jitter["contrast"], jitter["saturation"], jitter["hue"])
    steps = [
        v2.RandomResizedCrop(
            size, tuple(scale), interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
        v2.RandomHorizontalFlip(views["flip"]),
        v2.RandomApply([colour], jitter["p"]),
        v2.RandomGrayscale(views["grayscale"]),
    ]
    if blur > 0:
        # The kernel covers the largest deviation, as PIL's does.
        kernel = 2 * int(4 * views["blur"]["sigma"][1] + 0.5) + 1
        steps.append(v2.RandomApply([v2.GaussianBlur(kernel, tuple(views["blur"]["sigma"]))], blur))
    if solarize > 0:
        steps.append(v2.RandomSolarize(128, solarize))
    steps += [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
              v2.Normalize(views["mean"], views["std"])]
    return v2.Compose(steps)


class Views(Dataset):
    def __init__(self, config, backend):
        views = config["views"]
        self.images, self.pil = compressed(config["data"]["train"]), backend == "pil"
        blur, solarize = views["blur"]["global"], views["solarize"]["global"]
        last = lambda values, place: values[min(place, len(values) - 1)] if values else 0.0
        self.crops = [
            crop(views, views["global_crops_size"], views["global_crops_scale"],
                 last(blur, place), last(solarize, place))
            for place in range(views["global_crops_number"])]
        self.crops += [
            crop(views, views["local_crops_size"], views["local_crops_scale"],
                 views["blur"]["local"], 0.0)] * views["local_crops_number"]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        data = self.images[index]
        if self.pil:
            from PIL import Image

            image = Image.open(io.BytesIO(data)).convert("RGB")
        else:
            data = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            image = decode_jpeg(data, ImageReadMode.RGB)
        return [crop(image) for crop in self.crops]


def batches(loader):
    while True:
        yield from loader


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--backend", choices=["tensor", "pil"], default="tensor")
    arguments = parser.parse_args()
    with open(arguments.config, "rb") as file:
        config = tomllib.load(file)
    workers = config["data"]["threads"] or len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    size = config["train"]["batch_size"]
    views = Views(config, arguments.backend)
    source = batches(DataLoader(views, size, shuffle=True, drop_last=True, num_workers=workers,
                                persistent_workers=True, prefetch_factor=4))
    for _ in range(arguments.warmup):
        next(source)
    start = time.perf_counter()
    for _ in range(arguments.steps):
        next(source)
    seconds = time.perf_counter() - start
    # A worker shares the images with this process until it touches them: counted once.
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held = sum(map(len, views.images)) / 2**20
    worker = worker_memory()
    print(json.dumps({
        "images_per_s": arguments.steps * size / seconds,
        "views": len(views.crops),
        "peak_mb": whole + sum(max(own - held, 0) for own in worker),
        "threads": workers,
        "batch_size": size,
    }))


def worker_memory():
    """The largest private memory of each worker so far, MiB."""
    found = []
    for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        rollup = Path(f"/proc/{child}/smaps_rollup").read_text()
        private = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private")]
        found.append(sum(private) / 1024)
    return found


if __name__ == "__main__":
    main()
