"""Whole searches: nothing is tested, kills lose and double no trial, what was chosen composes, trains and is told."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

pytest.importorskip("optuna")

from leafexp import names
from leafexp.report.read.collect import collect
from leafexp.report.rows.budget import BUDGET
from leafexp.report.rows.row import make_rows
from tests.conftest import CHECKOUT, metrics_of
from tests.test_sweeps import Sweep

pytestmark = pytest.mark.slow

TRIALS = ["freeze=unfrozen", "epochs=2", "search.trials=3", "search.test_seeds=1"]
MANY = ["-m", "freeze=unfrozen,partial", "epochs=3", "search.trials=4"]


class Searching(Sweep):
    """A search with a folder, a store and a cache of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.results = CHECKOUT / "searches" / name
        self.environment["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT / "src"), os.environ.get("PYTHONPATH", "")])

    def command(self, *overrides: str) -> list[str]:
        words = super().command(*overrides)
        return [*words[:2], "leafexp.search", *words[3:], f"search.name={self.results.name}"]

    def train_chosen(self) -> str:
        """What the command that the search prints says."""
        words = ["--config-dir", str(self.results), f"experiment={self.results.name}", f"tracking.uri={self.uri}"]
        done = subprocess.run(
            [sys.executable, "-m", "leafexp.train", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def trials(self) -> pd.DataFrame:
        return pd.read_csv(self.results / "trials.csv")

    def check_runs(self) -> None:
        """Each trial of the table is one run, each of its epochs is there once, and nothing of it was tested."""
        trials = [run for run in self.runs() if names.TRIAL in run.data.tags]
        runs = {run.data.tags[names.TRIAL]: run for run in trials}
        table = self.trials()
        called = [
            f"{self.results.name} {arm} {trial - 1}" for arm, trial in zip(table["arm"], table["trial"], strict=True)
        ]
        assert len(trials) == len(table)
        assert sorted(runs) == sorted(called)
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            for trial, epochs in zip(called, table["epochs"], strict=True):
                run = runs[trial].info.run_id
                logged = "select step from metrics where run_uuid = ? and key = ? order by step"
                assert [step for (step,) in database.execute(logged, (run, names.LOSS))] == list(range(1, epochs + 1))
                assert runs[trial].info.status == ("FINISHED" if epochs == table["epochs"].max() else "KILLED")
        for run in runs.values():
            metrics = metrics_of(run)
            assert not [name for name in metrics if name.startswith(("test", "audit"))]
            listed = [file.path for file in MlflowClient(self.uri).list_artifacts(run.info.run_id)]
            assert sorted(listed) == [names.CONFIG_FILE, names.SPLIT_FILE]
            assert set(pd.read_csv(self.artifact(run, names.SPLIT_FILE))["split"]) == {
                "train",
                "validation",
                "held out",
            }
        assert not list(self.folder.glob("cache/leafexp/checkpoints/*"))


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Searching]]:
    made: list[Searching] = []

    def make(*words: str) -> Searching:
        """A search of its own; with words, one that has run them to its end."""
        made.append(Searching(tmp_path_factory.mktemp("search") / "its", f"test-{uuid.uuid4().hex[:12]}"))
        if words:
            code, _, err = made[-1].run(*words)
            assert code == 0, err
        return made[-1]

    yield make
    for search in made:
        shutil.rmtree(search.results, ignore_errors=True)


@pytest.fixture(scope="module")
def whole(searching: Callable[..., Searching]) -> Searching:
    return searching(*TRIALS)


def test_what_is_chosen_is_trained_tested_and_told(whole: Searching) -> None:
    search = whole
    search.check_runs()
    table = search.trials()
    assert table["epochs"].sum() == 3 * 1 + 1 * 1
    (chosen,) = table[table["outcome"] == "chosen"].to_dict("records")
    assert chosen["val_accuracy"] == table[table["epochs"] == 2]["val_accuracy"].max()
    assert "1 trained" in search.train_chosen()
    (run,) = [run for run in search.runs() if names.TRIAL not in run.data.tags]
    assert run.info.status == "FINISHED"
    assert float(run.data.params["optimizer.learning_rate"]) == chosen["optimizer.learning_rate"]
    assert (run.data.tags[names.TUNED], run.data.tags[names.SEED]) == ("3 trials, 4 epochs", "1")
    assert names.TEST_ACCURACY in metrics_of(run)
    selection = collect(search.uri, "leafexp", "all")
    assert [one.run_id for one in selection.finished] == [run.info.run_id]
    assert "3 trials of searches left out: trials choose settings and are never tested." in selection.notes
    (row,) = make_rows(selection.finished)
    assert BUDGET["tuning"](row) == "3 trials, 4 epochs"
    code, _, err = search.run(*TRIALS, "search.eta=4")
    assert code == 2
    assert "was begun with other arms, trials or ranges" in err


@pytest.mark.parametrize(
    ("kills", "words"), [(1, TRIALS), pytest.param(10, MANY, marks=pytest.mark.long)], ids=["once", "ten times"]
)
def test_kills_lose_and_double_no_trial_and_two_processes_share_the_work(
    searching: Callable[..., Searching], request: pytest.FixtureRequest, kills: int, words: list[str]
) -> None:
    undisturbed = request.getfixturevalue("whole") if words == TRIALS else searching(*words)
    killed = searching()
    moments = random.Random(kills)
    for _ in range(kills):
        process = killed.start(*words)
        assert process.stdout
        next(line for line in process.stdout if "Test photos" in line)
        time.sleep(moments.uniform(0, 25))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    both = [killed.start(*words) for _ in range(2)]
    outputs = [process.communicate(timeout=900) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    killed.check_runs()
    tables = [search.trials().drop(columns="seconds") for search in (undisturbed, killed)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
