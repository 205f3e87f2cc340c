"""A plain convolutional network, trained from scratch."""

from collections.abc import Sequence

import keras
from keras import layers

from leafexp.errors import UserError


def build(
    image_size: int,
    num_classes: int,
    filters: Sequence[int],
    dense_units: int,
    dropout: float,
    weights: str | None = None,
) -> tuple[keras.Model, None]:
    """3x3 convolutions, each with 2x2 max pooling, under a dense layer.

    Returns:
        A functional model from pixels in [0, 255], shape (batch, image_size, image_size, 3), to class probabilities,
        shape (batch, num_classes); and None, as it has no pretrained weights.

    Raises:
        UserError: weights were asked for.
    """
    if weights is not None:
        raise UserError(f"This network is trained from scratch: model.weights must be null; got {weights!r}.")
    inputs = keras.Input((image_size, image_size, 3), name="pixels")
    features = layers.Rescaling(1 / 255, name="scale")(inputs)
    for number, width in enumerate(filters, start=1):
        features = layers.Conv2D(width, 3, activation="relu", name=f"conv{number}")(features)
        features = layers.MaxPooling2D(2, name=f"pool{number}")(features)
    features = layers.Flatten(name="head_flatten")(features)
    return keras.Model(inputs, head(features, num_classes, dense_units, dropout)), None


def head(features: keras.KerasTensor, num_classes: int, dense_units: int, dropout: float) -> keras.KerasTensor:
    """Dense, dropout and softmax layers, named head_*, over flat features: shape (batch, num_classes)."""
    features = layers.Dense(dense_units, activation="relu", name="head_dense")(features)
    if dropout > 0:
        features = layers.Dropout(dropout, name="head_dropout")(features)
    return layers.Dense(num_classes, activation="softmax", dtype="float32", name="head_probabilities")(features)
