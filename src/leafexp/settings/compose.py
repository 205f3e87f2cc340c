"""The configuration composed by Hydra from YAML files and command line, typed and checked."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from leafexp.errors import UserError, did_you_mean, first_line
from leafexp.paths import CONF_DIR, ROOT
from leafexp.settings.schema import Config, SearchConfig
from leafexp.settings.values import check_search, check_values
from leafexp.stores import scrubbed

GROUPS = ("model", "freeze", "optimizer", "data")

OmegaConf.register_new_resolver("root", lambda: str(ROOT), replace=True)


def load(composed: DictConfig) -> Config:
    """The composed configuration as typed objects, interpolations resolved, every value checked.

    Raises:
        UserError: a key the schema does not have, a value of the wrong type or out of range, a path that is not there.
    """
    plain = {key: value for key, value in composed.items() if key != "hydra"}
    schema = OmegaConf.structured(Config)
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(plain), resolve=True)
        config = OmegaConf.to_object(OmegaConf.merge(schema, resolved))
    except OmegaConfBaseException as error:
        raise UserError(_explain_value(error, list(_keys(composed)))) from None
    assert isinstance(config, Config)
    if config.data.split_seed is None:
        config.data.split_seed = 0 if config.data.folds is None else config.seed
    check_values(config)
    return config


def check(overrides: Sequence[str], config_dir: str | None = None) -> Config:
    """The first configuration that `overrides` lead to, as `planned`."""
    return planned(overrides, config_dir)[0]


def planned(overrides: Sequence[str], config_dir: str | None = None) -> tuple[Config, str | None]:
    """The first configuration that `overrides` lead to, and the override that sweeps over its folds if none is named.

    Checks the values of an axis one after the other, not every combination: Hydra itself composes those before the
    first job starts.

    Raises:
        UserError: in one or two lines, what is wrong and the nearest valid name.
    """
    searched = _searched(config_dir)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        parsed = _parse(overrides)
        if any(override.get_key_element().lstrip("+~").startswith("hydra.sweeper.params") for override in parsed):
            raise UserError("hydra.sweeper.params belongs into YAML files. Here, give the values: -m seed=0,1,2.")
        if any(override.is_sweep_override() and _of_external(override) for override in parsed):
            raise UserError("One command tests on one data.external. Give a command, with its sweep=NAME, for each.")
        axes = [values for override in parsed if (values := _values(override))]
        firsts = [axis[0] for axis in axes]
        composed, swept = _compose(searched, firsts)
        config = load(composed)
        groups = GlobalHydra.instance().config_loader().list_groups("")
        for position, axis in enumerate(axes):
            others = [*firsts[:position], *firsts[position + 1 :]]
            sweeps = [swept]
            for value in axis[1:]:
                if _key(value) in groups:
                    option, its_sweep = _compose(searched, [*others, value])
                    load(option)
                    sweeps.append(its_sweep)
                else:
                    load(_updated(composed, value))
            # Hydra would pass over a sweep that an option among several brings.
            if len(sweeps) > 1 and any(sweeps) and sweeps != [_compose(searched, others)[1]] * len(sweeps):
                raise UserError(
                    f"A study with a sweep of its own can't be one of several values: {', '.join(axis)}. "
                    "Give one command for each."
                )
        return config, _every_fold(parsed, swept, config)


def _every_fold(parsed: Sequence[Override], swept: Mapping[str, str], config: Config) -> str | None:
    """The override that sweeps over all folds, where there are folds and none is named."""
    axes = {_key(override.get_key_element()): override for override in parsed}
    if "data.fold" in {*axes, *swept} or config.data.fold is not None:
        return None
    typed = axes.get("data.folds")
    several = typed is not None and typed.is_sweep_override()
    folds = str(config.data.folds if typed else swept.get("data.folds", config.data.folds))
    if folds in ("None", "null") and not several:
        return None
    if several or not folds.isdecimal():
        raise UserError("data.folds takes one number: a command trains all of its folds. Give one command for each.")
    return f"data.fold={','.join(map(str, range(int(folds))))}"


def recompose(tracked: Mapping[str, Any]) -> Config:
    """The configuration of a run as any version tracked it; what that version had no key for is as it is today.

    Raises:
        UserError: it has a key that this version does not have, or a value that this version does not take.
    """
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        known = GlobalHydra.instance().config_loader()
        named = {group: str(tracked[group].get("name")) for group in GROUPS if isinstance(tracked.get(group), Mapping)}
        own = {group: name for group, name in named.items() if name in known.get_group_options(group)}
        composed, _ = _compose([], [f"{group}={name}" for group, name in own.items()])
        today = OmegaConf.to_container(composed, resolve=True)
        assert isinstance(today, dict)
        settings = dict(today)
        for key, value in tracked.items():
            # Deeper nodes, such as a network's values, are whole: a key that is not there was not set.
            kept = today.get(key) if key not in named or key in own else None
            settings[key] = {**kept, **value} if isinstance(kept, Mapping) and isinstance(value, Mapping) else value
        return load(OmegaConf.create(settings))


def tracking_uri(overrides: Sequence[str], config_dir: str | None = None) -> str | None:
    """The store's address in the YAML files that `overrides` lead to; None where there is none or they are wrong."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        try:
            firsts = [values[0] for override in _parse(overrides) if (values := _values(override))]
            uri = _compose(_searched(config_dir), firsts)[0].tracking.uri
        except (UserError, OmegaConfBaseException):
            return None
    return str(uri) if uri else None


def cells(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each cell that `overrides` lead to, those that a study brings along included."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        firsts = [values[0] for override in _parse(overrides) if (values := _values(override))]
        swept = [f"{key}={value}" for key, value in _compose([], firsts)[1].items()]
    found: list[list[str]] = [
        list(cell) for cell in BasicSweeper.split_arguments(_parse([*swept, *overrides]), None)[0]
    ]
    return found


def composed(overrides: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The options chosen for model, freeze, optimizer and data, and all values as a plain dictionary."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        whole = compose("config", overrides=list(overrides), return_hydra_config=True)
        chosen = {group: str(whole.hydra.runtime.choices[group]) for group in ("model", "freeze", "optimizer", "data")}
        with open_dict(whole):
            del whole["hydra"]
        values = OmegaConf.to_container(whole, resolve=True)
    assert isinstance(values, dict)
    return chosen, {str(key): value for key, value in values.items()}


def search(overrides: Sequence[str]) -> SearchConfig:
    """What conf/search.yaml and the command line say of a search, typed and checked.

    Raises:
        UserError: a key that is not there, or a value that no search could use.
    """
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        _parse(overrides)
        try:
            config = OmegaConf.to_object(compose("search", overrides=list(overrides)).search)
        except ConfigCompositionException as error:
            known = [f"search.{key}" for key in _keys(compose("search").search)]
            key = next((_key(word) for word in overrides if _key(word) not in known), "")
            reason = first_line(error.__cause__ or error)
            hint = f"There is no key {key!r}. {did_you_mean(key, known)}" if key else reason
            raise UserError(hint) from None
    assert isinstance(config, SearchConfig)
    check_search(config)
    return config


def swept_keys(overrides: Sequence[str]) -> list[str]:
    """The keys that `overrides` give several values."""
    return [override.get_key_element() for override in _parse(overrides) if override.is_sweep_override()]


def _searched(config_dir: str | None) -> list[str]:
    return [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(
            f"Can't read the command line: {first_line(error)}.\n"
            "A value with brackets, commas, quotes or = needs quotes of its own inside the shell's: \"key='value'\"."
        ) from None


def _values(override: Override) -> list[str]:
    """The override once for each value it sweeps over; itself when it does not sweep; nothing for globs."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep() or isinstance(override.value(), Glob):
        return []
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _of_external(override: Override) -> bool:
    return override.get_key_element().lstrip("+") in ("data.external", "data.external_labels")


def _key(override: str) -> str:
    return re.split(r"[=@]", override.lstrip("+~"))[0]


def _updated(composed: DictConfig, override: str) -> DictConfig:
    """A copy of `composed` with one key set: a twentieth of the time that composing it takes."""
    copy = composed.copy()
    try:
        OmegaConf.update(copy, _key(override), _parse([override])[0].value())
    except OmegaConfBaseException as error:
        raise UserError(f"{override}: {first_line(error)}.") from None
    return copy


def _compose(searched: list[str], overrides: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """The configuration, and the sweep that it brings along."""
    try:
        composed = compose("config", overrides=[*searched, *overrides], return_hydra_config=True)
        swept = dict(composed.hydra.sweeper.params or {})
        _check_address_alone(swept, composed.hydra.job.env_set)
        with open_dict(composed):
            del composed["hydra"]
        return composed, swept
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        raise UserError(f"There is no {group}={name}. {did_you_mean(name, error.options or [])}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{' '.join(overrides)} can't be composed: {first_line(error)}.") from None
    except ConfigCompositionException as error:
        merging, _, override = first_line(error).rpartition("merging override ")
        if merging and error.__cause__:
            raise UserError(f"{override}: {first_line(error.__cause__)}.") from None
        unknown = _unknown_key(overrides)
        if unknown is None:
            raise UserError(" ".join(str(error).split("\n")[:2])) from None
        raise UserError(f"There is no group or key {unknown!r}. {did_you_mean(unknown, _known_keys())}") from None


def _check_address_alone(swept: dict[str, str], env_set: Mapping[str, str]) -> None:
    """Raise UserError where YAML files tell Hydra of the store, or of a password: it would write them to its files."""
    if any(key.lstrip("+~") in ("tracking", "tracking.uri") for key in swept):
        raise UserError("hydra.sweeper.params can't set where runs are kept: use tracking.uri, or MLFLOW_TRACKING_URI.")
    for name, value in env_set.items():
        if name.startswith("MLFLOW_") or scrubbed(f"{name}={value}") != f"{name}={value}":
            raise UserError(
                f"hydra.job.env_set can't set {name}, as Hydra would write it to a file. Set it in the shell."
            )


def _known_keys() -> list[str]:
    """Every group, and every key of the configuration with all defaults."""
    return [*GlobalHydra.instance().config_loader().list_groups(""), *_keys(compose("config"))]


def _unknown_key(overrides: list[str]) -> str | None:
    known = set(_known_keys())
    return next((key for key in map(_key, overrides) if key not in known and not key.startswith("hydra.")), None)


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key!s}"
        if OmegaConf.is_dict(node._get_node(key)):
            yield from _keys(node[key], f"{prefix}{key!s}.")


def _explain_value(error: OmegaConfBaseException, known: list[str]) -> str:
    key = str(getattr(error, "full_key", None) or getattr(error, "key", ""))
    if f"'{key.rpartition('.')[2]}' not in '" in str(error):
        return f"There is no key {key!r}. {did_you_mean(key, [name for name in known if name != key])}"
    return f"{key}: {first_line(error)}"
