"""Holds `hssl` against PyTorch, timm and TensorBoard.

    python tests/parity/run.py                  everything, on a short run of its own
    python tests/parity/run.py dino_step        some of it
    python tests/parity/run.py --plugin swin base_embed head_step
    python tests/parity/run.py --run runs/mine  with the exports and logs of a run of yours
"""

import argparse
import importlib
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

CHECKS = {
    "base_embed": "weights and features of every base, and what runs export",
    "parameter_counts": "numbers of parameters",
    "dino_step": "losses, gradients and updates of DINO and DINO+HSSL",
    "ibot_step": "the same of iBOT and AttMask",
    "simclr_step": "the same of SimCLR and SimCLR+HSSL",
    "byol_step": "the same of BYOL and BYOL+HSSL",
    "moco_step": "the same of MoCo v3 and MoCo v3+HSSL",
    "vicreg_step": "the same of VICReg and VICReg+HSSL",
    "barlow_step": "the same of Barlow Twins and Barlow Twins+HSSL",
    "mae_step": "the same of MAE and MFF, plain and with heads",
    "head_step": "the same with every auxiliary head",
    "connection_step": "the same with heads beside the base, and between the base's depths",
    "tensorboard_reads": "event files",
}
# Those that go through the plugins one by one.
BY_PLUGIN = ("base_embed", "parameter_counts", "head_step")
PACKAGES = ("torch", "timm", "safetensors", "torchvision", "tensorboard", "numpy", "PIL")


def missing_packages():
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def short_run(folder):
    """A run of a few steps; returns its folder."""
    from program import hssl, toml

    config = folder / "short.toml"
    config.write_text(toml({
        "backbone": {"plugin": "vit", "arch": "vit_tiny", "embed_dim": 48, "depth": 2, "num_heads": 3,
                     "patch_size": 4, "img_size": 32},
        "heads": {"aux": {"plugin": "convnext", "depth": 1}},
        "objective": {"plugin": "dino", "out_dim": 64, "hidden_dim": 64, "bottleneck_dim": 32},
        "data": {"train": "generated:shapes?n=64&size=32"},
        "views": {"global_crops_size": 32, "local_crops_number": 2, "local_crops_size": 16},
        "train": {"epochs": 2, "batch_size": 16, "warmup_epochs": 1, "log_every": 2, "device": "cpu"},
    }))
    hssl("pretrain", config, "--out", folder / "run")
    return folder / "run"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK",
                        help="; ".join(f"{name}: {what}" for name, what in CHECKS.items()))
    parser.add_argument("--plugin", action="append", metavar="NAME",
                        help=f"only this plugin's bases and heads ({', '.join(BY_PLUGIN)}); repeatable")
    parser.add_argument("--run", type=Path, help="folder of a finished run (default: a short one)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.checks if name not in CHECKS]
    if unknown:
        parser.error(f"there is no check {unknown[0]!r}; there are {', '.join(CHECKS)}")
    if missing := missing_packages():
        sys.exit(f"this Python lacks {', '.join(missing)}: "
                 "pip install -r tests/parity/requirements.txt, or name another one in HSSL_PYTHON")
    chosen = arguments.checks or list(CHECKS)

    verdicts = {}
    with tempfile.TemporaryDirectory() as folder:
        run = arguments.run
        if run is None and "tensorboard_reads" in chosen:
            run = short_run(Path(folder))
        for name in chosen:
            started = time.monotonic()
            check = importlib.import_module(name).main
            if name in BY_PLUGIN:
                report = check(arguments.plugin)
            else:
                report = check(run) if name == "tensorboard_reads" else check()
            print(f"\n{name}: {CHECKS[name]} ({time.monotonic() - started:.0f} s)")
            report.print()
            verdicts[name] = report
    failed = [name for name, report in verdicts.items() if not report.passed]
    checks = sum(len(report.checks) for report in verdicts.values())
    print(f"\n{checks} comparisons in {len(verdicts)} scripts; "
          + (f"FAILED: {', '.join(failed)}" if failed else "all passed"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
