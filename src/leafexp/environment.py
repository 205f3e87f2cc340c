"""What the machine and the terminal give this process: processors, a user's name, a cache, characters to print."""

import argparse
import codecs
import getpass
import math
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from leafexp import stores
from leafexp.errors import UserError
from leafexp.paths import CODE, IN_CHECKOUT, ROOT, cache_folder

_PLAIN = {"─": "-", "━": "=", "…": "...", "–": "-", "−": "-", "×": "x", "±": "+-"}
_CGROUPS = Path("/sys/fs/cgroup")


class Options(argparse.ArgumentParser):
    """The options of a command. What it says of a wrong one holds no password."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with exit code 2."""
        super().error(stores.scrubbed(message))


def begin_command() -> None:
    """What each command does first: it can print every character, has a home, and says where things lie if not here."""
    print_everything()
    sys.excepthook = _print_traceback
    try:
        Path.home()
    except RuntimeError:  # of a user without an entry and without HOME; MLflow can't be imported then
        os.environ["HOME"] = os.environ.get("XDG_CACHE_HOME") or os.sep
    # Not the home's: it may not be writable, and a matplotlibrc there would draw other pictures.
    os.environ["MPLCONFIGDIR"] = str(cache_folder() / "matplotlib")
    if IN_CHECKOUT and ROOT != CODE:
        print(f"{CODE} can only be read: mlflow.db, outputs/, data/ and reports/ lie in {ROOT}.", file=sys.stderr)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python prints of an error that nobody expected, without passwords; nothing if the output's reader went."""
    if isinstance(error, BrokenPipeError):  # as `head` does when it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    print(stores.scrubbed("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def print_everything() -> None:
    """Let stdout and stderr write a character they don't have as what comes near it, in place of an error."""
    codecs.register_error("leafexp", _near)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not what a test or a notebook has put there
            stream.reconfigure(errors="leafexp")


def _near(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    near = [_PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in lost]
    return "".join(near), error.end


def check_environment() -> None:
    """Raise UserError where file names can't be read, or decoded photos, features and checkpoints can't be kept."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii":
        raise UserError(
            "Python reads file names as ASCII here, as PYTHONUTF8=0 asks it to, and then many can't be opened. "
            "Take PYTHONUTF8=0 out of the environment."
        )
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK) else f"{folder} is not writable"
    except OSError as error:
        why = f"{error.filename}: {error.strerror}"
    if why:
        raise UserError(
            f"Decoded photos, features and checkpoints can't be kept ({why}). "
            "Name a folder for them with the environment variable XDG_CACHE_HOME."
        )
    if not os.access(Path.home(), os.W_OK):  # Matplotlib would say at length that it keeps its fonts elsewhere
        os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))


def user() -> str:
    """The user's name; the number where the system has no name for it, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def processors() -> int:
    """How many processors this process may use: as many as affinity and a container's limit leave to it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *_limits()]))


def _limits() -> list[int]:
    """The limits of this process's control groups in processors, rounded up."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    limits = []
    for folder in {
        _CGROUPS.joinpath(*path.parts[1:])
        for line in groups
        if line.startswith("0::")
        for path in (Path(line[3:]), *Path(line[3:]).parents)
    }:
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            limits += [] if quota == "max" else [math.ceil(int(quota) / int(period))]
        except (OSError, ValueError):
            continue
    return limits
