"""What a search leaves: its trials as a table, and the chosen settings as YAML files that train and test them."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from leafexp.cache.arrays import write_whole
from leafexp.errors import UserError
from leafexp.paths import CONF_DIR
from leafexp.search.arms import Arm
from leafexp.settings.compose import check, composed
from leafexp.wording import counted, duration

if TYPE_CHECKING:
    from leafexp.search.journal import Trial
    from leafexp.search.trials import Search

TRIALS_FILE = "trials.csv"
# What a row does not say: where runs are kept, how a command is called, and what the experiment says.
_NOT_OF_ROWS = ("tracking", "sweep", "rerun", "seed", "tuning")


def check_name(name: str, arms: Sequence[Arm]) -> None:
    """Raise UserError where a study or a row of leafexp has the name: Hydra would take that one."""
    taken = [("experiment", name), *(("row", row_name(name, arm)) for arm in arms)]
    for group, option in taken:
        if (CONF_DIR / group / f"{option}.yaml").exists():
            raise UserError(f"search.name={name} is taken: there is {group}={option} already. Choose another name.")


def row_name(search: str, arm: Arm) -> str:
    """What the row of an arm's chosen settings is called."""
    return f"{search}_{arm.name}"


def write(search: "Search") -> tuple[Path, str]:
    """Write all files of a search that has ended.

    Returns:
        The table's file, and the summary: a line an arm.

    Raises:
        UserError: the YAML files do not compose to what was chosen.
    """
    trials = search.trials()
    table = search.folder / TRIALS_FILE
    lines = pd.DataFrame(list(_lines(search, trials))).astype({"best_epoch": "Int64"})
    write_whole(table, lines.to_csv(index=False))
    said = []
    for arm in search.arms:
        chosen = arm.standing(trials[arm.name], search.config).chosen
        assert chosen is not None
        said.append(_summary(arm, trials[arm.name], chosen))
        row = _row(search, arm, trials[arm.name], chosen, said[-1])
        write_whole(search.folder / "row" / f"{row_name(search.name, arm)}.yaml", row)
    write_whole(search.folder / "experiment" / f"{search.name}.yaml", _experiment(search, said))
    for arm in search.arms:
        chosen = arm.standing(trials[arm.name], search.config).chosen
        assert chosen is not None
        _check_same(search, arm, trials[arm.name][chosen])
    return table, "\n".join(f"  {line}" for line in said)


def command(search: "Search") -> str:
    """What to type to train and test the chosen settings."""
    folder = search.folder
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    return shlex.join(["python", "-m", "leafexp.train", "--config-dir", str(shown), f"experiment={search.name}"])


def _lines(search: "Search", trials: Mapping[str, "Sequence[Trial]"]) -> Any:
    for arm in search.arms:
        chosen = arm.standing(trials[arm.name], search.config).chosen
        for number, trial in enumerate(trials[arm.name]):
            score = trial.scores[-1] if trial.scores else None
            epochs, seconds = trial.spent
            yield {
                "arm": arm.name,
                "trial": number + 1,
                "outcome": "failed" if trial.failed else "chosen" if number == chosen else "not chosen",
                "epochs": epochs,
                "val_accuracy": score.accuracy if score else None,
                "val_loss": score.loss if score else None,
                "best_epoch": score.best_epoch if score else None,
                "seconds": round(seconds, 3),
                **trial.settings,
                "reason": trial.failed,
            }


def _spent(trials: "Sequence[Trial]") -> dict[str, Any]:
    spent = [trial.spent for trial in trials]
    return {
        "trials": len(trials),
        "epochs": sum(epochs for epochs, _ in spent),
        "seconds": round(sum(seconds for _, seconds in spent), 1),
    }


def _summary(arm: Arm, trials: "Sequence[Trial]", chosen: int) -> str:
    spent, best, first = _spent(trials), trials[chosen].scores[-1], trials[0].scores
    cost = f"{counted(spent['trials'], 'trial')}, {counted(spent['epochs'], 'epoch')}, {duration(spent['seconds'])}"
    settings = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in trials[chosen].settings.items())
    shipped = ""
    if chosen and first:
        shipped = f"; the first trial {100 * first[-1].accuracy:.1f} % after epoch {first[-1].epoch}"
    which = f"trial {chosen + 1}" if chosen else "trial 1, the settings it began with"
    return f"{arm.name}: {cost}; chosen {which} ({settings}): validation {100 * best.accuracy:.1f} %{shipped}"


def _row(search: "Search", arm: Arm, trials: "Sequence[Trial]", chosen: int, said: str) -> str:
    options, wanted = composed(arm.overrides(trials[chosen].settings))
    _, base = composed([f"{group}={option}" for group, option in options.items()])
    defaults = [f"  - override /{group}: {option}" for group, option in options.items()]
    values = {key: value for key, value in _difference(wanted, base).items() if key not in _NOT_OF_ROWS}
    body = yaml.safe_dump({**values, "tuning": _spent(trials)}, sort_keys=False, allow_unicode=True)
    head = ["# @package _global_", f"# Chosen by the search {search.name} on the validation photos.", f"# {said}"]
    return "\n".join([*head, "defaults:", *defaults, body])


def _experiment(search: "Search", said: Sequence[str]) -> str:
    seed = search.arms[0].config.seed
    seeds = range(seed + 1, seed + 1 + search.config.test_seeds)
    params = {
        "row": ",".join(row_name(search.name, arm) for arm in search.arms),
        "seed": ",".join(map(str, seeds)),
    }
    body = {
        "tracking": {"experiment": search.store.experiment},
        "hydra": {"mode": "MULTIRUN", "sweeper": {"params": params}},
    }
    head = [
        "# @package _global_",
        f"# What the search {search.name} chose for each arm, trained and tested with seeds that it has not seen.",
        f"# python -m leafexp.train --config-dir searches/{search.name} experiment={search.name}",
        *(f"# {line}" for line in said),
    ]
    return "\n".join([*head, yaml.safe_dump(body, sort_keys=False, allow_unicode=True)])


def _difference(wanted: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """What of `wanted` is not so in `base`."""
    found: dict[str, Any] = {}
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            if below := _difference(value, base[key]):
                found[key] = below
        elif key not in base or base[key] != value:
            found[key] = value
    return found


def _check_same(search: "Search", arm: Arm, trial: "Trial") -> None:
    """Raise UserError where the row composes to other settings than the trial had."""
    wanted = vars(arm.trial_config(trial.settings, search.name))
    words = [f"experiment={search.name}", f"row={row_name(search.name, arm)}"]
    written = vars(check(words, str(search.folder)))
    for key, value in wanted.items():
        if key not in _NOT_OF_ROWS and written[key] != value:
            raise UserError(
                f"The chosen settings of {arm.name} can't be written as YAML: {key} would be {written[key]!r}, "
                f"not {value!r}. Train them by hand: {shlex.join(arm.overrides(trial.settings))}"
            )
