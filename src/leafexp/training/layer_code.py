"""The code of layers that are not Keras's own, as a checksum: their configuration does not tell what they compute."""

import functools
import hashlib
import inspect
import pickle
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_LIBRARIES = ("keras", "tensorflow", "builtins")  # their versions stand for their code
_INSTALLED = ("site-packages", "dist-packages")
_TOLD_ELSEWHERE = {"name", "_path", "_parent_path", "_trainable"}


class Untold(Exception):
    """A layer holds something whose content can't be told, so nothing may be concluded from its code."""


def layer_code(layer: keras.layers.Layer) -> str:
    """SHA-256 over all that decides what `layer` computes beyond its configuration and weights; "" for Keras's layers.

    That is the code of its classes outside Keras and TensorFlow and of functions that it holds, as it runs in this
    process, with the values these close over or find in their modules, the text of these modules, the layer's
    attributes, and the same of the layers within it.

    Raises:
        Untold: it holds, say, an open file.
    """
    held = [value for value in vars(layer).values() if isinstance(value, FunctionType)]
    own = [item for item in (*type(layer).__mro__, *held) if not _of_library(item)]
    if not own:
        return ""
    attributes = {name: value for name, value in vars(layer).items() if name not in _of_every_layer()}
    digest = hashlib.sha256()
    seen: set[int] = set()
    for part in (*own, attributes):
        for content in _parts(part, seen):
            digest.update(content)
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        config = {name: value for name, value in inner.get_config().items() if name not in ("name", "trainable")}
        digest.update(f"{told(config)} {layer_code(inner)}".encode())
    return digest.hexdigest()


def told(value: Any) -> str:
    """SHA-256 over the content of a value: the same in each process, and another for another content.

    Raises:
        Untold: that can't be said of it.
    """
    digest = hashlib.sha256()
    for content in _parts(value, set()):
        digest.update(content)
    return digest.hexdigest()


@functools.cache
def _of_every_layer() -> frozenset[str]:
    """The attributes that Keras gives each layer."""
    plain = keras.layers.Identity(dtype="float32")
    plain(np.zeros((1, 1), np.float32))
    return frozenset({*vars(plain), *_TOLD_ELSEWHERE})


def _parts(item: Any, seen: set[int]) -> Iterator[bytes]:
    """What `item` consists of; each class, function and module once, as they may refer to each other."""
    yield type(item).__name__.encode()
    if isinstance(item, type | FunctionType | ModuleType):
        if id(item) in seen:
            return
        seen.add(id(item))
        yield f"{_module_of(item)}.{getattr(item, '__qualname__', '')}".encode()
        if _of_library(item):
            return
        yield _text(sys.modules.get(_module_of(item)))
        if _is_installed(item):
            return
    match item:
        case type():
            for name, value in vars(item).items():
                if not name.startswith("__") or isinstance(value, FunctionType):
                    yield name.encode()
                    yield from _parts(value, seen)
        case staticmethod() | classmethod():
            yield from _parts(item.__func__, seen)
        case property():
            yield from _parts((item.fget, item.fset), seen)
        case FunctionType():
            yield from _parts(item.__code__, seen)
            yield from _parts((item.__defaults__, item.__kwdefaults__), seen)
            for cell in item.__closure__ or ():
                yield from _parts(cell.cell_contents, seen)
            for name in sorted(_names_in(item.__code__) & item.__globals__.keys()):
                yield name.encode()
                yield from _found(item.__globals__[name], _names_in(item.__code__), seen)
        case CodeType():
            yield item.co_code + repr(item.co_names).encode()
            for value in item.co_consts:
                yield from _parts(value, seen)
        case dict():
            for name, value in item.items():
                yield from _parts(name, seen)
                yield from _parts(value, seen)
        case list() | tuple():
            for value in item:
                yield from _parts(value, seen)
        case set() | frozenset():
            yield from sorted(told(value).encode() for value in item)
        case np.ndarray() if item.dtype != object:
            yield f"{item.dtype} {item.shape}".encode() + np.ascontiguousarray(item).tobytes()
        case tf.Tensor() | tf.Variable():
            yield from _parts(item.numpy(), seen)
        case keras.Variable() | keras.layers.Layer() | ModuleType():
            pass  # weights have a checksum, layers are told one by one, and a module's text is said above
        case _:
            yield from _of_object(item, seen)


def _found(value: Any, names: set[str], seen: set[int]) -> Iterator[bytes]:
    """What a function's code finds under a global name; of a module of one's own, also what it takes from there."""
    yield from _parts(value, seen)
    if isinstance(value, ModuleType) and not _of_library(value) and not _is_installed(value):
        for name in sorted(names & vars(value).keys()):
            yield name.encode()
            yield from _parts(vars(value)[name], seen)


def _of_object(item: Any, seen: set[int]) -> Iterator[bytes]:
    """An object: by its configuration if it is one of Keras's, else by what pickling it keeps, and its class."""
    if not _of_library(type(item)):
        yield from _parts(type(item), seen)
    try:
        yield told(item.get_config()).encode() if hasattr(item, "get_config") else pickle.dumps(item)
    except Untold:
        raise
    except Exception as error:  # pickle fails in as many ways as there are objects
        raise Untold(f"{type(item).__name__} ({error})") from error


def _names_in(code: CodeType) -> set[str]:
    """The global names and attributes that code and the code within it asks for."""
    inner = (_names_in(value) for value in code.co_consts if isinstance(value, CodeType))
    return set(code.co_names).union(*inner)


def _module_of(item: Any) -> str:
    return str(item.__name__ if isinstance(item, ModuleType) else item.__module__)


def _of_library(item: Any) -> bool:
    root = _module_of(item).partition(".")[0]
    return root in _LIBRARIES or root in sys.stdlib_module_names - {"__main__"}


def _is_installed(item: Any) -> bool:
    """Whether it lies in an installed package, whose text is told without what it imports; leafexp's own does not."""
    module = sys.modules.get(_module_of(item))
    installed = any(folder in (getattr(module, "__file__", None) or "") for folder in _INSTALLED)
    return installed and _module_of(item).partition(".")[0] != "leafexp"


def _text(module: ModuleType | None) -> bytes:
    try:
        return inspect.getsource(module).encode() if module else b""
    except (OSError, TypeError):  # typed in, not read from a file
        return b""
