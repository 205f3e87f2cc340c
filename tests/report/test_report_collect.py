from pathlib import Path

import pytest
from golden import STUDY, TEST_IMAGES, study_run

from leafexp import names
from leafexp.errors import UserError
from leafexp.report.collect import choose_sweep, collect
from leafexp.report.render import write_report
from leafexp.report.store import default_tracking_uri, open_client
from leafexp.stores import shown


def test_the_latest_sweep_with_a_finished_run(store: Path) -> None:
    selection = collect(str(store), "leafexp", "latest")
    assert (selection.sweep, selection.other_sweeps) == ("study", 2)
    assert [run.row for run in selection.finished] == [line[0] for line in STUDY]
    assert [run.tags[names.ERROR].splitlines()[0] for run in selection.unfinished] == ["CUDA went away"]
    assert "'broken' has no finished run: 1 failed" in selection.notes[0]
    assert all(run.predictions is not None and len(run.predictions) == TEST_IMAGES for run in selection.finished)
    assert [len(run.curves) for run in selection.finished] == [10, 10, 10, 5]


def test_a_run_that_a_later_command_asked_for_belongs_to_both() -> None:
    cnn = study_run("Simple_CNN", started=10, sweep="monday, wednesday", tags={names.ASKED: "30"})
    frozen = study_run("MobileNetV2_frozen", started=20, sweep="tuesday", tags={names.ASKED: "20"})
    runs = [frozen, cnn]
    assert {sweep: [run.row for run in choose_sweep(runs, "leafexp", sweep)[0]] for sweep in ("monday", "tuesday")} == {
        "monday": ["Simple_CNN"],
        "tuesday": ["MobileNetV2_frozen"],
    }
    chosen, name, _ = choose_sweep(runs, "leafexp", "latest")
    assert (name, [run.row for run in chosen]) == ("wednesday", ["Simple_CNN"])


def test_all_sweeps_keep_the_newest_of_equal_runs(store: Path) -> None:
    selection = collect(str(store), "leafexp", "all")
    assert len(selection.finished) == 4 and "1 older finished run" in selection.notes[0]
    assert len(selection.unfinished) == 2


@pytest.mark.parametrize(
    ("experiment", "sweep", "message"),
    [
        ("leafxp", "latest", "Did you mean 'leafexp'?"),
        ("leafexp", "stdy", "Did you mean 'study'?"),
        ("leafexp", "broken", "no photos"),
        ("only_failed", "latest", "1 failed"),
        ("only_failed", "all", "no photos"),
        ("empty", "latest", "no runs"),
    ],
)
def test_what_is_not_there_is_said(store: Path, experiment: str, sweep: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as error:
        collect(str(store), experiment, sweep)
    assert len(str(error.value).splitlines()) <= 2


def test_a_missing_store_is_not_created(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "mlflow.db"), str(tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}"):
        with pytest.raises(UserError, match="No tracking store at"):
            open_client(uri)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look like one" * 10])
def test_another_file_is_no_store(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not an MLflow store"):
        open_client(str(path))
    assert path.read_bytes() == content


def test_an_old_file_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    for uri in (str(tmp_path), str(tmp_path / "mlruns"), (tmp_path / "mlruns").as_uri(), str(tmp_path / "mlflow.db")):
        with pytest.raises(UserError, match="mlflow migrate-filestore"):
            open_client(uri)


def test_a_server_that_does_not_answer_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 does not answer"):
        open_client("http://127.0.0.1:9")


def test_passwords_are_not_shown() -> None:
    assert shown("postgresql://me:secret@host/db") == "postgresql://***@host/db"
    assert shown("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_the_store_s_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_tracking_uri(tmp_path) == str(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert default_tracking_uri(tmp_path) == "http://elsewhere"


def test_an_output_folder_that_can_t_be_made(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Can't write the report"):
        write_report(tmp_path, tracking_uri=str(store), output=tmp_path / "file" / "folder")
