import math
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from golden import STUDY, TEST_IMAGES, study_run, study_runs

from leafexp import names
from leafexp.errors import UserError
from leafexp.report.read.collect import Selection, choose_sweep, collect, newest_of_each, read_runs, why_not
from leafexp.report.read.runs import Run
from leafexp.report.read.store import default_tracking_uri, open_client
from leafexp.report.report import make_report
from leafexp.report.rows.learning import epochs
from leafexp.report.rows.row import groups_to_compare, make_rows
from leafexp.report.say.words import plain
from leafexp.report.show.render import write_report
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


def test_passwords_that_older_versions_wrote_into_runs_are_not_read(track: Callable[..., tuple[Path, str]]) -> None:
    login = "postgresql://alice:s3cr3t@host/db"
    commands = {
        shlex.join(["train", f"tracking.uri='{login}'", "data.path=a b"]): "train 'data.path=a b'",
        "train tracking.uri=https://host?token=s3cr3t seed=1": "train seed=1",
        f"train 'tracking={{uri:{login}}}'": "train 'tracking={***@host/db}'",
        "train seed=1 'tracking.uri=postgresql://alice:s3cr3t": "train seed=1",  # cut off
        "train tracking.uri=http://host:5000": "train tracking.uri=http://host:5000",
    }
    failed = study_run("Simple_CNN", status="FAILED", with_predictions=False)
    said = {names.ERROR: f"no route to {login}: refused\ntrace"}
    runs = [
        replace(
            failed,
            tags={**failed.tags, **said, names.COMMAND: text},
            params={"tracking.uri": login},
            curves=failed.curves[:1],
        )
        for text in commands
    ]
    store, experiment = track(runs)
    read = read_runs(open_client(str(store)), experiment)
    assert {run.tags[names.COMMAND] for run in read} == set(commands.values())
    assert "no route to postgresql://***@host/db: refused" in " ".join(map(why_not, read))
    assert "s3cr3t" not in repr(read)


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


Track = Callable[..., tuple[Path, str]]


def test_runs_of_something_else_are_counted_and_touch_nothing(track: Track) -> None:
    store, name = track(study_runs(), foreign=3)
    for sweep in ("latest", "all"):
        selection = collect(str(store), name, sweep)
        assert {row.label for row in make_rows(selection.finished)} == {line[0] for line in STUDY}
        assert "3 runs of something else in this experiment are left out." in selection.notes
    assert collect(str(store), name, "latest").sweep == "study"


def test_an_experiment_of_something_else_alone_is_said(track: Track) -> None:
    store, name = track([], foreign=1)
    with pytest.raises(UserError, match=r"holds no runs of leafexp yet \(but 1 run of something else\)"):
        collect(str(store), name, "latest")


def test_an_accuracy_that_is_no_share_keeps_its_run_out_and_is_said(track: Track) -> None:
    runs = study_runs()
    runs[0].metrics[names.TEST_ACCURACY] = 93.5
    runs[1].metrics[names.TEST_ACCURACY] = math.nan
    del runs[2].metrics[names.TEST_ACCURACY]
    store, name = track(runs)
    selection = collect(str(store), name, "latest")
    assert [run.row for run in selection.finished] == [STUDY[3][0]]
    assert {run.row: why_not(run) for run in selection.unfinished} == {
        "MobileNetV2_frozen": "its test accuracy is nan, not a share in [0, 1]",
        "MobileNetV2_unfrozen": "it logged no test accuracy",
        "Simple_CNN": "its test accuracy is 93.5, not a share in [0, 1]",
    }
    said = [plain(caveat.sentence) for caveat in make_report(selection, "").caveats]
    assert "Not in the table: Simple_CNN, seed 0, finished (its test accuracy is 93.5, not a share in [0, 1])." in said


def test_a_newer_sweep_without_a_usable_accuracy_is_passed_over(track: Track) -> None:
    newer = study_run("Simple_CNN", sweep="percent", started=5000)
    newer.metrics[names.TEST_ACCURACY] = 93.5
    store, name = track([*study_runs(), newer])
    selection = collect(str(store), name, "latest")
    assert selection.sweep == "study"
    assert "'percent' has no finished run: 1 without a usable test accuracy" in selection.notes[0]
    with pytest.raises(UserError, match=r"Reason: its test accuracy is 93.5, not a share in \[0, 1\] \(1 run\)"):
        collect(str(store), name, "percent")


def test_a_setting_that_earlier_runs_lack_counts_as_its_default(track: Track) -> None:
    def run(seed: int, **params: str) -> Run:
        return study_run(
            "Simple_CNN", seed=seed, started=1000 + seed, params={"trainer.precision": "float32", **params}
        )

    later = {"data.split_seed": "0", "trainer.brand_new": "7"}
    other = {"data.split_seed": "5", "trainer.brand_new": "7"}
    store, name = track([run(0), run(1), run(2, **later), replace(run(2), started=500), run(3, **other)])
    selection = collect(str(store), name, "latest")
    rows = {row.label: row.seeds for row in make_rows(selection.finished)}
    # conf/ knows split_seed's default; brand_new is the same in all runs that have it
    assert rows == {"Simple_CNN, data.split_seed=0": ["0", "1", "2"], "Simple_CNN, data.split_seed=5": ["3"]}
    assert "2 runs do not say data.split_seed, which others of this experiment do: taken as 0." in selection.notes
    assert "2 runs do not say trainer.brand_new, which others of this experiment do: taken as 7." in selection.notes
    assert "1 older finished run of the same configuration, seed and data is left out." in selection.notes


def test_a_key_that_was_added_to_an_open_dictionary_is_never_taken_for_granted(track: Track) -> None:
    added = study_run(
        "Simple_CNN", seed=1, params={"optimizer.keras.weight_decay": "0.01", "freeze.phases.more.x": "1"}
    )
    store, name = track([study_run("Simple_CNN", params={"optimizer.keras._target_": "a"}), added])
    assert [len(row.runs) for row in make_rows(collect(str(store), name, "latest").finished)] == [1, 1]


def test_unknown_photos_equal_no_others() -> None:
    runs = [study_run(line[0], seed=seed) for line in STUDY[:2] for seed in range(2)]
    for number, run in enumerate(runs):
        del run.tags[names.DATA_HASH], run.tags[names.SPLIT_HASH]
        runs[number] = replace(run, run_id=f"{number:08}")
    rows = make_rows(runs)
    assert [row.label for row in rows][2:] == [
        "Simple_CNN, data_hash=unknown in 00000000",
        "Simple_CNN, data_hash=unknown in 00000001",
    ]
    assert len(groups_to_compare(rows)) == len(rows) == 4
    report = make_report(Selection("leafexp", "study", 0, runs, [], []), "")
    assert plain(report.caveats[0].sentence).startswith("These rows were tested on different photos")
    assert report.comparisons == ()
    kept, repeated = newest_of_each([runs[0], replace(runs[0], run_id="7", started=9)])
    assert (len(kept), repeated) == (2, 0)


def test_an_audit_of_unknown_photos_is_nobody_s(track: Track) -> None:
    audited = study_run("Simple_CNN", more_metrics={names.AUDIT_BORDER_ACCURACY: 0.9})
    runs = [audited, study_run("MobileNetV2_frozen")]
    for run in runs:
        del run.tags[names.SPLIT_HASH]
    store, name = track(runs)
    assert collect(str(store), name, "latest").audit is None


def artifact(store: Path, name: str, file: str) -> Path:
    """Where a file of the experiment's first run lies."""
    (run, *_) = collect(str(store), name, "latest").finished
    return Path(url2pathname(urlsplit(run.artifact_uri).path)) / file


@pytest.mark.parametrize(
    ("change", "readable"),
    [
        (lambda text: text, True),
        (
            lambda text: "\n".join(f"{line},x" for line in text.splitlines()).replace("predicted,x", "predicted,group"),
            True,
        ),
        (lambda text: text.rpartition(",")[0], False),
        (lambda text: text.replace("predicted", "p", 1), False),
        (lambda text: "\n".join(text.splitlines()[:-1]), False),
        (lambda _: "", False),
    ],
    ids=["whole", "with groups", "cut", "no predictions", "a line short", "empty"],
)
def test_predictions_are_used_where_they_are_whole(track: Track, change: Callable[[str], str], readable: bool) -> None:
    store, name = track([study_run("Simple_CNN")])
    file = artifact(store, name, names.PREDICTIONS_FILE)
    file.write_text(change(file.read_text()))
    selection = collect(str(store), name, "latest")
    (row,) = make_rows(selection.finished)
    assert (row.outcomes is not None) == readable
    assert any("The predictions of 1 run can't be read" in note for note in selection.notes) != readable


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null", '{"photos": 1}'])
def test_an_audit_that_can_t_be_read_is_said(track: Track, text: str) -> None:
    store, name = track([study_run("Simple_CNN", more_metrics={names.AUDIT_BORDER_ACCURACY: 0.5})])
    artifact(store, name, names.AUDIT_FILE).write_text(text)
    selection = collect(str(store), name, "latest")
    assert selection.audit is None and "The audit of these photos can't be read" in selection.notes[-1]


def test_a_photo_without_a_group_is_a_leaf_of_its_own() -> None:
    run = study_run("Simple_CNN")
    assert run.predictions is not None
    groups = [math.nan if photo % 2 else "one leaf" for photo in range(TEST_IMAGES)]
    (row,) = make_rows([replace(run, predictions=run.predictions.assign(group=groups))])
    assert row.outcomes is not None
    assert len(set(row.outcomes.leaves.tolist())) == 1 + TEST_IMAGES // 2


def test_params_that_are_no_numbers() -> None:
    for value in ("None", "", "ten", "nan", "inf"):
        run = replace(study_run("Simple_CNN", params={"epochs": value}), curves=study_run("Simple_CNN").curves.iloc[:0])
        (row,) = make_rows([run])
        assert math.isnan(epochs(row)), value
    asked = study_run("Simple_CNN", tags={names.ASKED: "yesterday"})
    assert asked.asked == asked.started / 1000
