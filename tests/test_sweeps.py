"""Sweeps lose nothing: killed, interrupted, started twice, in parallel, on a store that fails or goes away."""

import contextlib
import io
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.environment import processors
from tests.conftest import CHECKOUT, metrics_of, write_photos
from tests.servers import Server, make_database

pytestmark = pytest.mark.slow

TIMED = (*names.TIMINGS, names.IMAGES_PER_SECOND, names.TIMESTAMP)
GRID = ["-m", "freeze=unfrozen,partial", "seed=0,1"]


class Sweep:
    """Commands with a small network on small photos, in a folder with a store and a cache of its own."""

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        self.folder = folder
        self.uri = uri or f"sqlite:///{folder}/mlflow.db"
        write_photos(folder / "photos", {"blight": 24, "healthy": 24, "mold": 24})
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        self.environment |= {"PYTHONPATH": str(CHECKOUT / "src"), "XDG_CACHE_HOME": str(folder / "cache")}

    def command(self, *overrides: str) -> list[str]:
        small = ["model=cnn", "model.network.filters=[4]", "model.network.dense_units=8", "data.image_size=32"]
        data = ["data=folder", f"data.path={self.folder / 'photos'}", "model.partial_from=head_dense"]
        return [sys.executable, "-m", "leafexp.train", *small, *data, f"tracking.uri={self.uri}", *overrides]

    def start(self, *overrides: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*overrides),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell lets what it runs in the background ignore Ctrl-C, and leafexp.train keeps to that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *overrides: str) -> tuple[int, str, str]:
        process = self.start(*overrides)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def runs(self) -> list[Run]:
        client = MlflowClient(self.uri)
        (experiment,) = [item for item in client.search_experiments() if item.name == "leafexp"]
        return list(client.search_runs([experiment.experiment_id]))

    def wait_for_epochs(self, runs: int) -> None:
        """Wait until so many runs that are being trained have an epoch in the store."""
        for _ in range(300):
            time.sleep(0.2)
            if not (self.folder / "mlflow.db").exists():  # which this process would else make, and at the same time
                continue
            with contextlib.suppress(ValueError):  # no experiment yet
                training = [run for run in self.runs() if run.info.status == "RUNNING"]
                if sum(names.LOSS in run.data.metrics for run in training) == runs:
                    return
        raise AssertionError("no epoch was logged")

    def artifact(self, run: Run, name: str) -> Path:
        target = self.folder / "downloads" / run.info.run_id
        target.mkdir(parents=True, exist_ok=True)
        return Path(MlflowClient(self.uri).download_artifacts(run.info.run_id, name, str(target)))

    def weights(self, run: Run) -> list[np.ndarray]:
        (model,) = run.outputs.model_outputs
        logged = MlflowClient(self.uri).get_logged_model(model.model_id)
        (file,) = Path(logged.artifact_location.removeprefix("file://")).rglob("model.keras")
        arrays: list[np.ndarray] = []
        with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
            weights.visititems(lambda _, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None)
        return arrays


def cell(run: Run) -> tuple[str, str, str]:
    return run.data.tags[names.ROW], run.data.tags[names.SEED], run.data.params["data.fold"]


def assert_same(one: Sweep, other: Sweep, cells: int) -> None:
    """Both stores hold the same finished runs, each once: history, metrics, predictions and weights."""
    for sweep in (one, other):
        assert sorted(run.info.status for run in sweep.runs()) == ["FINISHED"] * cells
        with closing(sqlite3.connect(sweep.folder / "mlflow.db")) as database:
            twice = "select run_uuid, key, step, count(*) from metrics group by 1, 2, 3 having count(*) > 1"
            assert database.execute(twice).fetchall() == []
        assert not list(sweep.folder.glob("cache/leafexp/checkpoints/*"))
    mine, its = ({cell(run): run for run in sweep.runs()} for sweep in (one, other))
    assert len(mine) == cells
    assert mine.keys() == its.keys()
    for key in mine:
        metrics = [
            {name: value for name, value in metrics_of(run).items() if "seconds" not in name and "_mb" not in name}
            for run in (mine[key], its[key])
        ]
        for values in metrics:
            values.pop(names.IMAGES_PER_SECOND)
        assert metrics[0] == metrics[1]
        for name in (names.HISTORY_FILE, names.PREDICTIONS_FILE):
            tables = [pd.read_csv(sweep.artifact(run, name)) for sweep, run in ((one, mine[key]), (other, its[key]))]
            tables = [table.drop(columns=[column for column in TIMED if column in table]) for table in tables]
            pd.testing.assert_frame_equal(*tables, check_exact=True)
        for first, second in zip(one.weights(mine[key]), other.weights(its[key]), strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_sweep_killed_at_random_moments_ends_as_one_that_never_was(tmp_path: Path, kills: int) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = Sweep(tmp_path / "whole"), Sweep(tmp_path / "killed")
    epochs = f"epochs={max(80, 25 * kills)}"
    code, out, err = whole.run(*GRID, epochs)
    assert code == 0, err
    moments = random.Random(kills)
    for number in range(kills):
        process = killed.start(*GRID, epochs)
        # Some 7 s go by before the first epoch: so all kinds of moments, and not the sweep's end.
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=moments.uniform(1, 11))
        sent = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT][number % 3]
        process.send_signal(sent)
        out, err = process.communicate(timeout=40)
        assert process.returncode in (-sent, 128 + sent), err
        if process.returncode > 0 and "4 cells" in out and "was broken off" not in err:
            assert "the same command goes on from here:\n  python -m leafexp.train" in err
            assert "Traceback" not in err
    # Of many, some cut it off within runs, not only before them.
    assert kills < 20 or sum(int(run.data.tags.get(names.INTERRUPTIONS, 0)) for run in killed.runs()) > kills / 4
    code, out, err = killed.run(*GRID, epochs)
    assert code == 0, err
    assert_same(whole, killed, cells=4)
    code, out, err = killed.run(*GRID, epochs)
    assert (code, out.count("%  finished before\n")) == (0, 4)
    assert ": 4 finished before and skipped." in out


def test_folds_that_were_cut_off_end_as_those_that_never_were(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = Sweep(tmp_path / "whole"), Sweep(tmp_path / "killed")
    words = ["freeze=unfrozen", "epochs=20", "data.folds=3"]
    code, out, err = whole.run(*words)
    assert code == 0, err
    assert ": 3 trained." in out
    assert out.count("CNN from scratch") == 1
    process = killed.start(*words, "data.fold=1,2", "-m")
    killed.wait_for_epochs(1)
    process.kill()
    process.communicate()
    code, out, err = killed.run(*words)
    assert code == 0, err
    assert "Going on with run" in out
    assert_same(whole, killed, cells=3)
    tested = pd.concat([pd.read_csv(whole.artifact(run, names.PREDICTIONS_FILE)) for run in whole.runs()])
    assert len(tested) == tested["path"].nunique() == 72


def test_in_parallel_a_failing_cell_stops_no_other(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    words = ["-m", "freeze=partial", "seed=0,1", "model.partial_from=head_dense,nowhere", "epochs=2"]
    code, out, err = sweep.run(*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert code == 1
    assert ": 2 trained, 2 failed." in out
    assert err.count("The model has no layer 'nowhere'") == 2
    (logs,) = {
        tuple(line.split()[-1] for line in out.splitlines() if "partial_from=nowhere" in line and ".log" in line)
    }
    assert len(logs) == 2
    assert all("has no layer 'nowhere'" in Path(log).read_text() for log in logs)
    assert sorted(run.info.status for run in sweep.runs()) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    assert {run.data.tags[names.THREADS] for run in sweep.runs() if names.THREADS in run.data.tags} == {
        str(max(1, processors() // 2))
    }
    code, out, err = sweep.run(*words)
    assert code == 1
    assert ": 2 finished before and skipped, 2 failed." in out
    assert len(sweep.runs()) == 4


def test_ctrl_c_ends_the_runs_of_all_workers(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    process = sweep.start(*GRID, "epochs=100000", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    sweep.wait_for_epochs(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert ": 2 interrupted." in out
    assert "Traceback" not in err
    assert [run.info.status for run in sweep.runs()] == ["KILLED", "KILLED"]


def test_two_commands_at_once_train_a_run_once(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    processes = [sweep.start("epochs=60", "freeze=unfrozen") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted("1 trained" in out for out, _ in outputs) == [False, True]
    assert sorted("Another process is training this very run; waiting" in out for out, _ in outputs) == [False, True]
    assert [run.info.status for run in sweep.runs()] == ["FINISHED"]


def test_a_server_that_goes_away_and_comes_back_costs_no_epoch(tmp_path: Path) -> None:
    server = Server(tmp_path, f"sqlite:///{tmp_path}/server.db")
    try:
        sweep = Sweep(tmp_path, server.uri)
        process = sweep.start("epochs=120", "freeze=unfrozen")
        assert process.stdout
        for line in process.stdout:
            if line.startswith("  epoch 20/"):
                break
        server.stop()
        time.sleep(8)
        server.start()
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert "The tracking server does not answer; epoch" in out
        (run,) = sweep.runs()
        assert run.info.status == "FINISHED"
        history = MlflowClient(server.uri).get_metric_history(run.info.run_id, names.VAL_LOSS)
        assert [point.step for point in history] == list(range(1, 121))
        code, out, err = sweep.run("epochs=120", "freeze=unfrozen")
        assert code == 0
        assert "1 finished before and skipped" in out
        server.stop()
        code, out, err = sweep.run("epochs=120", "freeze=unfrozen")
        assert code == 2
        assert err.strip().startswith(f"The tracking server 127.0.0.1:{server.port} does not answer")
    finally:
        server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_store_on_a_full_disk_keeps_what_it_has_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    sweep = Sweep(tmp_path, f"sqlite:///{small_disk}/mlflow.db")
    assert sweep.run("epochs=1", "freeze=unfrozen")[0] == 0
    process = sweep.start("epochs=120", "freeze=unfrozen")
    assert process.stdout
    for line in process.stdout:
        if line.startswith("  epoch 10/"):
            break
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "can't be written: (sqlite3.OperationalError) database or disk is full" in err
    assert "Mend it, then give the same command again" in err
    filler.unlink()
    before = {run.info.run_id: run.data.metrics.get(names.LOSS) for run in sweep.runs()}
    assert len(before) == 2
    code, out, err = sweep.run("epochs=120", "freeze=unfrozen")
    assert code == 0, err
    assert "Going on with run" in out
    assert {run.info.run_id for run in sweep.runs()} == before.keys()
    assert [run.info.status for run in sweep.runs()] == ["FINISHED"] * 2
    longest = max(sweep.runs(), key=lambda run: metrics_of(run)[names.BEST_EPOCH] + int(run.data.params["epochs"]))
    history = MlflowClient(sweep.uri).get_metric_history(longest.info.run_id, names.LOSS)
    assert [point.step for point in history] == list(range(1, 121))


def test_a_store_that_can_only_be_read_is_said_at_once(tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "mlflow.db").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, _, err = Sweep(tmp_path, f"sqlite:///{small_disk}/mlflow.db").run("epochs=1", "freeze=partial")
    assert code == 2
    assert err.strip() == (
        f"The tracking store can't be opened: {small_disk} is not writable. Choose another with tracking.uri=URI."
    )


OPEN = """
import sys
from pathlib import Path
import mlflow
from leafexp.tracking.store import open_store
store = open_store(sys.argv[1], "leafexp", Path.cwd())
with mlflow.start_run(experiment_id=store.experiment_id):
    for step in range(20):
        mlflow.log_metrics({"loss": step, "accuracy": step}, step=step)
"""


def assert_eight_at_once_lose_nothing(folder: Path, uri: str) -> None:
    # A temporary folder each: locks are then of no use, as between machines.
    processes = []
    for number in range(8):
        own = folder / f"temp{number}"
        own.mkdir(exist_ok=True)
        environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "src")}
        if not uri.startswith("sqlite"):
            environment["TMPDIR"] = str(own)
        processes.append(subprocess.Popen([sys.executable, "-c", OPEN, uri], cwd=folder, env=environment))
    assert [process.wait() for process in processes] == [0] * 8
    client = MlflowClient(uri)
    experiments = {item.name: item.experiment_id for item in client.search_experiments()}
    location = client.get_experiment_by_name("leafexp").artifact_location
    assert location == (folder / "mlruns").as_uri() or uri.startswith("http")
    assert client.search_runs([experiments.get("Default", "0")]) == []
    runs = client.search_runs([experiments["leafexp"]])
    assert [run.info.status for run in runs] == ["FINISHED"] * 8
    for run in runs:
        for name in ("loss", "accuracy"):
            assert len(client.get_metric_history(run.info.run_id, name)) == 20


ROUNDS = [1, pytest.param(5, marks=pytest.mark.long)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_eight_processes_at_once_on_a_missing_database(tmp_path: Path, rounds: int) -> None:
    for number in range(rounds):
        (tmp_path / str(number)).mkdir()
        assert_eight_at_once_lose_nothing(tmp_path / str(number), f"sqlite:///{tmp_path}/{number}/mlflow.db")


@pytest.mark.parametrize("rounds", ROUNDS)
def test_eight_processes_at_once_on_an_empty_postgresql_database(tmp_path: Path, postgres: str, rounds: int) -> None:
    for number in range(rounds):
        assert_eight_at_once_lose_nothing(tmp_path, make_database(postgres, f"direct_{rounds}_{number}"))


@pytest.mark.parametrize("rounds", ROUNDS)
def test_eight_processes_at_once_on_a_server_over_postgresql(tmp_path: Path, postgres: str, rounds: int) -> None:
    for number in range(rounds):
        server = Server(tmp_path, make_database(postgres, f"server_{rounds}_{number}"))
        try:
            assert_eight_at_once_lose_nothing(tmp_path, server.uri)
        finally:
            server.stop()


def test_a_sweep_on_postgresql_that_is_killed_and_loses_its_connections_goes_on(tmp_path: Path, postgres: str) -> None:
    import psycopg

    sweep = Sweep(tmp_path, make_database(postgres, "sweep"))
    # Its files would else lie in the checkout.
    MlflowClient(sweep.uri).create_experiment("leafexp", artifact_location=(tmp_path / "mlruns").as_uri())
    process = sweep.start("epochs=120", "freeze=unfrozen")
    assert process.stdout
    for line in process.stdout:
        if line.startswith("  epoch 10/"):
            break
    process.kill()
    process.communicate()
    process = sweep.start("epochs=120", "freeze=unfrozen")
    assert process.stdout
    for line in process.stdout:
        if line.startswith("  epoch 40/"):
            break
    with psycopg.connect(f"{postgres.replace('+psycopg', '')}/sweep") as connection:
        others = "from pg_stat_activity where datname = 'sweep' and pid <> pg_backend_pid()"
        cut = connection.execute(f"select pg_terminate_backend(pid) {others}").fetchall()  # type: ignore[call-overload]
    assert cut
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (run,) = sweep.runs()
    assert run.info.status == "FINISHED"
    history = MlflowClient(sweep.uri).get_metric_history(run.info.run_id, names.LOSS)
    assert [point.step for point in history] == list(range(1, 121))
