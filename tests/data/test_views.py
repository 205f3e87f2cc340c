"""Eight views of a photo: what they are, and which of them an epoch shows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from leafexp.data.batches import evaluation_batches, images_to_fit, images_to_test, training_batches
from leafexp.data.catalog import read_folder
from leafexp.data.dataset import Dataset, prepare
from leafexp.data.views import VIEWS, in_views
from leafexp.settings.schema import DataConfig
from tests.conftest import write_photos


def view_of(photo: np.ndarray, view: int) -> np.ndarray:
    return in_views(photo[None], np.array([view]))[0]


def test_the_views_are_the_eight_symmetries_of_a_square() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    views = {view_of(photo, view).tobytes(): view for view in range(VIEWS)}
    assert len(views) == VIEWS
    assert views[photo.tobytes()] == 0
    for first in range(VIEWS):
        # A view of a view is one of the eight, and each is among them once.
        of_it = [view_of(view_of(photo, first), second).tobytes() for second in range(VIEWS)]
        assert sorted(views[content] for content in of_it) == list(range(VIEWS))
    np.testing.assert_array_equal(view_of(photo, 1), np.rot90(photo))
    np.testing.assert_array_equal(view_of(photo, 4), photo[:, ::-1])


def test_each_photo_of_a_batch_has_its_own_view() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    views = np.arange(20) % VIEWS
    for photo, view, seen in zip(photos, views, in_views(photos, views), strict=True):
        np.testing.assert_array_equal(seen, view_of(photo, view))


def test_an_epoch_shows_each_photo_once_in_a_view_that_seed_and_epoch_decide(dataset: Dataset) -> None:
    eight = replace(dataset, views=VIEWS)
    rows = dataset.rows("train")
    known = {
        in_views(dataset.pixels[row][None], np.array([view])).tobytes(): (row, view)
        for row in rows
        for view in range(VIEWS)
    }

    def shown(seed: int, epoch: int) -> list[tuple[int, int]]:
        batches = training_batches(eight, 10, seed, epoch, 1)
        return [known[photo.tobytes()] for pixels, _ in batches for photo in pixels.numpy()]

    epochs = [shown(3, epoch) for epoch in range(12)]
    for epoch in epochs:
        assert sorted(row for row, _ in epoch) == list(rows)
    assert shown(3, 7) == epochs[7] != shown(4, 7)
    # The order is that of training without views.
    plain = [photo.tobytes() for pixels, _ in training_batches(dataset, 10, 3, 7, 1) for photo in pixels.numpy()]
    assert [dataset.pixels[row].tobytes() for row, _ in epochs[7]] == plain
    counts = np.bincount([view for epoch in epochs for _, view in epoch], minlength=VIEWS)
    expected = 12 * len(rows) / VIEWS
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()
    numbers = {row + view * len(dataset.table) for epoch in epochs[2:5] for row, view in epoch}
    assert set(images_to_fit(eight, 3, 2, 3)) == numbers | set(dataset.rows("validation"))


def test_validation_and_test_show_photos_as_they_are(dataset: Dataset) -> None:
    eight = replace(dataset, views=VIEWS)
    for part in ("validation", "test"):
        pixels = np.concatenate([pixels.numpy() for pixels, _ in evaluation_batches(eight, part, 10)])
        np.testing.assert_array_equal(pixels, dataset.pixels[dataset.rows(part)])
    assert list(images_to_test(eight)) == list(dataset.rows("test"))


def test_views_change_neither_photos_nor_groups_nor_parts(tmp_path: Path) -> None:
    write_photos(tmp_path, {"blight": 8, "healthy": 8})
    catalog = read_folder(str(tmp_path), r"(leaf\d+)_")
    plain, eight = (prepare(catalog, DataConfig(image_size=32, views=views), 10**9) for views in (1, VIEWS))
    assert (plain.pixels_hash, plain.split_hash, plain.data_hash) == (
        *(eight.pixels_hash, eight.split_hash, eight.data_hash),
    )
    pd.testing.assert_frame_equal(plain.table, eight.table)
    assert (plain.views, eight.views) == (1, VIEWS)
