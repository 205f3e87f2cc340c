"""Faster kernels for layers while they learn; equal to Keras's own up to rounding, as a test shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import keras
import tensorflow as tf


@contextmanager
def faster(model: keras.Model, fused_batch_norm: bool, pointwise_matmul: bool) -> Iterator[None]:
    """Within the block, graphs traced of `model` compute its layers that learn by faster kernels.

    Layers that do not learn stay as they are, so that a cached prefix equals one computed along. The layers themselves,
    and with them what is saved of the model, do not change.

    Args:
        model: a functional model.
        fused_batch_norm: batch norm as one kernel; Keras 3 computes it from elementwise operations.
        pointwise_matmul: 1x1 convolutions as matrix products.
    """
    replaced = []
    for layer in model.layers:
        if not (layer.trainable and layer.weights) or layer.compute_dtype != "float32":
            continue
        if fused_batch_norm and _can_fuse(layer):
            layer.call = MethodType(_fused_batch_norm, layer)
            replaced.append((layer, "call"))
        elif pointwise_matmul and _is_pointwise(layer):
            layer.convolution_op = MethodType(_pointwise_matmul, layer)
            replaced.append((layer, "convolution_op"))
    try:
        yield
    finally:
        for layer, name in replaced:
            delattr(layer, name)


def _can_fuse(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and len(layer.output.shape) == 4
        and layer.axis in (-1, 3)
        and layer.center
        and layer.scale
    )


def _is_pointwise(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and (layer.kernel_size, layer.strides, layer.groups) == ((1, 1), (1, 1), 1)
        and layer.data_format == "channels_last"
    )


def _fused_batch_norm(
    layer: keras.layers.BatchNormalization,
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    if not training or mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    fused = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel divides the variance by n - 1, Keras by n.
    count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
    variance = fused.batch_variance * ((count - 1) / count)
    for moving, value in ((layer.moving_mean, fused.batch_mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + value * (1.0 - layer.momentum))
    return fused.y


def _pointwise_matmul(layer: keras.layers.Conv2D, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:  # noqa: ARG001
    channels, filters = kernel.shape[2:]
    product = tf.matmul(tf.reshape(inputs, [-1, channels]), tf.reshape(kernel, [channels, filters]))
    return tf.reshape(product, tf.concat([tf.shape(inputs)[:3], [filters]], 0))
