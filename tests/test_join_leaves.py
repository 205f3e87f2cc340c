"""The table of the study of every photo: leaves whose numbers follow each other are one."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

from tests.conftest import CHECKOUT


def test_runs_of_leaf_numbers_of_one_class_become_one_leaf(tmp_path: Path) -> None:
    numbers = {"early": [1, 2, 2, 4, 5, 6, 9], "late": [1, 2, 3]}
    rows = [(f"{name}{place}.jpg", name, f"{name}/{n}") for name, ns in numbers.items() for place, n in enumerate(ns)]
    table = pd.DataFrame(rows, columns=["path", "label", "leaf_id"]).sample(frac=1, random_state=0)
    table.to_csv(tmp_path / "photos.csv", index=False)
    script = CHECKOUT / "docs" / "every_photo" / "join_leaves.py"
    subprocess.run([sys.executable, script, "photos.csv", "early", "joined.csv"], cwd=tmp_path, check=True)
    joined = pd.read_csv(tmp_path / "joined.csv").sort_values("path")
    assert list(joined["leaf_id"]) == [
        *(["early/from 1"] * 3 + ["early/from 4"] * 3 + ["early/from 9"]),
        *("late/1", "late/2", "late/3"),
    ]
    assert list(pd.read_csv(tmp_path / "joined.csv")["path"]) == list(table["path"])
