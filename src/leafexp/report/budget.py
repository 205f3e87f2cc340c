"""What rows did not have alike, and what they reached on a budget that is the same for all."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from leafexp import names
from leafexp.report.collect import Run
from leafexp.report.rows import Row, groups_to_compare
from leafexp.report.wording import count, four_digits

MOST_SEEDS_NAMED = 6


def _seeds(row: Row) -> str:
    named = ", ".join(sorted(row.seeds, key=lambda seed: (len(seed), seed)))
    return named if len(row.seeds) <= MOST_SEEDS_NAMED else f"{len(row.seeds)} of them"


def _weights(row: Row) -> str:
    return f"{row.tag(names.WEIGHTS_SOURCE)} ({row.hashes(names.WEIGHTS_SHA256)})" if row.pretrained else ""


# In the order in which they are said. An empty value says that the row has no part in it.
BUDGET: dict[str, Callable[[Row], str]] = {
    "epochs": lambda row: count(row.epochs),
    "training images": lambda row: count(row.mean(names.TRAIN_IMAGES)),
    "split": lambda row: row.hashes(names.SPLIT_HASH),
    "optimizer steps": lambda row: count(row.mean(names.OPTIMIZER_STEPS)),
    "image size": lambda row: row.param("data.image_size"),
    "batch size": lambda row: row.param("trainer.batch_size"),
    "precision": lambda row: row.param("trainer.precision"),
    "pretrained weights": _weights,
    "seeds": _seeds,
    "configurations tried": lambda row: count(row.runs[0].configurations_tried),
    "threads": lambda row: row.every(names.THREADS),
    "machine": lambda row: row.every(names.HOST),
}
# What follows from another part is said once, with that part.
FOLLOWS = {"optimizer steps": ("epochs", "training images", "batch size"), "split": ("training images",)}


def unequal_budget(one: Row, other: Row) -> str:
    """What the two rows did not have alike, as the end of a sentence; empty if they had the same budget."""
    unlike = {
        name: (of(one), of(other)) for name, of in BUDGET.items() if of(one) != of(other) and of(one) and of(other)
    }
    told = [name for name in unlike if not set(FOLLOWS.get(name, ())) & unlike.keys()]
    parts = [f"{name} {unlike[name][0]} against {unlike[name][1]}" for name in told]
    return f"; unequal budget: {', '.join(parts)}" if parts else ""


def budget_notes(rows: Iterable[Row]) -> list[str]:
    """A line for each part of the budget that differs among the rows, with who had how much."""
    notes = []
    rows = list(rows)
    for name, of in BUDGET.items():
        holders: dict[str, list[str]] = {}
        for row in rows:
            if value := of(row):
                holders.setdefault(value, []).append(row.name)
        if len(holders) > 1:
            who = "; ".join(f"{value} for {', '.join(labels)}" for value, labels in holders.items())
            notes.append(f"Unequal budget, {name}: {who}.")
    return notes


def matched_view(rows: Sequence[Row]) -> pd.DataFrame:
    """The best validation accuracy that each row had reached within the least epochs, minutes and steps of any row.

    A line per row: model, then a column per budget, named by it; a mean over seeds, NaN where a seed had not finished
    one epoch within it or its curves were not logged. Seconds count the frozen layers that an earlier run computed.
    Rows on other photos have budgets of their own; minutes are compared where all rows ran on one machine.
    """
    rows = [row for row in rows if all(len(run.curves) for run in row.runs)]
    views = [_matched(group) for group in groups_to_compare(rows)]
    return pd.concat(views, ignore_index=True) if views else pd.DataFrame({"model": []})


def _matched(rows: Sequence[Row]) -> pd.DataFrame:
    spent = {row.label: [_spent(run) for run in row.runs] for row in rows}
    columns: dict[str, list[object]] = {"model": [row.label for row in rows]}
    for budget, title in (
        ("epochs", "val_accuracy at {} epochs"),
        ("minutes", "at {} minutes"),
        ("steps", "at {} optimizer steps"),
    ):
        ends = [run[budget][-1] for runs in spent.values() for run in runs]
        least = min(ends, default=math.nan)
        one_machine = len(frozenset().union(*(row.machines for row in rows))) == 1
        if not math.isnan(least) and (budget != "minutes" or one_machine):
            shown = four_digits(least) if budget == "minutes" else count(least)
            columns[title.format(shown)] = [_best_within(spent[row.label], budget, least) for row in rows]
    return pd.DataFrame(columns)


def _spent(run: Run) -> dict[str, np.ndarray]:
    """Epochs, minutes and steps spent at each epoch's end, and its validation accuracy."""
    epochs = np.arange(1, len(run.curves) + 1)

    def curve(metric: str) -> np.ndarray:
        return run.curves[metric].to_numpy(float) if metric in run.curves else np.full(len(epochs), math.nan)

    return {
        "epochs": epochs,
        "minutes": (curve(names.EPOCH_SECONDS).cumsum() + run.metrics.get(names.PREFIX_REUSED_SECONDS, 0.0)) / 60,
        "steps": run.metrics.get(names.OPTIMIZER_STEPS, math.nan) * epochs / len(epochs),
        "val_accuracy": curve(names.VAL_ACCURACY),
    }


def _best_within(runs: Sequence[dict[str, np.ndarray]], budget: str, most: float) -> float:
    reached = [run["val_accuracy"][run[budget] <= most * (1 + 1e-9)] for run in runs]
    return float(np.mean([values.max() if len(values) else math.nan for values in reached]))
