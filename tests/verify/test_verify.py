"""A tracked run trained again: equal, tampered with, of an earlier version; and what can't be verified."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import yaml
from tqdm import tqdm

from leafexp import names
from leafexp.paths import cache_folder
from leafexp.runs.cell import train
from leafexp.settings.compose import check
from leafexp.training.phases import Phase
from leafexp.verify import again
from leafexp.verify.__main__ import main
from tests.conftest import write_photos

pytestmark = pytest.mark.slow


class Store:
    """A store with one run of one epoch on small photos, and the command that verifies it."""

    def __init__(self, folder: Path, *overrides: str, last_phase: Mapping[str, Phase] | None = None) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"
        write_photos(folder / "photos", {"blight": 24, "healthy": 24, "mold": 24})
        words = ["model=cnn", "model.network.filters=[4]", "model.network.dense_units=8", "data.image_size=32"]
        words += ["freeze=unfrozen", "data=folder", f"data.path={folder / 'photos'}", f"tracking.uri={self.uri}"]
        config = check([*words, *overrides, "epochs=1", "sweep=one"])
        config.freeze.phases |= last_phase or {}
        self.run_id = train(config, "python -m leafexp.train").run_id
        (self.config,) = folder.glob(f"mlruns/**/{names.CONFIG_FILE}")

    def execute(self, command: str, *values: object) -> None:
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as database, database:
            assert database.execute(command, values).rowcount

    def verify(self, monkeypatch: pytest.MonkeyPatch, *options: str, run_id: str = "") -> int:
        words = ["verify", run_id or self.run_id, "--tracking-uri", self.uri, *options]
        monkeypatch.setattr(sys, "argv", words)
        return main()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("verify"))


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Iterator[Store]:
    """The store; what a test changes in it ends with the test."""
    shutil.copytree(made.folder / "mlruns", tmp_path / "mlruns")
    with closing(sqlite3.connect(made.folder / "mlflow.db")) as database, closing(sqlite3.connect(":memory:")) as kept:
        database.backup(kept)
        yield made
        kept.backup(database)
    shutil.rmtree(made.folder / "mlruns")
    shutil.copytree(tmp_path / "mlruns", made.folder / "mlruns")


def test_a_run_just_made_is_equal_bit_for_bit_and_stays_as_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mlflow.MlflowClient(store.uri).get_run(store.run_id).to_dictionary()
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ["XDG_CACHE_HOME"])  # the command sets another
    assert store.verify(monkeypatch, "--no-cache", run_id=store.run_id[:8]) == 0
    assert capsys.readouterr().out.endswith("\nNot compared: times and memory.\nEqual, bit for bit.\n")
    client = mlflow.MlflowClient(store.uri)
    assert client.get_run(store.run_id).to_dictionary() == before
    assert {item.name for item in client.search_experiments()} == {"leafexp", "Default"}


def test_a_run_of_an_earlier_version_is_configured_and_what_was_tampered_with_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # No metric in a section, no tag of the processor, fewer keys: but the identity tells that nothing rounds otherwise.
    for name in ("test/loss", "photos/test_images", "best/epoch"):
        store.execute("update metrics set key = ? where key = ?", names.without_section(name), name)
        store.execute("update latest_metrics set key = ? where key = ?", names.without_section(name), name)
    store.execute("delete from tags where key = ?", names.ARITHMETIC)
    settings = yaml.safe_load(store.config.read_text())
    del settings["trainer"]["precision"], settings["data"]["audit"], settings["optimizer"]["warmup_epochs"]
    store.config.write_text(yaml.safe_dump({**settings, "tracking": {"uri": "sqlite:////nowhere/mlflow.db"}}))
    store.execute("update metrics set value = value + 1e-15 where key = ?", names.VAL_LOSS)
    store.execute("update latest_metrics set value = value + 1e-9 where key = ?", names.TEST_LOSS)
    predictions = next(store.folder.glob(f"mlruns/**/{names.PREDICTIONS_FILE}"))
    header, photo, *others = predictions.read_text().splitlines()
    changed = photo.replace(photo.rpartition(",")[2], "0.25")
    predictions.write_text("\n".join([header, changed, *others, ""]))
    assert store.verify(monkeypatch) == 1
    out = capsys.readouterr().out
    assert "The run is of a version without trainer.precision: taken as float32.\n" in out
    assert "The run is of a version without optimizer.warmup_epochs: taken as 0.0.\n" in out
    assert "Processor, versions and number of threads are those of the run, so every bit must be equal." in out
    assert "Differs: val_loss of epoch 1: tracked " in out
    assert "Differs: test_loss: tracked " in out
    assert f"Differs: photo {photo.partition(',')[0]}, probability_mold: tracked 0.25, now " in out
    assert "\nNot equal: 3 values of run " in out


def test_what_can_not_be_verified_is_said_in_two_lines_at_most(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str, run_id: str = "") -> str:
        assert store.verify(monkeypatch, *options, run_id=run_id) == 2
        said = capsys.readouterr().err.strip()
        assert said.count("\n") <= 1
        return said

    assert refused(run_id="0" * 32).startswith(f"There is no run {'0' * 32} in the store.")
    assert "its first 4 letters at least" in refused(run_id="%")
    assert "--data-path PATH" in refused("--data-path", str(store.folder / "nowhere"))
    photo = store.folder / "photos" / "mold" / "leaf0_0.jpg"
    kept = photo.read_bytes()
    photo.write_bytes((photo.parent / "leaf1_0.jpg").read_bytes())
    assert "not those of the run (changed: mold/leaf0_0.jpg)" in refused()
    photo.write_bytes(kept)
    settings = store.config.read_text()
    store.config.write_text(settings.replace("batch_size:", "batch_sizes:"))
    assert "There is no key 'trainer.batch_sizes'. Did you mean trainer.batch_size?" in refused()
    store.config.unlink()
    assert "config.yaml of run" in refused()
    store.execute("update runs set status = 'KILLED'")
    assert "is not finished (killed), so there is nothing to compare with.\nTo finish it: python -m" in refused()
    client = mlflow.MlflowClient(store.uri)
    client.set_tag(store.run_id, names.TRIAL, "tuned cnn_unfrozen 0")
    assert "is a trial of a search (tuned cnn_unfrozen 0), and those are never tested." in refused()
    foreign = client.create_run(client.get_experiment_by_name("leafexp").experiment_id)
    assert "was not made by leafexp.train" in refused(run_id=foreign.info.run_id)


def test_what_is_cut_off_leaves_no_checkpoint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(tqdm):
        def update(self, _: float | None = 1) -> bool | None:
            assert list(cache_folder().glob("checkpoints/*.npz"))
            raise KeyboardInterrupt

    monkeypatch.setattr(again, "tqdm", Interrupting)
    assert store.verify(monkeypatch) == 130
    assert not list(cache_folder().glob("checkpoints/*"))


def test_phases_in_their_order_and_photos_from_elsewhere_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "field", {"healthy": 3, "mold": 4})
    store = Store(tmp_path, f"data.external={tmp_path / 'field'}", last_phase={"early": Phase("head")})
    settings = yaml.safe_load(store.config.read_text())
    assert [*settings["freeze"]["phases"]] == ["head", "tune", "early"]
    assert store.verify(monkeypatch) == 0
    assert "predictions of 7 photos from elsewhere" in capsys.readouterr().out
    # As MLflow sorts it: so it is in runs of earlier versions.
    store.config.write_text(yaml.safe_dump(settings, sort_keys=True))
    assert store.verify(monkeypatch) == 0
    (tmp_path / "field" / "mold" / "leaf1_1.jpg").unlink()
    assert store.verify(monkeypatch) == 2
    assert "The photos of data.external (field) are not those of the run" in capsys.readouterr().err
