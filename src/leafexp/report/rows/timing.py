"""What the training of a row took, in seconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from leafexp import names
from leafexp.report.read.runs import Run
from leafexp.report.rows.row import Row


@dataclass(frozen=True)
class Seconds:
    """A time: the mean over the networks of a row, the shortest and the longest; NaN where none was logged."""

    mean: float
    low: float
    high: float


def total(row: Row) -> Seconds:
    """Training as it would take alone: what an earlier run spent on frozen layers that were reused is counted in."""
    return _over([run.metrics.get(names.TOTAL_SECONDS, math.nan) + _reused(run) for run in row.runs])


def an_epoch(row: Row) -> Seconds:
    """An epoch, a mean over all of a network's, frozen layers counted in as in `total`."""
    return _over([_mean(run, names.EPOCH_SECONDS) + _reused(run) / max(1, len(run.curves)) for run in row.runs])


def logged_epoch(row: Row) -> float:
    """An epoch as it was logged, a mean over networks: without what an earlier run spent on its frozen layers."""
    return _over([_mean(run, names.EPOCH_SECONDS) for run in row.runs]).mean


def a_step_epoch(row: Row) -> Seconds:
    """The training steps of an epoch of the last phase, without waiting, validation and the frozen layers."""
    return _over([run.metrics.get(names.STEADY_COMPUTE_SECONDS, math.nan) for run in row.runs])


def frozen_layers(row: Row) -> float:
    """One pass of the training photos through the layers that never learn, a mean; NaN where there are none."""
    return row.mean(names.PREFIX_FORWARD_SECONDS)


def split(row: Row) -> dict[str, float]:
    """Where the seconds of an epoch go, means over epochs and networks.

    `other` is what is neither waiting nor computing nor validating: frozen layers, computed once, and tracing graphs.
    """
    epoch, waiting, computing, validating = (
        _over([_mean(run, metric) for run in row.runs]).mean for metric in names.TIMINGS
    )
    other = max(0.0, epoch - waiting - computing - validating)
    return {"waiting": waiting, "computing": computing, "validating": validating, "other": other}


def one_machine(*rows: Row) -> bool:
    """Whether all networks of the rows were trained on one known machine: else no time is set against another."""
    machines = frozenset().union(*(row.machines for row in rows))
    return len(machines) == 1 and "" not in machines


def of_a_replicate(rows: Sequence[Row]) -> str:
    """With folds: that the times are of one network, and what a replicate takes; else empty."""
    folds = {row.folds for row in rows}
    if folds == {0}:
        return ""
    several = f"takes {folds.pop()} times as long" if len(folds) == 1 else "takes as many times as long as it has folds"
    return f"Times are of one network; to test every photo {several}."


def _reused(run: Run) -> float:
    return run.metrics.get(names.PREFIX_REUSED_SECONDS, 0.0)


def _mean(run: Run, metric: str) -> float:
    return float(run.curves[metric].mean()) if metric in run.curves else math.nan


def _over(values: list[float]) -> Seconds:
    known = pd.Series(values, dtype=float).dropna()
    return Seconds(float(known.mean()), float(known.min()), float(known.max()))
