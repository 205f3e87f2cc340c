"""Where code comes from, a library, an installed package or the user's own files, and what it refers to."""

import dis
import functools
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

_LIBRARIES = ("keras", "tensorflow", "builtins")  # their versions stand for their code
_STDLIB = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_INSTALLED = ("site-packages", "dist-packages")
_MADE_BY_CODE = 1 << 9  # CPython's mark of classes that a class statement or type() made


class Untold(Exception):
    """A layer holds something whose content can't be told, so nothing may be concluded from its code."""


def root_of(item: Any) -> str:
    """The package that a class or function says it is of."""
    return str(item.__module__).partition(".")[0]


def origin_of(item: type | FunctionType) -> str:
    """`library`, `installed` or `own`: where a class or function comes from.

    What can't be found under its name is `own` wherever the name points to: it was made by a function, from values that
    the name does not tell.
    """
    if isinstance(item, type) and not item.__flags__ & _MADE_BY_CODE:
        return origin_of_module(str(item.__module__))
    found: Any = sys.modules.get(str(item.__module__))
    for part in item.__qualname__.split("."):
        found = getattr(found, part, None)
    return origin_of_module(str(item.__module__)) if found is item else "own"


def origin_of_module(module: str) -> str:
    """`library`, `installed` or `own`: where a module lies."""
    if module.partition(".")[0] in _LIBRARIES or _is_stdlib(module):
        return "library"
    return "installed" if _files_installed(module.partition(".")[0], _path_of(module)) else "own"


def _is_stdlib(module: str) -> bool:
    path = _path_of(module)
    if not path:
        return str(module).partition(".")[0] in sys.stdlib_module_names - {"__main__"}
    return path.startswith(_STDLIB) and not any(folder in path for folder in _INSTALLED)


def _path_of(module: str | None) -> str:
    return getattr(sys.modules.get(str(module)), "__file__", None) or ""


@functools.cache
def _files_installed(package: str, path: str) -> str:
    """The files of an installed package with their checksums, or else its version; "" if it is not an installed one."""
    if not any(folder in path for folder in _INSTALLED):
        return ""
    said = []
    for name in sorted(set(_distributions().get(package, ()))):
        distribution = importlib.metadata.distribution(name)
        lines = (distribution.read_text("RECORD") or "").splitlines()
        files = [line for line in lines if line.startswith((f"{package}/", f"{package}."))]
        said += [name, distribution.version, *sorted(files)]
    return "\n".join(said)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def file_of(module: str | None) -> bytes:
    """The content of a module's file, source or compiled, and the files of its package if that is installed.

    Empty for what was typed in.
    """
    path = _path_of(module)
    installed = _files_installed(str(module).partition(".")[0], path) if path else ""
    try:
        return (Path(path).read_bytes() if path else b"") + installed.encode()
    except OSError:
        return installed.encode()


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """Code and the code within it, as of comprehensions."""
    yield code
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from codes_of(value)


def globals_of(code: CodeType) -> set[str]:
    """The global names that code asks for."""
    return {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def imports_of(code: CodeType, package: str | None) -> Iterator[ModuleType]:
    """The modules that code imports when it runs.

    Raises:
        Untold: one was not imported yet, so that what code will find there is not known.
    """
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE")]
    for level, step in zip(steps, steps[2:], strict=False):
        if step.opname != "IMPORT_NAME":
            continue
        try:
            name = importlib.util.resolve_name("." * level.argval + step.argval, package)
            missing = name not in sys.modules and not _is_stdlib(name)
            unseen = missing and importlib.util.find_spec(name.partition(".")[0]) is not None
        except (ImportError, ValueError) as error:
            raise Untold(f"an import of {step.argval} ({error})") from error
        if unseen:
            raise Untold(f"an import of {name} that has not happened yet")
        if name in sys.modules:
            yield sys.modules[name]
