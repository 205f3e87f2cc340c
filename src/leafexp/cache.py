"""Arrays on disk that runs share: decoded photos and what frozen layers make of them.

`python -m leafexp.cache` lists them, `python -m leafexp.cache --clear` deletes them.
"""

import argparse
import contextlib
import errno
import hashlib
import json
import logging
import mmap
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from leafexp.environment import begin_command, check_environment
from leafexp.errors import UserError
from leafexp.locks import file_lock
from leafexp.paths import cache_folder

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"  # its folder, one file a run
_DATA, _ABOUT = "array.bin", "about.json"
_GB = 10**9


class CacheTooSmall(UserError):
    """An array does not fit into the cache, or not onto its disk."""


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
        CacheTooSmall: the array would be larger than `max_bytes`, or the disk is full.
        UserError: the cache's folder can't be used.
    """
    size = most_rows * int(np.prod(row_shape)) * np.dtype(dtype).itemsize
    if size > max_bytes:
        raise CacheTooSmall(f"{what} would take {_gb(size)} on disk, more than cache_gb={max_bytes / _GB:g} allows.")
    entry = cache_folder() / kind / key
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with _locked(entry, f"Another run is making the same array ({what}); waiting for it."):
            stored = _open(entry, reused=True)
            if stored is None:
                _make_room(size, max_bytes)
                _write(entry, what, row_shape, np.dtype(dtype), make)
                stored = _open(entry, reused=False)
            assert stored is not None
            os.utime(entry)  # its last use
            return stored
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CacheTooSmall(
                f"{what} would take {_gb(size)}, and the disk of {cache_folder()} is full. "
                "Free some, for example with `python -m leafexp.cache --clear`."
            ) from None
        raise UserError(
            f"The cache in {cache_folder()} can't be used: {error.strerror or error}. "
            "Choose another folder with the environment variable XDG_CACHE_HOME."
        ) from None


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


def main() -> int:
    """List or clear the cache; returns the exit code."""
    parser = argparse.ArgumentParser(prog="leafexp.cache", description="The arrays that runs share, on disk.")
    parser.add_argument("--clear", action="store_true", help="delete them; running runs are not disturbed")
    begin_command()
    arguments = parser.parse_args()
    try:
        check_environment()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    entries = _by_last_use()
    print(f"{cache_folder()}: {len(entries)} arrays, {_gb(sum(size for _, size, _ in entries))}")
    for used, size, entry in entries:
        about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(used))
        print(f"last used {day}  {_gb(size):>9}  {about['what']}, made in {about['seconds']:.1f} s")
    checkpoints = list((cache_folder() / CHECKPOINTS).glob("*.npz"))
    if checkpoints:
        size = sum(map(os.path.getsize, checkpoints))
        print(f"{len(checkpoints)} checkpoints of runs that are not finished, {_gb(size)}")
    if arguments.clear:
        for checkpoint in checkpoints:
            checkpoint.unlink(missing_ok=True)
        deleted = sum(_delete(entry) for _, _, entry in entries)
        print(f"Deleted {deleted}; {len(entries) - deleted} in use were kept.")
    return 0


def _write(
    entry: Path,
    what: str,
    row_shape: tuple[int, ...],
    dtype: np.dtype,
    make: Callable[[dict[str, Any]], Iterator[np.ndarray]],
) -> None:
    unfinished = entry.with_name(f"{entry.name}.unfinished")
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
                file.write(np.ascontiguousarray(block, dtype).data)
                rows += len(block)
            file.flush()
            os.fsync(file.fileno())
        about |= {"what": what, "dtype": dtype.name, "shape": [rows, *row_shape]}
        about["seconds"] = time.perf_counter() - started
        (unfinished / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        os.replace(unfinished, entry)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _open(entry: Path, reused: bool) -> Stored | None:
    """The array in `entry`; None where there is none or it is damaged."""
    try:
        about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
        shape, dtype = tuple(about["shape"]), np.dtype(about["dtype"])
        if (entry / _DATA).stat().st_size != int(np.prod(shape)) * dtype.itemsize:
            return None
        return Stored(entry.name, np.memmap(entry / _DATA, dtype, mode="r", shape=shape), about, reused)
    except (FileNotFoundError, ValueError, KeyError):
        return None


@contextlib.contextmanager
def _locked(entry: Path, waiting: str) -> Iterator[None]:
    """Hold the array's lock; `waiting` is said if another process has it."""
    lock = file_lock(entry.with_name(f"{entry.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s", waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make_room(size: int, max_bytes: int) -> None:
    """Delete the least recently used arrays until `size` more bytes are within the limit."""
    entries = _by_last_use()
    used = sum(size for _, size, _ in entries)
    for _, freed, entry in entries:
        if used + size <= max_bytes:
            return
        used -= freed if _delete(entry) else 0


def _delete(entry: Path) -> bool:
    """Delete an array unless a run is just making or opening it; one that has it open goes on reading it."""
    try:
        with file_lock(entry.with_name(f"{entry.name}.lock"), timeout=0):
            # Renamed first, so that nobody finds half of it.
            doomed = entry.with_name(f"{entry.name}.unfinished")
            os.replace(entry, doomed)
            shutil.rmtree(doomed)
    except (Timeout, OSError):
        return False
    return True


def _by_last_use() -> list[tuple[float, int, Path]]:
    """Each array's last use (seconds since 1970), size in bytes and folder; the least recently used first."""
    found = []
    for about in cache_folder().glob(f"*/*/{_ABOUT}"):
        entry = about.parent
        with contextlib.suppress(FileNotFoundError):  # deleted by another process meanwhile
            if not entry.suffix:
                found.append((entry.stat().st_mtime, sum(file.stat().st_size for file in entry.iterdir()), entry))
    return sorted(found)


def _gb(size: float) -> str:
    return f"{size / _GB:.2f} GB"


if __name__ == "__main__":
    sys.exit(main())
