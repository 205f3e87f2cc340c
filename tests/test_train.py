"""One whole run on small photos, and what is left of it in the tracking store."""

import base64
import errno
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from PIL import Image

from leafexp import names
from leafexp.errors import UserError
from leafexp.paths import cache_folder
from leafexp.runs.cell import Result, train
from leafexp.settings.compose import check
from leafexp.settings.schema import Config
from leafexp.tracking.run import TrackedRun
from leafexp.wording import duration
from tests.conftest import metrics_of, write_photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Photos of three classes, and a tracking store beside them."""
    path = tmp_path_factory.mktemp("run")
    write_photos(path / "photos", {"blight": 24, "healthy": 24, "mold": 24})
    before = mlflow.get_tracking_uri()
    yield path
    mlflow.set_tracking_uri(before)


def config(folder: Path, *overrides: str) -> Config:
    small = ["model=cnn", "model.network.filters=[4]", "model.network.dense_units=8", "epochs=4", "data.image_size=32"]
    photos = ["data=folder", f"data.path={folder / 'photos'}", r"data.group_pattern='(leaf\d+)_'"]
    store = [f"tracking.uri=sqlite:///{folder}/store.db", "sweep=small"]
    return check([*small, *photos, *store, "freeze=partial", "model.partial_from=head_dense", *overrides])


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return mlflow.get_run(train(config(folder), "python -m leafexp.train model=cnn").run_id)


def read_csv(run: Run, name: str) -> pd.DataFrame:
    return pd.read_csv(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name))


def test_a_run_logs_what_the_report_reads(run: Run) -> None:
    assert run.info.status == "FINISHED"
    metrics, tags = metrics_of(run), run.data.tags
    expected = {
        *names.EPOCH_METRICS,
        *(names.PARAMS_TOTAL, names.PARAMS_TRAINABLE, names.PARAMS_NON_TRAINABLE, names.TOTAL_SECONDS),
        *(names.TEST_ACCURACY, names.TEST_LOSS, names.TEST_MACRO_F1, names.BEST_EPOCH, names.OPTIMIZER_STEPS),
        *(names.TRAIN_IMAGES, names.VALIDATION_IMAGES, names.TEST_IMAGES, names.PREFIX_SECONDS),
    }
    assert expected <= metrics.keys()
    seconds = duration(metrics[names.TOTAL_SECONDS])
    assert tags["mlflow.note.content"] == (
        "This run trains Simple_CNN from random weights on 48 photos of 3 classes: the layers from head_dense on learn "
        f"for 4 epochs. It is right on {100 * metrics[names.TEST_ACCURACY]:.1f} % of 12 test photos, with the weights "
        f"of epoch {metrics[names.BEST_EPOCH]:.0f}; training took {seconds}."
    )
    # The metrics without a section.
    first = {name for name in run.data.metrics if "/" not in name}
    assert first == {names.ACCURACY, names.LOSS, names.VAL_ACCURACY, names.VAL_LOSS, names.TEST_ACCURACY}
    assert {"timing/epoch_seconds", "phases/learning_rate", "params/trainable", "best/epoch"} <= run.data.metrics.keys()
    # MLflow's page of a run lists them in this order.
    assert list(run.data.metrics)[:4] == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert {"photos/train_images", "audit/border_accuracy"} <= run.data.metrics.keys()
    assert metrics[names.PARAMS_TOTAL] == metrics[names.PARAMS_TRAINABLE] + metrics[names.PARAMS_NON_TRAINABLE]
    assert (metrics[names.TRAIN_IMAGES], metrics[names.TEST_IMAGES]) == (48, 12)
    assert {
        names.ROW: "Simple_CNN_partial",
        names.MODEL: "cnn",
        names.FREEZE: "partial",
        names.OPTIMIZER: "adam",
        names.DATA: "folder",
        names.SEED: "0",
        names.SWEEP: "small",
        names.PRETRAINED: "false",
        names.CONTROL: "true",
        names.WEIGHTS_SOURCE: "none (random)",
        names.COMMAND: "python -m leafexp.train model=cnn",
    }.items() <= tags.items()
    assert len(tags[names.DATA_HASH]) == len(tags[names.SPLIT_HASH]) == 64
    assert tags[names.GIT_COMMIT]
    assert run.data.params["optimizer.learning_rate"] == "0.001"
    assert run.inputs.dataset_inputs[0].dataset.digest == tags[names.DATA_HASH][:36]


def test_the_tables_agree_with_the_metrics(run: Run) -> None:
    history, predictions = read_csv(run, names.HISTORY_FILE), read_csv(run, names.PREDICTIONS_FILE)
    client = mlflow.MlflowClient()
    for name in names.EPOCH_METRICS:
        logged = client.get_metric_history(run.info.run_id, names.in_section(name))
        assert [point.step for point in logged] == [1, 2, 3, 4]
        np.testing.assert_allclose([point.value for point in logged], history[name])
    metrics = metrics_of(run)
    assert (predictions["label"] == predictions["predicted"]).mean() == pytest.approx(metrics[names.TEST_ACCURACY])
    assert metrics[names.BEST_VAL_ACCURACY] == history[names.VAL_ACCURACY].max()
    split = read_csv(run, names.SPLIT_FILE)
    assert list(split) == ["path", "label", "group", "split", "sha256"]
    assert set(split.loc[split["split"] == "test", "path"]) == set(predictions["path"])
    assert read_csv(run, names.LAYERS_FILE)["parameters"].sum() == metrics[names.PARAMS_TOTAL]
    assert read_csv(run, names.PHASES_FILE)["epochs"].sum() == 4


def test_pictures_and_configuration_are_there(run: Run) -> None:
    artifacts = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {names.CONFUSION_FILE, names.CURVES_FILE, names.CONFIG_FILE} <= artifacts
    predictions = read_csv(run, names.PREDICTIONS_FILE).set_index("path")
    right = pd.Series({path: row[f"probability_{row['label']}"] for path, row in predictions.iterrows()})
    worst = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{names.WORST_PHOTOS_FILE}"))
    assert [photo["path"] for photo in worst] == list(right.sort_values(kind="stable").index[:16])
    assert [photo["probability"] for photo in worst] == pytest.approx(sorted(right)[:16])
    assert Image.open(io.BytesIO(base64.b64decode(worst[0]["jpeg"]))).size == (32, 32)
    assert names.SKIPPED_FILE not in artifacts


def test_the_best_model_takes_raw_pixels_and_gives_the_tracked_predictions(run: Run, folder: Path) -> None:
    from leafexp.data.pixels import decode

    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/{names.MODEL_NAME}")
    predictions = read_csv(run, names.PREDICTIONS_FILE)
    photos = np.stack([decode((folder / "photos" / path).read_bytes(), 32) for path in predictions["path"]])
    probabilities = predictions.filter(like="probability_")
    np.testing.assert_allclose(model.predict(photos), probabilities, atol=1e-5)
    requirements = Path(mlflow.pyfunc.get_model_dependencies(f"runs:/{run.info.run_id}/{names.MODEL_NAME}")).read_text()
    assert f"keras=={keras.__version__}" in requirements
    assert model.metadata.metadata["classes"] == ["blight", "healthy", "mold"]
    assert model.metadata.saved_input_example_info["artifact_path"] == "input_example.json"


def test_the_same_configuration_gives_the_same_metrics(run: Run, folder: Path) -> None:
    again = mlflow.get_run(train(config(folder, "rerun=true"), "again").run_id)
    timed = {*names.TIMINGS, names.IMAGES_PER_SECOND, names.TOTAL_SECONDS, names.PEAK_MEMORY_MB}
    timed |= {
        names.STEADY_COMPUTE_SECONDS,
        names.PREFIX_SECONDS,
        names.PREFIX_REUSED_SECONDS,
        names.PREFIX_FORWARD_SECONDS,
    }
    assert {name: value for name, value in metrics_of(again).items() if name not in timed} == {
        name: value for name, value in metrics_of(run).items() if name not in timed
    }
    assert again.data.tags[names.PREFIX_REUSED] == "true"
    assert metrics_of(again)[names.PREFIX_REUSED_SECONDS] == metrics_of(run)[names.PREFIX_SECONDS]
    other = mlflow.get_run(train(config(folder, "seed=1"), "other").run_id)
    assert metrics_of(other)[names.TEST_LOSS] != metrics_of(run)[names.TEST_LOSS]
    assert other.data.tags[names.SPLIT_HASH] == run.data.tags[names.SPLIT_HASH]


@pytest.mark.slow
def test_a_run_with_views_and_cropped_photos_is_the_same_with_its_frozen_layers_cached_or_not(folder: Path) -> None:
    settings = ("data.views=8", "data.test_views=8", "data.fit=crop", "data.train_per_class=8", "sweep=views")
    cached, whole = (
        mlflow.get_run(train(config(folder, *settings, "rerun=true", *more), "views").run_id)
        for more in ((), ("trainer.cache_prefix=false",))
    )
    assert "on 24 photos of 3 classes, shown in 8 views: the layers" in cached.data.tags[names.DESCRIPTION]
    # It has an identity of its own, which the cache is no part of.
    assert cached.data.tags[names.IDENTITY] == whole.data.tags[names.IDENTITY]
    metrics = [metrics_of(run) for run in (cached, whole)]
    for name in (*names.EPOCH_METRICS, names.TEST_ACCURACY, names.TEST_LOSS):
        if name not in names.TIMINGS and name != names.IMAGES_PER_SECOND:
            assert metrics[0][name] == metrics[1][name], name
    found = metrics[0]
    assert 0 < found[names.PREFIX_VALIDATION_SECONDS] < found[names.PREFIX_SECONDS] < found[names.TOTAL_SECONDS]
    assert found[names.PREFIX_TEST_SECONDS] > 0


def test_a_run_that_fails_says_why_and_ends_failed(folder: Path) -> None:
    broken = config(folder, "model.partial_from=head_dens", "sweep=broken")
    with pytest.raises(UserError, match="Did you mean head_dense"):
        train(broken, "broken")
    (failed,) = mlflow.search_runs(
        experiment_names=["leafexp"], filter_string="tags.sweep = 'broken'", output_format="list"
    )
    assert failed.info.status == "FAILED"
    assert "no layer 'head_dens'" in failed.data.tags[names.ERROR]
    assert mlflow.active_run() is None


@pytest.mark.slow
def test_a_run_that_patience_ends_says_so_and_ends_alike_after_a_cut(folder: Path) -> None:
    patient = config(folder, "trainer.patience=1", "epochs=30", "optimizer.learning_rate=0.05")
    run = mlflow.get_run(train(patient, "patient").run_id)
    metrics = metrics_of(run)
    trained = int(metrics[names.EPOCHS_TRAINED])
    assert trained < 30
    assert metrics[names.OPTIMIZER_STEPS] == 2 * trained
    assert read_csv(run, names.PHASES_FILE)["epochs"].tolist() == [trained]
    assert len(read_csv(run, names.HISTORY_FILE)) == trained
    described = run.data.tags[names.DESCRIPTION]
    assert "learn for 30 epochs at most. " in described
    assert described.endswith(
        f"training ended after epoch {trained} and took {duration(metrics[names.TOTAL_SECONDS])}."
    )

    def stop(row: dict[str, float | int | str]) -> None:
        if row["epoch"] == trained:
            raise KeyboardInterrupt

    again = replace(patient, rerun=True, sweep="patient")
    with pytest.raises(KeyboardInterrupt):
        train(again, "patient", stop)
    resumed = mlflow.get_run(train(again, "patient").run_id)
    assert resumed.data.tags[names.INTERRUPTIONS] == "1"
    for name in (names.EPOCHS_TRAINED, names.OPTIMIZER_STEPS, names.VAL_LOSS, names.TEST_LOSS, names.BEST_EPOCH):
        assert metrics_of(resumed)[name] == metrics[name]
    assert steps_logged_twice(resumed) == []


def steps_logged_twice(run: Run) -> list[str]:
    client = mlflow.MlflowClient()
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return [name for name, points in histories.items() if len({point.step for point in points}) != len(points)]


@pytest.mark.parametrize(
    "place",
    [
        "training.fit.clocked",
        pytest.param("training.evaluation.predict", marks=pytest.mark.slow),
        pytest.param("tracking.pictures.curves", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on_in_the_same_run(
    run: Run, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = config(folder, "tracking.experiment=interrupted")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"leafexp.{place}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(replace(started, rerun=True, sweep=f"{place}.1"), "interrupted")
    (killed,) = mlflow.search_runs(
        experiment_names=["interrupted"], filter_string=f"tags.sweep = '{place}.1'", output_format="list"
    )
    assert (killed.info.status, killed.data.tags[names.ERROR]) == ("KILLED", "interrupted")
    # As a kill leaves it in the middle of writing.
    half = cache_folder() / "checkpoints" / f"{killed.info.run_id}.1.unfinished"
    half.parent.mkdir(exist_ok=True)
    half.touch()
    described = run.data.tags[names.DESCRIPTION]
    intention = killed.data.tags[names.DESCRIPTION]
    assert described.startswith(f"{intention} It is right on ")
    if place == "training.fit.clocked":
        described = "The one that I cut off."
        mlflow.MlflowClient().set_tag(killed.info.run_id, names.DESCRIPTION, described)
    result = train(replace(started, rerun=True, sweep=f"{place}.2"), "gone on")
    assert (result.run_id, result.skipped) == (killed.info.run_id, False)
    ended = mlflow.get_run(result.run_id)
    assert ended.info.status == "FINISHED"
    assert names.ERROR not in ended.data.tags
    assert (ended.data.tags[names.INTERRUPTIONS], ended.data.tags[names.SWEEP]) == ("1", f"{place}.1, {place}.2")
    assert ended.data.tags[names.DESCRIPTION].partition("; training took")[0] == described.partition("; training")[0]
    assert steps_logged_twice(ended) == []
    for name in (names.VAL_LOSS, names.TEST_LOSS, names.TEST_ACCURACY, names.BEST_EPOCH):
        assert metrics_of(ended)[name] == metrics_of(run)[name]
    pd.testing.assert_frame_equal(
        read_csv(ended, names.PREDICTIONS_FILE), read_csv(run, names.PREDICTIONS_FILE), check_exact=True
    )
    assert len(ended.outputs.model_outputs) == 1
    assert not list(cache_folder().glob("checkpoints/*"))


@pytest.mark.parametrize(
    "damage", ["cut", *(pytest.param(name, marks=pytest.mark.slow) for name in ("older", "changed", "gone"))]
)
def test_a_run_whose_checkpoint_is_damaged_is_begun_anew_and_logs_no_epoch_twice(
    folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = config(folder, f"tracking.experiment=damaged_{damage}", "epochs=3")
    saved: dict[int, bytes] = {}

    def log_epoch(self: object, row: dict[str, float], log: Callable[..., None] = TrackedRun.log_epoch) -> None:
        log(self, row)
        (file,) = cache_folder().glob("checkpoints/*")
        saved[int(row["epoch"])] = file.read_bytes()
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrackedRun, "log_epoch", log_epoch)
        with pytest.raises(KeyboardInterrupt):
            train(started, "cut off")
    (file,) = cache_folder().glob("checkpoints/*")
    middle = len(saved[2]) // 2
    content = {
        "cut": saved[2][:middle],
        "changed": saved[2][:middle] + bytes([saved[2][middle] ^ 255]) + saved[2][middle + 1 :],
        "older": saved[1],
        "gone": b"",
    }[damage]
    file.write_bytes(content) if content else file.unlink()
    result = train(started, "again")
    assert "is not here or damaged: starting anew" in caplog.text
    runs = mlflow.search_runs(experiment_names=[f"damaged_{damage}"], output_format="list")
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED"]
    ended = mlflow.get_run(result.run_id)
    assert [steps_logged_twice(run) for run in runs] == [[], []]
    assert [point.step for point in mlflow.MlflowClient().get_metric_history(ended.info.run_id, names.LOSS)] == [
        1,
        2,
        3,
    ]
    file.unlink(missing_ok=True)


@pytest.mark.usefixtures("run")
def test_a_finished_run_is_not_trained_again_but_joins_the_sweep_that_asks(folder: Path) -> None:
    def asked(*overrides: str) -> Result:
        return train(config(folder, "sweep=later", *overrides), "again")

    newest = mlflow.search_runs(
        experiment_names=["leafexp"], filter_string="tags.sweep LIKE '%small%' and params.seed = '0'",
        output_format="list",
    )[0]  # fmt: skip
    # Where photos, store and cache lie, and what the data set is called, decides nothing.
    (folder / "elsewhere").mkdir(exist_ok=True)
    shutil.copytree(folder / "photos", folder / "elsewhere" / "photos", dirs_exist_ok=True)
    moved = ["cache_gb=1", "data.name=other", f"data.path={folder / 'elsewhere' / 'photos'}"]
    for overrides in ([], moved):
        result = asked(*overrides)
        assert result.skipped
        assert result.run_id == newest.info.run_id
    assert names.sweeps_of(mlflow.get_run(result.run_id).data.tags[names.SWEEP])[-1] == "later"
    assert not asked("epochs=1").skipped


def failed(folder: Path, sweep: str, match: str, *overrides: str) -> Run:
    """The run of a sweep that ends with a UserError."""
    with pytest.raises(UserError, match=match):
        train(config(folder, f"sweep={sweep}", "tracking.experiment=failing", *overrides), sweep)
    (run,) = mlflow.search_runs(
        experiment_names=["failing"], filter_string=f"tags.sweep = '{sweep}'", output_format="list"
    )
    assert run.info.status == "FAILED"
    assert mlflow.active_run() is None
    return run


@pytest.mark.slow  # TensorFlow waits 10 s for memory to come free
def test_a_lack_of_memory_is_told_with_advice(folder: Path) -> None:
    much = "model.network.dense_units=2000000000"
    memory = failed(folder, "memory", "Out of memory.*Lower trainer.batch_size", much)
    assert "ResourceExhausted" in mlflow.artifacts.load_text(f"{memory.info.artifact_uri}/{names.TRACEBACK_FILE}")


def test_what_goes_wrong_while_training_is_told_with_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverged = failed(folder, "nan", "no longer finite in epoch 1", "optimizer.learning_rate=1e38")
    text = mlflow.artifacts.load_text(f"{diverged.info.artifact_uri}/{names.TRACEBACK_FILE}")
    assert "on_epoch_end" in text
    assert "no longer finite" in diverged.data.tags[names.ERROR]
    assert names.LOSS not in diverged.data.metrics
    assert diverged.data.tags[names.DESCRIPTION].endswith(" learn for 4 epochs.")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("leafexp.training.checkpoint.os.fsync", full)
        disk = failed(folder, "disk", "No space left", "seed=3")
    assert "checkpoint can't be written" in disk.data.tags[names.ERROR]
    # Tried again, it is the same run.
    again = train(config(folder, "sweep=again", "tracking.experiment=failing", "seed=3"), "again")
    assert (again.run_id, mlflow.get_run(again.run_id).info.status) == (disk.info.run_id, "FINISHED")


def test_photos_that_change_between_the_runs_of_a_sweep_are_named(folder: Path) -> None:
    photos = folder / "changing"
    write_photos(photos, {"blight": 24, "healthy": 24, "mold": 24})
    settings = [f"data.path={photos}", "tracking.experiment=changing", "sweep=changing", "epochs=1", "data.audit=warn"]
    train(config(folder, *settings), "first")
    (photos / "blight" / "leaf0_0.jpg").write_bytes((photos / "mold" / "leaf1_1.jpg").read_bytes())
    (photos / "mold" / "leaf3_0.jpg").rename(photos / "mold" / "leaf3_9.jpg")
    with pytest.raises(UserError) as error:
        train(config(folder, *settings, "seed=1"), "second")
    assert "changed: blight/leaf0_0.jpg; gone: mold/leaf3_0.jpg; new: mold/leaf3_9.jpg" in str(error.value)
    assert not train(config(folder, *settings, "seed=1", "sweep=new"), "third").skipped


def test_skipped_photos_are_recorded(folder: Path) -> None:
    bad = folder / "photos" / "mold" / "bad.jpg"
    bad.write_bytes(b"")
    try:
        run = mlflow.get_run(train(config(folder, "data.on_bad_image=skip", "epochs=1"), "skip").run_id)
    finally:
        bad.unlink()
    skipped = read_csv(run, names.SKIPPED_FILE)
    assert json.loads(skipped.to_json(orient="records")) == [{"path": "mold/bad.jpg", "reason": "empty file"}]
