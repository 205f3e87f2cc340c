import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from leafexp.errors import UserError
from leafexp.relocate import relocate
from leafexp.tracking.store import open_store

OPEN = """
import sys
from pathlib import Path
from leafexp.tracking.store import open_store
import mlflow
store = open_store(None, "leafexp", Path(sys.argv[1]))
with mlflow.start_run(experiment_id=store.experiment_id):
    mlflow.log_text("here", "note.txt")
    for step in range(20):
        mlflow.log_metrics({"loss": step}, step=step)
"""


@pytest.fixture(autouse=True)
def own_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("leafexp.tracking.store.mlflow.set_tracking_uri", lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "a%20b? c"])
def test_four_processes_at_once_on_a_missing_store_lose_nothing(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    root.mkdir()
    count = 4 if name == "plain" else 1
    processes = [subprocess.Popen([sys.executable, "-c", OPEN, str(root)], cwd=tmp_path) for _ in range(count)]
    assert [process.wait() for process in processes] == [0] * count
    assert (root / "mlflow.db").is_file()
    store = open_store(None, "leafexp", root)
    client = MlflowClient(store.uri)
    assert [experiment.name for experiment in client.search_experiments()].count("leafexp") == 1
    runs = client.search_runs([store.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * count
    for run in runs:
        assert len(client.get_metric_history(run.info.run_id, "loss")) == 20
        assert len(list(root.glob(f"mlruns/{run.info.run_id}/artifacts/note.txt"))) == 1


def test_the_experiment_is_never_default_even_after_mlflow_ui(tmp_path: Path, empty_store: Path) -> None:
    # What a server started before the first training leaves behind.
    shutil.copy(empty_store, tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    store = open_store(None, "leafexp", tmp_path)
    found = client.get_experiment(store.experiment_id)
    assert (found.name, found.artifact_location) == ("leafexp", (tmp_path / "mlruns").as_uri())


def test_an_old_file_store_and_a_deleted_experiment_are_named(tmp_path: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, tmp_path)
    old = tmp_path / "old"
    (old / "mlruns" / "0").mkdir(parents=True)
    (old / "mlruns" / "0" / "meta.yaml").touch()
    with pytest.raises(UserError, match="old MLflow file store(.|\n)*migrate-filestore"):
        open_store(None, "leafexp", old)
    store = open_store(None, "leafexp", tmp_path)
    MlflowClient(store.uri).delete_experiment(store.experiment_id)
    with pytest.raises(UserError, match="was deleted in MLflow. Restore it"):
        open_store(None, "leafexp", tmp_path)


def test_a_moved_store_is_named_and_mended(tmp_path: Path, empty_store: Path) -> None:
    old, new = tmp_path / "old place", tmp_path / "new place"
    old.mkdir()
    shutil.copy(empty_store, old)
    subprocess.run([sys.executable, "-c", OPEN, str(old)], cwd=tmp_path, check=True)
    old.rename(new)
    with pytest.raises(UserError, match=r"store was moved(.|\n)*leafexp\.relocate '.*new place/mlflow.db'"):
        open_store(None, "leafexp", new)
    assert sum(relocate(new / "mlflow.db").values()) == 2
    assert relocate(new / "mlflow.db") == {}
    store = open_store(None, "leafexp", new)
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([store.experiment_id])
    downloaded = Path(client.download_artifacts(run.info.run_id, "note.txt"))
    assert downloaded.read_text() == "here"
    assert not old.exists()
    with pytest.raises(UserError, match="There is no tracking store"):
        relocate(tmp_path / "mlflow.db")


def test_a_store_that_can_not_be_used_is_explained(tmp_path: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, tmp_path)
    for name in ("half", "older", "text"):
        (tmp_path / name).mkdir()
    with closing(sqlite3.connect(tmp_path / "half" / "mlflow.db")) as database, database:
        database.execute("create table experiments (experiment_id integer primary key)")
    with pytest.raises(UserError, match="is half made"):
        open_store(None, "leafexp", tmp_path / "half")
    open_store(None, "leafexp", tmp_path)
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "older")  # as MLflow checks a store once a process
    with closing(sqlite3.connect(tmp_path / "older" / "mlflow.db")) as database, database:
        database.execute("update alembic_version set version_num = '97727af70f4d'")
    with pytest.raises(UserError, match="is of another MLflow version. After a backup: mlflow db upgrade"):
        open_store(None, "leafexp", tmp_path / "older")
    (tmp_path / "text" / "mlflow.db").write_text("not a database, but long enough to be taken for one" * 10)
    with pytest.raises(UserError, match="file is not a database"):
        open_store(None, "leafexp", tmp_path / "text")
    with pytest.raises(UserError, match="127.0.0.1:9 does not answer"):
        open_store("http://127.0.0.1:9", "leafexp", tmp_path)


def test_the_given_uri_wins_over_the_environment_and_that_over_the_default(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("default", "environment", "given"):
        (tmp_path / name).mkdir()
        shutil.copy(empty_store, tmp_path / name)
    shutil.copy(empty_store, tmp_path / "given" / "runs.db")
    uris = {name: f"sqlite:///{tmp_path}/{name}/mlflow.db" for name in ("environment", "given")}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uris["environment"])
    assert open_store(uris["given"], "leafexp", tmp_path / "default").uri == uris["given"]
    assert open_store(None, "leafexp", tmp_path / "default").uri == uris["environment"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    store = open_store(None, "leafexp", tmp_path / "default")
    assert store.database == tmp_path / "default" / "mlflow.db"
    server = replace(store, uri="http://s3cr3t@host:5000/")
    assert server.charts_link("monday").startswith("http://host:5000/#/experiments/")
    secret = replace(store, uri="postgresql://alice:s3cr3t@host/db", database=None)
    assert str(secret.ui_command()).startswith('mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI" (first set')
    assert "tags.%60sweep%60%20LIKE%20%27%25monday%25%27" in store.charts_link("monday")
    monkeypatch.chdir(tmp_path)
    assert store.ui_command() == f"cd '{tmp_path}/default' && mlflow ui"
    monkeypatch.chdir(tmp_path / "default")
    assert store.ui_command() == "mlflow ui"
    elsewhere = open_store(f"sqlite:///{tmp_path}/given/runs.db", "leafexp", tmp_path)
    assert elsewhere.ui_command() == f"mlflow ui --backend-store-uri {elsewhere.uri}"
    found = MlflowClient(elsewhere.uri).get_experiment(elsewhere.experiment_id)
    assert found.artifact_location == (tmp_path / "given" / "mlruns").as_uri()
    with pytest.raises(UserError, match="nowhere does not exist. Choose another with tracking.uri=URI"):
        open_store("sqlite:////nowhere/mlflow.db", "leafexp", tmp_path)
    assert mlflow.active_run() is None
