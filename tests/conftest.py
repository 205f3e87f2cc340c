"""Data and models that several tests share: small, offline, made once."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_NUM_INTEROP_THREADS"] = "1"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"

import numpy as np
import pandas as pd
import pytest

from leafexp import names, notes
from leafexp.data.dataset import Dataset, prepare
from leafexp.paths import cache_folder
from leafexp.settings.schema import DataConfig
from tests.servers import postgresql

CHECKOUT = Path(__file__).resolve().parents[1]
REAL_PHOTOS = Path(os.environ.get("LEAFEXP_PHOTOS", "nowhere"))

needs_real_photos = pytest.mark.skipif(
    not REAL_PHOTOS.is_file(),
    reason="needs LEAFEXP_PHOTOS, a CSV (path, label, leaf_id) of the 3,152 PlantVillage photos that the README shows",
)


def metrics_of(run: Any) -> dict[str, float]:
    """The metrics of MLflow's run by the names that leafexp has for them."""
    return {names.without_section(name): value for name, value in run.data.metrics.items()}


def write_photos(folder: Path, counts: dict[str, int], size: int = 40) -> None:
    """JPEGs of noise around a colour per class, in a folder per class."""
    from PIL import Image

    for index, (label, count) in enumerate(counts.items()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            random = np.random.default_rng([index, number])
            pixels = random.integers(0, 120, (size, size, 3)) + np.eye(3, dtype=int)[index % 3] * 60 + index * 10
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"leaf{number // 2}_{number % 2}.jpg")


@pytest.fixture(scope="module", autouse=True)
def own_environment() -> Iterator[None]:
    """What a module's tests leave in the environment, as MLflow does with its address, ends with them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store as MLflow makes it, to be copied: its tables take two seconds to make."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("empty store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that starts empty, but for weights that were fetched before."""
    fetched = list(cache_folder().glob("*.whl"))
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        cache_folder().mkdir()
        for wheel in fetched:
            (cache_folder() / wheel.name).symlink_to(wheel)
        yield cache_folder()


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test reads its lines on photos as a process that has said none."""
    monkeypatch.setattr(notes, "_noted", set())


def small_dataset(catalog: pd.DataFrame, on_bad_image: str = "error", groups: str = "given") -> Dataset:
    """The photos of a catalog at 32 px, a fifth for validation and a fifth for the test."""
    settings = DataConfig(image_size=32, on_bad_image=on_bad_image, validation_share=0.2, test_share=0.2, groups=groups)
    return prepare(catalog, settings, cache_bytes=10**9)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three classes, 72 photos of 32 px in pairs of one leaf."""
    from leafexp.data.catalog import read_folder

    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, {"blight": 24, "healthy": 24, "mold": 24})
    catalog: pd.DataFrame = read_folder(str(folder), r"(leaf\d+)_")
    return small_dataset(catalog)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server, without a database's name."""
    with postgresql() as address:
        yield address
