"""The settings of a run: their defaults in conf/, and those that a run of an earlier version did not have."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from leafexp import names
from leafexp.paths import CONF_DIR

GROUPS = ("model", "freeze", "optimizer", "data")
# Dictionaries that a user may add keys to: a key that is not there was not set.
_OPEN = ("model.network.", "optimizer.keras.", "data.source.")
# Logged from the first version on: where they lack, they are lost and not older than the setting.
_ALWAYS_LOGGED = ("seed", "epochs", "model.weights")


def defaults(params: Mapping[str, str]) -> dict[str, str]:
    """The defaults in conf/ as parameters, with those of the model, freeze strategy, optimizer and data in `params`.

    `data.name` and its like say which option is the default. What the schema alone has a default for is not there.
    """
    found = _read("config")
    for group in GROUPS:
        own = _read(f"{group}/{params.get(f'{group}.name', '')}")
        found = {**{f"{group}.{key}": value for key, value in own.items()}, **found}
    if found.get("data.split_seed") == "None":  # which a run logs as what it stands for
        found["data.split_seed"] = "0" if params.get("data.folds", "None") == "None" else params.get("seed", "0")
    return found


def same_value(one: str, other: str) -> bool:
    """Whether two parameters are equal: as texts, or as numbers (`0` and `0.0`)."""
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return False


def missing_settings(runs: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """For each run, by its parameters, the settings that its version did not have yet, with what they count as.

    That is their default; where conf/ knows none, the value of the other runs if they all have the same.
    """
    values: dict[tuple[str, str], set[str]] = {}
    for params in runs:
        for key, value in params.items():
            if not key.startswith((*names.NOT_CONFIGURATION, *_OPEN)) and key not in _ALWAYS_LOGGED:
                values.setdefault((key, _option(params, key)), set()).add(value)
    return [_assumed(params, values) for params in runs]


def _assumed(params: Mapping[str, str], values: Mapping[tuple[str, str], set[str]]) -> dict[str, str]:
    assumed = {}
    for (key, option), others in values.items():
        if key in params or option != _option(params, key) or not _belongs(key, params):
            continue
        default = defaults(params).get(key)
        if default is not None:
            assumed[key] = next((value for value in others if same_value(value, default)), default)
        elif len(others) == 1:
            (assumed[key],) = others
    return assumed


def _option(params: Mapping[str, str], key: str) -> str:
    """The option of the key's group that a run has; a key is expected of runs with the same."""
    group = key.partition(".")[0]
    return params.get(f"{group}.name", "") if group in GROUPS else ""


def _belongs(key: str, params: Iterable[str]) -> bool:
    """Whether the run could have the key: others of the same phase, data or model are there."""
    parent, _, _ = key.rpartition(".")
    if key.partition(".")[0] not in GROUPS:
        return bool(params)
    return any(name.startswith(f"{parent}.") for name in params)


@functools.cache
def _read(option: str) -> dict[str, str]:
    """The values in a YAML file of conf/, flat; nothing where there is no such file. Interpolations are left out."""
    files = {str(file.relative_to(CONF_DIR).with_suffix("")): file for file in CONF_DIR.rglob("*.yaml")}
    if option not in files:
        return {}
    values: dict[str, Any] = yaml.safe_load(files[option].read_text(encoding="utf-8"))
    options = [entry for entry in values.pop("defaults", []) if isinstance(entry, dict)]
    values.pop("hydra", None)
    found = {key: str(value) for key, value in names.flat(values).items() if "${" not in str(value)}
    return {**found, **{f"{group}.name": name for entry in options for group, name in entry.items() if name}}
