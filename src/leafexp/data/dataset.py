"""Images with labels and splits, ready to train on, and the order in which training sees them."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import tensorflow as tf

from leafexp.cache import take
from leafexp.data import splits
from leafexp.data.pixels import load
from leafexp.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """What a run trains and tests on.

    Attributes:
        pixels: a row an image: uint8 in [0, 255], shape (images, height, width, 3), usually mapped from the cache;
            or what `training.prefix` made of them, float32.
        pixels_hash: SHA-256 of what decides `pixels`.
        table: one row an image: path, label, group, split, sha256, class_index.
        classes: class names in the order of the model's outputs.
        skipped: images left out, with columns path and reason.
        data_hash: SHA-256 of paths, labels and file contents.
        split_hash: SHA-256 of paths and splits.
        test_hash: SHA-256 of the test images' paths, labels and contents.
    """

    pixels: np.ndarray
    pixels_hash: str
    table: pd.DataFrame
    classes: list[str]
    skipped: pd.DataFrame
    data_hash: str
    split_hash: str
    test_hash: str

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of the images in `part` (train, validation or test)."""
        return np.flatnonzero(self.table["split"] == part)


def prepare(
    catalog: pd.DataFrame,
    image_size: int,
    on_bad_image: str,
    validation_share: float,
    test_share: float,
    split_seed: int,
    train_per_class: int | None,
    cache_bytes: int,
) -> Dataset:
    """Read, check and split the images of a catalog.

    Raises:
        UserError: unusable images with on_bad_image=error, all named at once; or a class that can't be split.
    """
    stored, checksums, problems = load(catalog, image_size, cache_bytes)
    skipped = pd.DataFrame(
        {"path": [catalog["path"].iloc[row] for row in problems], "reason": list(problems.values())}, dtype="str"
    )
    if problems and on_bad_image == "error":
        named = "\n".join(f"  {path}: {reason}" for path, reason in skipped.itertuples(index=False))
        raise UserError(
            f"{len(problems)} of {len(catalog)} images can't be used:\n{named}\n"
            "Repair or remove them, or leave them out with data.on_bad_image=skip."
        )
    table = catalog.assign(sha256=checksums).drop(index=catalog.index[list(problems)]).reset_index(drop=True)
    gone = sorted(set(catalog["label"]) - set(table["label"]))
    if gone:
        raise UserError(f"Class {gone[0]!r} has no usable image.")
    table["split"] = splits.split(table, validation_share, test_share, split_seed)
    if train_per_class is not None:
        table["split"] = splits.limit_training(table, train_per_class, split_seed)
    crossing = int(table.groupby("group")["split"].nunique().gt(1).sum())
    if crossing:
        log.warning(
            "The split column puts photos of %d leaves on several sides: the test is easier than it looks.", crossing
        )
    classes = sorted(table["label"].unique())
    table["class_index"] = table["label"].map({label: index for index, label in enumerate(classes)})
    return Dataset(
        stored.array,
        stored.key,
        table,
        classes,
        skipped,
        splits.data_hash(table),
        splits.split_hash(table),
        splits.hash_of_test(table),
    )


def training_batches(dataset: Dataset, batch_size: int, seed: int, first_epoch: int, epochs: int) -> tf.data.Dataset:
    """Batches (pixels, class index) of `epochs` epochs in a row.

    The order of an epoch depends on `seed` and the epoch's number alone, so training can start at any epoch. An epoch's
    last batch holds what is left; a single image joins the batch before, as one image's batch norm means little and
    oneDNN computes a batch of one by other sums.
    """
    rows = tf.constant(dataset.rows("train"))

    @tf.autograph.experimental.do_not_convert
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        return _batches(tf.random.experimental.stateless_shuffle(rows, seed=[seed, epoch]), len(rows), batch_size)

    epochs_range = tf.data.Dataset.range(first_epoch, first_epoch + epochs, output_type=tf.int32)
    return _with_pixels(epochs_range.flat_map(epoch_batches), dataset)


def evaluation_batches(dataset: Dataset, part: str, batch_size: int) -> tf.data.Dataset:
    """Batches (pixels, class index) of `part`, once, in the table's order; a single last image joins others."""
    rows = dataset.rows(part)
    return _with_pixels(_batches(tf.constant(rows), len(rows), batch_size), dataset)


def steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Optimizer steps an epoch, that of a smaller or larger last batch included."""
    return _steps(len(dataset.rows("train")), batch_size)


def _steps(images: int, batch_size: int) -> int:
    whole, rest = divmod(images, batch_size)
    return whole + (rest > 1 or whole == 0)


def _batches(rows: tf.Tensor, count: int, batch_size: int) -> tf.data.Dataset:
    steps = _steps(count, batch_size)

    @tf.autograph.experimental.do_not_convert
    def batch(step: tf.Tensor) -> tf.Tensor:
        return rows[step * batch_size : tf.where(step == steps - 1, np.int64(count), (step + 1) * batch_size)]

    return tf.data.Dataset.range(steps).map(batch)


def _with_pixels(batches_of_rows: tf.data.Dataset, dataset: Dataset) -> tf.data.Dataset:
    class_index = dataset.table["class_index"].to_numpy(np.int64)
    image_shape = dataset.pixels.shape[1:]

    @tf.autograph.experimental.do_not_convert
    def look_up(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.numpy_function(lambda at: take(dataset.pixels, at), [rows], dataset.pixels.dtype, stateful=False)
        return tf.ensure_shape(images, (None, *image_shape)), tf.gather(class_index, rows)

    options = tf.data.Options()
    # With autotune, dropping an iterator at an epoch's end was seen to block for 1 to 10 s (TensorFlow 2.21).
    options.autotune.enabled = False
    return batches_of_rows.map(look_up).prefetch(2).with_options(options)
