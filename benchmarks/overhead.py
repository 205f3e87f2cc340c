"""What it costs to lose nothing: time an epoch for checkpoint and store, time a run for identity and claim.

python benchmarks/overhead.py PHOTOS [--image-size 128] [--epochs 4]

PHOTOS is a folder with a folder per class, or a CSV as data=table reads it. Trains in an empty store and cache, with
random weights, as their values do not change the times; then asks for the same runs again, which are skipped.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leafexp.data import pixels
from leafexp.runs import identity
from leafexp.runs.cell import train
from leafexp.settings.compose import check
from leafexp.tracking import claim, run, store
from leafexp.training.checkpoint import Checkpoint

PER_EPOCH = [(Checkpoint, "save"), (run.TrackedRun, "log_epoch")]
PER_RUN = [
    *((store, "open_store"), (pixels, "checksums"), (identity, "identity"), (claim, "look_up")),
    *((run.TrackedRun, "check_same_photos"), (Checkpoint, "load")),
]


def clocked(owner: Any, name: str, seconds: dict[str, list[float]]) -> None:
    """Replace a function by itself, its time noted."""
    call: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(call)
    def timed(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            seconds[name].append(time.perf_counter() - started)

    setattr(owner, name, timed)


def main() -> None:
    """Train the four rows and print where the time for tracking went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = defaultdict(list)
    for owner, name in (*PER_EPOCH, *PER_RUN):
        clocked(owner, name, seconds)
    kind = "folder" if Path(options.photos).is_dir() else "table"
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        common = [
            f"data={kind}",
            f"data.path={Path(options.photos).absolute()}",
            f"data.image_size={options.image_size}",
        ]
        common += [f"epochs={options.epochs}", f"tracking.uri=sqlite:///{scratch}/mlflow.db", "sweep=overhead"]
        rows = {
            "simple_cnn": ["model=cnn", "freeze=unfrozen"],
            **{
                f"mnv2_{freeze}": [f"freeze={freeze}", "model.weights=null"]
                for freeze in ("frozen", "partial", "unfrozen")
            },
        }
        for row, overrides in rows.items():
            seconds.clear()
            train(check([*common, *overrides]), "")
            print(f"{row}, median ms an epoch: ", end="")
            print(", ".join(f"{name} {1000 * statistics.median(seconds[name]):.1f}" for _, name in PER_EPOCH))
            print("  ms a run: ", end="")
            print(", ".join(f"{name} {1000 * sum(seconds[name]):.1f}" for _, name in PER_RUN), flush=True)
        for row, overrides in rows.items():
            started = time.perf_counter()
            assert train(check([*common, *overrides]), "").skipped
            print(f"{row} skipped in {1000 * (time.perf_counter() - started):.0f} ms, its configuration included")


if __name__ == "__main__":
    main()
