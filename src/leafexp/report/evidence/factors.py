"""What a setting of two values does: in each pair of rows, and on average where that is the same everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from leafexp.report.evidence.comparisons import FEWEST_NETWORKS, Comparison, settings_varied, shared
from leafexp.report.evidence.intervals import ALPHA, Estimate, estimate
from leafexp.report.rows.row import Row, groups_to_compare


@dataclass(frozen=True, eq=False)
class Effect:
    """A setting that rows differ in, all else alike.

    Attributes:
        setting: the parameter.
        low, high: its two values; an effect is that of `high` instead of `low`.
        pairs: a comparison for each pair of rows, the row with `high` first.
        differ: whether two of the pairs are borne out to have different effects.
        average: over the pairs, where none are; None also where they share fewer than three networks: these show
            neither.
    """

    setting: str
    low: str
    high: str
    pairs: tuple[Comparison, ...]
    differ: bool
    average: Estimate | None


def effects(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Effect]:
    """Every setting of two values that two or more pairs of rows differ in alone.

    Args:
        rows: all rows.
        comparisons: of these rows, as `compare` gives them.
    """
    found = []
    for group in groups_to_compare(rows):
        for setting, pairs in settings_varied(group).items():
            values = {(high.settings.get(setting, ""), low.settings.get(setting, "")) for high, low in pairs}
            made = [item for high, low in pairs if (item := _of(high, low, comparisons)) is not None]
            if len(pairs) > 1 and len(values) == 1 and len(made) == len(pairs):
                ((high, low),) = values
                found.append(Effect(setting, low, high, tuple(made), *_average(made)))
    return found


def _of(high: Row, low: Row, comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison of two rows, counted from `high`."""
    for item in comparisons:
        if (item.one, item.other) == (high, low):
            return item
        if (item.one, item.other) == (low, high):
            return item.turned()
    return None


def _average(pairs: Sequence[Comparison]) -> tuple[bool, Estimate | None]:
    """Whether two effects are borne out to differ, and else their mean; by the networks that all pairs have."""
    rows = [row.outcomes for item in pairs for row in (item.one, item.other)]
    known = [seen for seen in rows if seen is not None]
    right = shared(known) if len(known) == len(rows) else None
    if right is None or len(right[0]) < FEWEST_NETWORKS:
        return False, None
    single = [one - other for one, other in zip(right[::2], right[1::2], strict=True)]
    two = list(combinations(single, 2))
    if any(estimate(one - other, known[0].leaves, len(two)).p < ALPHA for one, other in two):
        return True, None
    return False, estimate(np.mean(single, axis=0), known[0].leaves)
