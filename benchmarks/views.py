"""What eight views cost: seconds an epoch with them and without, and seconds for the features of frozen layers.

python benchmarks/views.py PHOTOS [--image-size 128] [--epochs 6] [--repeats 3]

PHOTOS is a folder with a folder per class, or a CSV as data=table reads it. Trains MobileNetV2 in an empty store and
cache, with and without views in turn, with random weights, as their values do not change the times. An epoch's seconds
are the least over the last phase's epochs after its first, as other work on the machine only adds to them: without the
tracing of graphs and the features.
"""

import argparse
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import mlflow

from leafexp import names
from leafexp.runs.cell import train
from leafexp.settings.compose import check


class Measured(NamedTuple):
    """Seconds an epoch, processor seconds an epoch, and seconds of the features it computed and of all its training."""

    epoch: float
    processor: float
    features: float
    total: float


def measured(overrides: list[str], uri: str) -> Measured:
    """Train one run."""
    client = mlflow.MlflowClient(uri)
    ended: list[float] = []
    configuration = check([*overrides, f"tracking.uri={uri}", "sweep=views", "rerun=true"])
    run_id = train(configuration, "", lambda _: ended.append(time.process_time())).run_id
    metrics = {names.without_section(name): value for name, value in client.get_run(run_id).data.metrics.items()}
    history = client.get_metric_history(run_id, names.in_section(names.EPOCH_SECONDS))
    # The last phase has eight tenths of the epochs or more: the second half lies in it, its first epoch does not.
    steady = min(point.value for point in history if point.step > len(history) / 2)
    made = metrics[names.PREFIX_SECONDS] - metrics[names.PREFIX_REUSED_SECONDS]
    processor = min(after - before for before, after in pairwise(ended[len(ended) // 2 :]))
    return Measured(steady, processor, made, metrics[names.TOTAL_SECONDS])


def main() -> None:
    """Train each arm with and without views in turn, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=["frozen", "partial"])
    options = parser.parse_args()
    kind = "folder" if Path(options.photos).is_dir() else "table"
    photos = [f"data={kind}", f"data.path={Path(options.photos).absolute()}", f"data.image_size={options.image_size}"]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        for arm in options.arms:
            found: dict[int, list[Measured]] = {1: [], 8: []}
            for _ in range(options.repeats):
                for views, runs in found.items():
                    overrides = [f"freeze={arm}", "model.weights=null", f"epochs={options.epochs}"]
                    runs.append(measured([*photos, *overrides, f"data.views={views}"], f"sqlite:///{scratch}/store.db"))
            least = {views: Measured(*map(min, zip(*runs, strict=True))) for views, runs in found.items()}
            for views, runs in found.items():
                epoch, processor, _, _ = least[views]
                print(f"{arm}, data.views={views}: {epoch:.3f} s an epoch, {processor:.3f} s of processors; ", end="")
                print(f"the first run took {runs[0].total:.1f} s, of these {runs[0].features:.1f} s for features")
            ratios = [least[8].epoch / least[1].epoch, least[8].processor / least[1].processor]
            print(f"{arm}: with eight views an epoch takes {ratios[0]:.3f} times as long, ", end="")
            print(f"and {ratios[1]:.3f} times as much of the processors", flush=True)


if __name__ == "__main__":
    main()
