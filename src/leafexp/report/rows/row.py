"""Runs as the rows of the comparison: one row per configuration, its seeds and folds together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import pandas as pd

from leafexp import names
from leafexp.report.evidence.outcomes import Outcomes
from leafexp.report.read.runs import Run
from leafexp.report.read.settings import defaults, same_value
from leafexp.report.rows.labels import arm_names, distinguishing_settings, in_words, short, told
from leafexp.report.rows.predictions import outcomes, tested

FREEZE_ORDER = ("unfrozen", "partial", "frozen")
_STRATEGY = "freeze.phases."  # the settings of a freeze strategy


@dataclass(frozen=True, eq=False)
class Row:
    """One configuration of the study.

    Attributes:
        label: the configuration's name, such as `MobileNetV2_partial, epochs=5`; no two rows share it.
        name: what sentences call it, such as `top fine-tuned`, or a letter.
        settings: the parameters in which it differs from other rows of its model and freeze strategy.
        runs: its networks, one a seed and fold.
    """

    label: str
    name: str
    settings: dict[str, str]
    runs: tuple[Run, ...]

    def tag(self, name: str) -> str:
        """A tag that all runs of the row share; empty where it was not logged."""
        return self.runs[0].tags.get(name, "")

    def param(self, name: str) -> str:
        """A parameter that all runs of the row share; empty where it was not logged."""
        return self.runs[0].params.get(name, "")

    def hashes(self, name: str, length: int = 8) -> str:
        """The beginnings of the hashes that the runs of the row have in a tag."""
        return "/".join(sorted({run.tags.get(name, "")[:length] or "?" for run in self.runs}))

    def every(self, name: str) -> str:
        """The values that the runs of the row have in a tag; empty where one lacks it."""
        values = {run.tags.get(name, "") for run in self.runs}
        return "" if "" in values else "/".join(sorted(values))

    def mean(self, metric: str) -> float:
        """The mean of a run's metric over the runs that have it; NaN where none has."""
        values = [run.metrics[metric] for run in self.runs if metric in run.metrics]
        return sum(values) / len(values) if values else math.nan

    @property
    def model(self) -> str:
        """The model's config name, such as mnv2."""
        return self.tag(names.MODEL) or self.param("model.name")

    @property
    def title(self) -> str:
        """The network's name, such as MobileNetV2."""
        return self.runs[0].row.removesuffix(f"_{self.freeze}")

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

    @property
    def scratch(self) -> bool:
        """Whether the whole network learned from random weights."""
        return not self.pretrained and not self.control

    @cached_property
    def strategy(self) -> dict[str, str]:
        """The settings of its freeze strategy."""
        return {key: value for key, value in self.runs[0].params.items() if key.startswith(_STRATEGY)}

    @cached_property
    def as_shipped(self) -> bool:
        """Whether its freeze strategy is as conf/ has it; what was not logged counts as that."""
        usual = defaults(self.runs[0].params)
        return all(same_value(value, usual.get(key, value)) for key, value in self.strategy.items())

    @property
    def folded(self) -> bool:
        """Whether its networks are folds, so that each photo is tested once a seed."""
        return any(run.fold for run in self.runs)

    @property
    def folds(self) -> int:
        """How many networks test every photo once; 0 without folds."""
        return len({run.fold for run in self.runs if run.fold})

    @property
    def partitions(self) -> int:
        """How many ways its photos were parted into folds, one a seed unless `data.split_seed` was set."""
        return len({run.params.get("data.split_seed") for run in self.runs})

    @cached_property
    def photos(self) -> frozenset[str]:
        """The hashes of what was tested: accuracies compare only where they are equal. Unknown ones equal no others."""
        if self.folded:
            return frozenset(f"{run.photos} in {self.folds} folds" for run in self.runs)
        return frozenset(_test_photos(run) for run in self.runs)

    @cached_property
    def machines(self) -> frozenset[str]:
        """The machines it was trained on, an empty name where it was not logged: times compare on one machine only."""
        return frozenset(run.tags.get(names.HOST, "") for run in self.runs)

    @cached_property
    def seeds(self) -> list[str]:
        """Its seeds, each once."""
        return list(dict.fromkeys(run.params.get("seed", "?") for run in self.runs))

    @property
    def accuracy(self) -> float:
        """Mean test accuracy in [0, 1], as the runs logged it; of folds the share of all their test photos."""
        photos = [run.metrics.get(names.TEST_IMAGES, 0.0) for run in self.runs]
        if not self.folded or not all(photos):
            return self.mean(names.TEST_ACCURACY)
        right = [run.metrics[names.TEST_ACCURACY] * count for run, count in zip(self.runs, photos, strict=True)]
        return sum(right) / sum(photos)

    @cached_property
    def best_val_accuracy(self) -> float:
        """Mean of the best validation accuracies, by which an arm may be chosen; NaN where curves are missing."""
        best = [run.curves[names.VAL_ACCURACY].max() for run in self.runs if names.VAL_ACCURACY in run.curves]
        return float(sum(best) / len(best)) if best else math.nan

    @property
    def trainable(self) -> float:
        """Parameters that learn in the last phase."""
        return self.mean(names.PARAMS_TRAINABLE)

    @property
    def parameters(self) -> float:
        """All parameters."""
        return self.trainable + self.mean(names.PARAMS_NON_TRAINABLE)

    @cached_property
    def tested(self) -> pd.DataFrame | None:
        """The test photos of all networks below each other; None where any network's can't be read."""
        return tested(self.runs)

    @cached_property
    def outcomes(self) -> Outcomes | None:
        """Which network was right on which photo; None where that can't be read or is not what was logged."""
        return None if self.tested is None else outcomes(self.tested, self.runs)


def make_rows(runs: Sequence[Run]) -> list[Row]:
    """The runs grouped by what they were trained with, seeds and folds together, in the order of the table."""
    grouped: dict[str, tuple[dict[str, str], list[Run]]] = {}
    for run, settings in zip(runs, distinguishing_settings(runs), strict=True):
        label = ", ".join([run.row, *(f"{short(key)}={value}" for key, value in told(settings).items())])
        grouped.setdefault(label, (settings, []))[1].append(run)
    parts = [
        part for label, (settings, members) in grouped.items() for part in _by_split(label, settings, tuple(members))
    ]
    rows = [Row(label, label, settings, members) for label, settings, members in parts]
    models = list(dict.fromkeys(row.model for row in rows))
    rows.sort(key=lambda row: (_place(row), models.index(row.model), _freeze_place(row)))
    shipped = {row for row in map(partial(shipped_as, rows=rows), rows) if row}
    called = arm_names(
        [
            (in_words(row.runs[0]), row.title, other_settings(row) if row in shipped else row.settings, row.pretrained)
            for row in rows
        ]
    )
    return [Row(row.label, name, row.settings, row.runs) for row, name in zip(rows, called, strict=True)]


def shipped_as(row: Row, rows: Iterable[Row]) -> Row | None:
    """The row of which `row` is a variant: equal but for its freeze strategy, which is as it ships; else None.

    Where all rows are of one arm, as in a study of its settings, none is a variant.
    """
    rows = list(rows)
    if row.as_shipped or of_one_arm(rows):
        return None
    return next(
        (it for it in rows if it.as_shipped and _arm(it) == _arm(row) and other_settings(it) == other_settings(row)),
        None,
    )


def of_one_arm(rows: Iterable[Row]) -> bool:
    """Whether all rows but controls are one arm with other settings."""
    return len({_arm(row) for row in rows if not row.control}) == 1


def groups_to_compare(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that were tested on the same photos, together."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.photos, []).append(row)
    return list(groups.values())


def varied_settings(rows: Iterable[Row]) -> list[str]:
    """The settings that a study varies: some arm has them with several values. Model and freeze strategy are none."""
    values: dict[tuple[str, tuple[str, bool]], set[str]] = {}
    told = ("model.", "freeze.", names.WEIGHTS_SHA256)
    for row in rows:
        for key, value in row.settings.items():
            if not key.startswith(told):
                values.setdefault((key, (row.runs[0].row, row.pretrained)), set()).add(value)
    return sorted({key for (key, _), found in values.items() if len(found) > 1})


def with_shared_settings(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows that share what is varied, together. What two arms have unlike once and for all parts no rows."""
    rows = list(rows)
    varied = varied_settings(rows)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.settings.get(key, "") for key in varied), []).append(row)
    return list(groups.values())


def _by_split(
    label: str, settings: dict[str, str], runs: tuple[Run, ...]
) -> list[tuple[str, dict[str, str], tuple[Run, ...]]]:
    # One seed twice is no repetition but another split of the photos: a row of its own.
    if len({(run.params.get("seed"), run.fold) for run in runs}) == len(runs):
        return [(label, settings, runs)]
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(run.tags.get(names.SPLIT_HASH, "")[:8], []).append(run)
    if len(parts) == 1:
        return [(label, settings, runs)]
    return [
        (f"{label}, split={split}", {**settings, "split": split}, tuple(members)) for split, members in parts.items()
    ]


def _arm(row: Row) -> tuple[str, bool]:
    return row.runs[0].row, row.pretrained


def other_settings(row: Row) -> dict[str, str]:
    """What parts the row from others besides its freeze strategy."""
    return {key: value for key, value in row.settings.items() if not key.startswith(_STRATEGY)}


def _test_photos(run: Run) -> str:
    # Runs of before there was a hash of the test photos alone.
    data, split = run.tags.get(names.DATA_HASH), run.tags.get(names.SPLIT_HASH)
    return run.tags.get(names.TEST_HASH) or (f"{data} {split}" if data and split else f"unknown in {run.run_id}")


def _place(row: Row) -> int:
    """Pretrained rows first, then those from scratch, then controls."""
    return 2 if row.control else 0 if row.pretrained else 1


def _freeze_place(row: Row) -> int:
    return FREEZE_ORDER.index(row.freeze) if row.freeze in FREEZE_ORDER else len(FREEZE_ORDER)
