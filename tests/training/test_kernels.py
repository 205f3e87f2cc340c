"""Faster kernels give Keras's own results."""

import keras
import numpy as np
import pytest

from leafexp.training.kernels import faster


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 7, 3))
    features = keras.layers.Conv2D(6, 1, use_bias=False, name="pointwise")(inputs)
    features = keras.layers.BatchNormalization(name="norm1", momentum=0.7)(features)
    features = keras.layers.Conv2D(5, 1, activation="relu", name="with_bias")(features)
    features = keras.layers.BatchNormalization(name="norm2", momentum=0.9)(features)
    features = keras.layers.Conv2D(4, 1, strides=2, name="strided")(features)
    features = keras.layers.BatchNormalization(name="frozen")(features)
    features = keras.layers.Flatten()(features)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))


def trained(fused_batch_norm: bool, pointwise_matmul: bool) -> tuple[keras.Model, list[float]]:
    random = np.random.default_rng(0)
    images = random.normal(3, 2, (20, 9, 7, 3)).astype(np.float32)
    labels = random.integers(0, 3, 20)
    built = model()
    built.get_layer("frozen").trainable = False
    built.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
    with faster(built, fused_batch_norm, pointwise_matmul):
        kernels = [layer.name for layer in built.layers if {"call", "convolution_op"} & vars(layer).keys()]
        # The last batch is a smaller one.
        history = built.fit(images, labels, batch_size=8, epochs=3, verbose=0, shuffle=False)
    norms, points = ["norm1", "norm2"] * fused_batch_norm, ["pointwise", "with_bias"] * pointwise_matmul
    assert sorted(kernels) == sorted(norms + points)
    return built, history.history["loss"]


@pytest.mark.parametrize(("fused", "matmul"), [(True, False), (False, True), (True, True)])
def test_training_equals_that_with_keras_own_kernels(fused: bool, matmul: bool) -> None:
    (expected, expected_loss), (actual, actual_loss) = trained(False, False), trained(fused, matmul)
    np.testing.assert_allclose(actual_loss, expected_loss, rtol=1e-5)
    for name in ("pointwise", "norm1", "with_bias", "norm2", "strided", "frozen"):
        arrays = zip(expected.get_layer(name).get_weights(), actual.get_layer(name).get_weights(), strict=True)
        for one, other in arrays:
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6, err_msg=name)


def test_only_what_learns_is_replaced_and_only_meanwhile() -> None:
    built = model()
    built.get_layer("norm1").trainable = False
    with faster(built, True, True):
        assert "call" not in vars(built.get_layer("norm1"))
        assert "call" in vars(built.get_layer("norm2"))
        assert "convolution_op" in vars(built.get_layer("pointwise"))
        assert "convolution_op" not in vars(built.get_layer("strided"))
    for layer in built.layers:
        assert not {"call", "convolution_op"} & vars(layer).keys()
    images = np.ones((1, 9, 7, 3), np.float32)
    copy = keras.Model.from_config(built.get_config())
    copy.set_weights(built.get_weights())
    np.testing.assert_array_equal(copy.predict(images, verbose=0), built.predict(images, verbose=0))
