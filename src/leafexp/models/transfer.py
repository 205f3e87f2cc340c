"""Any network of keras.applications as a base under a new head, as one flat graph."""

import importlib

import keras
from keras import layers

from leafexp.errors import UserError
from leafexp.models import pretrained
from leafexp.models.cnn import head


def build(
    image_size: int, num_classes: int, application: str, dense_units: int, dropout: float, weights: str | None
) -> tuple[keras.Model, pretrained.Source | None]:
    """The base without its own top, average pooling and a dense head; the base's preprocessing lies inside.

    Args:
        image_size: height and width of the photos in pixels.
        num_classes: outputs of the head.
        application: module and function in keras.applications, for example `mobilenet_v2.MobileNetV2`.
        dense_units: width of the head's hidden layer.
        dropout: share of the hidden layer dropped in training, in [0, 1).
        weights: `imagenet`, the path of a weights file, or None for random weights.

    Returns:
        A functional model from pixels in [0, 255], shape (batch, image_size, image_size, 3), to class probabilities,
        shape (batch, num_classes); and where the base's weights came from, None for random weights.

    Raises:
        UserError: keras.applications has no such network, or the weights can't be had or don't fit.
    """
    module_name, _, function_name = application.partition(".")
    try:
        module = importlib.import_module(f"keras.applications.{module_name}")
        application_function = getattr(module, function_name)
    except (ImportError, AttributeError):
        raise UserError(f"keras.applications has no {application!r}.") from None
    inputs = keras.Input((image_size, image_size, 3), name="pixels")
    # input_tensor makes the base's layers part of this graph instead of one nested layer.
    base = application_function(weights=None, include_top=False, input_tensor=module.preprocess_input(inputs))
    features = layers.GlobalAveragePooling2D(name="head_pool")(base.output)
    model = keras.Model(inputs, head(features, num_classes, dense_units, dropout))
    # Last, as loading draws random numbers: so the head starts alike whatever the weights and wherever they come from.
    source = None if weights is None else pretrained.load_into(base, application_function, image_size, weights)
    return model, source
