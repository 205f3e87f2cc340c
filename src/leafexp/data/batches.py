"""The order in which training and evaluation see the images."""

import numpy as np
import tensorflow as tf

from leafexp.cache.arrays import take
from leafexp.data.dataset import Dataset


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
