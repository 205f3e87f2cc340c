"""The order in which training and evaluation see the images.

An image is one view of a photo. Its number is `view * photos + row`, so that the first view has the row's number.
"""

import numpy as np
import tensorflow as tf

from leafexp.cache.arrays import take
from leafexp.data.dataset import Dataset
from leafexp.data.views import in_views


def training_batches(dataset: Dataset, batch_size: int, seed: int, first_epoch: int, epochs: int) -> tf.data.Dataset:
    """Batches (pixels, class index) of `epochs` epochs in a row.

    The order of an epoch, and the view in which it shows each photo, depend on `seed` and the epoch's number alone, so
    training can start at any epoch. An epoch's last batch holds what is left; a single image joins the batch before, as
    one image's batch norm means little and oneDNN computes a batch of one by other sums.
    """
    rows = tf.constant(dataset.rows("train"))

    @tf.autograph.experimental.do_not_convert
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = tf.random.experimental.stateless_shuffle(rows, seed=[seed, epoch])
        return _batches(_shown(dataset, shuffled, seed, epoch), len(rows), batch_size)

    epochs_range = tf.data.Dataset.range(first_epoch, first_epoch + epochs, output_type=tf.int32)
    return _with_pixels(epochs_range.flat_map(epoch_batches), dataset)


def evaluation_batches(dataset: Dataset, part: str, batch_size: int, view: int = 0) -> tf.data.Dataset:
    """Batches (pixels, class index) of `part`, once, in the table's order; a single last image joins others."""
    images = dataset.rows(part) + view * len(dataset.table)
    return _with_pixels(_batches(tf.constant(images), len(images), batch_size), dataset)


def steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Optimizer steps an epoch, that of a smaller or larger last batch included."""
    return _steps(len(dataset.rows("train")), batch_size)


def images_to_fit(dataset: Dataset, seed: int, first_epoch: int, epochs: int) -> np.ndarray:
    """The numbers of the images that these epochs train and validate on, each once."""
    rows = tf.constant(dataset.rows("train"))
    shown = [_shown(dataset, rows, seed, tf.constant(first_epoch + epoch)) for epoch in range(epochs)]
    return np.unique(np.concatenate([*shown, dataset.rows("validation")]))


def images_to_test(dataset: Dataset) -> np.ndarray:
    """The numbers of the images that the test looks at."""
    views = [dataset.rows("test") + view * len(dataset.table) for view in range(dataset.test_views)]
    return np.concatenate(views)


def pixels_of(dataset: Dataset, images: np.ndarray) -> np.ndarray:
    """The pixels of the images with these numbers, or what a frozen prefix made of them."""
    if dataset.places is not None:
        return take(dataset.pixels, dataset.places[images])
    views, rows = np.divmod(images, len(dataset.table))
    return in_views(take(dataset.pixels, rows), views)


def _shown(dataset: Dataset, rows: tf.Tensor, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """The numbers of the images that an epoch shows of the photos in `rows`."""
    if dataset.views == 1:
        return rows
    photos = len(dataset.table)
    # The order has the seeds of epochs from 0 on; the views have those below, so that neither follows from the other.
    views = tf.random.stateless_uniform([photos], [seed, -1 - epoch], 0, dataset.views, tf.int32)
    return rows + photos * tf.cast(tf.gather(views, rows), rows.dtype)


def _steps(images: int, batch_size: int) -> int:
    whole, rest = divmod(images, batch_size)
    return whole + (rest > 1 or whole == 0)


def _batches(images: tf.Tensor, count: int, batch_size: int) -> tf.data.Dataset:
    steps = _steps(count, batch_size)

    @tf.autograph.experimental.do_not_convert
    def batch(step: tf.Tensor) -> tf.Tensor:
        return images[step * batch_size : tf.where(step == steps - 1, np.int64(count), (step + 1) * batch_size)]

    return tf.data.Dataset.range(steps).map(batch)


def _with_pixels(batches_of_images: tf.data.Dataset, dataset: Dataset) -> tf.data.Dataset:
    class_index = dataset.table["class_index"].to_numpy(np.int64)
    image_shape = dataset.pixels.shape[1:]

    @tf.autograph.experimental.do_not_convert
    def look_up(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.numpy_function(lambda at: pixels_of(dataset, at), [images], dataset.pixels.dtype, stateful=False)
        return tf.ensure_shape(pixels, (None, *image_shape)), tf.gather(class_index, images % len(class_index))

    options = tf.data.Options()
    # With autotune, dropping an iterator at an epoch's end was seen to block for 1 to 10 s (TensorFlow 2.21).
    options.autotune.enabled = False
    return batches_of_images.map(look_up).prefetch(2).with_options(options)
