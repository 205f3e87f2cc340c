"""A second test set by whole commands: the saved model, asked by hand, gives what is tracked and reported."""

import json
import shutil
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run

from leafexp import names
from leafexp.data.leafsim import generate
from tests.conftest import metrics_of
from tests.test_whole_commands import copy_of_the_checkout, run

pytestmark = pytest.mark.slow
SMALL = ("model=cnn", "model.network.filters=[4]", "model.network.dense_units=8", "epochs=2", "data.image_size=32")
OWN = ("data=table", "data.path=own/manifest.csv", "tracking.uri=sqlite:///store.db")
LABELS = "Leaf Mould: leaf_mold\nwilt: late_blight\nscab:\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which two arms were tested on photos from elsewhere, and what the command printed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    checkout = copy_of_the_checkout(folder)
    generate(folder / "own", images=96, image_size=40, seed=0)
    field = generate(folder / "field", images=48, image_size=40, seed=7).parent
    for label, theirs in {"leaf_mold": "Leaf Mould", "late_blight": "wilt", "mosaic": "scab"}.items():
        (field / label).rename(field / theirs)
    (field / "manifest.csv").unlink()
    shutil.copytree(folder / "own" / "healthy", field / "healthy" / "copies")
    (folder / "labels.yaml").write_text(LABELS)
    done = run(
        *(sys.executable, "-m", "leafexp.train", "-m", *SMALL, *OWN, "freeze=frozen,unfrozen", "sweep=with"),
        *("data.external=field", "data.external_labels=labels.yaml"),
        cwd=folder,
        checkout=checkout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def runs_of(folder: Path, sweep: str) -> list[Run]:
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'store.db'}")
    found = mlflow.search_runs(
        experiment_names=["leafexp"], filter_string=f"tags.sweep = '{sweep}'", output_format="list"
    )
    assert isinstance(found, list)
    return found


def table_of(one: Run, name: str) -> pd.DataFrame:
    return pd.read_csv(mlflow.artifacts.download_artifacts(run_id=one.info.run_id, artifact_path=name))


def test_the_tracked_figures_are_those_of_the_saved_model(study: tuple[Path, str]) -> None:
    from leafexp.data.pixels import decode

    folder, printed = study
    assert "left out: 'scab' (8 photos)." in printed and "has no photos of 'mosaic'" in printed
    for one in runs_of(folder, "with"):
        said = table_of(one, names.EXTERNAL_PREDICTIONS_FILE)
        theirs = said["path"].str.split("/").str[0]
        counterpart = {"Leaf Mould": "leaf_mold", "wilt": "late_blight"}
        assert list(said["label"]) == [counterpart.get(name, name) for name in theirs]
        assert len(said) == 40 + 16 and "scab" not in set(theirs)
        model = mlflow.keras.load_model(f"runs:/{one.info.run_id}/{names.MODEL_NAME}")
        photos = np.stack([decode((folder / "field" / path).read_bytes(), 32) for path in said["path"]])
        output = np.asarray(model.predict(photos, verbose=0))
        classes = [name.removeprefix("probability_") for name in said if name.startswith("probability_")]
        assert classes == sorted(path.name for path in (folder / "own").iterdir() if path.is_dir())
        np.testing.assert_allclose(said.filter(like="probability_"), output, atol=1e-5)
        predicted = np.array(classes)[output.argmax(axis=1)]
        label = said["label"].to_numpy()
        f1 = [2 * ((predicted == name) & (label == name)).sum() / ((predicted == name).sum() + (label == name).sum())
              for name in set(label)]  # fmt: skip
        metrics = metrics_of(one)
        assert metrics[names.EXTERNAL_ACCURACY] == pytest.approx((predicted == label).mean())
        assert metrics[names.EXTERNAL_MACRO_F1] == pytest.approx(np.mean(f1))
        assert metrics[names.EXTERNAL_IMAGES] == 56
        # Of the 16 copies those that the split tests are not learned from.
        learned = table_of(one, names.SPLIT_FILE).query("label == 'healthy' and split != 'test'")
        assert metrics[names.EXTERNAL_EXACT_DUPLICATES] == len(learned) > 0
        assert set(table_of(one, names.EXTERNAL_OVERLAP_FILE)["other_path"]) == set(learned["path"])


def test_the_page_says_what_is_left_and_what_was_learned_from(study: tuple[Path, str]) -> None:
    folder, _ = study
    checkout = folder / "leafexp with a space"
    done = run(
        *(sys.executable, "-m", "leafexp.report", "--tracking-uri", "sqlite:///store.db", "--output", "report"),
        cwd=folder,
        checkout=checkout,
    )
    assert done.returncode == 0, done.stderr
    assert "On photos from elsewhere (field) the CNN from scratch is right" in " ".join(done.stdout.split())
    (found,) = json.loads((folder / "report" / "report.json").read_text())["externals"]
    logged = {one.data.tags[names.ROW]: metrics_of(one)[names.EXTERNAL_ACCURACY] for one in runs_of(folder, "with")}
    assert {arm["model"]: arm["accuracy"] for arm in found["arms"]} == pytest.approx(logged)
    assert all(arm["estimate"]["low"] < arm["accuracy"] < arm["estimate"]["high"] for arm in found["arms"])
    page = (folder / "report" / "report.html").read_text()
    assert f"{found['overlap']} photos from elsewhere (field) equal or nearly equal one" in page
    assert "What went wrong there: " in page


@pytest.mark.long
def test_without_photos_from_elsewhere_the_run_is_the_same_and_another(study: tuple[Path, str]) -> None:
    folder, _ = study
    words = [sys.executable, "-m", "leafexp.train", *SMALL, *OWN, "freeze=unfrozen"]
    done = run(*words, "sweep=without", cwd=folder, checkout=folder / "leafexp with a space")
    assert done.returncode == 0, done.stdout + done.stderr
    (one,) = runs_of(folder, "without")
    (other,) = [each for each in runs_of(folder, "with") if each.data.tags[names.FREEZE] == "unfrozen"]
    assert one.data.tags[names.IDENTITY] != other.data.tags[names.IDENTITY]
    same = (names.LOSS, names.VAL_LOSS, names.TEST_LOSS, names.TEST_ACCURACY, names.BEST_EPOCH)
    assert [metrics_of(one)[name] for name in same] == [metrics_of(other)[name] for name in same]
    assert not any(name.startswith("external") for name in metrics_of(one))


def test_a_label_that_is_not_there_stops_before_tensorflow_is_imported(study: tuple[Path, str]) -> None:
    folder, _ = study
    (folder / "wrong.yaml").write_text("Leaf Mold: leaf_mold\nwilt: leaf_mould\n")
    done = run(
        *(sys.executable, "-X", "importtime", "-m", "leafexp.train", *SMALL, *OWN),
        *("data.external=field", "data.external_labels=wrong.yaml"),
        cwd=folder,
        checkout=folder / "leafexp with a space",
    )
    assert done.returncode == 1
    assert "no class 'Leaf Mold' among the photos from elsewhere. Did you mean Leaf Mould?" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "| mlflow" in done.stderr and "| tensorflow" not in done.stderr
