"""A search of one arm against the grid of 27 cells, on the validation photos: what it reaches, for how many epochs.

python benchmarks/search.py [OVERRIDE ...], such as model=mnv2 freeze=partial data=table data.path=PHOTOS.csv

The grid has three learning rates, three factors of the fine-tuning phase and three dropouts, each trained to its end,
its test photos held out as in a search. The aim: within 0.5 points of the grid's best, for at most 40 % of its epochs.
"""

import itertools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from leafexp.paths import ROOT

RATES, FACTORS, DROPOUTS = (0.0003, 0.001, 0.003), (0.1, 0.3, 1.0), (0.0, 0.2, 0.5)


def searched(name: str, words: list[str], folder: Path) -> pd.DataFrame:
    """The trials of a search with a store of its own."""
    store = f"tracking.uri=sqlite:///{folder}/mlflow.db"
    command = [sys.executable, "-m", "leafexp.search", "-m", *words, f"search.name={name}", store]
    try:
        subprocess.run(command, check=True)
        return pd.read_csv(ROOT / "searches" / name / "trials.csv")
    finally:
        shutil.rmtree(ROOT / "searches" / name, ignore_errors=True)


def main() -> None:
    """Search, train the grid, and print both."""
    words = sys.argv[1:] or ["model=mnv2", "freeze=partial"]
    with tempfile.TemporaryDirectory() as folder:
        search = searched("benchmark-search", words, Path(folder))
        # A cell of the grid is the first trial of a search without ranges but one, none of which is compared early.
        cells = []
        for number, (rate, factor, dropout) in enumerate(itertools.product(RATES, FACTORS, DROPOUTS)):
            fixed = [f"optimizer.learning_rate={rate}", f"model.network.dropout={dropout}"]
            fixed.append(f"freeze.phases.tune.learning_rate_factor={factor}")
            whole = ["search.rungs=[]", "search.trials=1"]
            cells.append(searched(f"benchmark-grid-{number}", [*words, *fixed, *whole], Path(folder)))
    grid = pd.concat(cells)
    best, reached = grid["val_accuracy"].max(), search.loc[search["outcome"] == "chosen", "val_accuracy"].item()
    share = search["epochs"].sum() / grid["epochs"].sum()
    print(f"search {100 * reached:.1f} %, grid {100 * best:.1f} % ({100 * (reached - best):+.1f} points)")
    print(f"epochs {search['epochs'].sum()} of {grid['epochs'].sum()} ({100 * share:.0f} %)")


if __name__ == "__main__":
    main()
