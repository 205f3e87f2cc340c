import os
from pathlib import Path
from typing import Any

import pytest
from golden import log_runs, study_run, study_runs

from leafexp import names


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store: `leafexp` with the study, a failed cell and a newer sweep that only failed; others beside it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.utils.file_utils import path_to_local_sqlite_uri

    root = tmp_path_factory.mktemp("a store")
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
