"""The search's memory: Optuna's journal file, one study an arm, which says what was asked and what came of it.

Who reads or writes it holds a lock that the system lets go of with the process. What a process that was killed left is
mended then: a line that it had not finished, and the lock of Optuna's own.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from leafexp.locks import file_lock
from leafexp.search.halving import Rank, Result

_FILE = "journal.log"
_FAILED = "failed"


@dataclass(frozen=True)
class Score:
    """What a trial has reached by an epoch.

    Attributes:
        epoch: how many it was trained for.
        accuracy: its best validation accuracy, in [0, 1].
        loss: the validation loss of that epoch.
        best_epoch: that epoch.
        seconds: spent training.
    """

    epoch: int
    accuracy: float
    loss: float
    best_epoch: int
    seconds: float

    @property
    def rank(self) -> Rank:
        """By which trials are compared."""
        return self.accuracy, -self.loss


@dataclass(frozen=True)
class Trial:
    """A trial as the journal has it: its settings, its score at each rung, why it failed, and whether it has ended."""

    settings: dict[str, Any]
    scores: list[Score]
    failed: str
    failed_after: tuple[int, float]  # epochs and seconds
    ended: bool

    @property
    def result(self) -> Result:
        """What halving goes by."""
        return Result({score.epoch: score.rank for score in self.scores}, bool(self.failed))

    @property
    def spent(self) -> tuple[int, float]:
        """Epochs and seconds."""
        if self.failed:
            return self.failed_after
        return (self.scores[-1].epoch, self.scores[-1].seconds) if self.scores else (0, 0.0)


class Arm:
    """An arm's trials in an opened journal."""

    def __init__(self, storage: BaseStorage, name: str) -> None:
        self._storage = storage
        self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)

    def trials(self) -> list[Trial]:
        """Those that were asked, by number."""
        return [_read(trial) for trial in self._study.get_trials(deepcopy=False)]

    def ask(self, settings: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> None:
        """Write down the next trial; in one line, so that it is there whole or not at all."""
        self._study.add_trial(create_trial(state=TrialState.RUNNING, params=dict(settings), distributions=dict(space)))

    def score(self, number: int, score: Score) -> None:
        """Write down what a trial has reached."""
        values = {"accuracy": score.accuracy, "loss": score.loss, "best_epoch": score.best_epoch}
        self._note(number, f"epoch {score.epoch}", {**values, "seconds": score.seconds})

    def fail(self, number: int, reason: str, epochs: int, seconds: float) -> None:
        """Write down that a trial's loss stopped being a number."""
        self._note(number, _FAILED, {"reason": reason, "epochs": epochs, "seconds": seconds})

    def end(self, number: int, trial: Trial, whole: bool) -> None:
        """Write down that a trial is over, and whether it was trained to the end."""
        state = TrialState.FAIL if trial.failed else TrialState.COMPLETE if whole else TrialState.PRUNED
        self._study.tell(number, trial.scores[-1].accuracy if state == TrialState.COMPLETE else None, state)

    def _note(self, number: int, key: str, value: Any) -> None:
        trial = self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        self._storage.set_trial_user_attr(trial, key, value)


@contextlib.contextmanager
def opened(folder: Path, arms: Sequence[str]) -> Iterator[dict[str, Arm]]:
    """The arms of the search in `folder`, for this process alone."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = folder / _FILE
    with file_lock(folder / "journal.held"):
        _mend(file)
        storage = JournalStorage(JournalFileBackend(str(file)))
        yield {name: Arm(storage, name) for name in arms}


def _mend(file: Path) -> None:
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    written = file.read_bytes() if file.exists() else b""
    if not written.endswith(b"\n") and written:
        with open(file, "r+b") as journal:
            journal.truncate(written.rfind(b"\n") + 1)


def _read(trial: optuna.trial.FrozenTrial) -> Trial:
    notes = trial.user_attrs
    scores = [Score(int(key.split()[1]), **value) for key, value in notes.items() if key != _FAILED]
    failed = notes.get(_FAILED, {})
    return Trial(
        trial.params,
        sorted(scores, key=lambda score: score.epoch),
        str(failed.get("reason", "")),
        (failed.get("epochs", 0), failed.get("seconds", 0.0)),
        trial.state.is_finished(),
    )
