"""Running `hssl`, and the small files that it is run on."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """`hssl` ended with an error."""


def executable():
    """`HSSL_BIN`, the release build of this tree, or what PATH has."""
    built = ROOT / "target" / "release" / "hssl"
    found = os.environ.get("HSSL_BIN") or (str(built) if built.exists() else shutil.which("hssl"))
    if not found:
        raise Failed(
            "there is no hssl: build it with `cargo build --release --workspace`, or name it in HSSL_BIN"
        )
    return found


def hssl(*arguments):
    """Runs a command and returns what it printed."""
    command = [executable(), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def toml(table):
    """A configuration as TOML, in dotted keys and inline tables."""

    def value(item):
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(inner)}" for key, inner in item.items()) + " }"
        if isinstance(item, list):
            return "[" + ", ".join(map(value, item)) + "]"
        if isinstance(item, Path):
            item = str(item)
        # JSON's strings, numbers and booleans are TOML's.
        return json.dumps(item)

    lines = []
    for section, entries in table.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {value(item)}" for key, item in entries.items()]
    return "\n".join(lines) + "\n"


def write_images(folder, sizes, classes=2, seed=0):
    """PNGs of random colours in class folders; returns their paths in the data set's order."""
    random = numpy.random.default_rng(seed)
    paths = []
    for index, (height, width) in enumerate(sizes):
        # Smooth enough that resizing leaves something, rough enough that patches differ.
        coarse = random.integers(0, 256, (4, 4, 3), dtype=numpy.uint8)
        smooth = numpy.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC))
        noise = random.integers(-40, 41, smooth.shape)
        pixels = numpy.clip(smooth.astype(int) + noise, 0, 255).astype(numpy.uint8)
        path = Path(folder) / f"class_{index % classes}" / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return sorted(paths)
