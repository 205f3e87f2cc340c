"""The study's four rows, leafexp's way and another: whole processes in turn, the medians in a Markdown table.

python benchmarks/compare.py PHOTOS [--peer pytorch] [--repeats 3] [--output table.md]

PHOTOS is a folder with a folder per class, or a CSV as data=table reads it. Both sides get the same split as files, and
random weights, which take the same time as pretrained ones. leafexp starts with an empty cache, so its totals include
decoding the photos and computing what is frozen; "caches warm" is the same command again.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import mlflow

from leafexp import names
from leafexp.data.catalog import read_folder, read_table
from leafexp.data.splits import split

HERE = Path(__file__).resolve().parent
ROWS = ("simple_cnn", "mnv2_frozen", "mnv2_partial", "mnv2_unfrozen")
GRID = ["row=mnv2_frozen,mnv2_partial", "seed=0,1,2", "optimizer.learning_rate=0.001,0.0003,0.0001"]
GRID_NAME = "grid of frozen and partial, 3 seeds, 3 rates (the other way: 9 times the first two)"
PACKAGES = {"notebook": [], "pytorch": ["torch"]}  # beside leafexp's own


def make_split(photos: str, images: int, folder: Path) -> None:
    """Links to `images` photos in train/, validation/ and test/, a folder per class."""
    read = read_folder if Path(photos).is_dir() else read_table
    table = read(photos)
    table = table.groupby("label").head(-(-images // table["label"].nunique())).reset_index(drop=True)
    parts = split(table, 0.15, 0.15, seed=0)
    for number, (part, file, label) in enumerate(zip(parts, table["file"], table["label"], strict=True)):
        target = folder / part / label / f"{number}{Path(file).suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)


def timed(command: list[str], **environment: str) -> float:
    """Wall seconds of a process, which must succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return time.perf_counter() - started


def peer_run(peer: str, row: str, photos: Path, epochs: int) -> tuple[float, list[float]]:
    """Seconds in all and of each epoch."""
    with tempfile.TemporaryDirectory() as scratch:
        output = f"{scratch}/seconds"
        command = [sys.executable, str(HERE / f"{peer}.py"), row, str(photos), str(epochs), output]
        total = timed(command)
        return total, json.loads(Path(output).read_text())


def leafexp_run(overrides: list[str], photos: Path, epochs: int, cache: str) -> tuple[float, list[float]]:
    """Seconds in all and of each epoch of each run."""
    with tempfile.TemporaryDirectory() as scratch:
        uri = f"sqlite:///{scratch}/store.db"
        common = ["model.weights=null", f"epochs={epochs}", "data=folder", f"data.path={photos}", f"tracking.uri={uri}"]
        total = timed(
            [sys.executable, "-m", "leafexp.train", "-m", "rerun=true", *overrides, *common], XDG_CACHE_HOME=cache
        )
        client = mlflow.MlflowClient(uri)
        runs = client.search_runs([client.get_experiment_by_name("leafexp").experiment_id])
        points = [client.get_metric_history(run.info.run_id, names.in_section(names.EPOCH_SECONDS)) for run in runs]
        return total, [point.value for curve in points for point in curve[1:]]


def spread(values: list[float]) -> str:
    """Median, minimum and maximum."""
    if not values:
        return ""
    three = statistics.median(values), min(values), max(values)
    median, low, high = (f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in three)
    return f"{median} ({low} to {high})"


def processor() -> str:
    """The processor's name, as Linux gives it, and the instruction sets that decide the speed of sums."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in about.splitlines() if "model name" in line), "")
    found = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if f" {flag} " in about]
    return f"{os.cpu_count()} x {name or platform.machine()} ({', '.join(found)})"


def main() -> None:
    """Run everything in turn, and print and write the table after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--peer", choices=("notebook", "pytorch"), default="notebook")
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--extras", action="store_true", help="caches warm, the sweep and the grid too; needs all rows")
    parser.add_argument("--bf16", action="store_true", help="the CNN in mixed_bfloat16 too")
    parser.add_argument("--output", type=Path, default=Path("benchmark.md"))
    arguments = parser.parse_args()
    peer, epochs = arguments.peer, arguments.epochs
    totals: dict[str, dict[str, list[float]]] = {}
    an_epoch: dict[str, dict[str, list[float]]] = {}

    def note(row: str, side: str, measured: tuple[float, list[float]], first: int = 0) -> None:
        totals.setdefault(row, {}).setdefault(side, []).append(measured[0])
        an_epoch.setdefault(row, {}).setdefault(side, []).extend(measured[1][first:])
        print(f"{row}, {side}: {measured[0]:.1f} s in all", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        make_split(arguments.photos, arguments.images, photos)
        for repeat in range(arguments.repeats):
            for row in arguments.rows:
                # The first epoch traces graphs and is counted in the totals only.
                note(row, peer, peer_run(peer, row, photos, epochs), first=1)
                cache = f"{scratch}/cache_{repeat}_{row}"
                note(row, "leafexp", leafexp_run([f"row={row}"], photos, epochs, cache))
                if arguments.extras and row == "mnv2_frozen":
                    again = leafexp_run([f"row={row}"], photos, epochs, cache)
                    note("mnv2_frozen, caches warm", "leafexp", again)
            if arguments.extras:
                cache = f"{scratch}/cache_{repeat}_sweep"
                sweep = leafexp_run([f"row={','.join(ROWS)}"], photos, epochs, cache)
                note("four rows, one sweep", "leafexp", sweep)
                note("four rows, one sweep", peer, (sum(totals[row][peer][-1] for row in ROWS), []))
                if repeat == 0:
                    grid = leafexp_run(GRID, photos, epochs, f"{scratch}/cache_grid")
                    note(GRID_NAME, "leafexp", (grid[0], []))
                    note(GRID_NAME, peer, (9 * (totals["mnv2_frozen"][peer][0] + totals["mnv2_partial"][peer][0]), []))
            if arguments.bf16:
                overrides = ["row=simple_cnn", "trainer.precision=mixed_bfloat16"]
                bf16 = leafexp_run(overrides, photos, epochs, f"{scratch}/cache_bf16_{repeat}")
                note("simple_cnn, bf16", "leafexp", bf16)
                plain = (totals["simple_cnn"][peer][-1], an_epoch["simple_cnn"][peer][1 - epochs :])
                note("simple_cnn, bf16", peer, plain)
            arguments.output.write_text(table(totals, an_epoch, arguments, repeat + 1))
    print(arguments.output.read_text())


def table(
    totals: dict[str, dict[str, list[float]]],
    an_epoch: dict[str, dict[str, list[float]]],
    arguments: argparse.Namespace,
    repeats: int,
) -> str:
    """The Markdown page: what was run where, and a line a row."""
    peer = arguments.peer
    packages = [f"{name} {version(name)}" for name in ["leafexp", "tensorflow", "keras", *PACKAGES[peer]]]
    lines = [
        f"# leafexp against {peer}",
        "",
        f"{arguments.images} photos at 128 px, {arguments.epochs} epochs, batches of 32; rounds in turn: {repeats}. "
        "Seconds as median (minimum to maximum).",
        "An epoch: the first of each run left out, validation included. In all: the process, imports included.",
        f"{processor()}; Python {platform.python_version()}; {', '.join(packages)}.",
        "",
        f"| row | {peer}, an epoch | leafexp, an epoch | ratio | {peer}, in all | leafexp, in all | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, sides in totals.items():
        cells = []
        for seconds in (an_epoch.get(row, {}), sides):
            its, ours = seconds.get(peer, []), seconds.get("leafexp", [])
            ratio = f"{statistics.median(its) / statistics.median(ours):.2f}x" if its and ours else ""
            cells += [spread(its), spread(ours), ratio]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
