import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from golden import log_runs, study_run, study_runs

from leafexp import names
from leafexp.report.read.runs import Run


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """An SQLite store: `leafexp` with the study, a failed cell and a newer sweep that only failed; others beside it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.utils.file_utils import path_to_local_sqlite_uri

    root = tmp_path_factory.mktemp("a store")
    shutil.copy(empty_store, root)
    client: Any = MlflowClient(tracking_uri=path_to_local_sqlite_uri(str(root / "mlflow.db")))

    def experiment(name: str) -> str:
        return str(client.create_experiment(name, artifact_location=(root / "mlruns" / name).as_uri()))

    failed = {"status": "FAILED", "with_predictions": False}
    broken = study_run("Simple_CNN", **failed, seed=1, started=1500, tags={names.ERROR: "CUDA went away\ntrace"})
    newer = study_run("Simple_CNN", **failed, seed=2, started=3000, sweep="broken", tags={names.ERROR: "no photos"})
    older = study_run("MobileNetV2_frozen", started=10, sweep="first")
    log_runs(client, experiment("leafexp"), [older, *study_runs(), broken, newer], root)
    log_runs(client, experiment("only_failed"), [newer], root)
    experiment("empty")
    return root / "mlflow.db"


@pytest.fixture
def track(store: Path, request: pytest.FixtureRequest) -> Callable[..., tuple[Path, str]]:
    """Writes runs into an experiment of the test's own; gives the store and the experiment's name."""
    from mlflow import MlflowClient
    from mlflow.utils.file_utils import path_to_local_sqlite_uri

    def write(runs: list[Run], foreign: int = 0) -> tuple[Path, str]:
        client: Any = MlflowClient(tracking_uri=path_to_local_sqlite_uri(str(store)))
        name = request.node.name
        experiment = client.create_experiment(name, artifact_location=(store.parent / "mlruns" / name).as_uri())
        log_runs(client, experiment, runs, store.parent)
        for number in range(foreign):
            run_id = client.create_run(experiment, start_time=9000 + number, run_name="a baseline").info.run_id
            for key, value in {"kind": "svm", "C": "3", "seed": str(number)}.items():
                client.log_param(run_id, key, value)
            client.set_tag(run_id, "model", "svm")
            client.log_metric(run_id, names.TEST_ACCURACY, 0.99)
            client.set_terminated(run_id, "FINISHED")
        return store, name

    return write
