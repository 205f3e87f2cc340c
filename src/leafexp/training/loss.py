"""The loss that training lowers, where it is not the plain one: classes weighted, labels smoothed."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from leafexp import names
from leafexp.data.dataset import Dataset


@dataclass(frozen=True)
class Loss:
    """The cross-entropy of training. That of validation is always the plain one, so that runs compare by it.

    Attributes:
        class_weights: `balanced`: a photo counts by the inverse of its class's share of the training photos, so that
            each class counts alike, and photos by 1 on average. None: each photo counts alike.
        label_smoothing: the share of each label that is spread over all classes (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
    """

    class_weights: str | None = None
    label_smoothing: float = 0.0

    @property
    def function(self) -> str:
        """Keras's name of the loss, of class indices or of a share for each class."""
        return "categorical_crossentropy" if self.label_smoothing else "sparse_categorical_crossentropy"

    def accuracy(self) -> keras.Metric:
        """The metric that takes the same labels, its variables made."""
        one_hot, sparse = keras.metrics.CategoricalAccuracy, keras.metrics.SparseCategoricalAccuracy
        return (one_hot if self.label_smoothing else sparse)(name=names.ACCURACY)

    def training(self, batches: tf.data.Dataset, dataset: Dataset) -> tf.data.Dataset:
        """Batches (pixels, class index) with the labels that training is given, and weights where there are any."""
        if self == Loss():
            return batches
        smoothing, number = self.label_smoothing, len(dataset.classes)
        weights = tf.constant(balanced(dataset), tf.float32) if self.class_weights else None

        @tf.autograph.experimental.do_not_convert
        def prepared(pixels: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, ...]:
            labels = (1 - smoothing) * tf.one_hot(classes, number) + smoothing / number if smoothing else classes
            return (pixels, labels) if weights is None else (pixels, labels, tf.gather(weights, classes))

        return batches.map(prepared).with_options(batches.options())

    def validation(self, batches: tf.data.Dataset, dataset: Dataset) -> tf.data.Dataset:
        """Batches (pixels, class index) with labels that are not smoothed, in the form that the loss takes."""
        if not self.label_smoothing:
            return batches
        number = len(dataset.classes)

        @tf.autograph.experimental.do_not_convert
        def prepared(pixels: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return pixels, tf.one_hot(classes, number)

        return batches.map(prepared).with_options(batches.options())


def balanced(dataset: Dataset) -> np.ndarray:
    """The weight of a photo of each class: photos / (classes x photos of the class), of the training photos."""
    indices = dataset.table["class_index"].to_numpy()[dataset.rows("train")]
    counts = np.bincount(indices, minlength=len(dataset.classes))
    weights: np.ndarray = len(indices) / (len(counts) * np.maximum(counts, 1))
    return weights
