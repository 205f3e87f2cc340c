"""What runs share on disk, as a command: `python -m leafexp.cache` lists it, with `--clear` it deletes it."""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil
from filelock import Timeout

from leafexp.arrays import RUNNING, about_of, by_last_use, checkpoints, day, delete, gigabytes, size_of
from leafexp.environment import begin_command, check_environment
from leafexp.errors import UserError
from leafexp.locks import file_lock
from leafexp.paths import cache_folder
from leafexp.wording import counted


def main() -> int:
    """List or clear the cache; returns the exit code."""
    parser = argparse.ArgumentParser(prog="leafexp.cache", description="What runs share on disk.")
    parser.add_argument("--clear", action="store_true", help="delete it; runs that go on are not disturbed")
    begin_command()
    arguments = parser.parse_args()
    try:
        check_environment()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    entries, saved, findings, left, halves = by_last_use(), checkpoints(), _findings(), _locks(), _halves()
    print(f"{cache_folder()}: {counted(len(entries), 'array')}, {gigabytes(sum(size for _, size, _ in entries))}")
    for used, size, entry in entries:
        about = about_of(entry)
        made = f"{about.get('what', entry.name)}, made in {about.get('seconds', 0):.1f} s"
        print(f"last used {day(used)}  {gigabytes(size):>9}  {made}")
    for number, what in (
        (len(saved), f"of runs that are not finished: checkpoints, {gigabytes(sum(map(size_of, saved)))}"),
        (len(findings), "of audits: what was found on photos"),
        (len(left), "of runs that are trained or were cut off: locks and notes"),
        (len(halves), "half made, by processes that were killed"),
    ):
        if number:
            print(f"{counted(number, 'file')} {what}")
    if arguments.clear:
        deleted = sum(delete(entry) for _, _, entry in entries)
        # A run that goes on writes its next checkpoint to the same file.
        trained = any(_is_held(_lock_of(lock)) for lock in left if lock.suffix != ".heard")
        gone = 0 if trained else _unlinked(saved)
        print(
            f"Deleted {counted(deleted, 'array')}, {counted(gone, 'checkpoint')}, "
            f"{counted(_unlinked(findings), 'finding')}, {counted(_cleared(left), 'lock or note', 'locks and notes')}, "
            f"{counted(_removed(halves), 'half', 'halves')}."
        )
        if gone:
            print("Runs without their checkpoint begin anew when their command is given again.")
        if kept := len(entries) - deleted:
            print(f"Kept: {counted(kept, 'array')} that {'is' if kept == 1 else 'are'} just made or opened.")
        if trained and saved:
            print(f"Kept: {counted(len(saved), 'checkpoint')}, as a run is being trained.")
    return 0


def _findings() -> list[Path]:
    return list(cache_folder().glob("*/*.json"))


def _locks() -> list[Path]:
    """Locks of runs, and notes on runs that were silent; not the words that tell which process was killed."""
    return [file for end in (".lock", ".lease", ".heard") for file in (cache_folder() / RUNNING).glob(f"*{end}")]


def _halves() -> list[Path]:
    """What processes that were killed left: arrays, checkpoints and small files that are not whole."""
    found = list(cache_folder().glob("*/*.unfinished"))
    folders = [path for path in found if path.is_dir() and not _is_held(path.with_suffix(".lock"))]
    return folders + [path for path in found if path.is_file() and not psutil.pid_exists(int(path.suffixes[-2][1:]))]


def _is_held(lock: Path) -> bool:
    if not lock.exists() and not Path(f"{lock}.lease").exists():
        return False
    try:
        with file_lock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _cleared(files: Sequence[Path]) -> int:
    """Delete locks that nobody holds, and notes; returns how many."""
    number = _unlinked(file for file in files if file.suffix == ".heard")
    for file in files:
        if file.suffix != ".heard":
            with contextlib.suppress(Timeout, OSError), file_lock(_lock_of(file), timeout=0):
                file.unlink()
                number += 1
    return number


def _lock_of(file: Path) -> Path:
    return file.with_suffix("") if file.suffix == ".lease" else file


def _unlinked(files: Iterable[Path]) -> int:
    number = 0
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()
            number += 1
    return number


def _removed(paths: Sequence[Path]) -> int:
    number = 0
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        number += not path.exists()
    return number


if __name__ == "__main__":
    sys.exit(main())
