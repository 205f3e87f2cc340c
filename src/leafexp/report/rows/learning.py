"""How the networks of a row learned: curves, milestones, and whether they had finished."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy import special

from leafexp import names
from leafexp.report.read.runs import Run, number
from leafexp.report.rows.row import Row

_LAST_SHARE = 3  # the last third of the epochs tells whether a network was still improving
_FEWEST_EPOCHS = 3


@dataclass(frozen=True)
class Milestone:
    """The epoch at which validation accuracy first reached a share, over the networks of a row.

    Attributes:
        epoch: the median over all its networks; infinite where fewer than half reached it.
        reached: how many did, of `networks`.
        epochs: how many they were trained for.
    """

    epoch: float
    reached: int
    networks: int
    epochs: float


@cache
def curve(row: Row) -> pd.DataFrame:
    """The epoch metrics, means over networks: index epoch, a column per metric. Not to be changed: all share it.

    It ends where the first network was stopped early: what goes on after that is a mean of others.
    """
    curves = [run.curves for run in row.runs if len(run.curves)]
    merged = pd.concat(curves).groupby(level=0).mean() if curves else pd.DataFrame()
    if any(map(stopped_early, row.runs)):
        merged = merged.loc[: min(curve.index[-1] for curve in curves)]
    return merged.reindex(columns=list(names.EPOCH_METRICS))


def epochs(row: Row) -> float:
    """Epochs trained; a mean where networks stopped at different epochs, NaN where that is not known."""
    lengths = [len(run.curves) or number(run.params.get("epochs", "")) for run in row.runs]
    return sum(lengths) / len(lengths)


def stopped_early(run: Run) -> bool:
    """Whether patience ended a run's training before its planned epochs."""
    patient = run.params.get("trainer.patience", "None") != "None"
    return patient and 0 < len(run.curves) < number(run.params.get("epochs", ""))


def milestone(row: Row, percent: int) -> Milestone:
    """When the networks of a row first reached so much validation accuracy, in percent."""
    reached = [run.metrics.get(names.epochs_to(percent), math.inf) for run in row.runs]
    return Milestone(float(np.median(reached)), int(np.isfinite(reached).sum()), len(reached), epochs(row))


def seconds_to(row: Row, percent: int) -> float:
    """Median seconds to the end of that epoch, frozen layers of earlier runs counted in; infinite as in `milestone`."""
    times = []
    for run in row.runs:
        epoch = run.metrics.get(names.epochs_to(percent), math.inf)
        known = math.isfinite(epoch) and names.EPOCH_SECONDS in run.curves
        spent = run.curves[names.EPOCH_SECONDS].iloc[: int(epoch)].sum() if known else math.inf
        times.append(spent + run.metrics.get(names.PREFIX_REUSED_SECONDS, 0.0))
    return float(np.median(times))


def still_gaining(row: Row) -> float:
    """Validation accuracy gained an epoch when training stopped, in shares; 0 where none is borne out.

    It is the slope over the last third of the epochs, a mean over networks. It counts if its 95 % interval lies above
    0: over networks where there are three or more, else over the epochs of the mean curve.
    """
    values = [run.curves[names.VAL_ACCURACY].dropna().to_numpy(float) for run in row.runs if len(run.curves)]
    values = [column for column in values if len(column) > _FEWEST_EPOCHS]
    if not values:
        return 0.0
    length = max(_FEWEST_EPOCHS, math.ceil(min(map(len, values)) / _LAST_SHARE))
    ends = np.stack([column[-length:] for column in values])
    steps = np.arange(length) - (length - 1) / 2
    slopes = ends @ steps / (steps**2).sum()
    if len(slopes) >= 3:
        error, freedom = float(slopes.std(ddof=1)) / math.sqrt(len(slopes)), len(slopes) - 1
    else:
        mean = ends.mean(axis=0)
        rest = mean - mean.mean() - slopes.mean() * steps
        freedom = length - 2
        error = math.sqrt(float((rest**2).sum()) / freedom / float((steps**2).sum()))
    slope = float(slopes.mean())
    return slope if slope > special.stdtrit(freedom, 0.975) * error else 0.0


def largest_drop(row: Row) -> float:
    """The largest fall of validation accuracy from one epoch to the next, the median over networks; 0 if it never fell.

    NaN where fewer than two epochs were logged.
    """
    columns = [run.curves[names.VAL_ACCURACY] for run in row.runs if names.VAL_ACCURACY in run.curves]
    falls = [max(0.0, float(-column.diff().min())) for column in columns if column.notna().sum() > 1]
    return float(np.median(falls)) if falls else math.nan


def loss_rise(row: Row) -> float:
    """How far the validation loss ends over its lowest, as a share of it, the median over networks; NaN if unknown."""
    losses = [run.curves[names.VAL_LOSS].dropna() for run in row.runs if names.VAL_LOSS in run.curves]
    rises = [float(loss.iloc[-1] / loss.min() - 1) for loss in losses if len(loss) and loss.min() > 0]
    return float(np.median(rises)) if rises else math.nan


def at_epoch(row: Row, metric: str, position: int) -> float:
    """An epoch metric's mean over networks at the first (0) or last (-1) epoch that has it; NaN where none has."""
    if position == -1 and any(map(stopped_early, row.runs)):
        lasts = [run.curves[metric].dropna().iloc[-1:] for run in row.runs if metric in run.curves]
        return float(pd.concat(lasts).mean()) if lasts else math.nan
    kept = curve(row)[metric].dropna()
    return float(kept.iloc[position]) if len(kept) else math.nan
