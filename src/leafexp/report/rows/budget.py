"""What rows did not have alike, and what they reached on a budget that is the same for all."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from leafexp import names
from leafexp.report.read.runs import Run
from leafexp.report.rows.learning import epochs
from leafexp.report.rows.row import Row, groups_to_compare, varied_settings
from leafexp.report.rows.timing import one_machine
from leafexp.wording import duration


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


# What each row had, as text. An empty one says that it is not known or that the row has no part in it.
BUDGET: dict[str, Callable[[Row], str]] = {
    "epochs": lambda row: _number(epochs(row)),
    "training photos": lambda row: _number(row.mean(names.TRAIN_IMAGES)),
    "split": lambda row: "" if row.folded else row.hashes(names.SPLIT_HASH),
    "optimizer steps": lambda row: _number(row.mean(names.OPTIMIZER_STEPS)),
    "image size": lambda row: row.param("data.image_size"),
    "fit": lambda row: row.param("data.fit"),
    "views": lambda row: row.param("data.views"),
    "test views": lambda row: row.param("data.test_views"),
    "batch size": lambda row: row.param("trainer.batch_size"),
    "precision": lambda row: row.param("trainer.precision"),
    "pretrained weights": lambda row: row.every(names.WEIGHTS_SHA256) if row.pretrained else "",
    "seeds": lambda row: ", ".join(sorted(row.seeds, key=lambda seed: (len(seed), seed))),
    "tuning": lambda row: row.every(names.TUNED) or "none",
    "configurations tried": lambda row: _number(row.runs[0].configurations_tried),
    "threads": lambda row: row.every(names.THREADS),
    "machine": lambda row: row.every(names.HOST),
}
# What follows from another part is said once, with that part.
_FOLLOWS = {"optimizer steps": ("epochs", "training photos", "batch size"), "split": ("training photos",)}


def unequal(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """For each part of the budget that the rows did not have alike: what was had, by which rows.

    A part that the study varies itself, such as a sweep's `epochs`, is not named.
    """
    found: dict[str, dict[str, list[Row]]] = {}
    varied = {key.rpartition(".")[2].replace("_", " ") for key in varied_settings(rows)}
    for name, of in BUDGET.items():
        holders: dict[str, list[Row]] = {}
        for row in rows:
            if value := of(row):
                holders.setdefault(value, []).append(row)
        if len(holders) > 1 and name not in varied:
            found[name] = holders
    return {name: holders for name, holders in found.items() if not set(_FOLLOWS.get(name, ())) & {*found, *varied}}


def matched_view(rows: Sequence[Row]) -> pd.DataFrame:
    """The best validation accuracy that each row had reached within the least epochs, time and steps of any row.

    A line per row: arm, then a column per budget, named by it; a mean over networks, NaN where one had not finished an
    epoch within it. Rows whose curves were not logged are left out. Frozen layers that an earlier run computed are
    counted in. Rows on other photos have budgets of their own; times are compared on one machine only.
    """
    rows = [row for row in rows if all(len(run.curves) for run in row.runs)]
    views = [_matched(group) for group in groups_to_compare(rows) if len(group) > 1]
    return pd.concat(views, ignore_index=True) if views else pd.DataFrame({"arm": []})


def _matched(rows: Sequence[Row]) -> pd.DataFrame:
    spent = {row.label: [_spent(run) for run in row.runs] for row in rows}
    columns: dict[str, list[object]] = {"arm": [row.name for row in rows]}
    for budget, unit in (("epochs", " epochs"), ("seconds", ""), ("steps", " optimizer steps")):
        least = min((run[budget][-1] for runs in spent.values() for run in runs), default=math.nan)
        if not math.isnan(least) and (budget != "seconds" or one_machine(*rows)):
            title = f"{_number(least)}{unit}" if unit else duration(least)
            columns[title] = [_best_within(spent[row.label], budget, least) for row in rows]
    return pd.DataFrame(columns)


def _spent(run: Run) -> dict[str, np.ndarray]:
    """Epochs, seconds and steps spent at each epoch's end, and its validation accuracy."""
    numbers = np.arange(1, len(run.curves) + 1)

    def curve(metric: str) -> np.ndarray:
        return run.curves[metric].to_numpy(float) if metric in run.curves else np.full(len(numbers), math.nan)

    return {
        "epochs": numbers,
        "seconds": curve(names.EPOCH_SECONDS).cumsum() + run.metrics.get(names.PREFIX_REUSED_SECONDS, 0.0),
        "steps": run.metrics.get(names.OPTIMIZER_STEPS, math.nan) * numbers / len(numbers),
        "val_accuracy": curve(names.VAL_ACCURACY),
    }


def _best_within(runs: Sequence[dict[str, np.ndarray]], budget: str, most: float) -> float:
    reached = [run["val_accuracy"][run[budget] <= most * (1 + 1e-9)] for run in runs]
    return float(np.mean([values.max() if len(values) else math.nan for values in reached]))
