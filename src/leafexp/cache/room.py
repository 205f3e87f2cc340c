"""What the cache holds, and how room is made in it."""

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import Timeout

from leafexp.errors import UserError
from leafexp.locks import file_lock
from leafexp.paths import cache_folder
from leafexp.wording import GB, counted, day, gigabytes

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"  # its folder, one file a run
RUNNING = "running"  # the folder of locks and notes on runs that are trained
ABOUT = "about.json"  # in the folder of each array
_CHECKPOINT_DAYS = 30  # after which a checkpoint that no run went on with is deleted where room is needed


class CacheTooSmall(UserError):
    """An array does not fit into the cache, or not onto its disk."""


def make_room(what: str, size: int, max_bytes: int, is_in_use: Callable[[Path], bool]) -> None:
    """Delete the least recently used arrays until `size` more bytes are within the limit; says what was deleted.

    Arrays that this process has in use stay: a sweep would otherwise make them again in each of its cells.

    Raises:
        CacheTooSmall: there is not so much room beside those.
    """
    _delete_old_checkpoints()
    entries = by_last_use()
    used = sum(size for _, size, _ in entries) + sum(map(size_of, checkpoints()))
    free = [entry for entry in entries if not is_in_use(entry[2])]
    needed = used + size - max_bytes
    kept = used - sum(freed for _, freed, _ in free)
    if kept + size > max_bytes:
        raise CacheTooSmall(
            f"{what} would take {gigabytes(size)}, and what is in use takes {gigabytes(kept)}; "
            f"cache_gb={max_bytes / GB:g} allows less. Raise cache_gb."
        )
    deleted = []
    for last_use, freed, entry in free:
        if needed <= 0:
            break
        about = about_of(entry)
        if delete(entry):
            needed -= freed
            deleted.append(f"{about.get('what', entry.name)} (last used {day(last_use)})")
    if deleted:
        log.warning("Deleted from the cache to make room: %s. A larger cache_gb keeps more.", "; ".join(deleted))


def unfinished_of(entry: Path) -> Path:
    """The folder in which an array is made, and in which it is deleted."""
    return entry.with_name(f"{entry.name}.unfinished")


def delete(entry: Path) -> bool:
    """Delete an array, or what is half made of it, unless a run is just making or opening it.

    A process that has it open goes on reading it.
    """
    lock = file_lock(entry.with_name(f"{entry.name}.lock"), timeout=0)
    try:
        with lock:
            doomed = unfinished_of(entry)
            with contextlib.suppress(FileNotFoundError):
                os.replace(entry, doomed)  # first, so that nobody finds half of it
            shutil.rmtree(doomed)
            if lock.lock_file.endswith(".lock"):
                # Who waits for it finds that the file is gone, and makes another (filelock looks).
                Path(lock.lock_file).unlink(missing_ok=True)
    except (Timeout, OSError):
        return False
    return True


def checkpoints() -> list[Path]:
    """The checkpoints of runs that are not finished."""
    return list((cache_folder() / CHECKPOINTS).glob("*.npz"))


def _delete_old_checkpoints() -> None:
    """Delete checkpoints of runs that failed or were cut off long ago, and say so."""
    old = [file for file in checkpoints() if time.time() - _modified(file) > _CHECKPOINT_DAYS * 86400]
    for file in old:
        file.unlink(missing_ok=True)
    if old:
        said = counted(len(old), "checkpoint")
        log.warning("Deleted %s of runs not gone on with for %s days.", said, _CHECKPOINT_DAYS)


def size_of(file: Path) -> int:
    """Bytes of a file; 0 where it is gone."""
    try:
        return file.stat().st_size
    except OSError:  # deleted by another process meanwhile
        return 0


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


def about_of(entry: Path) -> dict[str, Any]:
    """What is known of an array; empty where that can't be read."""
    try:
        about: dict[str, Any] = json.loads((entry / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about


def by_last_use() -> list[tuple[float, int, Path]]:
    """Each array's last use (seconds since 1970), size in bytes and folder; the least recently used first."""
    found = []
    for about in cache_folder().glob(f"*/*/{ABOUT}"):
        entry = about.parent
        with contextlib.suppress(FileNotFoundError):  # deleted by another process meanwhile
            if not entry.suffix:
                found.append((entry.stat().st_mtime, sum(map(size_of, entry.iterdir())), entry))
    return sorted(found)
