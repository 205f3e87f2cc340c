"""Which rows the study compares with which, and what the data say of each pair."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import combinations

import numpy as np

from leafexp import names
from leafexp.report.evidence.intervals import ALPHA, Estimate, estimate
from leafexp.report.evidence.outcomes import Outcomes
from leafexp.report.rows.row import Row, groups_to_compare, other_settings, shipped_as, with_shared_settings

FEWEST_NETWORKS = 3  # of each row, for a verdict
_WEIGHTS = ("model.weights", names.WEIGHTS_SHA256)


class Verdict(Enum):
    """What the data say of two rows."""

    ONE_MORE = "one is more accurate"
    OTHER_MORE = "other is more accurate"
    NOT_DECIDED = "not decided"
    TOO_FEW = "too few networks"
    NO_DATA = "can't be compared"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two rows on the same photos, by networks that were trained with the same seeds and folds of one partition.

    Attributes:
        one, other: the rows.
        kind: why the study compares them: `transfer`, `freezing`, `weights`, or the name of a setting.
        verdict: what may be said.
        estimate: accuracy of `one` minus that of `other`, with its simultaneous interval; None without data.
        networks: how many pairs of networks it rests on.
        left_out: seed and fold of the networks that only one of the two rows has.
        one_only, other_only: predictions where only one of the two was right, of `tested`.
    """

    one: Row
    other: Row
    kind: str
    verdict: Verdict = Verdict.NO_DATA
    estimate: Estimate | None = None
    networks: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    one_only: int = 0
    other_only: int = 0
    tested: int = 0

    def turned(self) -> "Comparison":
        """The same, counted from the other row."""
        seen = self.estimate
        if seen is not None:
            seen = replace(seen, value=-seen.value, low=-seen.high, high=-seen.low)
        verdict = {Verdict.ONE_MORE: Verdict.OTHER_MORE, Verdict.OTHER_MORE: Verdict.ONE_MORE}.get(self.verdict)
        return replace(
            self,
            one=self.other,
            other=self.one,
            verdict=verdict or self.verdict,
            estimate=seen,
            one_only=self.other_only,
            other_only=self.one_only,
        )


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """Every planned comparison, corrected for the number of them in its family.

    A family is one question to the rows with the same photos and settings: which arm is best, asked of each pretrained
    row against each network trained whole from scratch (`transfer`) and of pretrained rows of one network against each
    other (`freezing`); and what pretraining adds, asked of a pretrained row against the same network from random
    weights (`weights`). Rows that differ in one setting alone are a family of their own (`settings_varied`), and
    variants of a freeze strategy have no part in others. So a further row that asks something else, or a control,
    changes no verdict.
    """
    found = []
    for group in groups_to_compare(rows):
        for alike in with_shared_settings(group):
            arms = [row for row in alike if not shipped_as(row, alike)]
            for family in (list(_arms(arms)), list(_weights(arms))):
                found += [_compare(*pair, len(family)) for pair in family]
        for setting, pairs in settings_varied(group).items():
            there = [{item.one, item.other} for item in found]
            new = [pair for pair in pairs if {*pair} not in there]
            found += [_compare(*pair, setting, len(pairs)) for pair in new]
    return found


def settings_varied(rows: Iterable[Row]) -> dict[str, list[tuple[Row, Row]]]:
    """For each setting, the pairs of rows of one arm that differ in it alone; the lower or earlier value second."""
    varied: dict[str, list[tuple[Row, Row]]] = {}
    for one, other in combinations([row for row in rows if not row.control], 2):
        if (one.runs[0].row, one.pretrained) != (other.runs[0].row, other.pretrained):
            continue
        unlike = [key for key in {**one.settings, **other.settings} if one.settings.get(key) != other.settings.get(key)]
        if len(unlike) == 1:
            pair = (one, other) if _place(one, unlike[0]) > _place(other, unlike[0]) else (other, one)
            varied.setdefault(unlike[0], []).append(pair)
    return varied


def _arms(rows: Sequence[Row]) -> Iterator[tuple[Row, Row, str]]:
    pretrained = [row for row in rows if row.pretrained]
    for row in pretrained:
        yield from ((row, other, "transfer") for other in rows if other.scratch and other.model != row.model)
    for one, other in combinations(pretrained, 2):
        if one.model == other.model and one.freeze != other.freeze:
            yield one, other, "freezing"


def _weights(rows: Sequence[Row]) -> Iterator[tuple[Row, Row, str]]:
    for row in rows:
        if row.pretrained:
            yield from ((row, other, "weights") for other in rows if _differ_in_weights(row, other))


def _differ_in_weights(row: Row, other: Row) -> bool:
    if other.pretrained or (other.model, other.freeze) != (row.model, row.freeze):
        return False
    settings = [{key: value for key, value in other_settings(it).items() if key not in _WEIGHTS} for it in (row, other)]
    return settings[0] == settings[1] and row.strategy == other.strategy


def _compare(one: Row, other: Row, kind: str, comparisons: int) -> Comparison:
    if one.outcomes is None or other.outcomes is None:
        return Comparison(one, other, kind)
    paired = differences(one.outcomes, other.outcomes)
    if paired is None:
        return Comparison(one, other, kind)
    found = estimate(paired, one.outcomes.leaves, comparisons)
    if found.networks < FEWEST_NETWORKS:
        verdict = Verdict.TOO_FEW
    elif found.p < ALPHA:
        verdict = Verdict.ONE_MORE if found.value > 0 else Verdict.OTHER_MORE
    else:
        verdict = Verdict.NOT_DECIDED
    more, less = int((paired > 0).sum()), int((paired < 0).sum())
    both = [one.outcomes, other.outcomes]
    left_out = tuple(sorted({network for seen in both for network in seen.networks} - {*_common(both)}))
    return Comparison(one, other, kind, verdict, found, found.networks, left_out, more, less, found.predictions)


def differences(one: Outcomes, other: Outcomes) -> np.ndarray | None:
    """Right minus right of each photo by the networks that both rows have; None where they share none, or no photos."""
    alike = shared([one, other])
    if alike is None:
        return None
    paired: np.ndarray = alike[0] - alike[1]
    return paired if np.isfinite(paired).any() else None


def shared(seen: Sequence[Outcomes]) -> list[np.ndarray] | None:
    """What each row's networks got right, of the networks that all rows have, in one order; None as `differences`."""
    first = seen[0]
    if any(it.paths != first.paths or not np.array_equal(it.leaves, first.leaves) for it in seen):
        return None
    common = _common(seen)
    return [_right(it, common) for it in seen] if common else None


def _common(seen: Sequence[Outcomes]) -> list[tuple[str, str]]:
    """The networks that all rows have, tested on the same photos: a fold of another partition is another."""
    there = [network for network in seen[0].networks if all(network in it.networks for it in seen)]
    tested = [np.isfinite(_right(it, there)) for it in seen]
    alike = np.logical_and.reduce([(tested[0] == other).all(axis=1) for other in tested])
    return [network for network, same in zip(there, alike, strict=True) if same]


def _right(seen: Outcomes, networks: Sequence[tuple[str, str]]) -> np.ndarray:
    return seen.right[[seen.networks.index(network) for network in networks]]


def _place(row: Row, key: str) -> tuple[int, float, str]:
    """Where a setting's value stands among others: none first, numbers by size, then texts."""
    value = row.settings.get(key, "")
    try:
        return 1, float(value), ""
    except ValueError:
        return (0, 0.0, "") if value in ("None", "") else (2, 0.0, value)
