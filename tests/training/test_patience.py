"""Early stopping: the last phase ends where the rule says, and as well after a cut."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from leafexp import names
from leafexp.data.dataset import Dataset
from leafexp.training.checkpoint import Checkpoint, EpochRow
from leafexp.training.fit import Fit, Training, fit
from leafexp.training.optimizer import Adam
from leafexp.training.phases import Phase, plan
from leafexp.training.record import Record
from tests.training.test_fit import TIMED, assert_identical, small_model

PHASES = {"head": Phase("head", 0.3, 1.0, "inference"), "tune": Phase("conv2", batch_norm_momentum=0.5)}
UNTIMED = [name for name in names.EPOCH_METRICS if name not in TIMED]


def train(
    dataset: Dataset, file: Path, patience: int | None, on_epoch: Callable[[EpochRow], None] = lambda _: None
) -> tuple[keras.Model, Fit]:
    """Six epochs, two of them for the head."""
    model, saved = small_model(), Checkpoint(file)
    training = Training(lambda phase, _: Adam(0.05 * phase.learning_rate_factor), 10)
    planned = plan(PHASES, 6, pretrained=True, patience=patience)
    return model, fit(model, planned, dataset, training, Record(on_epoch, saved.load(), saved))


@pytest.fixture(scope="module")
def misled(dataset: Dataset) -> Dataset:
    """Validation photos have another class's label: the better a network learns, the worse it does there."""
    table = dataset.table.copy()
    table["class_index"] = (table["class_index"] + (table["split"] == "validation")) % 3
    return replace(dataset, table=table)


@pytest.fixture(scope="module")
def whole(misled: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Fit]:
    return train(misled, tmp_path_factory.mktemp("whole") / "run.npz", None)


def end(history: pd.DataFrame, patience: int) -> int:
    """The epoch after which the last phase ends: so many in a row are no better than the best of the phase before."""
    best, waited = (-1.0, 0.0), 0
    for row in history.iloc[2:].to_dict("records"):
        rank = (row[names.VAL_ACCURACY], -row[names.VAL_LOSS])
        best, waited = (rank, 0) if rank > best else (best, waited + 1)
        if waited == patience:
            return int(row["epoch"])
    return len(history)


@pytest.mark.slow
def test_a_patience_that_is_not_used_up_changes_no_bit(
    misled: Dataset, tmp_path: Path, whole: tuple[keras.Model, Fit]
) -> None:
    patient = train(misled, tmp_path / "run.npz", 4)
    assert_identical(patient, whole)
    assert not patient[1].stopped_early
    assert list(patient[1].phases["epochs"]) == [2, 4]


@pytest.mark.parametrize("patience", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_training_ends_where_the_rule_says_and_after_any_cut(
    misled: Dataset, tmp_path: Path, whole: tuple[keras.Model, Fit], patience: int
) -> None:
    last = end(whole[1].history, patience)
    assert 2 < last < 6
    for cut in (3, last):  # within the last phase, and before it was said that it is over

        def stop(row: EpochRow, cut: int = cut) -> None:
            if row["epoch"] == cut:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(misled, tmp_path / "run.npz", patience, stop)
    model, fitted = train(misled, tmp_path / "run.npz", patience)
    pd.testing.assert_frame_equal(fitted.history[UNTIMED], whole[1].history[UNTIMED].iloc[:last], check_exact=True)
    assert fitted.stopped_early
    assert list(fitted.phases["epochs"]) == [2, last - 2]
    assert fitted.history["epoch_seconds"].sum() <= fitted.total_seconds
    straight = train(misled, tmp_path / "straight.npz", patience)
    assert_identical((model, fitted), straight)
    assert straight[1].best_epoch == fitted.best_epoch <= last
    assert np.isfinite(straight[1].total_seconds)
