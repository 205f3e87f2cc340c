"""What decides a run's result, typed and made in one place; runs whose deciding parts are the same are the same run."""

import ast
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from leafexp.arithmetic import arithmetic
from leafexp.cache.arrays import key_of, write_whole
from leafexp.paths import cache_folder
from leafexp.training.phases import PlannedPhase, plan

if TYPE_CHECKING:
    from leafexp.settings.schema import Config

# The catalog's photos stand for where they come from, how they are called and grouped, and the audit looks on.
_DATA_ELSEWHERE = {"name", "path", "source", "group_pattern", "classes", "audit", "external", "external_labels"}
_SOURCES = ("data", "models", "training", *(f"runs/{name}.py" for name in ("cell", "inputs", "network", "backend")))
_SPLIT = {"validation_share", "test_share", "split_seed", "folds", "fold"}
# The photos stand for what these make.
_SOURCES_ELSEWHERE = tuple(
    f"data/{name}" for name in ("leafsim", "catalog", "folders", "tree", "tables", "spelling", "external")
)
# At these values runs are those of before there were the keys.
_UNLESS = {
    **{"fit": "squeeze", "views": 1, "test_views": 1},
    **{"class_weights": None, "label_smoothing": 0.0, "patience": None, "clipnorm": None},
}
_LIBRARIES = ("tensorflow", "keras", "numpy", "pillow", "scikit-learn")
_DUPLICATES_LIBRARIES = ("imagehash", "scipy")


@dataclass(frozen=True)
class Deciding:
    """All that decides a run's result, and nothing else.

    Where things lie, what they are called, and what costs time alone is left out.

    Attributes:
        network: the function that builds the network, and its values.
        weights: SHA-256 of the pretrained weights, None without.
        photos: SHA-256 over label, rank of the group, given part and content of each photo, in the order of paths.
        data: how the photos are read, and which are left out; SHA-256 over a second test set where there is one.
        split: of the parts that are drawn, shares or fold, and seed; empty where all are given.
        phases: what learns, epochs, learning rate and batch norm, phase by phase.
        optimizer: the optimizer, its values, and the course of the learning rate.
        trainer: images a step, the loss, the patience, and how a step is computed.
        seed: of weights, dropout and the order of photos.
        code: SHA-256 of the sources that train, without comments and docstrings.
        libraries: versions of those that compute.
        arithmetic: what of the machine decides how sums are rounded.
        trial: of a search, which one it is; left out of the identity where it is none.
    """

    network: Mapping[str, Any]
    weights: str | None
    photos: str
    data: Mapping[str, Any]
    split: Mapping[str, Any]
    phases: list[Mapping[str, Any]]
    optimizer: Mapping[str, Any]
    trainer: Mapping[str, Any]
    seed: int
    code: str
    libraries: list[str]
    arithmetic: tuple[str, ...]
    trial: str = ""

    @property
    def sha256(self) -> str:
        """The run's identity."""
        parts = [part.name for part in fields(self) if part.name != "trial" or self.trial]
        return key_of([[name, _sorted(getattr(self, name))] for name in parts])


def deciding(
    config: "Config", photos: pd.DataFrame, weights: str | None, external: pd.DataFrame | None = None, trial: str = ""
) -> Deciding:
    """What decides the result of a run.

    Args:
        config: its configuration.
        photos: the catalog, sorted by path: columns path, label, group, sha256, and split where it is given.
        weights: SHA-256 of the pretrained weights, None without.
        external: the second test set like `photos`, None without.
        trial: of a search, which one it is: it is not tested, and so no run of the same settings.
    """
    data, trainer = asdict(config.data), asdict(config.trainer)
    optimizer = {**asdict(config.optimizer), "schedule": _schedules(config)[-1]}
    parts = {"validation", "test"} - set(photos.get("split", ()))
    shares = [f"{part}_share" for part in sorted(parts)]
    drawn = {name: data[name] for name in (shares if data["folds"] is None else ["folds", "fold"])}
    seeded = bool(parts) or data["train_per_class"] is not None
    return Deciding(
        network=config.model.network,
        weights=weights,
        photos=_photos(photos),
        data=_set({name: value for name, value in data.items() if name not in _DATA_ELSEWHERE | _SPLIT})
        | ({} if external is None else {"external": _photos(external)}),
        split=drawn | ({"split_seed": data["split_seed"]} if seeded else {}),
        phases=list(_phases(config)),
        optimizer=_set({name: optimizer[name] for name in _of_optimizer(config)}),
        # The cached prefix changes no bit.
        trainer=_set({name: value for name, value in trainer.items() if name != "cache_prefix"}),
        seed=config.seed,
        code=_code_sha256(),
        libraries=[f"{name} {importlib.metadata.version(name)}" for name in _libraries(config)],
        arithmetic=arithmetic(),
        trial=trial,
    )


def _photos(photos: pd.DataFrame) -> str:
    # Groups are drawn in the order of their names: their ranks stand for names, which may begin with a folder.
    columns = {"label": photos["label"], "group": pd.factorize(photos["group"].astype(str), sort=True)[0]}
    if "split" in photos:
        columns["split"] = photos["split"]
    columns["sha256"] = photos["sha256"]
    return key_of(list(columns), pd.DataFrame(columns).astype(str).to_numpy().tolist())


def _phases(config: "Config") -> Iterator[dict[str, Any]]:
    schedules = _schedules(config)
    for planned, schedule in zip(_planned(config), schedules, strict=True):
        phase = asdict(planned.phase) | {"schedule": schedule}
        rate = config.optimizer.learning_rate * phase.pop("learning_rate_factor")
        del phase["epoch_share"]
        # The last phase's stands with the optimizer: where all have it, runs are those of before a phase had its own.
        if schedule == schedules[-1]:
            del phase["schedule"]
        if phase["batch_norm"] == "inference":
            del phase["batch_norm_momentum"]
        yield {**phase, "epochs": planned.epochs, "learning_rate": rate}


def _planned(config: "Config") -> list[PlannedPhase]:
    return plan(config.freeze.phases, config.epochs, config.model.weights is not None)


def _schedules(config: "Config") -> list[str]:
    """The schedule of each phase."""
    return [planned.phase.schedule or config.optimizer.schedule for planned in _planned(config)]


def _of_optimizer(config: "Config") -> set[str]:
    """The keys that count beside the phases' learning rates."""
    steps = {"step_epochs", "step_factor"} if "step" in _schedules(config) else set()
    return {"keras", "schedule", "warmup_epochs", "clipnorm"} | steps


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the keys that are at the value that stands for runs of before them."""
    return {name: value for name, value in values.items() if name not in _UNLESS or value != _UNLESS[name]}


def _libraries(config: "Config") -> tuple[str, ...]:
    duplicates = _DUPLICATES_LIBRARIES if config.data.groups == "near_duplicates" else ()
    limited = ("pandas",) if config.data.train_per_class is not None else ()  # draws the order of groups
    return (*_LIBRARIES, *duplicates, *limited)


def _sorted(value: Any) -> Any:
    """With the keys of mappings in order: nothing depends on the order in which YAML files gave them."""
    if isinstance(value, Mapping):
        return {str(name): _sorted(value[name]) for name in sorted(value, key=str)}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def weights_sha256(weights: str, network: Mapping[str, Any], image_size: int) -> str | None:
    """Checksum of pretrained weights without loading them; of `imagenet`, as noted when they were loaded last."""
    if weights != "imagenet":
        with open(Path(weights).expanduser(), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    try:
        return _note(network, image_size).read_text(encoding="ascii")
    except OSError:
        return None


def note_imagenet(network: Mapping[str, Any], image_size: int, sha256: str) -> None:
    """Note which weights `imagenet` stood for."""
    write_whole(_note(network, image_size), sha256)


def _note(network: Mapping[str, Any], image_size: int) -> Path:
    return cache_folder() / "imagenet" / key_of(json.dumps(dict(network), sort_keys=True, default=str), image_size)


@functools.cache  # the code of this process is the code it started with
def _code_sha256() -> str:
    """Over the sources that train: not those that track, report or read the command line."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for place in _SOURCES:
        for file in sorted([package / place] if place.endswith(".py") else (package / place).rglob("*.py")):
            name = file.relative_to(package).as_posix()
            if not name.startswith(_SOURCES_ELSEWHERE):
                digest.update(f"{name}\n{code_of(file.read_text(encoding='utf-8'))}".encode())
    return digest.hexdigest()


def code_of(source: str) -> str:
    """The syntax tree of `source` in words, without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return ast.dump(tree)


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
