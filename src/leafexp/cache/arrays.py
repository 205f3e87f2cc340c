"""Arrays on disk that runs share: decoded photos and what frozen layers make of them."""

import contextlib
import errno
import hashlib
import json
import logging
import mmap
import os
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from leafexp.cache.room import ABOUT, CacheTooSmall, make_room, unfinished_of
from leafexp.errors import UserError
from leafexp.locks import file_lock
from leafexp.paths import cache_folder
from leafexp.wording import GB, gigabytes

log = logging.getLogger(__name__)

_DATA = "array.bin"

_in_use: "dict[Path, list[weakref.ref[np.ndarray]]]" = {}  # arrays that this process opened, by their folder


@dataclass(frozen=True)
class Stored:
    """An array of the cache.

    Attributes:
        key: names everything that decides its content.
        array: mapped from its file, read-only: a row is read from disk when it is asked for.
        about: what its maker noted, and `what` it is in words, `dtype`, `shape` and the `seconds` it took to make.
        reused: whether it was there already.
    """

    key: str
    array: np.ndarray
    about: dict[str, Any]
    reused: bool


def get_or_make(
    kind: str,
    key: str,
    what: str,
    most_rows: int,
    row_shape: tuple[int, ...],
    dtype: type,
    make: Callable[[dict[str, Any]], Iterator[np.ndarray]],
    max_bytes: int,
) -> Stored:
    """The array stored under `kind` and `key`, made first where it is missing; of several processes one makes it.

    Args:
        kind: the sort of array: a folder of the cache.
        key: names everything that decides the array's content.
        what: the array in words.
        most_rows: how many rows it can have at most.
        row_shape: shape of one row.
        dtype: of its elements.
        make: yields blocks of rows in order, shape (any, *row_shape); may note facts in the dictionary it is given.
        max_bytes: size of the whole cache; to make room, the least recently used arrays are deleted.

    Raises:
        CacheTooSmall: the array does not fit beside those that this process works with, or the disk is full.
        UserError: the cache's folder can't be used.
    """
    size = most_rows * int(np.prod(row_shape)) * np.dtype(dtype).itemsize
    if size > max_bytes:
        raise CacheTooSmall(
            f"{what} would take {gigabytes(size)} on disk, more than cache_gb={max_bytes / GB:g} allows."
        )
    entry = cache_folder() / kind / key
    with locked(entry, what, size):
        stored = _open(entry, np.dtype(dtype), reused=True)
        if stored is None:
            make_room(what, size, max_bytes, is_in_use)
            _write(entry, what, row_shape, np.dtype(dtype), make)
            stored = _open(entry, np.dtype(dtype), reused=False)
        assert stored is not None
        note_use(entry, stored.array)
        return stored


def kept(kind: str, key: str, make: Callable[[], Any]) -> Any:
    """What `make` returns, as JSON keeps it: made once, for all processes, while the cache can be written."""
    entry = cache_folder() / kind / f"{key}.json"
    with contextlib.suppress(OSError, ValueError):
        return json.loads(entry.read_text(encoding="utf-8"))
    made = make()
    with contextlib.suppress(OSError):
        write_whole(entry, json.dumps(made))
    return made


def write_whole(file: Path, text: str) -> None:
    """Write a small file of the cache, so that other processes find all of it or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, file)


def key_of(*parts: Any) -> str:
    """SHA-256 over what decides an array's content: strings, numbers and lists of these."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def take(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A copy of the given rows; of a mapped array, no page stays counted as this process's memory."""
    taken = np.asarray(array[rows])
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        # They stay in the system's page cache. Else an epoch over 54,000 photos of 128 px counts 2.7 GB as resident.
        array.base.madvise(mmap.MADV_DONTNEED)
    return taken


def _write(
    entry: Path,
    what: str,
    row_shape: tuple[int, ...],
    dtype: np.dtype,
    make: Callable[[dict[str, Any]], Iterator[np.ndarray]],
) -> None:
    unfinished = unfinished_of(entry)
    for folder in (unfinished, entry):  # of a run that was killed; damaged
        shutil.rmtree(folder, ignore_errors=True)
    unfinished.mkdir()
    started = time.perf_counter()
    about: dict[str, Any] = {}
    rows = 0
    try:
        # Written in order and not through a map, so that a full disk is an error and not a fatal signal.
        with open(unfinished / _DATA, "wb") as file:
            for block in make(about):
                # As bytes: of bfloat16, for one, NumPy makes no buffer.
                file.write(np.ascontiguousarray(block, dtype).view(np.uint8).data)
                rows += len(block)
            file.flush()
            os.fsync(file.fileno())
        about |= {"what": what, "dtype": dtype.name, "shape": [rows, *row_shape]}
        about["seconds"] = time.perf_counter() - started
        (unfinished / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        os.replace(unfinished, entry)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _open(entry: Path, dtype: np.dtype, reused: bool) -> Stored | None:
    """The array in `entry`; None where there is none or it is damaged."""
    try:
        about = json.loads((entry / ABOUT).read_text(encoding="utf-8"))
        shape = tuple(about["shape"])
        if about["dtype"] != dtype.name or (entry / _DATA).stat().st_size != int(np.prod(shape)) * dtype.itemsize:
            return None
        # An empty file can't be mapped.
        array = np.memmap(entry / _DATA, dtype, mode="r", shape=shape) if 0 not in shape else np.empty(shape, dtype)
        return Stored(entry.name, array, about, reused)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def is_in_use(entry: Path) -> bool:
    """Whether this process has an array of the entry open."""
    return any(array() is not None for array in _in_use.get(entry, []))


def note_use(entry: Path, array: np.ndarray) -> None:
    """Note that this process has the entry's array open, and that this is its last use so far."""
    os.utime(entry)
    _in_use.setdefault(entry, []).append(weakref.ref(array))


@contextlib.contextmanager
def locked(entry: Path, what: str, size: int) -> Iterator[None]:
    """Hold the entry's lock, and tell what goes wrong with its files; `what` takes `size` bytes at most.

    Raises:
        CacheTooSmall: the disk is full.
        UserError: the cache's folder can't be used.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = file_lock(entry.with_name(f"{entry.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("Another run is making the same array (%s); waiting for it.", what)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CacheTooSmall(
                f"{what} would take {gigabytes(size)}, and the disk of {cache_folder()} is full. "
                "Free some, for example with `python -m leafexp.cache --clear`."
            ) from None
        raise UserError(
            f"The cache in {cache_folder()} can't be used: {error.strerror or error}. "
            "Choose another folder with the environment variable XDG_CACHE_HOME."
        ) from None
