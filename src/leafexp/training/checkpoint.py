"""Where training stands after an epoch, on disk: enough to go on as if it had never stopped."""

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from leafexp.errors import UserError
from leafexp.training.prefix import is_live

EpochRow = dict[str, float | int | str]
Arrays = dict[str, np.ndarray]

_FACTS = "facts"


@dataclass
class Progress:
    """Training after some epochs.

    Attributes:
        history: one row an epoch.
        phases: one row for each phase that has begun.
        seconds: spent training so far.
        best_epoch: the best of these epochs, 0 before the first.
        best_rank: its validation accuracy and negative validation loss.
        features_seen: hashes of the frozen features used so far.
        variables: values of all that changed so far, random states included; see `changing`.
        best_variables: the same after the best epoch.
        optimizer: values of the optimizer's variables.
    """

    history: list[EpochRow] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    best_epoch: int = 0
    best_rank: tuple[float, float] = (-1.0, 0.0)
    features_seen: list[str] = field(default_factory=list)
    variables: Arrays = field(default_factory=dict)
    best_variables: Arrays = field(default_factory=dict)
    optimizer: list[np.ndarray] = field(default_factory=list)


def changing(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of layers that learn or draw random numbers, by their place in the model."""
    return {
        f"{place}.{number}": variable
        for place, layer in enumerate(model.layers)
        if is_live(layer)
        for number, variable in enumerate(layer.variables)
    }


def assign(model: keras.Model, values: Arrays) -> None:
    """Give variables the values that `changing` named."""
    for name, value in values.items():
        place, number = map(int, name.split("."))
        model.layers[place].variables[number].assign(value)


class Checkpoint:
    """The file that holds a run's progress; it is whole or not there.

    Args:
        file: where.
        check: called before the file is replaced; raises where the run is no longer this process's.
    """

    def __init__(self, file: Path, check: Callable[[], None] = lambda: None) -> None:
        self.file = file
        self._check = check

    def save(self, progress: Progress) -> None:
        """Replace what was saved before.

        Raises:
            UserError: it can't be written; what was saved before is still there.
        """
        best_is_last = progress.best_epoch == len(progress.history)
        facts = {
            "history": progress.history,
            "phases": progress.phases,
            "seconds": progress.seconds,
            "best_epoch": progress.best_epoch,
            "best_rank": progress.best_rank,
            "features_seen": progress.features_seen,
        }
        arrays = {_FACTS: np.array(json.dumps(facts))}
        arrays |= {f"model/{name}": value for name, value in progress.variables.items()}
        if not best_is_last:
            arrays |= {f"best/{name}": value for name, value in progress.best_variables.items()}
        arrays |= {f"optimizer/{number:06d}": value for number, value in enumerate(progress.optimizer)}
        unfinished = self.file.with_suffix(f".{os.getpid()}.unfinished")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                os.fsync(file.fileno())
            self._check()
            os.replace(unfinished, self.file)
            _sync(self.file.parent)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise UserError(
                f"The checkpoint can't be written to {self.file.parent}: {error.strerror}. The one of the epoch before "
                "is kept: make room, then give the same command again."
            ) from error
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise

    def load(self) -> Progress | None:
        """What was saved last; None where nothing was, or where it can't be read."""
        try:
            with np.load(self.file, allow_pickle=False) as saved:
                arrays = dict(saved)
            facts = json.loads(str(arrays.pop(_FACTS)))
            facts["best_rank"] = tuple(facts["best_rank"])
            variables = _under("model/", arrays)
            best = _under("best/", arrays) or variables
            optimizer = list(_under("optimizer/", arrays).values())
            return Progress(**facts, variables=variables, best_variables=dict(best), optimizer=optimizer)
        except (OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
            return None


def _sync(folder: Path) -> None:
    """Have the folder's entries on disk: after a power cut, the store must not know of an epoch that is not saved."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
