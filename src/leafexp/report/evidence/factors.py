"""What a setting of two values does: in each pair of rows, and on average where that is the same everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from leafexp.report.evidence.comparisons import Comparison, differences, settings_varied
from leafexp.report.evidence.intervals import Estimate, estimate
from leafexp.report.rows.row import Row, groups_to_compare


@dataclass(frozen=True, eq=False)
class Effect:
    """A setting that rows differ in, all else alike.

    Attributes:
        setting: the parameter.
        low, high: its two values; an effect is that of `high` instead of `low`.
        pairs: a comparison for each pair of rows, the row with `high` first.
        average: over the pairs, where no two of them differ by more than their interval; else None.
    """

    setting: str
    low: str
    high: str
    pairs: tuple[Comparison, ...]
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
                found.append(Effect(setting, low, high, tuple(made), _average(made)))
    return found


def _of(high: Row, low: Row, comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison of two rows, counted from `high`."""
    for item in comparisons:
        if (item.one, item.other) == (high, low):
            return item
        if (item.one, item.other) == (low, high):
            return item.turned()
    return None


def _average(pairs: Sequence[Comparison]) -> Estimate | None:
    """The mean effect, where the pairs have the same networks and no two effects are borne out to differ."""
    seen = [(item.one.outcomes, item.other.outcomes) for item in pairs]
    single = [differences(one, other) for one, other in seen if one and other]
    known = [values for values in single if values is not None]
    if len(known) < len(pairs) or len({values.shape for values in known}) > 1:
        return None
    outcomes = pairs[0].one.outcomes
    assert outcomes is not None
    two = list(combinations(known, 2))
    for one, other in two:
        apart = estimate(one - other, outcomes.leaves, len(two))
        if apart.low > 0 or apart.high < 0:
            return None
    return estimate(np.mean(known, axis=0), outcomes.leaves)
