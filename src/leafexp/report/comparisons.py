"""Which rows are compared with which, and what may be said of each pair."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import pandas as pd

from leafexp import names
from leafexp.report.budget import unequal_budget
from leafexp.report.rows import Row, groups_to_compare
from leafexp.report.statistics import (
    SIGNIFICANCE,
    bootstrap_interval,
    discordant_photos,
    holm,
    mcnemar,
    photos_needed,
    sign_flip,
)
from leafexp.report.wording import count, counted, p_value, points, share

ALL_PAIRS_UP_TO = 12  # rows; among more, only the pairs that the answers speak of


@dataclass(frozen=True)
class Comparison:
    """Two rows on the same photos; `better` has the higher test accuracy, or an equal one.

    Attributes:
        better, worse: the rows.
        better_only, worse_only: photos that one gets right and the other wrong; of several seeds, more often right.
        p: the exact McNemar p after Holm's correction; None where predictions could not be read, and then the 95 %
            intervals decide.
        interval: 95 % interval of the difference of the accuracies.
        over_seeds: whether the interval holds the chance of the seed besides that of the leaves.
        seed_differences: the difference for each seed that both have.
        p_seeds: that the seeds' differences are as likely below 0 as above, by all sign flips; NaN for one seed.
        photos_needed: test photos to tell a difference of this size with a chance of 80 %.
    """

    better: Row
    worse: Row
    better_only: int = 0
    worse_only: int = 0
    p: float | None = None
    interval: tuple[float, float] = (math.nan, math.nan)
    over_seeds: bool = False
    seed_differences: tuple[float, ...] = ()
    p_seeds: float = math.nan
    photos_needed: float = math.nan

    @property
    def difference(self) -> float:
        """Test accuracy of `better` minus that of `worse`, in [0, 1]."""
        return self.better.accuracy - self.worse.accuracy

    @property
    def told_apart(self) -> bool:
        """Whether the data bear out that `better` is more accurate: by McNemar's test and by the interval."""
        if self.p is None:
            return self.better.interval[0] > self.worse.interval[1]
        return self.p < SIGNIFICANCE and self.better_only > self.worse_only and self.interval[0] > 0


Comparisons = dict[frozenset[str], Comparison]


def compare(rows: Sequence[Row]) -> Comparisons:
    """Every pair of approaches on the same photos, with Holm's correction over all of them.

    One family for the whole report, so that a pair gets the same verdict under each question.
    """
    pairs = {frozenset((one.label, other.label)): (one, other) for one, other in _pairs(rows)}
    compared = {key: _compare(*pair) for key, pair in pairs.items()}
    tested = {key: item.p for key, item in compared.items() if item.p is not None}
    for key, p in zip(tested, holm(list(tested.values())), strict=True):
        compared[key] = replace(compared[key], p=p)
    return compared


def verdict(one: Row, other: Row, comparisons: Comparisons) -> str:
    """One sentence on a pair that `compare` covered, with its figures and any difference of budget."""
    item = comparisons[frozenset((one.label, other.label))]
    figures = f"test accuracy {share(item.better.accuracy)} against {share(item.worse.accuracy)}; {evidence(item)}"
    if item.told_apart:
        said = f"{item.better.name} is more accurate than {item.worse.name} by {points(item.difference)} ({figures})"
    else:
        photos = counted(item.better.mean(names.TEST_IMAGES), "test photo")
        said = (
            f"{item.better.name} and {item.worse.name} can't be told apart on {photos} "
            f"({figures}){_what_would_settle(item)}"
        )
    return f"{said}{unequal_budget(item.better, item.worse)}."


def evidence(item: Comparison) -> str:
    """Interval, test and seeds of a comparison."""
    if item.p is None:
        return f"their intervals {'do not overlap' if item.told_apart else 'overlap'}; predictions can't be used"
    low, high = item.interval
    said = [
        f"95 % interval of the difference {points(low, unit='')} to {points(high)} over leaves"
        f"{' and seeds' if item.over_seeds else ''}",
        f"{count(item.better_only)}:{count(item.worse_only)} discordant photos, {p_value(item.p)}",
    ]
    if len(item.seed_differences) > 1:
        ahead = sum(value > 0 for value in item.seed_differences)
        said.append(f"ahead with {ahead} of {len(item.seed_differences)} seeds, {p_value(item.p_seeds)}")
    return "; ".join(said)


def _what_would_settle(item: Comparison) -> str:
    photos = item.better.mean(names.TEST_IMAGES)
    if math.isfinite(item.photos_needed) and item.photos_needed > photos:
        return f"; a difference of this size would take about {count(float(f'{item.photos_needed:.2g}'))} test photos"
    if math.isfinite(item.photos_needed) and not item.over_seeds:
        return "; more seeds would tell more"
    if item.interval[0] > 0:
        return "; the interval alone would tell them apart, the corrected test does not"
    return ""


def ranked(rows: Iterable[Row]) -> list[Row]:
    """The approaches (no controls) that have a test accuracy, the best first."""
    known = [row for row in rows if not row.control and row.accuracy == row.accuracy]
    return sorted(known, key=lambda row: -row.accuracy)


def transfer(rows: Iterable[Row], *freezes: str) -> list[Row]:
    """The pretrained rows, of the given freeze strategies if any are given."""
    return [row for row in rows if row.pretrained and not row.control and (not freezes or row.freeze in freezes)]


def scratch(rows: Iterable[Row]) -> list[Row]:
    """The rows trained whole from random weights."""
    return [row for row in rows if not row.pretrained and not row.control]


def with_shared_settings(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows that share their settings (but for the model and the freeze strategy), together."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(sorted(shared_settings(row).items())), []).append(row)
    return list(groups.values())


def counterparts(row: Row, others: Iterable[Row]) -> list[Row]:
    """Those of `others` on the same photos with the same settings (learning rate, ...); all of them if none has."""
    others = [other for other in others if other is not row and other.photos == row.photos]
    return [other for other in others if shared_settings(other) == shared_settings(row)] or others


def random_weights(row: Row, rows: Iterable[Row]) -> list[Row]:
    """The rows that differ from a pretrained one in their weights alone."""
    weights = ("model.weights", names.WEIGHTS_SHA256)
    settings = {key: value for key, value in row.settings.items() if key not in weights}
    return [
        other
        for other in rows
        if not other.pretrained
        and (other.model, other.freeze, other.photos) == (row.model, row.freeze, row.photos)
        and {key: value for key, value in other.settings.items() if key not in weights} == settings
    ]


def other_ways(row: Row, rows: Iterable[Row]) -> list[Row]:
    """The pretrained rows of the row's model that freeze otherwise."""
    return counterparts(
        row, [other for other in transfer(rows) if other.model == row.model and other.freeze != row.freeze]
    )


def _pairs(rows: Sequence[Row]) -> Iterable[tuple[Row, Row]]:
    for group in groups_to_compare(rows):
        order = ranked(group)
        if len(order) <= ALL_PAIRS_UP_TO:
            yield from combinations(order, 2)
        else:
            yield from ((order[0], row) for row in order[1:])
            for alike in with_shared_settings(order):
                yield from combinations(alike[:ALL_PAIRS_UP_TO], 2)
                best = [*ranked(transfer(alike))[:1], *ranked(scratch(alike))[:1]]
                yield from ((row, other) for row in best for other in alike if other is not row)
        for row in transfer(order):
            yield from ((row, other) for other in random_weights(row, group) if other.accuracy == other.accuracy)
        for row in transfer(order, "unfrozen", "partial"):
            yield from ((row, other) for other in other_ways(row, order))


def _compare(one: Row, other: Row) -> Comparison:
    better, worse = (one, other) if one.accuracy >= other.accuracy else (other, one)
    if better.right is None or worse.right is None:
        return Comparison(better, worse)
    better_only, worse_only, photos = discordant_photos(better.right, worse.right)
    if photos != len(better.right) or photos != len(worse.right):
        return Comparison(better, worse)
    differences = paired_differences(better, worse)
    low, high, error = bootstrap_interval(differences.to_numpy(), list(better.leaves[differences.index]))
    one_by_seed, other_by_seed = better.accuracies, worse.accuracies
    by_seed = tuple(one_by_seed[seed] - other_by_seed[seed] for seed in one_by_seed if seed in other_by_seed)
    return Comparison(
        better,
        worse,
        better_only,
        worse_only,
        mcnemar(better_only, worse_only),
        (low, high),
        differences.shape[1] > 1,
        by_seed,
        sign_flip(by_seed) if len(by_seed) > 1 else math.nan,
        photos_needed(better.accuracy - worse.accuracy, error, photos),
    )


def paired_differences(better: Row, worse: Row) -> pd.DataFrame:
    """How much more often the first row is right: photos by seeds, or a column of means where the seeds differ."""
    one, other = better.right_by_seed, worse.right_by_seed
    assert one is not None and other is not None
    if set(one) == set(other) and not one.isna().any(axis=None) and not other.isna().any(axis=None):
        return one - other[one.columns]
    return (one.mean(axis=1) - other.mean(axis=1)).to_frame()


def shared_settings(row: Row) -> dict[str, str]:
    """The settings in the row's name that belong to neither the model nor the freeze strategy."""
    told = ("model.", "freeze.", "epochs", names.WEIGHTS_SHA256)
    return {key: value for key, value in row.settings.items() if not key.startswith(told)}
