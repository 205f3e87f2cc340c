"""What layers compute beyond what their configuration and weights tell, as a checksum: code, and values it finds."""

import contextlib
import copyreg
import functools
import hashlib
import pickle
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leafexp.training.code_origin import (
    Untold,
    codes_of,
    file_of,
    globals_of,
    imports_of,
    origin_of,
    origin_of_module,
    root_of,
)

_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_TOLD_ELSEWHERE = {"name", "_path", "_parent_path", "_trainable"}


def layer_code(layer: keras.layers.Layer) -> str:
    """SHA-256 over all that decides what `layer` computes beyond its configuration and weights; "" for Keras's layers.

    That is the code of its classes outside Keras and TensorFlow and of functions and objects that it holds, as it runs
    in this process, with the values and helpers that this code finds in its modules, and so on from there; the files
    of these modules; the layer's attributes; and the same of the layers within it. Of packages that are installed, the
    files as they were installed stand for the code.

    Raises:
        Untold: it holds, say, an open file.
    """
    own = origin_of(type(layer)) != "library"
    attributes = {name: value for name, value in sorted(_state(layer).items()) if own or _holds_own(value)}
    inner = list(layer._flatten_layers(include_self=False, recursive=False))
    try:
        codes = [layer_code(one) for one in inner]
        if not (own or attributes or any(codes)):
            return ""
        walk = _Walk([*layer._flatten_layers(), *layer.variables])
        configurations = [_configuration(one) for one in inner]
        return walk.told((type(layer), layer.dtype_policy, attributes, configurations, codes)).hex()
    except RecursionError:
        raise Untold(f"layer {layer.name!r}, which holds itself") from None


def told(value: Any) -> str:
    """SHA-256 over the content of a value: the same in each process, and another for another content.

    The order of a dictionary is part of its content, as code may go through it in that order.

    Raises:
        Untold: that can't be said of it.
    """
    return _Walk([]).told(value).hex()


def _state(layer: keras.layers.Layer) -> dict[str, Any]:
    """The attributes of a layer, without those that Keras gives each."""
    state = object.__getstate__(layer)
    together = {
        name: value for part in (state if isinstance(state, tuple) else (state,)) for name, value in part.items()
    }
    return {name: value for name, value in together.items() if name not in _of_every_layer() and name[:6] != "_self_"}


@functools.cache
def _of_every_layer() -> frozenset[str]:
    plain = keras.layers.Identity(dtype="float32")
    plain(np.zeros((1, 1), np.float32))
    return frozenset({*vars(plain), *_TOLD_ELSEWHERE})


def _holds_own(value: Any) -> bool:
    """Whether a value that one of Keras's layers holds brings code along; its configuration has only the name."""
    if isinstance(value, Mapping | list | tuple):
        return any(map(_holds_own, value.values() if isinstance(value, Mapping) else value))
    if isinstance(value, functools.partial | MethodType):
        return True
    return origin_of(value if isinstance(value, type | FunctionType) else type(value)) != "library"


def _configuration(layer: keras.layers.Layer) -> Any:
    """What a layer within another was made of, as far as it says; names that Keras numbers are left out."""
    with contextlib.suppress(NotImplementedError):  # of one's own, not meant to be saved: its attributes are told
        return _nameless(layer.get_config() | {"trainable": True})
    return None


def _nameless(part: Any) -> Any:
    if isinstance(part, dict):
        left_out = ("name", "trainable") if "trainable" in part else ()  # then it is a layer's
        return {name: _nameless(value) for name, value in part.items() if name not in left_out}
    return [_nameless(value) for value in part] if isinstance(part, list | tuple) else part


class _Walk:
    """One walk through a value and all that it refers to.

    Args:
        tracked: layers and variables that are told by others.
    """

    def __init__(self, tracked: list[Any]) -> None:
        self._tracked = {id(item): place for place, item in enumerate(tracked)}
        # Classes, functions and modules that were told; the objects are kept, so that no other gets their ids.
        self._seen: dict[Any, tuple[int, Any]] = {}
        self._path: list[int] = []

    def told(self, item: Any) -> bytes:
        """SHA-256 of an item."""
        if id(item) in self._path:
            return hashlib.sha256(f"again {len(self._path) - self._path.index(id(item))}".encode()).digest()
        digest = hashlib.sha256()
        self._path.append(id(item))
        for part in self._parts(item):
            digest.update(len(part).to_bytes(8, "big") + part)
        self._path.pop()
        return digest.digest()

    def _parts(self, item: Any) -> Iterator[bytes]:
        match item:
            case _ if type(item) in _ATOMS:
                yield pickle.dumps(item, 4)
            case type() | FunctionType():
                yield from self._of_code(item)
            case ModuleType():
                yield from self._of_module(item, {name for name in vars(item) if not name.startswith("__")})
            case CodeType():
                yield item.co_code + item.co_exceptiontable
                about = (item.co_names, item.co_varnames, item.co_freevars, item.co_cellvars, item.co_flags)
                yield repr((about, item.co_argcount, item.co_posonlyargcount, item.co_kwonlyargcount)).encode()
                yield from map(self.told, item.co_consts)
            case MethodType():
                yield b"method" + self.told(item.__func__) + self.told(item.__self__)
            case staticmethod() | classmethod():
                yield type(item).__name__.encode() + self.told(item.__func__)
            case property():
                yield b"property" + self.told((item.fget, item.fset))
            case functools.cached_property():
                yield b"property" + self.told(item.func)
            case dict() if _is_plain(item, dict):
                yield b"dict"
                yield from (self.told(name) + self.told(value) for name, value in item.items())
            case list() | tuple() if _is_plain(item, list, tuple):
                yield b"tuple" if isinstance(item, tuple) else b"list"
                yield from map(self.told, item)
            case set() | frozenset() if _is_plain(item, set, frozenset):
                yield b"set"
                yield from sorted(self._apart(value) for value in item)
            case np.ndarray() if type(item) is np.ndarray and not item.dtype.hasobject:
                yield f"array {item.dtype!r} {item.shape}".encode()
                yield np.ascontiguousarray(item).tobytes()
            case keras.KerasTensor():
                yield b"tensor"
            case tf.Tensor() if tf.is_symbolic_tensor(item):  # of the graph that was traced last: it has no value
                yield b"tensor"
            case keras.Variable() | keras.layers.Layer() if id(item) in self._tracked:
                yield f"tracked {self._tracked[id(item)]}".encode()
            case keras.layers.Layer():
                yield b"layer" + self.told(_configuration(item)) + layer_code(item).encode()
                yield self.told([np.asarray(weight) for weight in item.weights])
            case _:
                try:
                    yield from self._of_object(item)
                except (Untold, RecursionError):
                    raise
                except Exception as error:  # objects refuse in as many ways as there are
                    raise Untold(f"an object of {type(item).__qualname__} ({error})") from error

    def _apart(self, item: Any) -> bytes:
        """SHA-256 of an element of a set: none depends on which others came before."""
        seen = self._seen.copy()
        try:
            return self.told(item)
        finally:
            self._seen = seen

    def _is_new(self, *item: Any) -> bool:
        return self._seen.setdefault(tuple(map(id, item)), (len(self._seen), item))[1] is item

    def _of_code(self, item: type | FunctionType) -> Iterator[bytes]:
        """A class or function: by name if it is a library's, else with all that it consists of and refers to."""
        yield f"{item.__module__}.{item.__qualname__}".encode()
        place = origin_of(item)
        if place == "library":
            return
        if not self._is_new(item):
            yield f"seen {self._seen[(id(item),)][0]}".encode()
            return
        yield file_of(item.__module__)
        if place == "installed":
            return
        yield from self._of_class(item) if isinstance(item, type) else self._of_function(item)

    def _of_class(self, item: type) -> Iterator[bytes]:
        yield self.told((type(item), item.__bases__))
        for name, value in vars(item).items():
            # Python's and the abc module's own notes, as __weakref__ and _abc_impl, say nothing.
            notes = name[:2] == "__" or name == "_abc_impl"
            if isinstance(value, FunctionType | staticmethod | classmethod) or not notes:
                yield name.encode() + self.told(value)

    def _of_function(self, item: FunctionType) -> Iterator[bytes]:
        yield self.told((item.__code__, item.__defaults__, item.__kwdefaults__, vars(item)))
        for cell in item.__closure__ or ():
            with contextlib.suppress(ValueError):  # nothing in it yet
                yield self.told(cell.cell_contents)
        home = str(item.__globals__.get("__name__"))  # a wrapper says that it is of the module of what it wraps
        yield file_of(home)
        if origin_of_module(home) != "own":
            return  # one that a library's function made: what it was given counts, and the library has a version
        codes = list(codes_of(item.__code__))
        names = {name for code in codes for name in code.co_names}
        for name in sorted({name for code in codes for name in globals_of(code)} & item.__globals__.keys()):
            yield name.encode()
            yield from self._found(item.__globals__[name], names)
        for code in codes:
            for module in imports_of(code, item.__globals__.get("__package__")):
                yield from self._found(module, names)

    def _found(self, value: Any, names: set[str]) -> Iterator[bytes]:
        """What code finds under a name; of a module, what code takes from there, as far as one knows by names."""
        yield from self._of_module(value, names) if isinstance(value, ModuleType) else (self.told(value),)

    def _of_module(self, module: ModuleType, names: set[str]) -> Iterator[bytes]:
        yield module.__name__.encode()
        place = origin_of_module(module.__name__)
        if place != "library":
            yield file_of(module.__name__)
        if place == "own":
            for name in sorted(names & vars(module).keys()):
                yield name.encode()
                value = vars(module)[name]
                if not isinstance(value, ModuleType):
                    yield self.told(value)
                elif self._is_new(module, value):  # modules may refer to each other
                    yield from self._of_module(value, names)

    def _of_object(self, item: Any) -> Iterator[bytes]:
        """Any other object: its class, and what pickling it would keep."""
        if root_of(type(item)) == "keras" and hasattr(item, "get_config"):
            yield self.told(type(item)) + self.told(item.get_config())
        elif isinstance(item, tf.Tensor | tf.Variable | keras.Variable):
            yield b"array" + self.told(np.asarray(item))
        elif root_of(type(item)) == "tensorflow" and hasattr(item, "python_function"):  # a tf.function
            yield self.told(item.python_function) + self.told(getattr(item, "_jit_compile", None))
        else:
            reduce = copyreg.dispatch_table.get(type(item))
            reduced = reduce(item) if reduce else item.__reduce_ex__(4)
            if isinstance(reduced, str):
                yield f"{getattr(item, '__module__', '')}.{reduced}".encode()
                yield file_of(getattr(item, "__module__", None))
                yield self.told(getattr(item, "__wrapped__", None))  # as of functools.cache
                return
            # A maker and its arguments, and where there are some a state, and iterators over elements and over pairs.
            made, elements = reduced[:3], [list(part or ()) for part in reduced[3:5]]
            yield self.told((type(item), *made, *elements))


def _is_plain(item: Any, *kinds: type) -> bool:
    """Whether a container is just that: Python's own, or as Keras and TensorFlow wrap those that they track."""
    return type(item) in kinds or root_of(type(item)) in ("keras", "tensorflow")
