"""What it would take to see a difference that a reader cares for."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import special

from leafexp.report.evidence.intervals import ALPHA, Estimate, alike

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

    The parts of the variance fall with the numbers of leaves and networks; what the formula then makes of them on
    average is set against the true variance.
    """

    def enough(leaves: float, networks: float) -> bool:
        return _power(found, difference, leaves, networks) >= POWER

    parts = found.parts
    return Needed(
        _least(lambda count: enough(count, found.networks), 2),
        _least(lambda count: enough(found.leaves, count), 3),
        "leaves" if parts.leaf >= parts.network else "networks",
    )


def _power(found: Estimate, difference: float, leaves: float, networks: float) -> float:
    fewer_leaves, fewer_networks = found.leaves / leaves, found.networks / networks
    leaf = found.parts.leaf * fewer_leaves
    cell = found.parts.cell * fewer_leaves * fewer_networks
    network = found.parts.network * fewer_networks
    true = leaf + cell + network
    if true <= 0:
        return float(difference > 1 - alike(leaves, found.comparisons))
    # In one split the formula takes the leaves' part for each network from the networks' part.
    added = max(network - leaf / networks, 0.0) if found.parts.one_split else network
    seen = leaf + cell + added
    degrees = seen**2 / ((leaf + cell) ** 2 / (leaves - 1) + added**2 / max(networks - 1, 1))
    # The means of the networks differ by their own chance and by that of each leaf with each network.
    over_networks = network + max(found.parts.over_networks - found.parts.network, 0.0) * fewer_leaves * fewer_networks
    return min(
        _chance(difference, true, seen, degrees, found.comparisons),
        _chance(difference, true, over_networks, networks - 1, found.comparisons) if found.networks > 1 else 1.0,
    )


def _chance(difference: float, true: float, seen: float, degrees: float, comparisons: int) -> float:
    """The chance that Student's rule shows the difference: its true variance, and what is seen of that."""
    bound = special.stdtrit(degrees, 1 - ALPHA / comparisons / 2) * math.sqrt(seen / true)
    return 1 - float(special.nctdtr(degrees, difference / math.sqrt(true), bound))


def _least(enough: Callable[[int], bool], fewest: int) -> float:
    """The least count from `fewest` on that is enough, by bisection; infinite where even 100,000 are not."""
    if not enough(_MOST):
        return math.inf
    low, high = fewest - 1, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
