"""The frozen prefix: the part of a model before its first layer that learns, computed once a phase."""

from dataclasses import dataclass, replace

import keras
import numpy as np

from leafexp.data.dataset import Dataset, evaluation_batches

# Features are kept in memory; beyond this the whole model runs each epoch.
_MAX_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Split:
    """A model cut in two: `tail(prefix(pixels))` equals `model(pixels)`, and the tail holds all that learns."""

    prefix: keras.Model
    tail: keras.Model


def split(model: keras.Model) -> Split | None:
    """Cut a functional model at the last tensor before anything learns; None where no weights come before that.

    Layers that are random in training (dropout) stay in the tail. The two parts share their layers, and so their
    weights, with `model`.
    """
    layers = model.layers
    first_live = next((index for index, layer in enumerate(layers) if _is_live(layer)), len(layers))
    for cut in range(first_live, 1, -1):
        before = {id(tensor) for layer in layers[:cut] for tensor in _outputs(layer)}
        crossing = {id(tensor): tensor for layer in layers[cut:] for tensor in _inputs(layer) if id(tensor) in before}
        if len(crossing) == 1:
            (tensor,) = crossing.values()
            prefix = keras.Model(model.inputs, tensor)
            return Split(prefix, keras.Model(tensor, model.outputs)) if prefix.weights else None
    return None


def with_features(dataset: Dataset, prefix: keras.Model, batch_size: int) -> Dataset | None:
    """`dataset` with the prefix's outputs in place of its train and validation pixels; None if they are too large."""
    size = int(np.prod(prefix.output.shape[1:])) * np.dtype(np.float32).itemsize
    if size * len(dataset.table) > _MAX_BYTES:
        return None
    features = np.zeros((len(dataset.table), *prefix.output.shape[1:]), np.float32)
    for part in ("train", "validation"):
        # predict runs the graph as training does; calling the model would differ in the last bits, which ReLU6 and
        # batch norm amplify.
        batches = evaluation_batches(dataset, part, batch_size).map(lambda pixels, _: pixels)
        features[dataset.rows(part)] = prefix.predict(batches, verbose=0)
    return replace(dataset, pixels=features)


def _is_live(layer: keras.layers.Layer) -> bool:
    """Whether the layer's output may differ from one epoch to the next."""
    random = getattr(layer, "seed_generator", None) is not None
    return random or bool(layer.trainable and layer.weights)


def _outputs(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    return [tensor for node in layer._inbound_nodes for tensor in node.output_tensors]


def _inputs(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    return [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]
