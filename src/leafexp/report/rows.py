"""Runs as the rows of the comparison: one row per configuration, its seeds together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from leafexp import names
from leafexp.report.collect import Run, number
from leafexp.report.labels import distinguishing_settings
from leafexp.report.statistics import bootstrap_interval, seed_interval, wilson_interval

FREEZE_ORDER = ("frozen", "unfrozen", "partial")


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table. `settings` are the parameters that its label adds to the row's name."""

    label: str
    settings: dict[str, str]
    runs: list[Run]

    @cached_property
    def name(self) -> str:
        """The label as sentences use it, its settings in brackets."""
        settings = ", ".join(f"{short(key)}={value}" for key, value in self.settings.items())
        return f"{self.runs[0].row} ({settings})" if settings else self.runs[0].row

    def tag(self, name: str) -> str:
        """A tag all runs of the row share; empty where it was not logged."""
        return self.runs[0].tags.get(name, "")

    def param(self, name: str) -> str:
        """A parameter all runs of the row share; empty where it was not logged."""
        return self.runs[0].params.get(name, "")

    def hashes(self, name: str, length: int = 8) -> str:
        """The beginnings of the hashes that the runs of the row have in a tag."""
        return "/".join(sorted({run.tags.get(name, "")[:length] or "?" for run in self.runs}))

    def every(self, name: str) -> str:
        """The values that the runs of the row have in a tag; empty where one lacks it."""
        values = {run.tags.get(name, "") for run in self.runs}
        return "" if "" in values else "/".join(sorted(values))

    @property
    def model(self) -> str:
        """The model's config name, such as mnv2."""
        return self.tag(names.MODEL) or self.param("model.name")

    @property
    def freeze(self) -> str:
        """The freeze strategy's config name, such as frozen."""
        return self.tag(names.FREEZE) or self.param("freeze.name")

    @property
    def pretrained(self) -> bool:
        """Whether training began from pretrained weights."""
        return self.tag(names.PRETRAINED) == "true"

    @property
    def control(self) -> bool:
        """Whether layers with random weights stayed frozen: the price of pretraining, not an approach."""
        return self.tag(names.CONTROL) == "true"

    @cached_property
    def photos(self) -> frozenset[str]:
        """The hashes of the test photos: accuracies compare only where they are equal. Unknown ones equal no others."""
        return frozenset(_test_photos(run) for run in self.runs)

    @cached_property
    def machines(self) -> frozenset[str]:
        """The machines it was trained on, an empty name where it was not logged: times compare on one machine only."""
        return frozenset(run.tags.get(names.HOST, "") for run in self.runs)

    @cached_property
    def seeds(self) -> list[str]:
        """The seeds of its runs, in their order."""
        return [run.params.get("seed", "?") for run in self.runs]

    def mean(self, metric: str) -> float:
        """The mean of a run metric over the seeds that have it; NaN where none has."""
        values = [run.metrics[metric] for run in self.runs if metric in run.metrics]
        return sum(values) / len(values) if values else math.nan

    def mean_over_epochs(self, metric: str) -> float:
        """The mean of an epoch metric over all epochs and seeds; NaN where it was not logged."""
        return float(self._epochs[metric].mean()) if metric in self._epochs else math.nan

    @property
    def accuracies(self) -> dict[str, float]:
        """Test accuracy by seed."""
        measured = zip(self.seeds, self.runs, strict=True)
        return {seed: run.metrics[names.TEST_ACCURACY] for seed, run in measured if names.TEST_ACCURACY in run.metrics}

    @property
    def accuracy(self) -> float:
        """Mean test accuracy in [0, 1]."""
        return self.mean(names.TEST_ACCURACY)

    @cached_property
    def accuracy_std(self) -> float:
        """Standard deviation (n - 1) of the test accuracy over seeds; NaN for one seed."""
        return float(pd.Series([run.metrics.get(names.TEST_ACCURACY, math.nan) for run in self.runs]).std())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the test accuracy; NaN without a count of test photos."""
        images = self.mean(names.TEST_IMAGES)
        known = images >= 1 and not math.isnan(self.accuracy)
        return wilson_interval(self.accuracy, round(images)) if known else (math.nan, math.nan)

    @cached_property
    def epochs(self) -> float:
        """Epochs trained, a mean where seeds stopped at different epochs."""
        lengths = [len(run.curves) or number(run.params.get("epochs", "")) for run in self.runs]
        return sum(lengths) / len(lengths)

    @cached_property
    def epoch_seconds(self) -> float:
        """Mean seconds per epoch over all epochs and seeds."""
        return self.mean_over_epochs(names.EPOCH_SECONDS)

    @property
    def other_seconds(self) -> float:
        """Of these, what is neither waiting nor computing nor validating: frozen layers, once, and tracing graphs."""
        parts = (names.DATA_SECONDS, names.COMPUTE_SECONDS, names.VALIDATION_SECONDS)
        return max(0.0, self.epoch_seconds - sum(self.mean_over_epochs(part) for part in parts))

    @property
    def images_per_second(self) -> float:
        """Training images over the mean seconds an epoch waits for them and computes."""
        seconds = self.mean_over_epochs(names.DATA_SECONDS) + self.mean_over_epochs(names.COMPUTE_SECONDS)
        return self.mean(names.TRAIN_IMAGES) / seconds if seconds else math.nan

    @property
    def total_seconds_with_prefix(self) -> float:
        """Mean seconds of training, with what an earlier run had spent on frozen layers that the run reused."""
        totals = [
            run.metrics[names.TOTAL_SECONDS] + run.metrics.get(names.PREFIX_REUSED_SECONDS, 0.0)
            for run in self.runs
            if names.TOTAL_SECONDS in run.metrics
        ]
        return sum(totals) / len(totals) if totals else math.nan

    @property
    def epoch_seconds_with_prefix(self) -> float:
        """Mean seconds per epoch, with what an earlier run had spent on frozen layers dealt out to the epochs."""
        reused = self.mean(names.PREFIX_REUSED_SECONDS)
        return self.epoch_seconds + (reused / self.epochs if reused > 0 and self.epochs > 0 else 0.0)

    @property
    def trainable(self) -> float:
        """Parameters that learn in the last phase."""
        return self.mean(names.PARAMS_TRAINABLE)

    @property
    def share_trainable(self) -> float:
        """The share of the parameters that learn in the last phase."""
        return self.trainable / self.parameters if self.parameters else math.nan

    @property
    def parameters(self) -> float:
        """All parameters."""
        return self.trainable + self.mean(names.PARAMS_NON_TRAINABLE)

    def reached(self, percent: int) -> int:
        """How many of its runs reached so much validation accuracy, in percent."""
        return sum(names.epochs_to(percent) in run.metrics for run in self.runs)

    @cached_property
    def curve(self) -> pd.DataFrame:
        """The epoch metrics, means over seeds: index epoch, a column per metric."""
        merged = self._epochs.groupby(level=0).mean() if len(self._epochs) else pd.DataFrame()
        return merged.reindex(columns=list(names.EPOCH_METRICS))

    @cached_property
    def _epochs(self) -> pd.DataFrame:
        """The epochs of all runs below each other."""
        curves = [run.curves for run in self.runs if len(run.curves)]
        return pd.concat(curves) if curves else pd.DataFrame()

    @property
    def last_learning_rate(self) -> float:
        """The learning rate of the last epoch."""
        return _at(self.curve[names.LEARNING_RATE], -1)

    @property
    def first_val_accuracy(self) -> float:
        """Validation accuracy after the first epoch."""
        return _at(self.curve[names.VAL_ACCURACY], 0)

    @property
    def last_val_accuracy(self) -> float:
        """Validation accuracy after the last epoch."""
        return _at(self.curve[names.VAL_ACCURACY], -1)

    @property
    def last_gap(self) -> float:
        """Training minus validation accuracy at the last epoch; above 0 the training photos are known better."""
        return _at(self.curve[names.ACCURACY], -1) - self.last_val_accuracy

    @cached_property
    def val_loss_rise(self) -> float:
        """How far the validation loss ends over its lowest, as a share of it, a mean over runs; NaN if not logged."""
        losses = [run.curves[names.VAL_LOSS].dropna() for run in self.runs if names.VAL_LOSS in run.curves]
        rises = [float(loss.iloc[-1] / loss.min() - 1) for loss in losses if len(loss) and loss.min() > 0]
        return sum(rises) / len(rises) if rises else math.nan

    def minutes_to(self, percent: int) -> float:
        """Mean minutes to the end of the first epoch with so much validation accuracy, of the runs that got there.

        Frozen layers that an earlier run had computed are counted in.
        """
        times = []
        for run in self.runs:
            if names.epochs_to(percent) in run.metrics and names.EPOCH_SECONDS in run.curves:
                seconds = run.curves[names.EPOCH_SECONDS].iloc[: int(run.metrics[names.epochs_to(percent)])].sum()
                times.append((seconds + run.metrics.get(names.PREFIX_REUSED_SECONDS, 0.0)) / 60)
        return sum(times) / len(times) if times else math.nan

    @cached_property
    def largest_drop(self) -> float:
        """The largest fall of validation accuracy from one epoch to the next in any run; 0 where it never fell."""
        columns = [run.curves[names.VAL_ACCURACY] for run in self.runs if names.VAL_ACCURACY in run.curves]
        falls = [float(-column.diff().min()) for column in columns if len(column) > 1]
        return max(0.0, *falls) if falls else math.nan

    @cached_property
    def _tested(self) -> pd.DataFrame | None:
        """The test photos of all seeds below each other: seed, path, label, predicted; None where any can't be read."""
        tables = [run.predictions for run in self.runs if run.predictions is not None and len(run.predictions)]
        if len(tables) < len(self.runs):
            return None
        together = pd.concat([table[["path", "label", "predicted"]] for table in tables], ignore_index=True)
        return together.assign(seed=np.repeat(self.seeds, [len(table) for table in tables]))

    @cached_property
    def right_by_seed(self) -> pd.DataFrame | None:
        """Index path, a column per seed, 1 where it got the test photo right; None where predictions can't be read.

        Predictions that do not give the logged test accuracy are not used.
        """
        tested = self._tested
        if tested is None or tested.duplicated(["path", "seed"]).any():
            return None
        tested = tested.assign(right=(tested["label"] == tested["predicted"]).astype(float))
        right = tested.pivot_table("right", index="path", columns="seed")[self.seeds]
        logged = pd.Series(self.accuracies).reindex(self.seeds)
        return right if ((right.mean() - logged).abs() <= 1e-4).all() else None

    @cached_property
    def class_shares(self) -> pd.Series:
        """Index class, values its share of the test photos, the largest first; empty if unknown."""
        predictions = self.runs[0].predictions
        if predictions is None:
            return pd.Series(dtype=float)
        return predictions["label"].value_counts(normalize=True)

    @cached_property
    def recall(self) -> pd.Series:
        """Index class, values the share of its test photos that is recognised, a mean over seeds; empty if unknown."""
        right = self.right
        if right is None:
            return pd.Series(dtype=float)
        predictions = self.runs[0].predictions
        assert predictions is not None
        return right.groupby(predictions.set_index("path")["label"]).mean()

    @cached_property
    def right(self) -> pd.Series | None:
        """Index path, values the share of seeds that got the photo right; None where predictions can't be read."""
        return None if self.right_by_seed is None else self.right_by_seed.mean(axis=1)

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Test photos of all seeds: index true class, a column per predicted class; empty if they can't be read."""
        if self._tested is None:
            return pd.DataFrame()
        return pd.crosstab(self._tested["label"], self._tested["predicted"])

    @cached_property
    def leaves(self) -> pd.Series:
        """Index path, values the group (leaf) of the test photo; its path where groups were not logged."""
        predictions = self.runs[0].predictions
        assert predictions is not None
        paths = predictions["path"]
        groups = predictions["group"].fillna(paths) if "group" in predictions else paths
        return pd.Series(groups.to_numpy(), index=paths)

    @property
    def leaves_shared(self) -> bool:
        """Whether some of its test photos are known to show the same leaf."""
        return self.runs[0].predictions is not None and bool(self.leaves.duplicated().any())

    @cached_property
    def interval_over_both(self) -> tuple[float, float]:
        """The 95 % interval of the mean test accuracy over leaves and seeds, of one seed over leaves.

        NaN where predictions can't be read, and of one seed where no leaf is known to have several photos.
        """
        if len(self.runs) == 1 and not self.leaves_shared:
            return math.nan, math.nan
        right = self.right_by_seed
        if right is None or right.isna().any(axis=None):
            return math.nan, math.nan
        return bootstrap_interval(right.to_numpy(), list(self.leaves[right.index]))[:2]

    @property
    def widest_interval(self) -> tuple[tuple[float, float], str]:
        """The 95 % interval that holds most: over leaves and seeds, leaves or photos; and over what it is."""
        if math.isnan(self.interval_over_both[0]):
            return self.interval, "photos"
        return self.interval_over_both, "leaves and seeds" if len(self.runs) > 1 else "leaves"

    @property
    def interval_over_seeds(self) -> tuple[float, float]:
        """Student's 95 % interval of the mean test accuracy over seeds; NaN for one seed."""
        return seed_interval(list(self.accuracies.values()))


def make_rows(runs: Sequence[Run]) -> list[Row]:
    """The runs grouped by what they were trained with, seeds together, in the order of the table."""
    grouped: dict[str, Row] = {}
    for run, settings in zip(runs, distinguishing_settings(runs), strict=True):
        label = ", ".join([run.row, *(f"{short(key)}={value}" for key, value in settings.items())])
        grouped.setdefault(label, Row(label, settings, [])).runs.append(run)
    rows = [part for row in grouped.values() for part in _by_split(row)]
    models = list(dict.fromkeys(row.model for row in rows))
    return sorted(rows, key=lambda row: (_place(row), models.index(row.model), _freeze_place(row)))


def groups_to_compare(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that were tested on the same photos, together."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.photos, []).append(row)
    return list(groups.values())


def _by_split(row: Row) -> list[Row]:
    # One seed twice is no repetition but another split of the photos: a row of its own.
    if len({run.params.get("seed") for run in row.runs}) == len(row.runs):
        return [row]
    parts: dict[str, list[Run]] = {}
    for run in row.runs:
        parts.setdefault(run.tags.get(names.SPLIT_HASH, "")[:8], []).append(run)
    if len(parts) == 1:
        return [row]
    return [Row(f"{row.label}, split={split}", {**row.settings, "split": split}, part) for split, part in parts.items()]


def _test_photos(run: Run) -> str:
    # Runs of before there was a hash of the test photos alone.
    data, split = run.tags.get(names.DATA_HASH), run.tags.get(names.SPLIT_HASH)
    return run.tags.get(names.TEST_HASH) or (f"{data} {split}" if data and split else f"unknown in {run.run_id}")


def short(key: str) -> str:
    """A parameter's name as labels have it."""
    return key.removeprefix("freeze.phases.")


def _place(row: Row) -> int:
    if row.control:
        return 2
    return 1 if row.pretrained else 0


def _freeze_place(row: Row) -> int:
    return FREEZE_ORDER.index(row.freeze) if row.freeze in FREEZE_ORDER else len(FREEZE_ORDER)


def _at(column: pd.Series, position: int) -> float:
    kept = column.dropna()
    return float(kept.iloc[position]) if len(kept) else math.nan
