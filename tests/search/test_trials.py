"""One trial through its run: ended where it is to be, and begun anew where its search is."""

from pathlib import Path

import pytest

pytest.importorskip("optuna")

from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.errors import Paused
from leafexp.paths import ROOT
from leafexp.runs import checkpoints
from leafexp.runs.cell import train
from leafexp.settings.compose import check
from leafexp.tracking import trial
from leafexp.tracking.store import open_store
from leafexp.training.checkpoint import EpochRow
from tests.conftest import write_photos

pytestmark = pytest.mark.slow


def test_a_trial_that_a_deleted_search_has_finished_is_trained_again(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    write_photos(tmp_path / "photos", {"blight": 24, "healthy": 24, "mold": 24})
    words = ["model=cnn", "model.network.filters=[4]", "model.network.dense_units=8", "data.image_size=32", "epochs=2"]
    words += ["freeze=unfrozen", "data=folder", f"data.path={tmp_path / 'photos'}", f"tracking.uri={uri}", "sweep=s"]

    def trained() -> list[EpochRow]:
        rows: list[EpochRow] = []

        def on_epoch(row: EpochRow) -> None:
            rows.append(row)
            if row["epoch"] == 2:
                raise Paused

        with pytest.raises(Paused):
            train(check(words), "python -m leafexp.search", on_epoch, "s cnn_unfrozen 0")
        return rows

    first = trained()
    for run_id in trial.end(open_store(uri, "leafexp", ROOT), "s cnn_unfrozen 0", 0.5, ""):
        checkpoints.delete(run_id)
    again = trained()
    assert [row[names.VAL_LOSS] for row in again] == [row[names.VAL_LOSS] for row in first]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("leafexp").experiment_id
    assert sorted(run.info.status for run in client.search_runs([experiment])) == ["FINISHED", names.PAUSED]
