"""The arms of a search: the cells of its grid, what is searched for each, and the trials' configurations."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution

from leafexp import names
from leafexp.errors import UserError
from leafexp.overrides import written
from leafexp.search import halving
from leafexp.search.space import GROUP, Settings, dimensions, draw
from leafexp.settings.compose import cells, check
from leafexp.training.phases import plan

if TYPE_CHECKING:
    from leafexp.search.journal import Trial
    from leafexp.settings.schema import Config, SearchConfig

_DECAY = "optimizer.keras.weight_decay"


@dataclass(frozen=True)
class Arm:
    """One cell of the grid.

    Attributes:
        name: what its files and its trials are called.
        words: its overrides.
        config: its configuration, as it ships or as the command says.
        space: what is searched for it, by key.
        first: the settings of its first trial.
        rungs: the epochs after which its trials are compared.
    """

    name: str
    words: list[str]
    config: "Config"
    space: dict[str, BaseDistribution]
    first: Settings
    rungs: list[int]

    def overrides(self, settings: Settings) -> list[str]:
        """A trial's overrides."""
        unset = _DECAY if "weight_decay" not in self.config.optimizer.keras else ""
        changed = {key: value for key, value in settings.items() if key != unset or value}
        return [*self.words, *(f"++{key}={written(value)}" for key, value in changed.items())]

    def trial_config(self, settings: Settings, search: str) -> "Config":
        """A trial's configuration."""
        return replace(check(self.overrides(settings)), sweep=search)

    def next_settings(self, trials: "Sequence[Trial]", search: "SearchConfig") -> list[Settings]:
        """The settings of the trials to be asked for now: of the next group, once all before it are known."""
        first_rung = self.rungs[0]
        known: list[tuple[Settings, float]] = []
        for trial in trials[: len(trials) - len(trials) % GROUP]:
            ranks = trial.result.ranks
            if first_rung not in ranks and not trial.failed:
                return []
            known.append((trial.settings, ranks[first_rung][0] if first_rung in ranks else 0.0))
        group = len(trials) // GROUP
        numbers = range(len(trials), min(search.trials, (group + 1) * GROUP))
        return [draw(self.space, self.first, known, number, search.seed) for number in numbers]

    def standing(self, trials: "Sequence[Trial]", search: "SearchConfig") -> halving.Standing:
        """Which of its trials train on, which have lost, and which one is chosen."""
        return halving.standing([trial.result for trial in trials], search.trials, self.rungs, search.eta)


def arms(overrides: Sequence[str], search: "SearchConfig") -> list[Arm]:
    """The arms that the command's overrides lead to.

    Raises:
        UserError: the command has several seeds, or there is nothing to search for an arm.
    """
    check(overrides)
    grid = cells(overrides)
    configs = [check(words) for words in grid]
    if len({config.seed for config in configs}) > 1:
        raise UserError("A search has one seed; the chosen settings are then tested with others (search.test_seeds).")
    if any(config.data.folds is not None for config in configs):
        raise UserError("A search takes no data.folds: folds test every photo, so none could be held out.")
    for key in ("data.external", "trainer.patience"):
        if any(names.flat(asdict(config)).get(key) is not None for config in configs):
            raise UserError(f"A search takes no {key}. Set it where the chosen settings are trained and tested.")
    begins = max(_last_phase_begins(config) for config in configs)
    found: list[Arm] = []
    for words, config in zip(grid, configs, strict=True):
        space, first = dimensions(config, search.ranges)
        if not space:
            raise UserError(f"There is nothing to search for {' '.join(words)}: all its search.ranges are null.")
        name = re.sub(r"[^\w.-]", "_", f"{config.model.name}_{config.freeze.name}", flags=re.ASCII)
        same = sum(arm.name == name or arm.name.startswith(f"{name}-") for arm in found)
        rungs = halving.rungs(search.rungs, config.epochs, min(begins, config.epochs - 1))
        found.append(Arm(f"{name}-{same + 1}" if same else name, words, config, space, first, rungs))
    return found


def _last_phase_begins(config: "Config") -> int:
    """How many epochs come before the last phase."""
    phases = plan(config.freeze.phases, config.epochs, config.model.weights is not None)
    return sum(phase.epochs for phase in phases[:-1])


def plain(arm: Arm, search: "SearchConfig") -> dict[str, Any]:
    """What must stay as it is for a search to be gone on with."""
    space = {key: str(part) for key, part in arm.space.items()}
    return {"overrides": arm.words, "space": space, "rungs": arm.rungs, "trials": search.trials, "eta": search.eta}
