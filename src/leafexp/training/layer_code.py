"""The code of layers that are not Keras's own, as a checksum: their configuration does not tell what they compute."""

import hashlib
import inspect
import pickle
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import keras

_LIBRARIES = ("keras", "tensorflow", "builtins")  # their versions stand for their code


def layer_code(layer: keras.layers.Layer) -> str:
    """SHA-256 over all that decides what `layer` computes beyond its configuration and weights; "" for Keras's layers.

    That is the code of its classes outside Keras and TensorFlow and of functions that it holds, as it runs in this
    process, with the values these close over, the text of the modules they lie in, and the layer's plain attributes.
    """
    held = [value for value in vars(layer).values() if isinstance(value, FunctionType)]
    own = [item for item in (*type(layer).__mro__, *held) if item.__module__.partition(".")[0] not in _LIBRARIES]
    if not own:
        return ""
    digest = hashlib.sha256()
    plain = {name: value for name, value in vars(layer).items() if isinstance(value, int | float | str | tuple)}
    told_elsewhere = {"name", "_path", "_parent_path", "_trainable"}
    for item in (*own, {name: value for name, value in plain.items() if name not in told_elsewhere}):
        for part in _parts(item):
            digest.update(part)
    return digest.hexdigest()


def _parts(item: Any) -> Iterator[bytes]:
    if isinstance(item, type):
        yield _text(sys.modules.get(item.__module__))
        for name, value in vars(item).items():
            if not name.startswith("__") or isinstance(value, FunctionType):
                yield name.encode()
                yield from _parts(value)
    elif isinstance(item, staticmethod | classmethod):
        yield from _parts(item.__func__)
    elif isinstance(item, FunctionType):
        yield _text(sys.modules.get(item.__module__))
        yield from _parts(item.__code__)
        yield from _parts((item.__defaults__, item.__kwdefaults__))
        for cell in item.__closure__ or ():
            yield from _parts(cell.cell_contents)
    elif isinstance(item, CodeType):
        yield item.co_code + repr(item.co_names).encode()
        for value in item.co_consts:
            yield from _parts(value)
    else:
        try:
            yield pickle.dumps(item)
        except Exception:  # what can't be pickled, such as a lock, or a class made within a function
            yield repr(item).encode()


def _text(module: ModuleType | None) -> bytes:
    try:
        return inspect.getsource(module).encode() if module else b""
    except (OSError, TypeError):  # typed in, not read from a file
        return b""
