"""Freeze strategies as data: ordered phases, and how a run's epochs are dealt out to them. Imports no framework."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

ALL = "all"
HEAD = "head"
BATCH_NORM_POLICIES = ("train", "inference")


@dataclass
class Phase:
    """What learns in one phase of training, how fast and for how long.

    Attributes:
        learns: `all`, `head` (the layers named head_*), or the name of the first layer that learns; those after it
            in the model's order learn too.
        epoch_share: share in [0, 1] of the run's epochs, rounded. 0 leaves the phase out. The last phase gets what is
            left, whatever its share.
        learning_rate_factor: multiplies optimizer.learning_rate.
        batch_norm: `train` (batch-norm layers that learn normalise by the batch and update their statistics) or
            `inference` (they stay as they are).
        batch_norm_momentum: a number in [0, 1), `auto` (one epoch replaces 99 % of the old statistics), or None for
            the model's own: Keras's MobileNetV2 has 0.999, a half-life of 693 steps.
        schedule: of the learning rate within the phase, in place of optimizer.schedule; None: that one.
    """

    learns: str = ALL
    epoch_share: float = 1.0
    learning_rate_factor: float = 1.0
    batch_norm: str = "train"
    batch_norm_momentum: Any = None
    schedule: str | None = None


@dataclass(frozen=True)
class PlannedPhase:
    """A phase with its name and its number of epochs.

    Attributes:
        patience: it ends earlier, after so many epochs that are no better than its best one; None: it does not.
    """

    name: str
    epochs: int
    phase: Phase
    patience: int | None = None


def plan(phases: Mapping[str, Phase], epochs: int, pretrained: bool, patience: int | None = None) -> list[PlannedPhase]:
    """The phases a run goes through, in order; their epochs add up to `epochs`, and the last one has the patience.

    Without pretrained weights there is nothing to warm up to or to protect, so the run goes straight to the last
    phase, at the full learning rate and by the optimizer's schedule.
    """
    items = list(phases.items())
    last_name, last = items[-1]
    if not pretrained:
        return [PlannedPhase(last_name, epochs, replace(last, learning_rate_factor=1.0, schedule=None), patience)]
    planned = []
    left = epochs
    for name, phase in items[:-1]:
        # At least one epoch stays for the last phase, which gives the strategy its name.
        given = min(round(phase.epoch_share * epochs), left - 1)
        if given > 0:
            planned.append(PlannedPhase(name, given, phase))
            left -= given
    return [*planned, PlannedPhase(last_name, left, last, patience)]


def adapted_momentum(steps_per_epoch: int) -> float:
    """The batch-norm momentum at which one epoch replaces 99 % of the old statistics, within [0.8, 0.999]."""
    return min(max(0.01 ** (1 / steps_per_epoch), 0.8), 0.999)
