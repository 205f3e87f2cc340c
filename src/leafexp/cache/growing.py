"""Arrays on disk that grow: a row is made when a run first needs it, and runs after that share it."""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leafexp.cache.arrays import is_in_use, locked, note_use, write_whole
from leafexp.cache.room import ABOUT, CacheTooSmall, make_room, unfinished_of
from leafexp.wording import GB, gigabytes

log = logging.getLogger(__name__)

_DATA = "array.bin"
_MADE = "made.npy"
_MADE_UNFINISHED = "made.npy.unfinished"
# What is known of each row: its number, the seconds that it took, and those without what comes before the first row.
_ROW = np.dtype([("number", "<i8"), ("seconds", "<f8"), ("forward", "<f8")])
_KEEP_SECONDS = 5.0  # a process that is killed loses no more work than that

Make = Callable[[np.ndarray], Iterator[tuple[np.ndarray, float]]]


@dataclass(frozen=True)
class Grown:
    """An array of the cache as it was when it was opened.

    Attributes:
        array: mapped from its file, read-only; its rows lie in the order in which they were made.
        made: one record a row: `number`, `seconds`, and `forward`, NaN where it is not known.
        before: how many of the rows, from the first on, were there before.
    """

    array: np.ndarray
    made: np.ndarray
    before: int


@dataclass(frozen=True)
class _Entry:
    """The files of one array: `array.bin` with the rows, and `made.npy`, which says what of them counts."""

    folder: Path
    what: str
    row_shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.row_shape)) * self.dtype.itemsize

    def read(self) -> np.ndarray | None:
        """What is known of each row; None where there is no array or it is damaged."""
        try:
            made: np.ndarray = np.load(self.folder / _MADE, allow_pickle=False)
            whole = (self.folder / _DATA).stat().st_size >= len(made) * self.row_bytes
            return made if whole and made.dtype == _ROW and (self.folder / ABOUT).is_file() else None
        except (FileNotFoundError, NotADirectoryError, ValueError, EOFError):
            return None

    def begin(self) -> np.ndarray:
        """Make an empty array in place of whatever is there."""
        unfinished = unfinished_of(self.folder)
        for folder in (unfinished, self.folder):  # of a run that was killed; damaged, or of an earlier version
            shutil.rmtree(folder, ignore_errors=True)
        unfinished.mkdir()
        (unfinished / _DATA).touch()
        made = np.empty(0, _ROW)
        _Entry(unfinished, self.what, self.row_shape, self.dtype).keep(made)
        os.replace(unfinished, self.folder)
        return made

    def append(self, made: np.ndarray, missing: np.ndarray, make: Make) -> np.ndarray:
        """Add the rows that are missing; returns what is then known of each row."""
        kept = written = begun = len(made)
        made = np.concatenate([made, np.zeros(len(missing), _ROW)])
        made["number"][kept:] = missing
        try:
            with open(self.folder / _DATA, "r+b") as file:
                # After it lies what a process had written, and not yet kept, when it was killed.
                file.truncate(kept * self.row_bytes)
                file.seek(0, os.SEEK_END)
                started = time.perf_counter()
                for block, forward in make(missing):
                    # As bytes: of bfloat16, for one, NumPy makes no buffer.
                    file.write(np.ascontiguousarray(block, self.dtype).view(np.uint8).data)
                    made["forward"][written : written + len(block)] = forward
                    written += len(block)
                    if written == len(made) or time.perf_counter() - started >= _KEEP_SECONDS:
                        file.flush()
                        os.fsync(file.fileno())
                        made["seconds"][kept:written] = (time.perf_counter() - started) / (written - kept)
                        if written == len(made):  # what comes before the first row was for all of them
                            made["seconds"][begun:] = made["seconds"][begun:].mean()
                        kept = written  # first, so that rows that count are never cut off below
                        self.keep(made[:kept])
                        started = time.perf_counter()
        except BaseException:
            os.truncate(self.folder / _DATA, kept * self.row_bytes)  # a disk that is full has room again
            raise
        return made

    def keep(self, made: np.ndarray) -> None:
        """Say that so many rows count. They are on the disk already, so they count whole or not at all."""
        unfinished = self.folder / _MADE_UNFINISHED
        with open(unfinished, "wb") as file:
            np.save(file, made, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self.folder / _MADE)
        about = {"what": f"{len(made)} {self.what}", "seconds": float(made["seconds"].sum())}
        write_whole(self.folder / ABOUT, json.dumps(about))


def grow(
    entry: Path,
    what: str,
    wanted: np.ndarray,
    row_shape: tuple[int, ...],
    dtype: type,
    make: Make,
    max_bytes: int,
) -> Grown:
    """The array in the folder `entry` of the cache, with at least the rows that are wanted.

    Of several processes one makes the missing rows, and the others wait. What was made stays if it is killed.

    Args:
        entry: its folder; the name stands for everything that decides a row's content.
        what: the rows in words, as they follow a number.
        wanted: the numbers of the rows.
        row_shape: shape of one row.
        dtype: of its elements.
        make: is given numbers of rows, and yields blocks of these in order, shape (any, *row_shape), each with the
            seconds that a row of it took.
        max_bytes: size of the whole cache; to make room, the least recently used arrays are deleted.

    Raises:
        CacheTooSmall: the rows do not fit beside the arrays that this process works with, or the disk is full.
        UserError: the cache's folder can't be used.
    """
    files = _Entry(entry, what, row_shape, np.dtype(dtype))
    wanted = np.unique(wanted)
    size, named = len(wanted) * files.row_bytes, f"{len(wanted)} {what}"
    if size > max_bytes:
        raise CacheTooSmall(
            f"{named} would take {gigabytes(size)} on disk, more than cache_gb={max_bytes / GB:g} allows."
        )
    with locked(entry, named, size):
        made = files.read()
        missing = wanted if made is None else np.setdiff1d(wanted, made["number"])
        before = 0 if made is None else len(made)
        if len(missing):
            surplus = 0 if made is None or is_in_use(entry) else before + len(missing) - len(wanted)
            if not _made_room(files, len(missing), surplus, max_bytes):
                log.warning("Deleted from the cache to make room: %s %s. A larger cache_gb keeps more.", before, what)
                made, missing, before = None, wanted, 0
            made = files.append(files.begin() if made is None else made, missing, make)
        assert made is not None
        # An empty file can't be mapped.
        shape = (len(made), *row_shape)
        array = np.memmap(entry / _DATA, dtype, mode="r", shape=shape) if len(made) else np.empty(shape, dtype)
        if len(made):
            note_use(entry, array)
        return Grown(array, made, before)


def _made_room(files: _Entry, missing: int, surplus: int, max_bytes: int) -> bool:
    """Make room for the missing rows beside those that are there; False where it is there only without them.

    Rows that other runs needed can't be deleted alone: without this, they would keep a run from its own for ever.

    Args:
        files: the array.
        missing: how many rows are to be made.
        surplus: how many of those that are there are not wanted, and may go.
        max_bytes: size of the whole cache.

    Raises:
        CacheTooSmall: there is no room either way.
    """

    def stays(other: Path) -> bool:
        return other == files.folder or is_in_use(other)

    what = f"{missing} {files.what}"
    try:
        make_room(what, missing * files.row_bytes, max_bytes, stays)
    except CacheTooSmall as error:
        if not surplus:
            raise
        try:
            make_room(what, (missing - surplus) * files.row_bytes, max_bytes, stays)
        except CacheTooSmall:
            raise error from None
        return False
    return True
