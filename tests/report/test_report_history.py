"""What is read in bulk is what MLflow gives one by one, from each kind of store."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from golden import log_runs, study_run, study_runs
from mlflow import MlflowClient
from mlflow.entities import Metric
from tests.servers import Server, make_database

from leafexp import names
from leafexp.report.read import history
from leafexp.report.read.artifacts import parse_predictions
from leafexp.report.read.collect import collect, read_artifact, read_runs
from leafexp.report.read.history import read_curves
from leafexp.report.read.store import open_client

# metric, value, timestamp, epoch: twice, in an order that time does not have; at the same time; no number; none at all
AWKWARD = {
    "twice": [("loss", 0.5, 30, 2), ("loss", 0.1, 10, 1), ("loss", 0.7, 20, 2), ("val_loss", 3.0, 5, 2)],
    "a tie": [("loss", -1.0, 10, 1), ("loss", -2.0, 10, 1), ("loss", 4.0, 20, 2), ("loss", math.nan, 20, 2)],
    "nan": [("loss", math.nan, 10, 1), ("loss", 0.2, 20, 2), ("val_loss", math.nan, 10, 1)],
    "below zero": [("loss", -0.5, 10, 1), ("loss", math.nan, 10, 1), ("accuracy", math.inf, 10, 7)],
    "other metrics": [("test_accuracy", 0.9, 10, 0)],
    "nothing": [],
}


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.slow),
        pytest.param("server", marks=pytest.mark.slow),
    ]
)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgresql":
        yield make_database(request.getfixturevalue("postgres"), "history")
    elif request.param == "server":
        server = Server(tmp_path, f"sqlite:///{tmp_path}/server.db")
        try:
            yield server.uri
        finally:
            server.stop()
    else:
        yield f"sqlite:///{tmp_path}/mlflow.db"


def one_by_one(client: Any, run_id: str, metrics: dict[str, float]) -> pd.DataFrame:
    columns = {}
    for metric in names.EPOCH_METRICS:
        if metric in metrics:
            stored = [client.get_metric_history(run_id, name) for name in {metric, names.in_section(metric)}]
            points = sorted((point for part in stored for point in part), key=lambda point: point.timestamp)
            columns[metric] = pd.Series({point.step: point.value for point in points}, dtype=float)
    return pd.DataFrame(columns, index=None if columns else pd.Index([], dtype="int64")).sort_index()


def test_bulk_equals_one_by_one(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = MlflowClient(uri)
    location = None if uri.startswith("http") else (tmp_path / "artifacts").as_uri()
    experiment = client.create_experiment("leafexp", artifact_location=location)
    for name, points in AWKWARD.items():
        run_id = client.create_run(experiment, run_name=name).info.run_id
        for point in points:
            client.log_batch(run_id, [Metric(*point)])
    study = study_runs()
    # Half of them as an earlier version wrote them.
    log_runs(client, experiment, study[:2], tmp_path, str)
    log_runs(client, experiment, [*study[2:], study_run("Simple_CNN", status="FAILED", seed=1)], tmp_path)

    runs = read_runs(open_client(uri), "leafexp")
    assert {run.status for run in runs} == {"FINISHED", "FAILED", "RUNNING"}
    expected = {run.run_id: one_by_one(client, run.run_id, run.metrics) for run in runs}
    assert sum(table.isna().any().any() for table in expected.values()) >= 3
    for runs_a_call, points_a_call in ((history.RUNS_A_CALL, history.POINTS_A_CALL), (3, 12)):
        monkeypatch.setattr(history, "RUNS_A_CALL", runs_a_call)
        monkeypatch.setattr(history, "POINTS_A_CALL", points_a_call)
        curves = read_curves(client, {run.run_id: run.stored_metrics for run in runs})
        assert curves.keys() == expected.keys()
        for run in runs:
            pd.testing.assert_frame_equal(curves[run.run_id], expected[run.run_id], check_exact=True, check_names=False)
    twice = next(curves[run.run_id] for run in runs if run.name == "twice")
    assert twice[names.LOSS].to_dict() == {1: 0.1, 2: 0.5}
    assert read_curves(client, {}) == {}

    finished = collect(uri, "leafexp", "latest").finished
    for run, made in zip(finished, study, strict=True):
        pd.testing.assert_frame_equal(run.curves, made.curves[run.curves.columns], check_exact=True)
        pd.testing.assert_frame_equal(run.predictions, made.predictions)
        assert run.artifact_uri.startswith("mlflow-artifacts:" if uri.startswith("http") else "file:")
    client.log_text(finished[0].run_id, "Blätter\n", "page/audit.json")
    assert read_artifact(finished[0], "page/audit.json") == "Blätter\n"
    assert read_artifact(finished[1], "page/audit.json") is None
    assert read_artifact(study[0], names.PREDICTIONS_FILE) is None


KEPT = 'path,label,group,predicted,probability_NA,"probability_a,b"\n007,NA,,null,0.25,\n1e3,null,1,NA,nan,1\n'
NOT_PREDICTIONS = [None, "", "path,label\na,b\n", 'path,label,predicted\n"a,b,c\n', "a\0b",
                   "path,label,predicted,probability_x\na,b,c,much\n"]  # fmt: skip


def test_predictions_keep_every_column_and_what_looks_like_no_word() -> None:
    (table,) = parse_predictions([KEPT])
    assert table is not None
    assert table[["path", "label", "predicted"]].to_numpy().tolist() == [["007", "NA", "null"], ["1e3", "null", "NA"]]
    assert table["group"].isna().tolist() == [True, False]
    assert table["group"][1] == "1"
    assert table["probability_NA"][0] == 0.25
    assert table["probability_a,b"][1] == 1
    assert table[["probability_NA", "probability_a,b"]].dtypes.eq(float).all()


@pytest.mark.parametrize("text", NOT_PREDICTIONS)
def test_what_are_no_predictions(text: str | None) -> None:
    assert parse_predictions([text]) == [None]


HEAD = "path,label,predicted,probability_a\n"
MANY = {
    "other columns": ["fold,path,label,predicted\n1,a,b,c\n", "fold,path,label,predicted\nx,a,b,c\n"],
    "ends in many ways": [HEAD + "a,b,c,0.5", HEAD + "d,e,f,1\r\n", HEAD + "\ng,h,i,\n\n\n", HEAD, HEAD[:-1]],
    "a line in a name": [HEAD + '"a\nb",b,c,0.5\n', HEAD + '"a\n\x1f",b,c,0.5\n'],
    "a line in a class": ['path,label,predicted,"probability_a\nb"\na,b,c,0\n'] * 2,
    "cut off": [HEAD + "a,b,c,0.5\nd,e", HEAD + "a,b,c,0.5\n", HEAD + "a,b,c,0.5\nd,e,f\n"],
    "cut off in quotes": [HEAD + 'a,b,c,0.5\n"d', HEAD + '"d",e,f,0.5\n'],
    "too many values": [HEAD + "a,b,c,0.5,0.5\n", HEAD + "a,b,c,0.5\n"],
    "no number": [HEAD + "a,b,c,0.5\n", HEAD + "a,b,c,much\n"],
    "our own mark": [HEAD + "\x1f,b,c,0.5\n", HEAD + "a,b,c,0.5\n"],
    "the number first": ["probability_a,path,label,predicted\n0.5,a,b,c\n"] * 2,
    "no predictions": [*NOT_PREDICTIONS, KEPT, *NOT_PREDICTIONS, KEPT],
}


@pytest.mark.parametrize("texts", MANY.values(), ids=MANY)
def test_predictions_of_many_runs_are_those_of_each(texts: list[str | None]) -> None:
    for table, text in zip(parse_predictions(texts), texts, strict=True):
        (alone,) = parse_predictions([text])
        assert (table is None) == (alone is None)
        if alone is not None:
            pd.testing.assert_frame_equal(table, alone, check_exact=True)
