"""Adam as one kernel, and the learning rate by step."""

import keras
import numpy as np
import pytest

from leafexp.data.dataset import Dataset
from leafexp.paths import CONF_DIR
from leafexp.runs import network
from leafexp.settings.compose import check
from leafexp.training.optimizer import Adam, learning_rate_schedule
from leafexp.training.phases import Phase


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1]),
        ("cosine", [0.5, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060]),
        ("step", [0.5, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_learning_rate_schedules(schedule: str, expected: list[float]) -> None:
    rate = learning_rate_schedule(1.0, schedule, 4, 2, warmup_epochs=1, step_epochs=2, step_factor=0.1)
    assert callable(rate)
    np.testing.assert_allclose([float(rate(step)) for step in range(8)], expected, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}, {"amsgrad": True}, {"clipnorm": 0.1}]
)
def test_adam_equals_keras_own(options: dict[str, float]) -> None:
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(30, 5)).astype(np.float32), random.normal(size=(30, 2)).astype(np.float32)
    ends = []
    for optimizer in (keras.optimizers.Adam(0.01, **options), Adam(0.01, **options)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2)])
        start = model.get_weights()
        model.compile(optimizer, "mse")
        model.fit(images, labels, batch_size=10, epochs=5, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    for before, expected, actual in zip(start, *ends, strict=True):
        assert np.abs(expected - before).max() > 0.01
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("option", [file.stem for file in (CONF_DIR / "optimizer").glob("*.yaml")])
def test_every_optimizer_scales_long_gradients_down_where_it_is_asked_to(option: str, dataset: Dataset) -> None:
    def made(*overrides: str) -> keras.Optimizer:
        return network.training(check([f"optimizer={option}", *overrides]), dataset).make_optimizer(Phase(), 2)

    assert made().clipnorm is None
    optimizer = made("optimizer.clipnorm=0.5")
    clipped = optimizer._clip_gradients([keras.ops.array([3.0, 4.0]), keras.ops.array([0.3, 0.0])])
    np.testing.assert_allclose(clipped[0], [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(clipped[1], [0.3, 0.0], rtol=1e-6)


def test_a_phase_may_have_a_schedule_of_its_own(dataset: Dataset) -> None:
    make = network.training(check(["optimizer.learning_rate=0.5"]), dataset).make_optimizer
    ends = []
    for phase in (Phase(), Phase(schedule="cosine", learning_rate_factor=0.5)):
        optimizer = make(phase, 2)
        optimizer.iterations.assign(10**6)
        ends.append((float(optimizer.learning_rate), make(phase, 2).learning_rate.numpy()))
    assert ends == [(0.5, 0.5), (0.0, 0.25)]
