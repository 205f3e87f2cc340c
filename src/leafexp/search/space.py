"""What is searched for an arm, and the settings of its trials: drawn by Optuna, the same however often they are asked.

The first trials are drawn at random; those after them by the tree-structured Parzen estimator (Bergstra et al. 2011),
from what the trials of earlier groups reached at the first rung. A group is drawn together, so that how many processes
work on a search does not change what it tries.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from leafexp.training.phases import plan

if TYPE_CHECKING:
    from leafexp.settings.schema import Config, RangesConfig

GROUP = 4  # trials drawn together
_AT_RANDOM = 8  # results before the estimator is asked
_DIGITS = 3  # of the numbers that are drawn
Settings = dict[str, Any]  # by the configuration's key


def dimensions(config: "Config", ranges: "RangesConfig") -> tuple[dict[str, BaseDistribution], Settings]:
    """What is searched for an arm, by key, and the value that each has to begin with.

    What the arm does not have is left out: the factor of a run with one phase, the cut of a strategy that does not ask
    the network for it, the dropout of a network without.
    """
    found: dict[str, BaseDistribution] = {}
    first: Settings = {}

    def numbers(key: str, given: Sequence[float] | None, value: float, log: bool) -> None:
        if given is not None:
            first[key] = value
            found[key] = FloatDistribution(min(*given, value), max(*given, value), log=log)

    def choices(key: str, given: Sequence[Any] | None, value: Any) -> None:
        if given is not None:
            first[key] = value
            found[key] = CategoricalDistribution(list(dict.fromkeys([*given, value])))

    optimizer, network = config.optimizer, config.model.network
    phases = plan(config.freeze.phases, config.epochs, config.model.weights is not None)
    last = phases[-1]
    numbers("optimizer.learning_rate", ranges.learning_rate, optimizer.learning_rate, log=True)
    if len(phases) > 1:
        factor = last.phase.learning_rate_factor
        numbers(f"freeze.phases.{last.name}.learning_rate_factor", ranges.learning_rate_factor, factor, log=True)
    if "dropout" in network:
        numbers("model.network.dropout", ranges.dropout, network["dropout"], log=False)
    choices("optimizer.keras.weight_decay", ranges.weight_decay, optimizer.keras.get("weight_decay") or 0.0)
    schedule = last.phase.schedule or optimizer.schedule
    own = len(phases) > 1 or last.phase.schedule
    choices(f"freeze.phases.{last.name}.schedule" if own else "optimizer.schedule", ranges.schedule, schedule)
    if last.phase.learns == config.model.partial_from:
        choices("model.partial_from", ranges.partial_from.get(config.model.name), config.model.partial_from)
    return found, first


def draw(
    space: Mapping[str, BaseDistribution],
    first: Settings,
    known: Sequence[tuple[Settings, float]],
    number: int,
    seed: int,
) -> Settings:
    """The settings of a trial: those to begin with for the first one.

    Args:
        space: as `dimensions` gives it.
        first: likewise.
        known: settings of the trials of earlier groups, by number, and the accuracy that each reached.
        number: the trial's.
        seed: of the search.
    """
    if number == 0:
        return first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed * 100_003 + number, n_startup_trials=_AT_RANDOM, multivariate=True
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for settings, accuracy in known:
        study.add_trial(create_trial(params=settings, distributions=dict(space), value=accuracy))
    drawn = study.ask(dict(space)).params
    return {key: _rounded(drawn[key], part) for key, part in space.items()}


def _rounded(value: Any, part: BaseDistribution) -> Any:
    if not isinstance(part, FloatDistribution):
        return value
    digits = _DIGITS - 1 - math.floor(math.log10(abs(value))) if value else 0
    return min(max(round(value, digits), part.low), part.high)
