"""The frozen prefix: the part of a model before its first layer that learns, computed once for all runs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from leafexp.arithmetic import arithmetic
from leafexp.cache.arrays import get_or_make, key_of, take
from leafexp.data.dataset import Dataset
from leafexp.models.pretrained import checksum
from leafexp.training.freeze import is_random
from leafexp.training.layer_code import layer_code, told


@dataclass(frozen=True)
class Split:
    """A model cut in two: `tail(prefix(pixels))` equals `model(pixels)`, and the tail holds all that learns."""

    prefix: keras.Model
    tail: keras.Model


@dataclass(frozen=True)
class Features:
    """A prefix's outputs for every image.

    Attributes:
        dataset: the images with these outputs in place of their pixels.
        seconds: what computing those of the training and validation images took, in this run or in an earlier one.
        other_seconds: what those of the other images took.
        forward_seconds: of `seconds` without tracing the graph, per image.
        reused: whether it was an earlier one.
    """

    dataset: Dataset
    seconds: float
    other_seconds: float
    forward_seconds: float
    reused: bool


def split(model: keras.Model) -> Split | None:
    """Cut a functional model at the last tensor before anything learns; None where no weights come before that.

    Layers that draw random numbers (augmentation, dropout of what learns) stay in the tail. The two parts share their
    layers, and so their weights, with `model`.
    """
    layers = model.layers
    first_live = next((index for index, layer in enumerate(layers) if is_live(layer)), len(layers))
    for cut in range(first_live, 1, -1):
        before = {id(tensor) for layer in layers[:cut] for tensor in _outputs(layer)}
        crossing = {id(tensor): tensor for layer in layers[cut:] for tensor in _inputs(layer) if id(tensor) in before}
        if len(crossing) == 1:
            (tensor,) = crossing.values()
            prefix = keras.Model(model.inputs, tensor)
            return Split(prefix, keras.Model(tensor, model.outputs)) if prefix.weights else None
    return None


def features(dataset: Dataset, prefix: keras.Model, batch_size: int, cache_bytes: int) -> Features:
    """The outputs of `prefix` for all images of `dataset`, from the cache where an earlier run put them there.

    Bit for bit what the whole model computes in training: in graph mode and in batches of `batch_size`, as other ways
    differ in the last digits, which ReLU6 and batch norm amplify.

    Raises:
        CacheTooSmall: they do not fit into the cache.
        Untold: a layer holds something that no key can name.
    """
    images = len(dataset.table)

    def make(about: dict[str, Any]) -> Iterator[np.ndarray]:
        begun = 0.0
        for start in tqdm(range(0, images, batch_size), "Computing frozen layers", unit="", leave=False, disable=None):
            # The last batch is filled up with its last image: sums may depend on a batch's size.
            rows = np.minimum(np.arange(start, start + batch_size), images - 1)
            outputs = prefix.predict_on_batch(take(dataset.pixels, rows))
            begun = begun or time.perf_counter()  # the first batch traces the graph
            yield outputs[: images - start]
        forward = time.perf_counter() - begun
        about["forward_seconds"] = forward / (images - batch_size) if images > batch_size else 0.0

    stored = get_or_make(
        "features",
        _key(dataset, prefix, batch_size),
        f"{images} photos through {len(prefix.layers)} frozen layers",
        images,
        tuple(prefix.output.shape[1:]),
        tf.as_dtype(prefix.output.dtype).as_numpy_dtype,
        make,
        cache_bytes,
    )
    # Made for all images, so that runs with other splits share them.
    per_image = stored.about["forward_seconds"]
    others = int((~dataset.table["split"].isin(("train", "validation"))).sum())
    other_seconds = per_image * min(others, max(images - batch_size, 0))
    return Features(
        replace(dataset, pixels=stored.array, pixels_hash=stored.key),
        stored.about["seconds"] - other_seconds,
        other_seconds,
        per_image,
        stored.reused,
    )


def _key(dataset: Dataset, prefix: keras.Model, batch_size: int) -> str:
    """SHA-256 of all that decides the features: pixels, layers, weights, and what decides the order of sums."""
    graph = prefix.get_config()
    graph.pop("name")
    # Keras numbers the layers that were not named, and none of these learns.
    places = {layer["name"]: place for place, layer in enumerate(graph["layers"])}
    for layer in graph["layers"]:
        layer["name"] = layer["config"]["name"] = places[layer["name"]]
        layer["config"].pop("trainable", None)
    structure = told(_renamed(graph, places))
    code = [layer_code(layer) for layer in prefix.layers]
    made_by = [tf.__version__, keras.__version__, *arithmetic()]
    return key_of(made_by, dataset.pixels_hash, structure, code, checksum(prefix.weights), batch_size)


def _renamed(part: Any, places: dict[str, int]) -> Any:
    """A part of a model's configuration in which connections name layers by their places."""
    if isinstance(part, dict):
        return {
            name: [places[value[0]], *value[1:]] if name == "keras_history" else _renamed(value, places)
            for name, value in part.items()
        }
    if isinstance(part, list | tuple):
        if len(part) == 3 and part[0] in places and all(isinstance(number, int) for number in part[1:]):
            return [places[part[0]], *part[1:]]
        return [_renamed(value, places) for value in part]
    return part


def is_live(layer: keras.layers.Layer) -> bool:
    """Whether the layer's output may differ from one epoch to the next: it learns, or it draws random numbers."""
    return bool(layer.trainable and (layer.weights or is_random(layer)))


def _outputs(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    return [tensor for node in layer._inbound_nodes for tensor in node.output_tensors]


def _inputs(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    return [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]
