"""How a step's time grows with what it is given: batch, threads, prototypes, crops, and HSSL's head.

    HSSL_BIN=target/release/hssl python scaling.py --out docs/perf/scaling

Times `hssl bench` on a small DINO + HSSL configuration while one thing changes, each point `--rounds` times
in turns, and writes OUT.md (a table), OUT.json, and OUT.svg and OUT.png if matplotlib is there. Time per
image should fall or stay level with the batch, and grow no faster than the work with everything else.
"""

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
CASE = HERE / "cases/dino_hssl_cifar10.toml"

# Axis: key, values, and what else is set.
SWEEPS = {
    "images in a batch": ("train.batch_size", [8, 16, 32, 64, 128, 256], {}),
    "threads": ("train.threads", [1, 2], {}),
    "prototypes": ("objective.out_dim", [256, 1024, 4096, 16384, 65536], {}),
    "local crops": ("views.local_crops_number", [0, 2, 4, 8], {}),
    "blocks of the head": ("heads.aux.depth", [1, 2, 3, 6], {}),
}


def bench(hssl, values, steps):
    sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    done = subprocess.run([hssl, "bench", CASE, "--json", "--steps", str(steps), *sets],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"hssl bench with {values}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(hssl, rounds, steps):
    points = [(axis, key, value, others) for axis, (key, values, others) in SWEEPS.items()
              for value in values]
    turns = {(axis, value): [] for axis, _, value, _ in points}
    for _ in range(rounds):
        for axis, key, value, others in points:
            turns[axis, value].append(bench(hssl, {**others, key: value}, steps))
    found = []
    for axis, _, value, _ in points:
        mine = turns[axis, value]
        found.append({
            "axis": axis,
            "value": value,
            "ms_per_image": statistics.median(1e3 / turn["images_per_s"] for turn in mine),
            "peak_mb": statistics.median(turn["peak_mb"] for turn in mine),
        })
    return found


def table(found):
    lines = ["| | | ms for an image | of the row above | peak MiB |", "| --- | --- | --- | --- | --- |"]
    before = None
    for point in found:
        same = before is not None and before["axis"] == point["axis"]
        grown = f"x{point['ms_per_image'] / before['ms_per_image']:.2f}" if same else ""
        lines.append(f"| {'' if same else point['axis']} | {point['value']} | "
                     f"{point['ms_per_image']:.2f} | {grown} | {point['peak_mb']:.0f} |")
        before = point
    return "\n".join(lines) + "\n"


def draw(found, out):
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not there")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(SWEEPS), figsize=(3.2 * len(SWEEPS), 3.2))
    for panel, axis in zip(panels, SWEEPS):
        points = [point for point in found if point["axis"] == axis]
        values = [point["value"] for point in points]
        panel.plot(range(len(values)), [point["ms_per_image"] for point in points], "o-")
        panel.set_xticks(range(len(values)), [str(value) for value in values], rotation=45)
        panel.set_xlabel(axis)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("milliseconds for an image")
    figure.tight_layout()
    for ending in ("svg", "png"):
        figure.savefig(out.with_suffix(f".{ending}"), dpi=120)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    hssl = os.environ.get("HSSL_BIN", HERE.parent / "target/release/hssl")
    found = measure(hssl, arguments.rounds, arguments.steps)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(table(found))
    print(table(found))
    draw(found, arguments.out)


if __name__ == "__main__":
    main()
