"""The code of layers that are not Keras's own, as a checksum: their configuration does not tell what they compute."""

import hashlib
import inspect
import json
import pickle
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import keras

_LIBRARIES = ("keras", "tensorflow", "builtins")  # their versions stand for their code
_TOLD_ELSEWHERE = {"name", "_path", "_parent_path", "_trainable"}


def layer_code(layer: keras.layers.Layer) -> str:
    """SHA-256 over all that decides what `layer` computes beyond its configuration and weights; "" for Keras's layers.

    That is the code of its classes outside Keras and TensorFlow and of functions that it holds, as it runs in this
    process, with the values these close over, the text of the modules they lie in, the layer's plain attributes, and
    the same of the layers within it.
    """
    held = [value for value in vars(layer).values() if isinstance(value, FunctionType)]
    own = [item for item in (*type(layer).__mro__, *held) if not _of_library(item)]
    if not own:
        return ""
    plain = {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, int | float | str | tuple) and name not in _TOLD_ELSEWHERE
    }
    digest = hashlib.sha256()
    seen: set[int] = set()
    for item in (*own, plain):
        for part in _parts(item, seen):
            digest.update(part)
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        config = {name: value for name, value in inner.get_config().items() if name not in ("name", "trainable")}
        digest.update(f"{json.dumps(config, default=str)} {layer_code(inner)}".encode())
    return digest.hexdigest()


def _parts(item: Any, seen: set[int]) -> Iterator[bytes]:
    """What `item` consists of; each class and function once, as they may refer to each other."""
    if isinstance(item, type | FunctionType):
        if id(item) in seen:
            return
        seen.add(id(item))
        if _of_library(item):
            yield f"{item.__module__}.{item.__qualname__}".encode()
            return
        yield _text(sys.modules.get(item.__module__))
    if isinstance(item, type):
        for name, value in vars(item).items():
            if not name.startswith("__") or isinstance(value, FunctionType):
                yield name.encode()
                yield from _parts(value, seen)
    elif isinstance(item, staticmethod | classmethod):
        yield from _parts(item.__func__, seen)
    elif isinstance(item, FunctionType):
        yield from _parts(item.__code__, seen)
        yield from _parts((item.__defaults__, item.__kwdefaults__), seen)
        for cell in item.__closure__ or ():
            yield from _parts(cell.cell_contents, seen)
    elif isinstance(item, CodeType):
        yield item.co_code + repr(item.co_names).encode()
        for value in item.co_consts:
            yield from _parts(value, seen)
    else:
        try:
            yield pickle.dumps(item)
        except Exception:  # what can't be pickled, such as a lock, or an object of a class made within a function
            yield repr(item).encode()


def _of_library(item: Any) -> bool:
    return item.__module__.partition(".")[0] in _LIBRARIES


def _text(module: ModuleType | None) -> bytes:
    try:
        return inspect.getsource(module).encode() if module else b""
    except (OSError, TypeError):  # typed in, not read from a file
        return b""
