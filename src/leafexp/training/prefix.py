"""The frozen prefix: the part of a model before its first layer that learns, computed once for all runs."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from leafexp.arithmetic import arithmetic
from leafexp.cache.arrays import key_of
from leafexp.cache.growing import grow
from leafexp.data.batches import pixels_of
from leafexp.data.dataset import Dataset
from leafexp.data.views import VIEWS
from leafexp.models.pretrained import checksum
from leafexp.paths import cache_folder
from leafexp.training.freeze import is_random
from leafexp.training.layer_code import layer_code, told


@dataclass(frozen=True)
class Split:
    """A model cut in two: `tail(prefix(pixels))` equals `model(pixels)`, and the tail holds all that learns."""

    prefix: keras.Model
    tail: keras.Model


@dataclass(frozen=True)
class Features:
    """A prefix's outputs for some images.

    Attributes:
        dataset: the images with these outputs in place of their pixels.
        made: what is known of each row of them: the seconds that it took, and those without tracing the graph.
        before: so many of these rows, from the first on, an earlier run made, or this one before.
    """

    dataset: Dataset
    made: np.ndarray
    before: int

    def seconds(self, images: np.ndarray) -> float:
        """What computing those of the images took, in this run or in earlier ones."""
        return float(self.made["seconds"][self._places(images)].sum())

    def reused_seconds(self, images: np.ndarray) -> float:
        """What of this was spent before."""
        places = self._places(images)
        return float(self.made["seconds"][places[places < self.before]].sum())

    def forward_seconds(self, images: np.ndarray) -> float:
        """What computing those of one image takes without tracing the graph, a mean; NaN where it is not known."""
        forward = self.made["forward"][self._places(images)]
        known = forward[~np.isnan(forward)]
        return float(known.mean()) if len(known) else math.nan

    def _places(self, images: np.ndarray) -> np.ndarray:
        assert self.dataset.places is not None
        return self.dataset.places[images]


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


def features(dataset: Dataset, prefix: keras.Model, images: np.ndarray, batch_size: int, cache_bytes: int) -> Features:
    """The outputs of `prefix` for the images with these numbers, from the cache where an earlier run put them there.

    Bit for bit what the whole model computes in training: in graph mode and in batches of `batch_size`, as other ways
    differ in the last digits, which ReLU6 and batch norm amplify.

    Raises:
        CacheTooSmall: they do not fit into the cache.
        Untold: a layer holds something that no key can name.
    """

    def make(missing: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        starts = range(0, len(missing), batch_size)
        for start in tqdm(starts, "Computing frozen layers", unit="", leave=False, disable=None):
            # The last batch is filled up with its last image: sums may depend on a batch's size.
            numbers = missing[np.minimum(np.arange(start, start + batch_size), len(missing) - 1)]
            begun = time.perf_counter()
            outputs = prefix.predict_on_batch(pixels_of(dataset, numbers))[: len(missing) - start]
            seconds = time.perf_counter() - begun
            yield outputs, seconds / batch_size if start else math.nan  # the first batch traces the graph

    key = _key(dataset, prefix, batch_size)
    grown = grow(
        cache_folder() / "features" / key,
        f"images through {len(prefix.layers)} frozen layers",
        images,
        tuple(prefix.output.shape[1:]),
        tf.as_dtype(prefix.output.dtype).as_numpy_dtype,
        make,
        cache_bytes,
    )
    # Where an image was not computed, looking it up is an error.
    places = np.full(VIEWS * len(dataset.table), np.iinfo(np.int64).max)
    places[grown.made["number"]] = np.arange(len(grown.made))
    return Features(replace(dataset, pixels=grown.array, pixels_hash=key, places=places), grown.made, grown.before)


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
