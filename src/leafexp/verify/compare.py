"""Two trainings of one run, value by value.

Where processor, versions and number of threads are the same, every bit is: nothing in a run is left to chance.

Elsewhere sums are added in another order, and training makes the last digit of one step the first digits of another one
some hundred steps on. So no bound follows from arithmetic alone. What is asked is that both trainings say the same:

* An accuracy or F1 may differ by three of its standard errors and one photo.
* A loss may differ by a quarter, or by 0.05 nats.
* A learning rate may differ by a millionth, as it is a float32.
* All else is counted, so it must be equal. Which epoch is the best is decided by ties, and not compared; nor, where
  patience ends training, after which epoch. How many predictions are others is said, and not judged.

Measured on six runs of 600 photos and five epochs, with oneDNN held to SSE4.1 in place of AVX-512: accuracies moved by
2.2 standard errors at most, here 4.7 points. Of 464 predictions 0 to 82 were others, and 265 in a network of random
features that was right 39 times in 100.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leafexp import names
from leafexp.verify.tracked import Tracked
from leafexp.wording import counted

_STANDARD_ERRORS = 3
_LOSS_SHARE, _LOSS_NATS = 0.25, 0.05
_RATE_SHARE = 1e-6
_DECIDED_BY_TIES = (names.BEST_EPOCH, "epochs_to_")
_ENDED_BY_TIES = (names.EPOCHS_TRAINED, names.OPTIMIZER_STEPS)  # with patience
_HASHES = (names.SPLIT_HASH, names.TEST_HASH, names.EXTERNAL_HASH, names.WEIGHTS_SHA256)
# What decides how sums are rounded.
_ROUNDING = {
    names.ARITHMETIC: "processor or switches",
    names.LIBRARIES: "versions of libraries",
    names.THREADS: "number of threads",
}

Same = Callable[[str, float, float], bool]


@dataclass(frozen=True)
class Part:
    """What was compared of one kind: how many values, and the differences in words."""

    what: str
    count: int
    differences: list[str]


@dataclass(frozen=True)
class Comparison:
    """Two trainings of a run side by side.

    Attributes:
        other: what rounds otherwise than when the run was tracked; empty where every bit must be equal.
        parts: what was compared.
        left_out: what was not compared and why, times and memory aside.
    """

    other: list[str]
    parts: list[Part]
    left_out: list[str]

    @property
    def equal(self) -> bool:
        """Whether there is no difference."""
        return not any(part.differences for part in self.parts)


def compare(tracked: Tracked, again: Tracked, patient: bool = False) -> Comparison:
    """Compare what was tracked of a run with what was made when it was trained again.

    Args:
        tracked: the run.
        again: the one trained again.
        patient: whether their training may have ended before its planned epochs.
    """
    other = rounds_otherwise(tracked.tags, again.tags)
    same = within(again.metrics) if other else _equal
    ties = _DECIDED_BY_TIES + (_ENDED_BY_TIES if patient else ())
    decided = {name for name in again.metrics if name.startswith(ties)} if other else set()
    both = [name for name in again.metrics if name in tracked.metrics and name not in decided]
    hashes = [tag for tag in _HASHES if tag in tracked.tags and tag in again.tags]
    predictions, turned = _predictions(tracked.predictions, again.predictions, exact=not other)
    elsewhere = names.EXTERNAL_HASH in again.tags
    there, turned_there = _predictions(tracked.elsewhere, again.elsewhere, not other, " from elsewhere")
    trained = [run.metrics.get(names.EPOCHS_TRAINED, math.inf) for run in (tracked, again)]
    last = min(trained) if other and patient else math.inf
    one, two = (run.epochs[run.epochs.index <= last] for run in (tracked, again))
    epochs, epochs_left_out = _epochs(one, two, same)
    parts = [
        Part("hashes of split and weights", len(hashes), list(_differing_tags(hashes, tracked.tags, again.tags))),
        epochs,
        Part(
            "metrics of the run",
            len(both),
            [
                _difference(name, tracked.metrics[name], again.metrics[name])
                for name in both
                if not same(name, tracked.metrics[name], again.metrics[name])
            ],
        ),
        predictions,
        *([there] if elsewhere else []),
    ]
    left_out = [
        *turned,
        *(turned_there if elsewhere else []),
        *epochs_left_out,
        *([f"epochs after {last:.0f}, as patience ended one training there"] if last < max(trained) else []),
        *_left_out(again.metrics.keys() - tracked.metrics.keys() - decided, "the tracked run does not have"),
        *_left_out(tracked.metrics.keys() - again.metrics.keys() - decided, "training again does not make"),
        *_left_out(decided & tracked.metrics.keys(), "ties decide"),
    ]
    return Comparison(other, parts, left_out)


def rounds_otherwise(tracked: Mapping[str, str], again: Mapping[str, str]) -> list[str]:
    """What rounds otherwise than when the run was tracked, in words."""
    if all(tag in tracked and tracked[tag] == again.get(tag) for tag in (names.IDENTITY, names.THREADS)):
        return []
    return [
        what if tag in tracked else f"{what} (not tracked)"
        for tag, what in _ROUNDING.items()
        if tracked.get(tag) != again.get(tag)
    ]


def within(counts: Mapping[str, float]) -> Same:
    """Whether two values of a metric are the same up to rounding, of runs with such numbers of photos."""

    def same(name: str, one: float, other: float) -> bool:
        if name.endswith(("accuracy", "f1")):
            return abs(one - other) <= accuracy_bound(one, counts[_photos(name)])
        if name.endswith("loss"):
            return abs(one - other) <= max(_LOSS_NATS, _LOSS_SHARE * one)
        if name == names.LEARNING_RATE:
            return math.isclose(one, other, rel_tol=_RATE_SHARE)
        return _equal(name, one, other)

    return same


def accuracy_bound(accuracy: float, photos: float) -> float:
    """Three standard errors of an accuracy, and one photo; one wrong and one right photo more keep it above 0."""
    likely = (accuracy * photos + 1) / (photos + 2)
    return _STANDARD_ERRORS * math.sqrt(likely * (1 - likely) / photos) + 1 / photos


def _photos(metric: str) -> str:
    """The metric with the number of photos that an accuracy is of."""
    if metric == names.ACCURACY:
        return names.TRAIN_IMAGES
    if metric in (names.EXTERNAL_ACCURACY, names.EXTERNAL_MACRO_F1):
        return names.EXTERNAL_IMAGES
    return names.VALIDATION_IMAGES if "val_" in metric else names.TEST_IMAGES


def _equal(_: str, one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _epochs(tracked: pd.DataFrame, again: pd.DataFrame, same: Same) -> tuple[Part, list[str]]:
    """The metrics of all epochs, the first epoch first; and those that only one of the runs has."""
    both = [str(name) for name in again if name in tracked]
    epochs = sorted({*tracked.index, *again.index})
    one, other = (table[both].reindex(epochs) for table in (tracked, again))
    differences = []
    for epoch, its, new in zip(epochs, one.to_dict("records"), other.to_dict("records"), strict=True):
        for name in both:
            if not same(name, its[name], new[name]):
                differences.append(_difference(f"{name} of epoch {epoch}", its[name], new[name]))
    part = Part(f"metrics of {counted(len(epochs), 'epoch')}", len(epochs) * len(both), differences)
    return part, [
        *_left_out({*again} - {*tracked}, "the tracked run does not have"),
        *_left_out({*tracked} - {*again}, "training again does not make"),
    ]


def _predictions(
    tracked: pd.DataFrame | None, again: pd.DataFrame | None, exact: bool, where: str = ""
) -> tuple[Part, list[str]]:
    """The predictions, photo by photo; where not every bit counts, labels, and how many turned."""
    if tracked is None or again is None:
        name = names.EXTERNAL_PREDICTIONS_FILE if where else names.PREDICTIONS_FILE
        return Part(f"predictions{where}", 0, [f"{name} can't be read"]), []
    one, other = (table.set_index("path") for table in (tracked, again))
    what = (f"predictions of {counted(len(one), 'photo')}" if exact else "labels of tested photos") + where
    if len(only := one.index.symmetric_difference(other.index)):
        return Part(what, len(one), [f"photo {path}: tested by one of the trainings alone" for path in only]), []
    if list(one) != list(other):
        return Part(what, len(one), ["the predictions are of other classes"]), []
    other = other.loc[one.index]
    columns = list(one) if exact else ["label"]
    unlike = (one[columns] != other[columns]) & ~(one[columns].isna() & other[columns].isna())
    first = unlike.idxmax(axis=1)[unlike.any(axis=1)].astype(str)  # of each photo the first column that differs
    differences = [
        f"photo {path}, {_difference(name, one[name][path], other[name][path])}"
        for path, name in zip(first.index, first, strict=True)
    ]
    turned = (one["predicted"] != other["predicted"]).sum()
    return Part(what, len(one), differences), [] if exact else [
        f"predictions{where}: {turned} of {len(one)} are others"
    ]


def _differing_tags(tags: list[str], one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[str]:
    for tag in tags:
        if one[tag] != other[tag]:
            yield _difference(tag, one[tag][:12], other[tag][:12])


def _difference(what: str, tracked: Any, again: Any) -> str:
    said = [repr(float(value)) if isinstance(value, float) else str(value) for value in (tracked, again)]
    return f"{what}: tracked {said[0]}, now {said[1]}"


def _left_out(metrics: set[str], why: str) -> list[str]:
    return [f"{', '.join(sorted(metrics))}, which {why}"] if metrics else []
