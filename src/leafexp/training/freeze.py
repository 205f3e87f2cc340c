"""Freeze strategies put into effect: what learns, how batch norm behaves, and the proof that the rest stood still."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from types import MethodType
from typing import Any

import keras

from leafexp.errors import UserError, did_you_mean
from leafexp.models.pretrained import checksum
from leafexp.training.phases import ALL, HEAD, Phase, adapted_momentum


def apply(model: keras.Model, phase: Phase, steps_per_epoch: int) -> float | None:
    """Set `trainable` of every layer, and the momentum of batch norm that learns, as `phase` says.

    A layer that is not `trainable` afterwards stands still: see `standing_still`. The model must be compiled anew.

    Returns:
        The momentum in effect; None where no batch norm learns, or where the model's own momenta differ.

    Raises:
        UserError: the model has no layer named `phase.learns`.
    """
    learning = _learning_layers(model, phase.learns)
    momentum = phase.batch_norm_momentum
    momentum = adapted_momentum(steps_per_epoch) if momentum == "auto" else momentum
    momenta = set()
    for layer in model.layers:
        # Augmentation of the photos goes on whatever is frozen: it draws at random before the first weights.
        layer.trainable = layer in learning or (is_random(layer) and not _behind_weights(layer))
        if isinstance(layer, keras.layers.BatchNormalization):
            # A phase before may have set another one.
            layer.momentum = vars(layer).setdefault("own_momentum", layer.momentum)
            if phase.batch_norm == "inference":
                # training=False does not hold it still inside fit (keras#20285); this does, gamma and beta included.
                layer.trainable = False
            if layer.trainable:
                layer.momentum = layer.momentum if momentum is None else momentum
                momenta.add(layer.momentum)
    return momenta.pop() if len(momenta) == 1 else None


def is_random(layer: keras.layers.Layer) -> bool:
    """Whether the layer draws random numbers while it trains."""
    # The states of its random generators are among a layer's variables, not among its weights.
    return len(layer.variables) > len(layer.weights)


@contextmanager
def standing_still(model: keras.Model) -> Iterator[None]:
    """Within the block, graphs traced of `model` compute layers that are not `trainable` as they do in inference.

    Else the dropout and stochastic depth of a frozen base would go on drawing random numbers (EfficientNetV2B0 has 15
    such layers).
    """
    still = [layer for layer in model.layers if not layer.trainable and (_told(layer) or layer._layers)]
    for layer in still:
        layer.call = MethodType(_in_inference, layer)
    try:
        yield
    finally:
        for layer in still:
            del layer.call


def _told(layer: keras.layers.Layer) -> bool:
    """Whether the layer is told that it trains; layers within it may look that up instead."""
    return "training" in signature(type(layer).call).parameters


def _in_inference(layer: keras.layers.Layer, *inputs: Any, **arguments: Any) -> Any:
    if _told(layer):
        arguments["training"] = False
    context = layer._get_call_context()  # where layers within look it up
    before = context.get_value("training")
    context.set_value("training", False)
    try:
        return type(layer).call(layer, *inputs, **arguments)
    finally:
        context.set_value("training", before)


def _behind_weights(layer: keras.layers.Layer) -> bool:
    """Whether anything that the layer's input comes from has weights."""
    seen, waiting = set(), [layer]
    while waiting:
        for node in waiting.pop()._inbound_nodes:
            for parent in (tensor._keras_history.operation for tensor in node.input_tensors):
                if getattr(parent, "weights", None):
                    return True
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
    return False


def frozen_checksum(model: keras.Model) -> str:
    """SHA-256 over all weights of the layers that do not learn, batch-norm statistics included."""
    return checksum([weight for layer in model.layers if not layer.trainable for weight in layer.weights])


def parameter_counts(model: keras.Model) -> tuple[int, int]:
    """How many parameters learn and how many do not; moving statistics of batch norm count as not learning."""
    trainable = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    return trainable, model.count_params() - trainable


def layer_table(model: keras.Model) -> list[dict[str, object]]:
    """One record a layer: name, type, output shape without the batch, parameters, and whether it learns."""
    return [
        {
            "layer": layer.name,
            "type": type(layer).__name__,
            "output": "x".join(str(size) for size in layer.output.shape[1:]),
            "parameters": layer.count_params(),
            "learns": bool(layer.trainable and layer.trainable_weights),
        }
        for layer in model.layers
    ]


def _learning_layers(model: keras.Model, learns: str) -> list[keras.layers.Layer]:
    names = [layer.name for layer in model.layers]
    if learns == ALL:
        first = 0
    elif learns == HEAD:
        first = next(index for index, name in enumerate(names) if name.startswith("head_"))
    elif learns in names:
        first = names.index(learns)
    else:
        raise UserError(f"The model has no layer {learns!r} to learn from. {did_you_mean(learns, [ALL, HEAD, *names])}")
    return model.layers[first:]
