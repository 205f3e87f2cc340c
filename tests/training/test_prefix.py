"""Frozen layers computed once give the same bits as computed in each epoch."""

import functools
import importlib
import linecache
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pandas as pd
import pytest

from leafexp.data.dataset import Dataset
from leafexp.data.views import in_views
from leafexp.paths import CONF_DIR
from leafexp.settings.build import build
from leafexp.settings.compose import check
from leafexp.training import evaluation, freeze, prefix
from leafexp.training.fit import Fit, Speed, Training, fit
from leafexp.training.layer_code import Untold, layer_code
from leafexp.training.optimizer import Adam
from leafexp.training.phases import Phase, plan
from leafexp.training.record import Record
from tests.training.test_fit import HEAD_THEN, assert_identical, small_model, train


@pytest.mark.parametrize(
    ("learns", "batch_size"),
    [("conv2", 47), *(pytest.param(learns, 10, marks=pytest.mark.slow) for learns in ("head", "conv2"))],
)
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


@pytest.mark.parametrize("learns", ["conv2", "all", pytest.param("head", marks=pytest.mark.slow)])
def test_mixed_precision_trains_by_every_strategy_and_its_prefix_changes_no_bit(
    dataset: Dataset, learns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        phases = {"tune": Phase(learns, 1.0, 0.1, "train", 0.9)}
        whole, made, reused = (
            train(dataset, phases, epochs=2, speed=Speed(cache_prefix=cache)) for cache in (False, True, True)
        )
    finally:
        keras.config.set_dtype_policy("float32")
    assert (made[1].phases["cached_layers"].iloc[0] > 0) == (learns != "all")
    assert_identical(whole, made)
    assert_identical(whole, reused)


class Block(keras.layers.Layer):
    """A layer of layers that is not told whether it trains; the dropout in it looks that up."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)
        self.convolution = keras.layers.Conv2D(4, 3, strides=2)
        self.dropout = keras.layers.Dropout(0.5)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.convolution.build(input_shape)

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return self.dropout(self.convolution(inputs))


def base_that_drops(augmented: bool) -> keras.Model:
    """A base with dropout between its convolutions, behind augmentation where wanted, and a head."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    features = keras.layers.RandomFlip(seed=0, name="flip")(inputs) if augmented else inputs
    features = keras.layers.Conv2D(4, 3, strides=2, name="conv1")(features)
    features = keras.layers.SpatialDropout2D(0.5, name="drop1")(features)
    features = Block(name="conv2")(features)
    features = keras.layers.GaussianNoise(1.0, name="noise")(features)
    features = keras.layers.GlobalAveragePooling2D(name="head_pool")(features)
    features = keras.layers.Dropout(0.2, name="head_dropout")(features)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="head_probabilities")(features))


def test_what_is_frozen_draws_no_random_numbers() -> None:
    model = base_that_drops(augmented=True)
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    base = keras.Model(model.get_layer("conv1").input, model.get_layer("noise").output)
    for learns, random in (("all", True), ("conv2", True), ("head", False), ("all", True)):
        freeze.apply(model, Phase(learns), 5)
        with freeze.standing_still(model):
            outputs = [np.asarray(base(images, training=True)) for _ in range(2)]
        assert np.array_equal(*outputs) != random, learns
        live = [layer.name for layer in model.layers if prefix.is_live(layer) and freeze.is_random(layer)]
        # Augmentation goes on whatever is frozen.
        drawing = {"all": ["drop1", "conv2", "noise"], "conv2": ["conv2", "noise"], "head": []}[learns]
        assert live == ["flip", *drawing, "head_dropout"]
    assert not [layer.name for layer in model.layers if "call" in vars(layer)]


def test_the_layers_behind_dropout_are_computed_once_too(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    phases = plan({"head": Phase("head", batch_norm="inference")}, 2, pretrained=True)

    def trained(cache_prefix: bool) -> tuple[keras.Model, Fit]:
        model = base_that_drops(augmented=False)
        optimizer = lambda phase, _: Adam(0.01 * phase.learning_rate_factor)  # noqa: E731
        training = Training(optimizer, 10, speed=Speed(cache_prefix=cache_prefix))
        return model, fit(model, phases, dataset, training, Record())

    whole, made = trained(False), trained(True)
    assert list(made[1].phases["cached_layers"]) == [6]
    assert_identical(whole, made)


@pytest.mark.slow
@pytest.mark.parametrize("model", [option.stem for option in (CONF_DIR / "model").glob("*.yaml")])
def test_the_frozen_base_of_every_model_stands_still(model: str) -> None:
    network = check([f"model={model}"]).model.network
    built, _ = build(network, image_size=64, num_classes=3, weights=None)
    freeze.apply(built, Phase("head"), 5)
    parts = prefix.split(built)
    assert parts and not [layer.name for layer in parts.tail.layers[1:] if not layer.name.startswith("head_")]
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.float32)
    with freeze.standing_still(built):
        np.testing.assert_array_equal(parts.prefix(images, training=True), parts.prefix(images, training=False))
        before = freeze.frozen_checksum(built)
        built.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        built.train_on_batch(images, np.array([0, 1]))
    assert freeze.frozen_checksum(built) == before


def test_features_are_computed_for_the_photos_that_a_run_uses_and_once_for_all_runs(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    phases = {"head": Phase("head", batch_norm="inference")}
    few = dataset.table["split"].where(dataset.table["split"] != "train", "unused")
    few[dataset.rows("train")[:8]] = "train"
    limited = replace(dataset, table=dataset.table.assign(split=few))
    computed: list[np.ndarray] = []
    pixels_of = prefix.pixels_of

    def slow(of: Dataset, images: np.ndarray) -> np.ndarray:
        computed.append(np.unique(images))
        time.sleep(0.1)
        return pixels_of(of, images)

    monkeypatch.setattr(prefix, "pixels_of", slow)
    (_, first), at_first = train(limited, phases, epochs=1), len(computed)
    # Eight photos train and twelve validate, ten a batch; twelve are tested, after training.
    trained, tested = np.concatenate(computed[:2]), np.concatenate(computed[2:at_first])
    assert sorted(trained) == sorted([*limited.rows("train"), *limited.rows("validation")])
    assert sorted(tested) == sorted(limited.rows("test"))
    _, second = train(dataset, phases, epochs=1)
    assert sorted(np.concatenate(computed)) == list(range(72))
    (made,), (grown,) = first.phases.to_dict("records"), second.phases.to_dict("records")
    assert 0.2 < made["prefix_seconds"] < first.history["epoch_seconds"].sum() <= first.total_seconds
    assert made["prefix_validation_seconds"] == pytest.approx(12 / 20 * made["prefix_seconds"], rel=0.2)
    assert made["prefix_reused_seconds"] == 0
    assert first.test_prefix_seconds > 0.2
    # Of the second run's photos 20 were there; the others took four batches.
    assert grown["prefix_reused_seconds"] == pytest.approx(made["prefix_seconds"])
    assert grown["prefix_seconds"] - grown["prefix_reused_seconds"] > 0.4
    assert second.test_prefix_seconds == first.test_prefix_seconds
    with pytest.raises(IndexError):  # a photo that was not computed
        pixels_of(first.seen, limited.rows("train")[:1] + 2 * 72)


@pytest.mark.parametrize(
    "phases",
    [
        {"tune": Phase("conv2", 1.0, 0.1, "train", 0.9)},
        pytest.param(HEAD_THEN | {"again": Phase("head", batch_norm="inference")}, marks=pytest.mark.slow),
    ],
)
def test_eight_views_from_the_cache_train_like_views_cut_anew(
    dataset: Dataset, phases: dict[str, Phase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    eight = replace(dataset, views=8, test_views=8)
    whole, made = (train(eight, phases, epochs=2, speed=Speed(cache_prefix=cache)) for cache in (False, True))
    assert_identical(whole, made)
    # A second phase shows other views, so it has features of its own to compute, though its prefix is the same.
    assert (made[1].phases["prefix_seconds"] > 0).all()
    assert (made[1].phases["prefix_reused_seconds"] == 0).all()
    predicted = evaluation.predict(whole[0], eight, 10)
    pd.testing.assert_frame_equal(predicted, evaluation.predict(made[1].learner, made[1].seen, 10), check_exact=True)
    by_view = [
        whole[0].predict(in_views(dataset.pixels[dataset.rows("test")], np.full(12, view)), verbose=0)
        for view in range(8)
    ]
    np.testing.assert_allclose(predicted.filter(like="probability_"), np.mean(by_view, axis=0), atol=1e-5)


@pytest.mark.slow  # traces MobileNetV2 six times
@pytest.mark.parametrize(("strategy", "views"), [("frozen", 1), ("partial", 1), ("partial", 8)])
def test_computing_mobilenetv2_s_frozen_layers_once_changes_no_bit(
    strategy: str, views: int, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    configuration = check(["model=mnv2", f"freeze={strategy}", "model.weights=null"])
    images = np.random.default_rng(0).integers(0, 255, (len(dataset.table), 64, 64, 3), np.uint8)

    def trained(cache_prefix: bool) -> tuple[keras.Model, Fit]:
        keras.utils.set_random_seed(0)
        model, _ = build(configuration.model.network, image_size=64, num_classes=3, weights=None)
        phases = plan(configuration.freeze.phases, 3, pretrained=True)
        optimizer = lambda phase, _: Adam(0.001 * phase.learning_rate_factor)  # noqa: E731
        # Batches of 32: the last has 16.
        large = replace(dataset, pixels=images, pixels_hash="large", views=views)
        training = Training(optimizer, 32, speed=Speed(cache_prefix=cache_prefix))
        return model, fit(model, phases, large, training, Record())

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
        images = np.arange(len(dataset.table))
        return prefix.features(dataset, parts.prefix, images, batch_size, 10**9).before > 0

    assert not reused(first)
    assert reused(second)
    assert not reused(second, batch_size=16)
    assert not reused(second, replace(dataset, pixels_hash="others"))
    kernel, bias = second.get_layer("conv1").get_weights()
    second.get_layer("conv1").set_weights([np.nextafter(kernel, 1), bias])
    assert not reused(second)


def features_key(model: keras.Model, dataset: Dataset) -> str:
    return prefix._key(dataset, model, 10)


def test_a_layer_named_like_an_activation_changes_no_key_but_its_own(dataset: Dataset) -> None:
    def named(name: str, activation: str) -> keras.Model:
        inputs = keras.Input((32, 32, 3))
        keras.utils.set_random_seed(0)
        return keras.Model(inputs, keras.layers.Conv2D(4, 3, activation=activation, name=name)(inputs))

    keys = [features_key(named(name, activation), dataset) for name in ("relu", "tanh", "conv", "keras.layers")
            for activation in ("relu", "tanh")]  # fmt: skip
    assert len({*keys[0::2]}) == len({*keys[1::2]}) == 1
    assert keys[0] != keys[1]


def test_where_layers_connect_is_in_the_key(dataset: Dataset) -> None:
    def subtracted(one: int, other: int) -> keras.Model:
        inputs = keras.Input((32, 32, 3))
        parts = [keras.layers.Rescaling(2.0)(inputs), keras.layers.Rescaling(3.0)(inputs)]
        return keras.Model(inputs, keras.layers.Subtract()([parts[one], parts[other]]))

    assert features_key(subtracted(0, 1), dataset) == features_key(subtracted(0, 1), dataset)
    assert features_key(subtracted(0, 1), dataset) != features_key(subtracted(1, 0), dataset)


OWN_LAYER = """
import keras
FACTOR = {factor}

@keras.saving.register_keras_serializable("test_prefix", "{name}")
class Own(keras.layers.Layer):
    def call(self, inputs):
        return inputs {operator} FACTOR
"""


def test_the_code_of_an_own_layer_is_in_the_key(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def key(operator: str, factor: int) -> str:
        source = OWN_LAYER.format(operator=operator, factor=factor, name="Own")
        (tmp_path / "own_layer.py").write_text(source)
        sys.modules.pop("own_layer", None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        linecache.clearcache()
        inputs = keras.Input((32, 32, 3))
        return features_key(keras.Model(inputs, importlib.import_module("own_layer").Own()(inputs)), dataset)

    assert key("*", 2) == key("*", 2)
    assert len({key("*", 2), key("+", 2), key("*", 3)}) == 3

    def closed_over(factor: float) -> str:
        class Own(keras.layers.Layer):
            def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
                return inputs * factor

        inputs = keras.Input((32, 32, 3))
        return features_key(keras.Model(inputs, Own()(inputs)), dataset)

    assert closed_over(2.0) == closed_over(2.0) != closed_over(3.0)


HELPED = """
import keras
import own_helper
from own_helper import scaled

class Helped(keras.layers.Layer):
    def __init__(self, held, **options):
        super().__init__(**options)
        self.held = held

    def get_config(self):
        return super().get_config()

    def call(self, inputs):
        self.seen = scaled(inputs)
        return self.seen + own_helper.OFFSET
"""
HELPER = """
import functools
import own_far

FACTOR = 2
OFFSET = 1
KINDS = set('abcdefgh')

@functools.cache
def power():
    return own_far.POWER

def scaled(inputs):
    from own_far import shifted
    return shifted(inputs * FACTOR) ** power() + len(KINDS)
"""
FAR = """
POWER, SHIFT = 1, 0

def shifted(inputs):
    return inputs + SHIFT
"""


class Held:
    """What a layer may hold: an object of one's own."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self, inputs: object) -> object:
        return inputs


class HeldDict(dict[str, int]):
    """A dictionary with more to it."""


def held_dict(value: int) -> HeldDict:
    made = HeldDict(a=1)
    made.value = value  # type: ignore[attr-defined]
    return made


@pytest.fixture
def helped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of a layer that finds helpers and values in two other modules."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, source in (("own_helped", HELPED), ("own_helper", HELPER), ("own_far", FAR)):
        (tmp_path / f"{name}.py").write_text(source)
    yield importlib.import_module("own_helped")
    for name in ("own_helped", "own_helper", "own_far"):
        del sys.modules[name]


def test_what_an_own_layer_finds_elsewhere_is_in_the_key(
    dataset: Dataset, helped: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        inputs = keras.Input((32, 32, 3))
        model = keras.Model(inputs, helped.Helped(None)(inputs))
        before = features_key(model, dataset)
        model.predict_on_batch(dataset.pixels[:2])
        assert features_key(model, dataset) == before
        return before

    usual = key()
    assert key() == usual
    for place in ("own_helper.FACTOR", "own_helper.OFFSET", "own_far.POWER", "own_far.SHIFT"):
        with monkeypatch.context() as patch:
            patch.setattr(place, 5)
            assert key() != usual, place


def test_what_an_own_layer_holds_is_in_the_key(helped: ModuleType) -> None:
    table = np.arange(5000.0)
    makers: dict[str, Callable[[int], object]] = {
        "array": lambda value: np.where(table == 2500, value, table),
        "masked array": lambda value: np.ma.masked_array([1, 2, 3], table[:3] == value),
        "objects": lambda value: np.array([value, "a"], object),
        "nested": lambda value: [[1], 2] if value == 1 else [[1, 2]],
        "words": lambda value: ["ab", "c"] if value == 1 else ["a", "bc"],
        "set in a dictionary": lambda value: {"a": 1, "b": {2, value}},
        "order": lambda value: {"a": 1, "b": 2} if value == 1 else {"b": 2, "a": 1},
        "dictionary with more": lambda value: Held(held_dict(value)),
        "object": lambda value: Held([Held(value)]),
        "of Keras": lambda value: keras.regularizers.L2(value),
        "closure": lambda value: Held(lambda inputs: inputs * value),
        "wrapped": lambda value: Held(functools.wraps(keras.activations.relu)(lambda inputs: inputs * value)),
        "partial": lambda value: functools.partial(pow, value),
        "method": lambda value: Held(value).__call__,
        "layer that is not tracked": lambda value: Held(keras.layers.Dense(value)),
        "variable that is not tracked": lambda value: Held(keras.Variable(float(value))),
    }
    for name, make in makers.items():
        one, same, other = (layer_code(helped.Helped(make(value))) for value in (1, 1, 2))
        assert one == same != other, name
    with pytest.raises(Untold, match="TextIOWrapper"), open(os.devnull) as file:
        layer_code(helped.Helped([file]))


def test_what_keras_s_layers_hold_of_one_s_own_is_in_the_key(helped: ModuleType) -> None:
    makers: list[Callable[[int], keras.layers.Layer]] = [
        lambda value: keras.Sequential([keras.Input((4,)), helped.Helped(value)]),
        lambda value: keras.layers.TimeDistributed(helped.Helped(value)),
        lambda value: keras.layers.Dense(3, activation=Held(value)),
        lambda value: keras.layers.Dense(3, activation=functools.partial(pow, value)),
    ]
    for make in makers:
        one, same, other = (layer_code(make(value)) for value in (1, 1, 2))
        assert one == same != other
    plain = keras.layers.Dense(3, "relu", kernel_regularizer="l2")
    assert [layer_code(layer) for layer in (plain, keras.Sequential([plain]), keras.layers.RandomFlip())] == [""] * 3


@pytest.mark.slow
def test_a_key_is_the_same_in_each_process(helped: ModuleType) -> None:
    code = "from own_helped import Helped; from leafexp.training.layer_code import layer_code; "
    code += "print(layer_code(Helped({'x': {'q', 'r', 's'}})))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert other.stdout.strip() == layer_code(helped.Helped({"x": {"q", "r", "s"}}))


def test_frozen_layers_that_no_key_can_name_are_computed_each_epoch(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untold(_: object) -> str:
        raise Untold("TextIOWrapper")

    monkeypatch.setattr("leafexp.training.prefix.layer_code", untold)
    trained = train(dataset, {"head": Phase("head", batch_norm="inference")}, epochs=1)
    assert list(trained[1].phases["cached_layers"]) == [0]
    assert "holds what no key can name: TextIOWrapper." in caplog.text


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
    small = train(dataset, phases, epochs=2, speed=Speed(cache_bytes=100))
    assert "Frozen layers are computed in each epoch" in caplog.text
    assert list(small[1].phases["cached_layers"]) == [0]
    assert_identical(small, train(dataset, phases, epochs=2))
