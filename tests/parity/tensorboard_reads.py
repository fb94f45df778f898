"""A run's event files, read by TensorBoard itself, say what `metrics.jsonl` says."""

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from comparison import Report

# Events hold 32-bit floats.
TOLERANCE = 1e-6


def main(run):
    report = Report()
    written = {}
    for line in (Path(run) / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        for name, value in entry.items():
            if name not in ("step", "epoch"):
                written.setdefault(name, []).append((entry["step"], value))
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    report.equal("names of scalars", sorted(events.Tags()["scalars"]), sorted(written))
    for name in sorted(set(written) & set(events.Tags()["scalars"])):
        read = [(scalar.step, scalar.value) for scalar in events.Scalars(name)]
        report.equal(f"{name}: steps", [step for step, _ in read], [step for step, _ in written[name]])
        for (step, found), (_, expected) in zip(read, written[name]):
            if abs(found - expected) > TOLERANCE * max(abs(expected), 1e-30):
                report.close(f"{name} at step {step}", found, expected, TOLERANCE)
    return report
