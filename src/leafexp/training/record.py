"""What training leaves behind as it goes on: its epochs, the best weights, and a checkpoint."""

from collections.abc import Callable

import keras

from leafexp import names
from leafexp.training.checkpoint import Checkpoint, EpochRow, Progress, assign, changing
from leafexp.training.phases import PlannedPhase


class Record:
    """The progress of training, saved and handed on epoch by epoch.

    Args:
        on_epoch: called with each epoch's row as soon as the epoch is over; first with those of the progress.
        progress: where to go on from, as a checkpoint held it; changed in place.
        checkpoint: where each epoch's end is saved.
    """

    def __init__(
        self,
        on_epoch: Callable[[EpochRow], None] = lambda _: None,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.progress = progress or Progress()
        self._on_epoch = on_epoch
        self._checkpoint = checkpoint
        self._changing: dict[str, keras.Variable] = {}

    @property
    def epochs(self) -> int:
        """How many are over."""
        return len(self.progress.history)

    def go_on(self, model: keras.Model) -> None:
        """Bring `model` to where the progress stands, and hand its epochs on."""
        assign(model, self.progress.variables)
        for row in self.progress.history:
            self._on_epoch(row)

    def begin_phase(self, model: keras.Model) -> None:
        """From now on, keep what changes in `model` too; its layers are frozen as the phase wants it."""
        for key, variable in changing(model).items():
            self._changing[key] = variable
            # What begins to change now had this value after the best epoch so far.
            self.progress.best_variables.setdefault(key, variable.numpy())

    def end_epoch(self, row: EpochRow, seconds: float, optimizer: keras.Optimizer) -> None:
        """Keep an epoch, its weights where it is the best so far, save all and hand it on.

        Raises:
            UserError: the checkpoint can't be written.
        """
        progress = self.progress
        progress.history.append(row)
        progress.seconds = seconds
        progress.variables = {key: variable.numpy() for key, variable in self._changing.items()}
        if rank(row) > progress.best_rank:
            progress.best_rank, progress.best_epoch = rank(row), self.epochs
            progress.best_variables = dict(progress.variables)
        if self._checkpoint:
            progress.optimizer = [variable.numpy() for variable in optimizer.variables]
            self._checkpoint.save(progress)
        self._on_epoch(row)

    def no_better(self, planned: PlannedPhase) -> bool:
        """Whether the phase has run out of patience: that many epochs have followed its best one."""
        ranks = [rank(row) for row in self.progress.history if row["phase"] == planned.name]
        if planned.patience is None or not ranks:
            return False
        return len(ranks) - 1 - ranks.index(max(ranks)) >= planned.patience

    def restore_best(self, model: keras.Model) -> None:
        """Give `model` the weights of the best epoch."""
        assign(model, self.progress.best_variables)


def rank(row: EpochRow) -> tuple[float, float]:
    """By which epochs are compared: the highest validation accuracy, of equals the lowest validation loss."""
    return float(row[names.VAL_ACCURACY]), -float(row[names.VAL_LOSS])
