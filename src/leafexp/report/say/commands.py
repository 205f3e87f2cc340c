"""The command that trains what a comparison lacks: on the same photos, with the same settings and seeds."""

import ast
import re
import shlex
from collections.abc import Sequence

from leafexp import names
from leafexp.overrides import written
from leafexp.report.read.settings import GROUPS, defaults, same_value
from leafexp.report.rows.row import Row
from leafexp.report.say.words import Code, Part

# What a command says itself, or has no part in a result. What an experiment, row or lever set is among the parameters.
_NOT_TAKEN_OVER = ("model", "freeze", "row", "experiment", "lever", "seed", "data.fold", "sweep", "rerun", "cache_gb")
_NOT_TAKEN_OVER_BELOW = ("freeze.", "tuning.", "tracking.", "hydra.", "hydra/")
_DEFAULT_EXPERIMENT = "leafexp"


def transfer_model(rows: Sequence[Row]) -> str:
    """The config name of the pretrained model at hand, MobileNetV2's where there is none."""
    return next((row.model for row in rows if row.pretrained), "mnv2")


def would_tell(rows: Sequence[Row], arms: str, seeds: Sequence[int] = ()) -> list[Part]:
    """The end of a sentence: the command that runs `arms` as the pretrained row at hand was run, else as the first.

    It holds all that differs from the defaults, but for what belongs to a freeze strategy or to another model.

    Args:
        rows: what is there.
        arms: the overrides that say what is missing.
        seeds: with these; those of the row by default.
    """
    like = [*(row for row in rows if row.pretrained), *rows][0]
    if not like.param("data.name"):
        return ["No command can be named, as it was not logged which photos these are."]
    taken = {"data": f"data={_value(like.param('data.name'))}", **_changed(like), **_typed(like)}
    said = [word.partition("=")[0] for word in arms.split()]
    same_model = f"model={like.model}" in arms.split()
    words = [
        word
        for key, word in taken.items()
        if key not in (*said, *_NOT_TAKEN_OVER)
        and not key.startswith(_NOT_TAKEN_OVER_BELOW)
        and (same_model or not key.startswith("model."))
    ]
    seeded = [f"seed={','.join(map(str, seeds))}"] if seeds else _seeds(like)
    whole = ["python", "-m", "leafexp.train", "-m", *arms.split(), *words, *seeded, *_experiment(like)]
    return ["This would tell: ", Code(shlex.join(whole)), "."]


def _changed(row: Row) -> dict[str, str]:
    """The overrides for what the row has otherwise than the defaults."""
    params = row.runs[0].params
    unlike = {
        key: params[key] for key, value in defaults(params).items() if not same_value(params.get(key, value), value)
    }
    groups = {f"{group}.name": group for group in GROUPS}
    return {groups.get(key, key): f"{groups.get(key, key)}={_value(value)}" for key, value in unlike.items()}


def _typed(row: Row) -> dict[str, str]:
    """The overrides that the row's run was called with, as they were typed."""
    try:
        words = shlex.split(row.tag(names.COMMAND))
    except ValueError:
        return {}
    overrides = [word for word in words if re.match(r"[+~]*[\w/.]+[=@]|~", word)]
    return {re.split("[=@]", word.lstrip("+~"))[0]: word for word in overrides}


def _seeds(row: Row) -> list[str]:
    seeds = sorted({int(seed) for seed in row.seeds if seed.isdecimal()})
    return [f"seed={','.join(map(str, seeds))}"] if seeds not in ([], [0]) else []


def _experiment(row: Row) -> list[str]:
    name = row.runs[0].experiment
    return [f"tracking.experiment={written(name)}"] if name not in ("", _DEFAULT_EXPERIMENT) else []


def _value(text: str) -> str:
    """A parameter as Hydra's command line has it: it was logged as Python prints it."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    return written(value if isinstance(value, bool | int | float | list | dict) or value is None else text)
