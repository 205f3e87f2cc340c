"""Which process trains a run: what tells it from others, the lock it holds, and whether it lives."""

import contextlib
import functools
import logging
import os
import platform
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from filelock import Timeout

from leafexp.cache.arrays import write_whole
from leafexp.cache.room import RUNNING
from leafexp.locks import file_lock, system_locks
from leafexp.paths import cache_folder

log = logging.getLogger(__name__)

_PROC = Path("/proc")


@contextlib.contextmanager
def held(identity: str) -> Iterator[None]:
    """Hold an identity, so that no other process of this machine trains it; waits for one that does.

    The system lets go of it when the process ends, however it ends.
    """
    path = _lock_path(identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = file_lock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        log.warning("Another process is training this very run; waiting for it.")
        lock.acquire(timeout=-1, poll_interval=0.5)
    try:
        yield
    finally:
        _word_path(identity).unlink(missing_ok=True)
        if system_locks(path.parent):
            # Who waits finds the file gone, and makes another.
            with contextlib.suppress(OSError):
                path.unlink()
        lock.release()


def described(identity: str = "") -> str:
    """This process as a tag can hold it: its number, start, machine's start and container, and the lock it holds."""
    words = {"pid": str(os.getpid()), "start": _start(os.getpid()), **machine(), "lock": _make_word(identity)}
    return " ".join(f"{key}={value}" for key, value in words.items() if value)


def read(description: str) -> dict[str, str]:
    """The words of a process that `described` itself."""
    return dict(word.split("=", 1) for word in description.split() if "=" in word)


def since_same_start(other: Mapping[str, str]) -> bool:
    """Whether the process ran on this machine since it was started last."""
    return machine()["boot"] != "" and other.get("boot") == machine()["boot"]


def has_ended(other: Mapping[str, str]) -> bool | None:
    """Whether the process is no more; None where that can't be seen from here."""
    here = machine()["namespace"]
    if not since_same_start(other) or not here or other.get("namespace") != here:
        return None
    # This process trains one run at a time, and is not at this one.
    return other["pid"] == str(os.getpid()) or not _lives(int(other["pid"]), other.get("start", ""))


def has_lost_its_lock(other: Mapping[str, str], identity: str, held: bool) -> bool:
    """Whether the lock that the process held as long as it lived is free, or `held` by this one."""
    return bool(other.get("lock")) and other["lock"] == _word(identity) and (held or _is_free(identity))


@functools.cache
def machine() -> dict[str, str]:
    """What tells processes of this machine, this start of it and this container from others; empty where unknown."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        # Not Linux: no containers that share a machine.
        known = "" if platform.system() == "Linux" else f"{socket.gethostname()}-{uuid.getnode():x}"
        return {"boot": re.sub(r"[^\w.-]", "_", known), "namespace": "one"}
    if os.readlink(_PROC / "self") != str(os.getpid()):  # /proc shows another container's processes
        namespace = ""
    return {"boot": boot, "namespace": namespace}


def _start(pid: int) -> str:
    """When a process started, in a way that no clock moves; empty where that can't be seen."""
    try:
        if _PROC.is_dir():
            # After a name that may hold blanks and brackets: the state first, the start in ticks since the machine's.
            values = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            return "ended" if values[0] in "ZX" else values[19]
        return f"{psutil.Process(pid).create_time():.0f}"
    except (OSError, psutil.Error):
        return ""


def _lives(pid: int, start: str) -> bool:
    """Whether the process of that number is the one that started then, as far as this user may see."""
    if found := _start(pid):
        return found == start
    if os.name != "posix":
        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lock_path(identity: str) -> Path:
    return cache_folder() / RUNNING / f"{identity}.lock"


def _word_path(identity: str) -> Path:
    return _lock_path(identity).with_suffix(".word")


def _word(identity: str) -> str:
    """The word of an identity's lock; empty where no process has held it, or where the system knows no locks.

    It is made with the lock and goes with it, unless the process is killed: who then finds it and gets the lock knows
    that the process lost it. The file's number is part of it: a copy of the folder, made meanwhile, is another lock.
    """
    try:
        word = _word_path(identity).read_text(encoding="ascii") if identity else ""
        return word and f"{word}.{_lock_path(identity).stat().st_ino}"
    except (OSError, ValueError):
        return ""


def _make_word(identity: str) -> str:
    """The word of the lock that this process holds."""
    if not _lock_path(identity).is_file() or not system_locks(_lock_path(identity).parent):
        return ""
    if not _word(identity):
        write_whole(_word_path(identity), uuid.uuid4().hex)
    return _word(identity)


def _is_free(identity: str) -> bool:
    """Whether no process holds the identity's lock."""
    lock = file_lock(_lock_path(identity), timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return False
    lock.release()
    return True
