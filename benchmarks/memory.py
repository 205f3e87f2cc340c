"""How much memory leafexp takes: for many photos, and over many runs of one process. Linux only.

python benchmarks/memory.py PHOTOS [--images 54000] [--runs 30]

PHOTOS is a folder with a folder per class, or a CSV as data=table reads it; its photos are listed again and again under
other names until there are enough.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import pandas as pd

from leafexp import names
from leafexp.data.catalog import read_folder, read_table

# The first reads every pixel in training, with narrow layers to take less time; the second reads them for features.
ROWS = (["row=simple_cnn", "model.network.filters=[8,8,8]"], ["row=mnv2_frozen"])


def many(photos: str, images: int, folder: Path) -> Path:
    """A CSV of `images` links to the photos."""
    table = (read_folder if Path(photos).is_dir() else read_table)(photos)
    listed = []
    for number, row in zip(range(images), itertools.cycle(table.itertuples()), strict=False):
        link = folder / f"{number}{Path(row.file).suffix}"
        link.symlink_to(row.file)
        listed.append((link.name, row.label))
    pd.DataFrame(listed, columns=["path", "label"]).to_csv(folder / "photos.csv", index=False)
    return folder / "photos.csv"


def peaks(overrides: list[str]) -> tuple[float, list[float]]:
    """The process's peak of resident memory, and that of each of its runs, oldest first; in MB."""
    with tempfile.TemporaryDirectory() as scratch:
        uri = f"sqlite:///{scratch}/store.db"
        command = [
            sys.executable,
            "-m",
            "leafexp.train",
            "-m",
            "rerun=true",
            *overrides,
            "model.weights=null",
            f"tracking.uri={uri}",
        ]
        process = subprocess.Popen(command, env=os.environ | {"XDG_CACHE_HOME": f"{scratch}/cache"})
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(command)} failed.")
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name("leafexp").experiment_id
        runs = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
        return usage.ru_maxrss * 1024 / 1e6, [run.data.metrics[names.in_section(names.PEAK_MEMORY_MB)] for run in runs]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--images", type=int, default=54_000)
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    said = []
    if arguments.images:
        with tempfile.TemporaryDirectory() as scratch:
            table = many(arguments.photos, arguments.images, Path(scratch))
            for model in ROWS:
                peak, _ = peaks([*model, "epochs=1", "data=table", f"data.path={table}"])
                said.append(f"{arguments.images} photos at 128 px, {' '.join(model)}, one epoch: peak {peak:,.0f} MB.")
    if arguments.runs:
        data = "folder" if Path(arguments.photos).is_dir() else "table"
        seeds = ",".join(map(str, range(arguments.runs)))
        photos = [f"data={data}", f"data.path={arguments.photos}"]
        _, each = peaks(["row=mnv2_partial", "epochs=1", f"seed={seeds}", *photos])
        growth = (each[-1] - each[0]) / (len(each) - 1)
        said.append(f"{len(each)} runs of one process, mnv2_partial: peaks {each[0]:,.0f} MB in the first run, ")
        said[-1] += f"{each[-1]:,.0f} MB in the last, {growth:+.0f} MB a run."
    print("\n".join(said))


if __name__ == "__main__":
    main()
