"""Frozen layers computed once give the same bits as computed in each epoch."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from leafexp.config import build, check
from leafexp.data.dataset import Dataset
from leafexp.training import evaluation, freeze, prefix
from leafexp.training.fit import Fit, Speed, fit
from leafexp.training.optimizer import Adam
from leafexp.training.phases import Phase, plan
from tests.training.test_fit import HEAD_THEN, assert_identical, small_model, train


@pytest.mark.parametrize(("learns", "batch_size"), [("head", 10), ("conv2", 10), ("conv2", 47)])
def test_computing_the_frozen_prefix_once_changes_no_bit(
    dataset: Dataset, learns: str, batch_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # The last batch of an epoch is a smaller one; of 47, one image too many.
    assert len(dataset.rows("train")) == 48
    phases = HEAD_THEN | {"tune": Phase(learns, 1.0, 0.1, "train", 0.9)}
    whole = train(dataset, phases, speed=Speed(cache_prefix=False), batch_size=batch_size)
    made, reused = (train(dataset, phases, batch_size=batch_size) for _ in range(2))
    assert list(whole[1].phases["cached_layers"]) == [0, 0]
    assert (made[1].phases["cached_layers"] > 0).all()
    # Where both phases learn the head, the second takes the features of the first, and they count once.
    assert list(made[1].phases["prefix_seconds"] > 0) == [True, learns != "head"]
    assert (made[1].phases["prefix_reused_seconds"] == 0).all()
    assert (reused[1].phases["prefix_reused_seconds"] == reused[1].phases["prefix_seconds"]).all()
    assert_identical(whole, made)
    assert_identical(whole, reused)
    predicted = evaluation.predict(whole[0], dataset, batch_size)
    pd.testing.assert_frame_equal(
        predicted, evaluation.predict(made[1].learner, made[1].seen, batch_size), check_exact=True
    )


@pytest.mark.slow  # traces MobileNetV2 six times
@pytest.mark.parametrize("strategy", ["frozen", "partial"])
def test_computing_mobilenetv2_s_frozen_layers_once_changes_no_bit(
    strategy: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    configuration = check(["model=mnv2", f"freeze={strategy}", "model.weights=null"])
    images = np.random.default_rng(0).integers(0, 255, (len(dataset.table), 64, 64, 3), np.uint8)

    def trained(cache_prefix: bool) -> tuple[keras.Model, Fit]:
        keras.utils.set_random_seed(0)
        model, _ = build(configuration.model.network, image_size=64, num_classes=3, weights=None)
        phases = plan(configuration.freeze.phases, 3, pretrained=True)
        optimizer = lambda factor, _: Adam(0.001 * factor)  # noqa: E731
        # Batches of 32: the last has 16.
        large = replace(dataset, pixels=images, pixels_hash="large")
        return model, fit(model, phases, large, optimizer, 32, 0, lambda _: None, Speed(cache_prefix=cache_prefix))

    assert_identical(trained(False), trained(True))


def test_other_weights_pixels_or_batches_are_other_features(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = small_model(), small_model()
    assert first.name != second.name
    for model in (first, second):
        freeze.apply(model, Phase("head"), 5)

    def reused(model: keras.Model, dataset: Dataset = dataset, batch_size: int = 10) -> bool:
        parts = prefix.split(model)
        assert parts is not None
        return prefix.features(dataset, parts.prefix, batch_size, 10**9).reused

    assert not reused(first)
    assert reused(second)
    assert not reused(second, batch_size=16)
    assert not reused(second, replace(dataset, pixels_hash="others"))
    kernel, bias = second.get_layer("conv1").get_weights()
    second.get_layer("conv1").set_weights([np.nextafter(kernel, 1), bias])
    assert not reused(second)


def test_nothing_is_computed_once_behind_augmentation() -> None:
    plain = small_model()
    flipped = keras.layers.RandomFlip(seed=0)(plain.inputs[0])
    model = keras.models.clone_model(plain, input_tensors=flipped, clone_function=lambda layer: layer)
    freeze.apply(model, Phase("head"), 5)
    assert prefix.split(model) is None


def test_features_too_large_for_the_cache_are_computed_each_epoch(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    phases = {"head": Phase("head", batch_norm="inference")}
    small = train(dataset, phases, epochs=2, speed=Speed(cache_bytes=1000))
    assert "Frozen layers are computed in each epoch" in caplog.text
    assert list(small[1].phases["cached_layers"]) == [0]
    assert_identical(small, train(dataset, phases, epochs=2))
