"""What it would take to see a difference that a reader cares for."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import stats

from leafexp.report.evidence.intervals import ALPHA, Estimate

POWER = 0.8
_MOST = 100_000


@dataclass(frozen=True)
class Needed:
    """What would show a difference of the wanted size with a chance of 80 %, after the family's correction.

    Attributes:
        leaves: with as many networks as there are; infinite where no number of leaves would.
        networks: of each row, with as many leaves as there are; infinite where no number of networks would.
        held_back_by: `leaves` or `networks`: which of the two has the larger part in the variance.
    """

    leaves: float
    networks: float
    held_back_by: str


def needed(found: Estimate, difference: float) -> Needed:
    """How many leaves or networks would show a difference, a share, by the formula of `intervals.estimate`.

    The leaves' part of the variance falls with their number; so does the networks' part with theirs.
    """

    def enough(leaves: float, networks: float) -> bool:
        leaf = found.leaf_variance * found.leaves / leaves
        network = found.network_variance * found.networks / networks
        return _power(difference, leaf, network, leaves, networks, found.comparisons) >= POWER

    return Needed(
        _least(lambda count: enough(count, found.networks), 2),
        _least(lambda count: enough(found.leaves, count), 3),
        "leaves" if found.leaf_variance >= found.network_variance else "networks",
    )


def _power(difference: float, leaf: float, network: float, leaves: float, networks: float, comparisons: int) -> float:
    variance = leaf + network
    if variance <= 0:
        return 1.0
    below = leaf**2 / (leaves - 1) + network**2 / max(networks - 1, 1)
    degrees = variance**2 / below
    bound = stats.t.ppf(1 - ALPHA / comparisons / 2, degrees)
    return float(stats.nct.sf(bound, degrees, difference / math.sqrt(variance)))


def _least(enough: Callable[[int], bool], fewest: int) -> float:
    """The least count from `fewest` on that is enough, by bisection; infinite where even 100,000 are not."""
    if not enough(_MOST):
        return math.inf
    low, high = fewest - 1, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
