"""A run that stopped and goes on ends as one that never stopped, bit for bit."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from leafexp.data.dataset import Dataset
from leafexp.errors import UserError
from leafexp.training.checkpoint import Checkpoint, EpochRow
from leafexp.training.fit import Fit, Training, fit
from leafexp.training.optimizer import Adam, learning_rate_schedule
from leafexp.training.phases import Phase, plan
from leafexp.training.record import Record
from tests.training.test_fit import assert_identical, small_model

WIDENING = {"head": Phase("head", 0.4, 1.0, "inference"), "tune": Phase("conv2", 1.0, 0.1, "train", "auto")}
NARROWING = {"all": Phase("all", 0.4, 1.0, "train", 0.8), "head": Phase("head", 1.0, 0.5, "inference")}


class Stop(Exception):
    pass


def train(
    dataset: Dataset, phases: dict[str, Phase], file: Path, rate: float, on_epoch: Callable[[EpochRow], None]
) -> tuple[keras.Model, Fit]:
    model = small_model()

    def optimizer(phase: Phase, epochs: int) -> keras.Optimizer:
        return Adam(learning_rate_schedule(rate * phase.learning_rate_factor, "cosine", epochs, 5, 1, 3, 0.3))

    planned = plan(phases, 5, pretrained=True)
    saved = Checkpoint(file)
    return model, fit(model, planned, dataset, Training(optimizer, 10), Record(on_epoch, saved.load(), saved))


@pytest.mark.parametrize(
    ("phases", "rate", "views"),
    [
        (WIDENING, 0.5, 8),  # an early epoch is the best
        pytest.param(NARROWING, 0.01, 1, marks=pytest.mark.slow),
        pytest.param(WIDENING, 0.01, 1, marks=pytest.mark.slow),
        pytest.param({"all": Phase("all")}, 0.5, 8, marks=pytest.mark.slow),
    ],
)
def test_training_goes_on_after_each_epoch_as_if_it_had_never_stopped(
    dataset: Dataset, tmp_path: Path, phases: dict[str, Phase], rate: float, views: int
) -> None:
    dataset = replace(dataset, views=views)
    whole = train(dataset, phases, tmp_path / "whole.npz", rate, lambda _: None)
    seen: list[EpochRow] = []

    def stop_at(epoch: int) -> Callable[[EpochRow], None]:
        def on_epoch(row: EpochRow) -> None:
            seen.append(row)
            if row["epoch"] == epoch:
                raise Stop

        return on_epoch

    for epoch in (1, 2, 4):  # within the first phase, at its end, within the second
        with pytest.raises(Stop):
            train(dataset, phases, tmp_path / "cut.npz", rate, stop_at(epoch))
    again = train(dataset, phases, tmp_path / "cut.npz", rate, seen.append)
    assert_identical(whole, again)
    assert again[1].best_epoch == whole[1].best_epoch
    assert again[1].phases["phase"].tolist() == whole[1].phases["phase"].tolist()
    assert again[1].total_seconds >= again[1].history["epoch_seconds"].sum()
    # Each epoch was handed on many times, and always with the time at which it ended: so MLflow keeps it once.
    assert len(seen) == 1 + 2 + 4 + 5
    assert len({tuple(row.values()) for row in seen}) == 5


def test_a_checkpoint_is_whole_or_the_one_before(dataset: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "run" / "run.npz"
    assert Checkpoint(file).load() is None
    train(dataset, WIDENING, file, 0.01, lambda _: None)
    saved = file.read_bytes()
    progress = Checkpoint(file).load()
    assert progress and len(progress.history) == 5
    progress.optimizer.append(np.array([object()]))
    with pytest.raises(ValueError, match="Object arrays"):
        Checkpoint(file).save(progress)
    assert file.read_bytes() == saved
    assert [path.name for path in file.parent.iterdir()] == ["run.npz"]
    file.write_bytes(saved[: len(saved) // 2])
    assert Checkpoint(file).load() is None


def test_a_disk_that_is_full_leaves_the_checkpoint_before(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.npz"
    train(dataset, WIDENING, file, 0.01, lambda _: None)
    progress, saved = Checkpoint(file).load(), file.read_bytes()
    assert progress

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("leafexp.training.checkpoint.os.fsync", full)
    with pytest.raises(UserError, match="can't be written to .*: No space left on device. The one of the epoch before"):
        Checkpoint(file).save(progress)
    assert file.read_bytes() == saved
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
