"""The checkpoints of runs: where each one's lies, and when it goes."""

from pathlib import Path
from typing import TYPE_CHECKING

from leafexp.cache.room import CHECKPOINTS
from leafexp.paths import cache_folder
from leafexp.runs.backend import import_tensorflow

if TYPE_CHECKING:
    from leafexp.training.checkpoint import Progress


def file_of(run_id: str) -> Path:
    """Where a run's checkpoint lies, or would."""
    return cache_folder() / CHECKPOINTS / f"{run_id}.npz"


def progress_of(run_id: str) -> "Progress | None":
    """What was saved of a run that was cut off; None where nothing was, or where it is damaged."""
    if not file_of(run_id).exists():
        return None
    import_tensorflow()
    from leafexp.training.checkpoint import Checkpoint

    return Checkpoint(file_of(run_id)).load()


def delete(run_id: str) -> None:
    """Delete it, and what was left where writing it was cut off."""
    for file in file_of(run_id).parent.glob(f"{run_id}.*"):
        file.unlink(missing_ok=True)
