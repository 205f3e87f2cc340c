"""Successive halving: which trials train on, to which epoch, which end, and which one is chosen.

All trials of an arm train to the first rung, the best of them go on to the next, and so on (Jamieson & Talwalkar 2016,
arXiv:1502.07943). What it says depends on the results alone, not on the order in which processes bring them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Rank = tuple[float, float]  # validation accuracy and negative validation loss: the larger, the better


@dataclass(frozen=True)
class Result:
    """What a trial has reached.

    Attributes:
        ranks: by the epoch of each rung that it has reached, that of its best epoch until there.
        failed: whether its loss stopped being a number.
    """

    ranks: Mapping[int, Rank]
    failed: bool = False


@dataclass(frozen=True)
class Standing:
    """Where an arm's trials stand.

    Attributes:
        open: the trials to be trained now, each with the epoch to train to.
        lost: the trials that do not go on, each with the epoch at which that was decided.
        chosen: the best trial of the last rung; None before that is reached, or where all failed.
        decided: whether nothing is left to be trained.
    """

    open: list[tuple[int, int]]
    lost: list[tuple[int, int]]
    chosen: int | None = None
    decided: bool = False


def rungs(shares: Sequence[float], epochs: int, last_phase_begins: int) -> list[int]:
    """The epochs after which trials are compared, the last one included.

    Args:
        shares: of the epochs, in [0, 1].
        epochs: of a whole run.
        last_phase_begins: epochs before the last phase, which is what a strategy is about: none is compared before it
            has had an epoch.
    """
    between = {max(round(share * epochs), last_phase_begins + 1) for share in shares}
    return [*sorted(epoch for epoch in between if epoch < epochs), epochs]


def standing(results: Sequence[Result], trials: int, rungs: Sequence[int], eta: float) -> Standing:
    """What follows from the results of an arm's trials so far.

    Args:
        results: of the trials that were begun, by number.
        trials: how many there are to be.
        rungs: as `rungs` gives them.
        eta: one in so many goes on; at least one.
    """
    racing = list(range(trials))
    lost: list[tuple[int, int]] = []
    for rung in rungs:
        begun = [number for number in racing if number < len(results)]
        waiting = [number for number in begun if rung not in results[number].ranks and not results[number].failed]
        if waiting or len(begun) < len(racing):
            return Standing([(number, rung) for number in waiting], lost)
        ranked = sorted(
            (number for number in racing if not results[number].failed),
            key=lambda number: (*(-value for value in results[number].ranks[rung]), number),
        )
        going_on = sorted(ranked[: max(1, int(len(racing) / eta))]) if rung != rungs[-1] else ranked[:1]
        lost += [(number, rung) for number in ranked if number not in going_on]
        racing = going_on
        if not racing:
            return Standing([], lost, None, True)
    return Standing([], lost, racing[0], True)
