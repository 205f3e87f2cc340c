"""Freeze strategies put into effect: what learns, how batch norm behaves, and the proof that the rest stood still."""

import keras

from leafexp.errors import UserError, did_you_mean
from leafexp.models.pretrained import checksum
from leafexp.training.phases import ALL, HEAD, Phase, adapted_momentum


def apply(model: keras.Model, phase: Phase, steps_per_epoch: int) -> float | None:
    """Set `trainable` of every layer, and the momentum of batch norm that learns, as `phase` says.

    The model must be compiled anew afterwards.

    Returns:
        The momentum set, or None where none was.

    Raises:
        UserError: the model has no layer named `phase.learns`.
    """
    learning = _learning_layers(model, phase.learns)
    momentum = phase.batch_norm_momentum
    momentum = adapted_momentum(steps_per_epoch) if momentum == "auto" else momentum
    momentum_set = None
    for layer in model.layers:
        layer.trainable = layer in learning
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            if phase.batch_norm == "inference":
                # training=False does not hold it still inside fit (keras#20285); this does, gamma and beta included.
                layer.trainable = False
            elif momentum is not None:
                layer.momentum = momentum_set = momentum
    return momentum_set


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
