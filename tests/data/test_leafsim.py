"""The synthetic leaves are reproducible, balanced and a fair test: shortcuts fail, the signs can be learned."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leafexp.data import leafsim

IMAGES = 480
SIZE = 160
CHANCE = 1 / len(leafsim.CLASSES)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaves")
    leafsim.generate(folder, images=IMAGES, image_size=SIZE)
    return folder


@pytest.fixture(scope="session")
def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / leafsim.MANIFEST)


@pytest.fixture(scope="session")
def pixels(folder: Path, table: pd.DataFrame) -> np.ndarray:
    """The photos, of shape `(image, row, column, channel)`, in [0, 1]."""
    return np.stack([np.asarray(Image.open(folder / path), np.float32) / 255 for path in table["path"]])


def accuracy_on_unseen_leaves(features: np.ndarray, table: pd.DataFrame, strength: float = 1.0) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300, tol=1e-3))
    predicted = cross_val_predict(model, features, table["label"], groups=table["leaf_id"], cv=GroupKFold(5))
    return float((predicted == table["label"]).mean())


def block_means(pixels: np.ndarray, block: int) -> np.ndarray:
    """Means over squares of `block` pixels, of shape `(image, row, column, channel)`."""
    side = pixels.shape[1] // block
    return pixels.reshape(len(pixels), side, block, side, block, 3).mean(axis=(2, 4))


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_manifest_lists_every_file(folder: Path, table: pd.DataFrame) -> None:
    assert list(table.columns) == ["path", "label", "leaf_id"]
    assert sorted(table["path"]) == sorted(set(files(folder)) - {leafsim.MANIFEST})
    assert (table["path"].str.split("/").str[0] == table["label"]).all()
    assert {Image.open(folder / path).size for path in table["path"]} == {(SIZE, SIZE)}


def test_classes_are_balanced_and_leaves_have_several_photos(table: pd.DataFrame) -> None:
    assert table["label"].value_counts().to_dict() == dict.fromkeys(leafsim.CLASSES, IMAGES // len(leafsim.CLASSES))
    assert (table["leaf_id"].value_counts() == 4).all()
    assert len(table[["leaf_id", "label"]].drop_duplicates()) == table["leaf_id"].nunique()


def test_remainder_goes_to_a_last_leaf_with_fewer_photos(tmp_path: Path) -> None:
    table = pd.read_csv(leafsim.generate(tmp_path, images=32, image_size=48))
    assert (table["label"].value_counts() == 5).all()
    assert sorted(set(table["leaf_id"].value_counts())) == [1, 4]


def test_same_arguments_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, seed: int) -> dict[str, bytes]:
        leafsim.generate(tmp_path / name, images=24, image_size=64, seed=seed)
        return files(tmp_path / name)

    first = made("first", 0)
    other_seed = made("other_seed", 1)
    monkeypatch.setattr("leafexp.data.leafsim.processors", lambda: 1)
    assert made("one_worker", 0) == first
    photos = set(first) - {leafsim.MANIFEST}
    assert all(first[path] != other_seed[path] for path in photos)
    assert len({first[path] for path in photos}) == 24


@pytest.mark.parametrize(("images", "photos_per_leaf"), [(23, 4), (0, 1), (24, 0)])
def test_too_few_images(tmp_path: Path, images: int, photos_per_leaf: int) -> None:
    with pytest.raises(ValueError, match=f"images={images}"):
        leafsim.generate(tmp_path, images=images, photos_per_leaf=photos_per_leaf)


def test_borders_tell_nothing(pixels: np.ndarray, table: pd.DataFrame) -> None:
    blocks = block_means(pixels, 8)
    frame = np.ones(blocks.shape[1:3], bool)
    frame[1:-1, 1:-1] = False
    standard_error = np.sqrt(CHANCE * (1 - CHANCE) / len(table))
    border = blocks[:, frame].reshape(len(table), -1)
    assert accuracy_on_unseen_leaves(border, table, strength=0.01) < CHANCE + 3 * standard_error


def test_overall_colour_tells_little(pixels: np.ndarray, table: pd.DataFrame) -> None:
    colour = np.concatenate([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1)
    assert accuracy_on_unseen_leaves(colour, table) < 0.4


def test_nearest_thumbnail_is_often_wrong(pixels: np.ndarray, table: pd.DataFrame) -> None:
    thumbnails = np.stack(
        [
            np.asarray(Image.fromarray((photo * 255).astype(np.uint8)).resize((12, 12), Image.Resampling.BOX), float)
            for photo in pixels
        ]
    ).reshape(len(pixels), -1)
    squares = (thumbnails**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * thumbnails @ thumbnails.T
    leaf, label = table["leaf_id"].to_numpy(), table["label"].to_numpy()
    distance[leaf[:, None] == leaf[None]] = np.inf
    assert (label[distance.argmin(axis=1)] == label).mean() < 0.5


def test_signs_can_be_learned(pixels: np.ndarray, table: pd.DataFrame) -> None:
    """Contrast with the neighbourhood at three scales, over whole photos, tells a good part of the classes, not all."""
    features = []
    for block in (2, 4, 8):
        coarse = block_means(pixels, block)
        detail = coarse - ndimage.gaussian_filter(coarse, (0, 1.5, 1.5, 0), truncate=2)
        inner = slice(16 // block, -16 // block)
        detail = detail[:, inner, inner].reshape(len(pixels), -1, 3)
        tone = np.concatenate([detail, detail[..., :2] - detail[..., 1:]], axis=2)
        spread = tone.std(axis=1)
        features += [spread, (tone**3).mean(axis=1) / spread**3, *np.percentile(tone, [1, 99], axis=1)]
    accuracy = accuracy_on_unseen_leaves(np.concatenate(features, axis=1), table, strength=0.1)
    assert 0.5 < accuracy < 0.9
