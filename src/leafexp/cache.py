"""Arrays on disk that runs share: decoded photos and what frozen layers make of them.

`python -m leafexp.cache` lists them, `python -m leafexp.cache --clear` deletes them.
"""

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
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from leafexp.environment import Options, begin_command, check_environment
from leafexp.errors import UserError
from leafexp.locks import file_lock
from leafexp.paths import cache_folder

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"  # its folder, one file a run
RUNNING = "running"  # the folder of locks and notes on runs that are trained
_DATA, _ABOUT = "array.bin", "about.json"
_GB = 10**9
_CHECKPOINT_DAYS = 30  # after which a checkpoint that no run went on with is deleted where room is needed

_in_use: "dict[Path, list[weakref.ref[np.ndarray]]]" = {}  # arrays that this process opened, by their folder


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
        CacheTooSmall: the array does not fit beside those that this process works with, or the disk is full.
        UserError: the cache's folder can't be used.
    """
    size = most_rows * int(np.prod(row_shape)) * np.dtype(dtype).itemsize
    if size > max_bytes:
        raise CacheTooSmall(f"{what} would take {_gb(size)} on disk, more than cache_gb={max_bytes / _GB:g} allows.")
    entry = cache_folder() / kind / key
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with _locked(entry, f"Another run is making the same array ({what}); waiting for it."):
            stored = _open(entry, np.dtype(dtype), reused=True)
            if stored is None:
                _make_room(what, size, max_bytes)
                _write(entry, what, row_shape, np.dtype(dtype), make)
                stored = _open(entry, np.dtype(dtype), reused=False)
            assert stored is not None
            os.utime(entry)  # its last use
            _in_use.setdefault(entry, []).append(weakref.ref(stored.array))
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
    unfinished = file.with_suffix(f".{os.getpid()}")
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


def main() -> int:
    """List or clear the cache; returns the exit code."""
    parser = Options(prog="leafexp.cache", description="The arrays that runs share, on disk.")
    parser.add_argument("--clear", action="store_true", help="delete them; running runs are not disturbed")
    begin_command()
    arguments = parser.parse_args()
    try:
        check_environment()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    entries, checkpoints = _by_last_use(), _checkpoints()
    print(f"{cache_folder()}: {len(entries)} arrays, {_gb(sum(size for _, size, _ in entries))}")
    for used, size, entry in entries:
        about = _about(entry)
        made = f"{about.get('what', entry.name)}, made in {about.get('seconds', 0):.1f} s"
        print(f"last used {_day(used)}  {_gb(size):>9}  {made}")
    if checkpoints:
        print(f"{len(checkpoints)} checkpoints of runs that are not finished, {_gb(sum(map(_size, checkpoints)))}")
    left = list((cache_folder() / RUNNING).glob("*"))
    if left:
        print(f"{len(left)} locks and notes of runs that are trained or were cut off")
    if arguments.clear:
        for checkpoint in checkpoints:
            checkpoint.unlink(missing_ok=True)
        _delete_locks(left)
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
                # As bytes: of bfloat16, for one, NumPy makes no buffer.
                file.write(np.ascontiguousarray(block, dtype).view(np.uint8).data)
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


def _open(entry: Path, dtype: np.dtype, reused: bool) -> Stored | None:
    """The array in `entry`; None where there is none or it is damaged."""
    try:
        about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
        shape = tuple(about["shape"])
        if about["dtype"] != dtype.name or (entry / _DATA).stat().st_size != int(np.prod(shape)) * dtype.itemsize:
            return None
        # An empty file can't be mapped.
        array = np.memmap(entry / _DATA, dtype, mode="r", shape=shape) if 0 not in shape else np.empty(shape, dtype)
        return Stored(entry.name, array, about, reused)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
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


def _make_room(what: str, size: int, max_bytes: int) -> None:
    """Delete the least recently used arrays until `size` more bytes are within the limit; says what was deleted.

    Arrays that this process works with stay: a sweep would otherwise make them again in each of its cells.
    """
    _delete_old_checkpoints()
    entries = _by_last_use()
    used = sum(size for _, size, _ in entries) + sum(map(_size, _checkpoints()))
    free = [entry for entry in entries if all(array() is None for array in _in_use.get(entry[2], []))]
    needed = used + size - max_bytes
    kept = used - sum(freed for _, freed, _ in free)
    if kept + size > max_bytes:
        raise CacheTooSmall(
            f"{what} would take {_gb(size)}, and what is in use takes {_gb(kept)}; "
            f"cache_gb={max_bytes / _GB:g} allows less. Raise cache_gb."
        )
    deleted = []
    for last_use, freed, entry in free:
        if needed <= 0:
            break
        about = _about(entry)
        if _delete(entry):
            needed -= freed
            deleted.append(f"{about.get('what', entry.name)} (last used {_day(last_use)})")
    if deleted:
        log.warning("Deleted from the cache to make room: %s. A larger cache_gb keeps more.", "; ".join(deleted))


def _delete(entry: Path) -> bool:
    """Delete an array unless a run is just making or opening it; one that has it open goes on reading it."""
    lock = file_lock(entry.with_name(f"{entry.name}.lock"), timeout=0)
    try:
        with lock:
            # Renamed first, so that nobody finds half of it.
            doomed = entry.with_name(f"{entry.name}.unfinished")
            os.replace(entry, doomed)
            shutil.rmtree(doomed)
            if lock.lock_file.endswith(".lock"):
                # Who waits for it finds that the file is gone, and makes another (filelock looks).
                Path(lock.lock_file).unlink(missing_ok=True)
    except (Timeout, OSError):
        return False
    return True


def _delete_locks(files: list[Path]) -> None:
    """Delete locks that nobody holds, and notes on runs that were seen to be silent."""
    for file in files:
        with contextlib.suppress(Timeout, OSError):
            if file.suffix == ".lock":
                with file_lock(file, timeout=0):
                    file.unlink()
            elif file.suffix == ".heard":
                file.unlink()


def _checkpoints() -> list[Path]:
    return list((cache_folder() / CHECKPOINTS).glob("*.npz"))


def _delete_old_checkpoints() -> None:
    """Delete checkpoints of runs that failed or were cut off long ago, and say so."""
    old = [file for file in _checkpoints() if time.time() - _modified(file) > _CHECKPOINT_DAYS * 86400]
    for file in old:
        file.unlink(missing_ok=True)
    if old:
        log.warning("Deleted %s checkpoints of runs not gone on with for %s days.", len(old), _CHECKPOINT_DAYS)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # deleted by another process meanwhile
        return 0


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


def _about(entry: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


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
