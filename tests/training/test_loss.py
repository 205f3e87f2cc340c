"""Class weights and smoothed labels: what training lowers, and that validation is measured as ever."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from leafexp import names
from leafexp.data.dataset import Dataset
from leafexp.training.fit import Fit, Speed, Training, fit
from leafexp.training.loss import Loss, balanced
from leafexp.training.optimizer import Adam
from leafexp.training.phases import Phase, plan
from leafexp.training.record import Record
from tests.training.test_fit import HEAD_THEN, assert_identical, small_model


@pytest.fixture
def uneven(dataset: Dataset) -> Dataset:
    """All 16 training photos of the first class, 8 of the second and 4 of the third."""
    table = dataset.table.copy()
    place = table[table["split"] == "train"].groupby("class_index").cumcount()
    left_out = place.index[place >= table["class_index"][place.index].map({0: 16, 1: 8, 2: 4})]
    table.loc[left_out, "split"] = "unused"
    return replace(dataset, table=table)


def linear_model() -> keras.Model:
    """No dropout and no batch norm, so that it computes in training as else."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    features = keras.layers.Flatten(name="head_flat")(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="head_probabilities")(features))


def trained(model: keras.Model, dataset: Dataset, loss: Loss, rate: float = 0.01, **phases: Phase) -> Fit:
    training = Training(lambda phase, _: keras.optimizers.SGD(rate * phase.learning_rate_factor), 10, loss=loss)
    planned = plan(phases or {"all": Phase("all")}, 2 if phases else 1, pretrained=True)
    return fit(model, planned, dataset, training, Record())


def cross_entropies(model: keras.Model, dataset: Dataset, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Of each photo: its class, and minus the logarithm of each class's probability."""
    rows = dataset.rows(part)
    output = model.predict(dataset.pixels[rows], verbose=0).astype(np.float64)
    return dataset.table["class_index"].to_numpy()[rows], -np.log(output)


def test_balanced_classes_weigh_alike_and_photos_one_on_average(uneven: Dataset) -> None:
    weights = balanced(uneven)
    np.testing.assert_allclose(weights, [28 / (3 * 16), 28 / (3 * 8), 28 / (3 * 4)])
    assert weights @ [16, 8, 4] == pytest.approx(28)


@pytest.mark.parametrize("loss", [Loss("balanced"), Loss(None, 0.2), Loss("balanced", 0.1)])
def test_training_lowers_the_formula_and_validation_has_the_plain_loss(uneven: Dataset, loss: Loss) -> None:
    model = linear_model()
    last = trained(model, uneven, loss, rate=1e-12).history.iloc[-1]
    true, each = cross_entropies(model, uneven, "train")
    own = each[np.arange(len(true)), true]
    smoothed = (1 - loss.label_smoothing) * own + loss.label_smoothing * each.mean(axis=1)
    weights = np.array([28 / 48, 28 / 24, 28 / 12])[true] if loss.class_weights else np.ones(len(true))
    assert last[names.LOSS] == pytest.approx((weights * smoothed).mean(), rel=1e-5)
    assert last[names.LOSS] != pytest.approx(own.mean(), rel=1e-3)
    assert last[names.ACCURACY] == pytest.approx((each.argmin(axis=1) == true).mean())
    true, each = cross_entropies(model, uneven, "validation")
    assert last[names.VAL_LOSS] == pytest.approx(each[np.arange(len(true)), true].mean(), rel=1e-5)
    assert last[names.VAL_ACCURACY] == pytest.approx((each.argmin(axis=1) == true).mean())


@pytest.mark.slow
def test_weights_of_classes_that_are_equal_change_nothing_and_others_do(dataset: Dataset, uneven: Dataset) -> None:
    """Also where the head learns from features that are computed once."""
    phases = HEAD_THEN | {"tune": Phase("conv2")}

    def losses(photos: Dataset, loss: Loss) -> np.ndarray:
        return trained(small_model(), photos, loss, **phases).history[[names.LOSS, names.VAL_LOSS]].to_numpy()

    np.testing.assert_allclose(losses(dataset, Loss("balanced")), losses(dataset, Loss()), rtol=1e-5)
    assert not np.allclose(losses(uneven, Loss("balanced")), losses(uneven, Loss()), rtol=1e-3)


@pytest.mark.slow
def test_levers_and_views_with_features_computed_once_change_no_bit(
    uneven: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    planned = plan(HEAD_THEN | {"tune": Phase("head")}, 6, pretrained=True, patience=1)

    def levered(cache_prefix: bool) -> tuple[keras.Model, Fit]:
        model, speed = small_model(), Speed(cache_prefix=cache_prefix)
        training = Training(lambda _, __: Adam(0.05, clipnorm=1.0), 10, 3, Loss("balanced", 0.1), speed)
        return model, fit(model, planned, replace(uneven, views=8), training, Record())

    whole, made = levered(False), levered(True)
    assert (made[1].phases["cached_layers"] > 0).all()
    assert_identical(whole, made)
