"""The trials of a search, trained one after the other by as many processes as were started."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from leafexp import names
from leafexp.errors import Diverged, Paused, UserError
from leafexp.locks import file_lock
from leafexp.runs import checkpoints
from leafexp.runs.cell import train
from leafexp.search.arms import Arm
from leafexp.search.journal import Score, Trial, opened
from leafexp.tracking import trial as tracked_trial
from leafexp.wording import duration

if TYPE_CHECKING:
    from leafexp.settings.schema import SearchConfig
    from leafexp.tracking.store import Store
    from leafexp.training.checkpoint import EpochRow

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Search:
    """A search: its name, folder, arms, how it is done, and the store of its runs."""

    name: str
    folder: Path
    arms: Sequence[Arm]
    config: "SearchConfig"
    store: "Store"

    def word(self, arm: Arm, number: int) -> str:
        """What a trial is called in the store."""
        return f"{self.name} {arm.name} {number}"

    def trials(self) -> dict[str, list[Trial]]:
        """The trials that were begun, by arm."""
        with opened(self.folder, [arm.name for arm in self.arms]) as journal:
            return {name: arm.trials() for name, arm in journal.items()}


def work(search: Search) -> None:
    """Train trials until every arm's choice is made; those that another process trains are left to it.

    Raises:
        UserError: a trial can't be trained, for another reason than its settings; or all of an arm failed.
    """
    while True:
        jobs = _jobs(search)
        if jobs is None:
            return
        if not any(_took(search, arm, number, epoch) for arm, number, epoch in jobs):
            time.sleep(_LOOK_SECONDS)


def _jobs(search: Search) -> list[tuple[Arm, int, int]] | None:
    """The trials to be trained and to which epoch; asks for those that are due, ends losers. None at the end."""
    jobs: list[tuple[Arm, int, int]] = []
    decided = True
    with opened(search.folder, [arm.name for arm in search.arms]) as journal:
        for arm in search.arms:
            ledger = journal[arm.name]
            for settings in arm.next_settings(ledger.trials(), search.config):
                ledger.ask(settings, arm.space)
            trials = ledger.trials()
            standing = arm.standing(trials, search.config)
            chosen = [] if standing.chosen is None else [(standing.chosen, arm.rungs[-1])]
            failed = [(number, 0) for number, trial in enumerate(trials) if trial.failed]
            for number, epoch in (*standing.lost, *chosen, *failed):
                if not trials[number].ended:
                    _end(search, arm, number, trials[number], epoch)
                    ledger.end(number, trials[number], whole=epoch == arm.rungs[-1])
            if standing.decided and standing.chosen is None:
                reason = next(trial.failed for trial in trials if trial.failed)
                raise UserError(f"No trial of {arm.name} could be trained to the end. The first: {reason}")
            jobs += [(arm, number, epoch) for number, epoch in standing.open]
            decided = decided and standing.decided
    return None if decided else jobs


def _end(search: Search, arm: Arm, number: int, trial: Trial, epoch: int) -> None:
    """End a trial's run where it waits, and delete its checkpoint."""
    lost = "" if epoch == arm.rungs[-1] else f"not among the best after epoch {epoch} of {arm.rungs[-1]}"
    accuracy = trial.scores[-1].accuracy if trial.scores else 0.0
    for run_id in tracked_trial.end(search.store, search.word(arm, number), accuracy, lost):
        checkpoints.delete(run_id)


def _took(search: Search, arm: Arm, number: int, epoch: int) -> bool:
    """Train a trial to an epoch unless another process is at it; False where it is."""
    lock = file_lock(search.folder / "locks" / f"{arm.name}.{number}.lock", timeout=0)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock)
        except Timeout:
            return False
        with opened(search.folder, [arm.name]) as journal:
            trial = journal[arm.name].trials()[number]
        if trial.failed or epoch in trial.result.ranks:  # done meanwhile
            return True
        outcome = _trained(search, arm, number, trial, epoch)
        with opened(search.folder, [arm.name]) as journal:
            if isinstance(outcome, Score):
                journal[arm.name].score(number, outcome)
            else:
                journal[arm.name].fail(number, *outcome)
    return True


def _trained(search: Search, arm: Arm, number: int, trial: Trial, epoch: int) -> Score | tuple[str, int, float]:
    """What a trial has reached at an epoch; or why it diverged, and after how many epochs and seconds."""
    config = arm.trial_config(trial.settings, search.name)
    rows: list[EpochRow] = []

    def on_epoch(row: "EpochRow") -> None:
        rows.append(row)
        if int(row["epoch"]) >= epoch:
            raise Paused

    begun = time.monotonic()
    place = f"  {arm.name}  trial {number + 1}/{search.config.trials}"
    try:
        train(config, f"python -m leafexp.search  # {search.word(arm, number)}", on_epoch, search.word(arm, number))
    except Paused:
        score = _score(rows)
        said = f"validation {100 * score.accuracy:5.1f} %  {duration(time.monotonic() - begun):>12}"
        print(f"{place}  epoch {epoch}/{arm.rungs[-1]}  {said}", flush=True)
        return score
    except Diverged as error:
        print(f"{place}  {error}", flush=True)
        # The epoch in which it diverged was trained too.
        return str(error), len(rows) + 1, error.seconds + sum(float(row[names.EPOCH_SECONDS]) for row in rows)
    raise RuntimeError(f"Trial {number} of {arm.name} was not paused after epoch {epoch}.")


def _score(rows: "Sequence[EpochRow]") -> Score:
    """The best epoch of these, as training chooses it."""
    from leafexp.training.record import rank  # imports Keras, which is set up by the first trial

    best = max(rows, key=rank)
    seconds = sum(float(row[names.EPOCH_SECONDS]) for row in rows)
    accuracy, loss = float(best[names.VAL_ACCURACY]), float(best[names.VAL_LOSS])
    return Score(len(rows), accuracy, loss, int(best["epoch"]), seconds)
