"""What training promises: frozen stands still to the bit, a seed gives the same numbers, the best epoch is kept."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from leafexp import names
from leafexp.data.batches import evaluation_batches, steps_per_epoch, training_batches
from leafexp.data.dataset import Dataset
from leafexp.data.pixels import decode
from leafexp.errors import UserError
from leafexp.training import evaluation
from leafexp.training.checkpoint import EpochRow
from leafexp.training.fit import Fit, Speed, Training, fit
from leafexp.training.phases import Phase, plan
from leafexp.training.record import Record


def small_model(num_classes: int = 3) -> keras.Model:
    """Two convolutions with batch norm: the parts of a base that freeze strategies act on."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    features = keras.layers.Rescaling(1 / 255)(inputs)
    for number in (1, 2):
        features = keras.layers.Conv2D(4, 3, strides=2, name=f"conv{number}")(features)
        features = keras.layers.BatchNormalization(momentum=0.999, name=f"norm{number}")(features)
        features = keras.layers.ReLU(name=f"relu{number}")(features)
    features = keras.layers.GlobalAveragePooling2D(name="head_pool")(features)
    features = keras.layers.Dropout(0.2, name="head_dropout")(features)
    return keras.Model(
        inputs, keras.layers.Dense(num_classes, activation="softmax", name="head_probabilities")(features)
    )


TIMED = (*names.TIMINGS, names.IMAGES_PER_SECOND)
HEAD_THEN = {"head": Phase("head", 0.5, 1.0, "inference")}


def train(
    dataset: Dataset,
    phases: dict[str, Phase],
    epochs: int = 4,
    rate: float = 0.01,
    on_epoch: Callable[[keras.Model], None] = lambda _: None,
    speed: Speed | None = None,
    batch_size: int = 10,
) -> tuple[keras.Model, Fit]:
    model = small_model()
    seen: list[EpochRow] = []

    def watch(row: EpochRow) -> None:
        seen.append(row)
        on_epoch(model)

    fitted = fit(
        model,
        plan(phases, epochs, pretrained=True),
        dataset,
        Training(
            lambda phase, _: keras.optimizers.Adam(rate * phase.learning_rate_factor),
            batch_size,
            speed=speed or Speed(),
        ),
        Record(watch),
    )
    assert [row["epoch"] for row in seen] == list(range(1, epochs + 1))
    return model, fitted


def weights(model: keras.Model, name: str) -> np.ndarray:
    return np.concatenate([array.ravel() for array in model.get_layer(name).get_weights()])


@pytest.mark.parametrize(
    ("phases", "frozen"),
    [
        ({"head": Phase("head", batch_norm="inference")}, ["conv1", "norm1", "conv2", "norm2"]),
        ({"tune": Phase("conv2")}, ["conv1", "norm1"]),
        ({"tune": Phase("conv2", batch_norm="inference")}, ["conv1", "norm1", "norm2"]),
        (HEAD_THEN | {"tune": Phase("all")}, []),
    ],
)
def test_what_is_frozen_is_bit_identical_and_the_rest_learns(
    dataset: Dataset, phases: dict[str, Phase], frozen: list[str]
) -> None:
    every = ["conv1", "norm1", "conv2", "norm2", "head_probabilities"]
    before = small_model()
    ends: dict[str, np.ndarray] = {}  # the last epoch's weights, whichever epoch is the best
    train(dataset, phases, epochs=2, on_epoch=lambda model: ends.update({name: weights(model, name) for name in every}))
    for name in every:
        assert np.array_equal(weights(before, name), ends[name]) == (name in frozen), name


def test_a_frozen_weight_that_moves_stops_the_run(dataset: Dataset) -> None:
    model = small_model()

    def meddle(_: EpochRow) -> None:
        kernel, bias = model.get_layer("conv1").get_weights()
        model.get_layer("conv1").set_weights([np.nextafter(kernel, 1), bias])

    phases = plan({"head": Phase("head", batch_norm="inference")}, 1, pretrained=True)
    with pytest.raises(RuntimeError, match="phase 'head' was to leave frozen have changed"):
        fit(model, phases, dataset, Training(lambda *_: keras.optimizers.SGD(), 10), Record(meddle))


def test_batch_norm_statistics_follow_the_policy(dataset: Dataset) -> None:
    """With Keras's momentum they stay near their start; with the adapted one they arrive at the data's in an epoch."""

    def distance(momentum: float | str | None) -> float:
        model, _ = train(dataset, {"tune": Phase("all", 1.0, 1e-6, "train", momentum)}, epochs=2)
        batch = dataset.pixels[dataset.rows("train")]
        seen = keras.Model(model.input, model.get_layer("norm1").input).predict(batch, verbose=0)
        return float(np.abs(model.get_layer("norm1").moving_mean.numpy() - seen.mean(axis=(0, 1, 2))).max())

    stale, adapted = distance(None), distance("auto")
    assert adapted < 0.1 * stale


def test_a_phase_without_a_momentum_has_the_models_own_again(dataset: Dataset) -> None:
    """In whatever order the phases come, and phases.csv says what was in effect."""
    phases = {
        "set": Phase("all", 0.33, batch_norm_momentum=0.5),
        "own": Phase("conv2", 0.33),
        "still": Phase("all", batch_norm="inference", batch_norm_momentum=0.5),
    }
    model, fitted = train(dataset, phases, epochs=3)
    assert list(fitted.phases["batch_norm_momentum"].iloc[:2]) == [0.5, 0.999]
    assert np.isnan(fitted.phases["batch_norm_momentum"].iloc[2])
    assert model.get_layer("norm1").momentum == model.get_layer("norm2").momentum == 0.999


def test_weight_decay_leaves_out_scales_shifts_and_biases(dataset: Dataset) -> None:
    model = small_model()
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    # At a rate of almost nothing, decay alone moves weights: each step takes a thousandth of them.
    optimizer = lambda *_: keras.optimizers.SGD(1e-6, weight_decay=1e3)  # noqa: E731
    fit(model, plan({"all": Phase("all")}, 1, pretrained=True), dataset, Training(optimizer, 10), Record())
    for weight in model.trainable_weights:
        shrunk = 0.999**5 if weight.ndim > 1 else 1.0
        np.testing.assert_allclose(weight.numpy(), before[weight.path] * shrunk, rtol=2e-4, atol=2e-5)


def test_the_same_seed_gives_the_same_numbers(dataset: Dataset) -> None:
    phases = HEAD_THEN | {"tune": Phase("all", 1.0, 0.1)}
    (first, first_fit), (second, second_fit) = train(dataset, phases), train(dataset, phases)
    columns = [name for name in names.EPOCH_METRICS if name not in TIMED]
    assert first_fit.history[columns].equals(second_fit.history[columns])
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_identical(one: tuple[keras.Model, Fit], other: tuple[keras.Model, Fit]) -> None:
    columns = [name for name in names.EPOCH_METRICS if name not in TIMED]
    pd.testing.assert_frame_equal(one[1].history[columns], other[1].history[columns], check_exact=True)
    for mine, its in zip(one[0].get_weights(), other[0].get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_photos_from_the_cache_train_like_photos_decoded_anew(dataset: Dataset) -> None:
    assert isinstance(dataset.pixels, np.memmap)
    decoded = np.stack([decode(Path(file).read_bytes(), 32) for file in dataset.table["file"]])
    in_memory = replace(dataset, pixels=decoded)
    phases = {"tune": Phase("all")}
    assert_identical(train(dataset, phases, epochs=2), train(in_memory, phases, epochs=2))


def test_the_seconds_of_an_epoch_are_told_apart(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = {"tune": Phase("all")}
    quick = train(dataset, phases, epochs=2)[1].history
    monkeypatch.setattr("leafexp.data.batches.take", lambda array, rows: (time.sleep(0.1), array[rows])[1])
    slow = train(dataset, phases, epochs=2)[1].history
    for history in (quick, slow):
        parts = history[[names.DATA_SECONDS, names.COMPUTE_SECONDS, names.VALIDATION_SECONDS]]
        assert (parts > 0).all(axis=None)
        # The first epoch's rest holds tracing, and any epoch's what a busy machine adds.
        rest = history[names.EPOCH_SECONDS] - parts.sum(axis=1)
        assert (rest > -0.01).all()
        assert rest.min() < 0.1
    # Each of five batches takes 0.1 s to come; some may be on their way before they are asked for.
    assert slow[names.DATA_SECONDS].iloc[1] > quick[names.DATA_SECONDS].iloc[1] + 0.1


def test_the_model_ends_with_its_best_epoch(dataset: Dataset) -> None:
    # A rate at which accuracy goes up and down.
    model, fitted = train(dataset, {"tune": Phase("all", batch_norm_momentum=0.5)}, epochs=8, rate=0.05)
    best = fitted.history.sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).iloc[0]
    assert fitted.best_epoch == best["epoch"]
    loss, accuracy = model.evaluate(evaluation_batches(dataset, "validation", 10), verbose=0)
    assert (accuracy, loss) == pytest.approx((best["val_accuracy"], best["val_loss"]), rel=1e-5)


def test_phases_are_recorded_with_rates_and_counts(dataset: Dataset) -> None:
    _, fitted = train(dataset, HEAD_THEN | {"tune": Phase("conv2", 1.0, 0.1, "train", 0.9)})
    assert list(fitted.history["phase"]) == ["head", "head", "tune", "tune"]
    assert fitted.history["learning_rate"].to_numpy() == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert (fitted.history["epoch_seconds"] > 0).all()
    assert fitted.total_seconds >= fitted.history["epoch_seconds"].sum()
    head, tune = fitted.phases.to_dict("records")
    assert (head["params_trainable"], tune["params_trainable"]) == (15, 15 + 4 * 4 * 9 + 4 + 8)
    assert (head["learns"], tune["learns"], tune["batch_norm_momentum"]) == ("head", "conv2", 0.9)


def test_a_loss_that_is_no_number_ends_the_run_with_advice(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="no longer finite in epoch 1 .* Lower optimizer.learning_rate"):
        train(dataset, {"tune": Phase("all")}, rate=1e30)


def test_an_unknown_layer_is_named(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="no layer 'conv3'.*Did you mean conv"):
        train(dataset, {"tune": Phase("conv3")})


def test_batches_hold_each_photo_once_in_an_order_that_the_epoch_decides(dataset: Dataset) -> None:
    rows = dataset.rows("train")
    steps = steps_per_epoch(dataset, 10)
    batches = list(training_batches(dataset, 10, seed=3, first_epoch=0, epochs=2))
    assert len(batches) == 2 * steps

    def content(part: list) -> np.ndarray:
        return np.concatenate([images.numpy() for images, _ in part])

    first, second = content(batches[:steps]), content(batches[steps:])
    assert not np.array_equal(first, second)
    for epoch in (first, second):
        assert sorted(image.tobytes() for image in epoch) == sorted(dataset.pixels[row].tobytes() for row in rows)
    again = content(list(training_batches(dataset, 10, seed=3, first_epoch=1, epochs=1)))
    np.testing.assert_array_equal(again, second)
    labels = np.concatenate([label.numpy() for _, label in evaluation_batches(dataset, "test", 10)])
    np.testing.assert_array_equal(labels, dataset.table.loc[dataset.rows("test"), "class_index"])


def test_scores_equal_keras_own(dataset: Dataset) -> None:
    model, _ = train(dataset, {"tune": Phase("all", batch_norm_momentum=0.5)})
    predictions = evaluation.predict(model, dataset, 10)
    score = evaluation.score(predictions, dataset.classes)
    loss, accuracy = model.evaluate(evaluation_batches(dataset, "test", 10), verbose=0)
    assert score["test_accuracy"] == pytest.approx(accuracy)
    assert score["test_loss"] == pytest.approx(loss, rel=1e-4)
    probabilities = predictions.filter(like="probability_")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    predicted = probabilities.idxmax(axis=1).str.removeprefix("probability_")
    assert (predicted == predictions["predicted"]).all()
