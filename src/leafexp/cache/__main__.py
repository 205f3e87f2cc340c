"""What runs share on disk, as a command: `python -m leafexp.cache` lists it, with `--clear` it deletes it."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from filelock import Timeout

from leafexp.cache.room import RUNNING, about_of, by_last_use, checkpoints, delete, size_of
from leafexp.environment import Options, begin_command, check_environment
from leafexp.errors import UserError
from leafexp.locks import file_lock
from leafexp.paths import cache_folder
from leafexp.wording import counted, day, gigabytes

_WRITING_SECONDS = 600  # no process takes so long to write a small file or a checkpoint


def main() -> int:
    """List or clear the cache; returns the exit code."""
    parser = Options(prog="leafexp.cache", description="What runs share on disk.")
    parser.add_argument(
        "--clear",
        action="store_true",
        help="delete it, and the checkpoints from which unfinished runs go on; not what a run that is trained uses, "
        "and not pretrained weights",
    )
    begin_command()
    arguments = parser.parse_args()
    try:
        check_environment()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    lines = [*_listed(), *(_cleared() if arguments.clear else ())]
    print("\n".join(lines))
    return 0


def _listed() -> Iterator[str]:
    entries, saved = by_last_use(), checkpoints()
    yield f"{cache_folder()}: {counted(len(entries), 'array')}, {gigabytes(sum(size for _, size, _ in entries))}"
    for used, size, entry in entries:
        about = about_of(entry)
        made = f"{about.get('what', entry.name)}, made in {about.get('seconds', 0):.1f} s"
        yield f"last used {day(used)}  {gigabytes(size):>9}  {made}"
    for number, what in (
        (len(saved), f"of runs that are not finished: checkpoints, {gigabytes(sum(map(size_of, saved)))}"),
        (len(_findings()), "of audits: what was found on photos"),
        (len(_locks()) + len(_notes()), "of runs that are trained or were cut off: locks and notes"),
        (len(_halves()), "half made, by processes that were killed"),
    ):
        if number:
            yield f"{counted(number, 'file')} {what}"


def _cleared() -> Iterator[str]:
    """Delete what no living run uses; yields what was deleted, and what was kept and why."""
    locks = _locks()
    trained = any(map(_is_held, locks))
    runs = 0 if trained else _unlinked(checkpoints())
    numbers = {
        ("array", "arrays"): 0 if trained else sum(delete(entry) for _, _, entry in by_last_use()),
        ("checkpoint", "checkpoints"): runs,
        ("finding", "findings"): _unlinked(_findings()),
        ("lock or note", "locks and notes"): _freed(locks) + (0 if trained else _unlinked(_notes())),
        ("half", "halves"): sum(
            delete(half.with_suffix("")) if half.is_dir() else _unlinked([half]) for half in _halves()
        ),
    }
    yield f"Deleted {', '.join(counted(number, *nouns) for nouns, number in numbers.items() if number) or 'nothing'}."
    if runs:
        yield f"{counted(runs, 'unfinished run')} can't be gone on with: the same command begins anew."
    kept = (counted(len(by_last_use()), "array"), counted(len(checkpoints()), "checkpoint"))
    if trained:
        yield f"Kept, as a run is being trained: {' and '.join(kept)}."
    elif by_last_use():
        yield f"Kept, as they are just made or opened: {kept[0]}."


def _findings() -> list[Path]:
    """What `arrays.kept` wrote; not the files that other programs keep there, such as Matplotlib."""
    return list(cache_folder().glob(f"*/{'[0-9a-f]' * 64}.json"))


def _locks() -> list[Path]:
    """Locks of runs; not the words that tell which process was killed."""
    return [file for end in (".lock", ".lease") for file in (cache_folder() / RUNNING).glob(f"*{end}")]


def _notes() -> list[Path]:
    """Since when runs of other machines are silent."""
    return list((cache_folder() / RUNNING).glob("*.heard"))


def _halves() -> list[Path]:
    """What processes that were killed left: arrays, checkpoints and small files that are not whole."""
    found = list(cache_folder().glob("*/*.unfinished"))
    return [path for path in found if (_is_silent(path) if path.is_file() else not _is_held(path.with_suffix(".lock")))]


def _is_silent(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime > _WRITING_SECONDS
    except OSError:  # renamed by the process that made it
        return False


def _is_held(file: Path) -> bool:
    lock = _lock_of(file)
    if not lock.exists() and not Path(f"{lock}.lease").exists():
        return False
    try:
        with file_lock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _freed(locks: Sequence[Path]) -> int:
    """Delete locks that nobody holds; a lease goes when it is let go of, also by who only asks."""
    for file in locks:
        with contextlib.suppress(Timeout, OSError), file_lock(_lock_of(file), timeout=0):
            for path in {file, _lock_of(file)}:
                path.unlink(missing_ok=True)
    return sum(not file.exists() for file in locks)


def _lock_of(file: Path) -> Path:
    return file.with_suffix("") if file.suffix == ".lease" else file


def _unlinked(files: Iterable[Path]) -> int:
    number = 0
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()
            number += 1
    return number


if __name__ == "__main__":
    sys.exit(main())
