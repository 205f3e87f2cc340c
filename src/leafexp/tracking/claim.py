"""Who trains a run: one process at a time, and what an earlier one left is found again.

A process that trains a run writes a claim, a word of its own, and then a heartbeat every half minute. Another takes the
run up if that process is known to be gone, or if it has seen the heartbeat stand still for longer than a run waits for
its store. Clocks, names of hosts and ids of machines are not trusted: they move, and they are shared. Who has lost its
claim stops as soon as it can read that: a run that was cut off from its store for so long may be taken over meanwhile.
"""

import contextlib
import functools
import logging
import os
import platform
import random
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import Timeout
from mlflow.entities import Run, RunTag
from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.arrays import write_whole
from leafexp.errors import UserError
from leafexp.locks import file_lock, system_locks
from leafexp.paths import cache_folder
from leafexp.room import RUNNING
from leafexp.tracking.store import PATIENCE_SECONDS, Store

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30
SILENT_SECONDS = PATIENCE_SECONDS + 10 * HEARTBEAT_SECONDS  # a heartbeat that stood still for so long is of a dead run
_LOOK_SECONDS = 5
MAX_TAG_CHARACTERS = 5000
_PROC = Path("/proc")
_MOST_APART_SECONDS = 3.0  # two that met in making the same run try again within so long


class ClaimLost(UserError):
    """Another process has taken over the run that this one trains."""


class Met(Exception):
    """Another process made a run of the same identity at the same time; this one's run is deleted."""


@dataclass(frozen=True)
class Earlier:
    """What is in the store of an identity: its finished run, and a newer one to take up; None where there is none."""

    finished: Run | None
    unfinished: Run | None


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


def look_up(store: Store, identity: str) -> Earlier:
    """The runs of an identity, dead ones ended; waits while another machine trains it. The identity must be held."""
    client = MlflowClient(store.uri)
    said = False
    while True:
        runs = store.patiently(
            lambda: client.search_runs(
                [store.experiment_id], f"tags.{names.IDENTITY} = '{identity}'", order_by=["attributes.start_time DESC"]
            )
        )
        running = [run for run in runs if run.info.status == "RUNNING"]
        busy = next((run for run in running if not (is_gone(run, held=True) or is_silent(run))), None)
        if busy is None:
            break
        if not said:
            log.warning(
                "%s is training this very run; waiting until it has finished, or was silent for %.0f minutes.",
                busy.data.tags.get(names.HOST, "Another machine"),
                SILENT_SECONDS / 60,
            )
            said = True
        time.sleep(min(_LOOK_SECONDS, SILENT_SECONDS))
    for run in running:  # the process of each is gone
        store.patiently(functools.partial(_end, client, run))
    finished = next((run for run in runs if run.info.status == "FINISHED"), None)
    newer = runs[: runs.index(finished)] if finished else runs
    return Earlier(finished, newer[0] if newer else None)


def check_alone(store: Store, run: Run, identity: str) -> None:
    """Raise Met, and delete the run that was just made, where another process has made one of the same identity.

    Two machines share no lock. Each looks after it has made its run, so that at least one of them sees the other's.
    """
    client = MlflowClient(store.uri)
    same = f"tags.{names.IDENTITY} = '{identity}' AND attributes.status = 'RUNNING'"
    for other in store.patiently(lambda: client.search_runs([run.info.experiment_id], same)):
        if other.info.run_id == run.info.run_id:
            continue
        if other.data.tags.get(names.CLAIM) == run.data.tags[names.CLAIM]:  # made by a call whose answer was lost
            store.patiently(functools.partial(client.delete_run, other.info.run_id))
            continue
        if is_gone(other, held=True) or is_silent(other):
            continue
        store.patiently(lambda: client.delete_run(run.info.run_id))
        time.sleep(random.uniform(0, _MOST_APART_SECONDS))  # by chance one begins earlier, and the other then waits
        raise Met


def join_sweep(store: Store, run: Run, sweep: str) -> None:
    """Note that a sweep asked for a run that is there already."""
    client = MlflowClient(store.uri)
    tags = [RunTag(name, value) for name, value in asked_by(run, sweep).items()]
    store.patiently(lambda: client.log_batch(run.info.run_id, tags=tags))


def asked_by(run: Run | None, sweep: str) -> dict[str, str]:
    """The tags that say which sweeps asked for a run, the latest last, as many as a tag can hold."""
    before = names.sweeps_of(run.data.tags.get(names.SWEEP, "")) if run else []
    sweeps = [name for name in before if name != sweep] + [sweep]
    while len(", ".join(sweeps)) > MAX_TAG_CHARACTERS:
        sweeps.pop(0)
    return {names.SWEEP: ", ".join(sweeps), names.ASKED: f"{time.time():.3f}"}


def claim(identity: str = "") -> dict[str, str]:
    """The tags by which this process claims a run: a new word, who it is, and its first heartbeat."""
    me = {"pid": str(os.getpid()), "start": _start(os.getpid()), **_machine(), "lock": _make_word(identity)}
    return {
        names.CLAIM: uuid.uuid4().hex,
        names.HOST: socket.gethostname(),
        names.PROCESS: " ".join(f"{key}={value}" for key, value in me.items() if value),
        names.HEARTBEAT: f"{time.time():.3f}",
    }


def check_claim(client: MlflowClient, run_id: str, word: str) -> None:
    """Raise ClaimLost where another process has claimed the run since."""
    tags = client.get_run(run_id).data.tags
    if tags.get(names.CLAIM) != word:
        raise ClaimLost(
            f"Run {run_id} was taken over by {tags.get(names.HOST, 'another machine')}, which had not heard of this "
            "process for long. This one stops here and leaves the run to it."
        )


def is_gone(run: Run, held: bool = False) -> bool:
    """Whether the process that trained the run is known to have ended; False where that can't be known from here.

    Args:
        run: says it is running.
        held: whether this process holds the run's identity.
    """
    words = run.data.tags.get(names.PROCESS, "").split()
    other = dict(word.split("=", 1) for word in words if "=" in word)
    identity = run.data.tags.get(names.IDENTITY, "")
    if other.get("lock") and other["lock"] == _word(identity) and (held or _is_free(identity)):
        return True  # the very lock that it held as long as it lived
    here = _machine()
    if not here["boot"] or other.get("boot") != here["boot"]:
        return False
    if not here["namespace"] or other.get("namespace") != here["namespace"]:
        return False
    # This process trains one run at a time, and is not at this one.
    return other["pid"] == str(os.getpid()) or not _lives(int(other["pid"]), other.get("start", ""))


def is_silent(run: Run) -> bool:
    """Whether the run's heartbeat stood still for long, by this machine's own clock since it first saw this one.

    When that was is kept in a file, so that it counts from one command to the next.
    """
    heard, boot = run.data.tags.get(names.HEARTBEAT, ""), _machine()["boot"]
    now = time.monotonic()  # since the machine was started; no setting of the clock changes it
    note = cache_folder() / RUNNING / f"{run.info.run_id}.heard"
    try:
        seen, since = note.read_text(encoding="utf-8").split("\n")
        if seen == f"{heard} {boot}" and now >= float(since):
            return now - float(since) >= SILENT_SECONDS
    except (OSError, ValueError):
        pass
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{heard} {boot}\n{now}", encoding="utf-8")
    return False


def end_silent_runs(store: Store) -> int:
    """End runs that say they are running and whose process is gone, as KILLED; returns their number.

    That is what SIGKILL, a lack of memory or a power cut leave.
    """
    client = MlflowClient(store.uri)
    running = store.patiently(lambda: client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'"))
    ours = [run for run in running if {names.ROW, names.PROCESS, names.HEARTBEAT} <= run.data.tags.keys()]
    silent = [run for run in ours if is_gone(run) or is_silent(run)]
    for run in silent:
        store.patiently(functools.partial(_end, client, run))
    return len(silent)


def epochs_logged(store: Store, run: Run) -> int:
    """The last epoch that the store has of a run, 0 where it has none."""
    if names.LOSS not in run.data.metrics:
        return 0
    return max(point.step for point in MlflowClient(store.uri).get_metric_history(run.info.run_id, names.LOSS))


def _end(client: MlflowClient, run: Run) -> None:
    tags, run_id = run.data.tags, run.info.run_id
    try:
        heard = float(tags[names.HEARTBEAT])
    except (KeyError, ValueError):
        heard = run.info.start_time / 1000
    reason = (
        f"its process on {tags.get(names.HOST, 'another machine')} ended without a word after "
        f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(heard))}: killed, out of memory, or a power cut"
    )
    client.set_tag(run_id, names.CLAIM, f"ended by {socket.gethostname()}")
    client.set_tag(run_id, names.ERROR, reason)
    client.set_terminated(run_id, "KILLED", end_time=int(heard * 1000))
    (cache_folder() / RUNNING / f"{run_id}.heard").unlink(missing_ok=True)


def _lock_path(identity: str) -> Path:
    return cache_folder() / RUNNING / f"{identity}.lock"


def _word_path(identity: str) -> Path:
    return _lock_path(identity).with_suffix(".word")


def _word(identity: str) -> str:
    """The word of an identity's lock; empty where no process has held it, or where the system knows no locks.

    It is made with the lock and goes with it, unless the process is killed: who then finds it and holds the lock knows
    that the process is gone, also after the machine was started anew and from another container. File numbers and ids
    of machines would not do, as copies of a machine share them.
    """
    try:
        return _word_path(identity).read_text(encoding="ascii") if identity else ""
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


@functools.cache
def _machine() -> dict[str, str]:
    """What tells processes of this machine, this start of it and this container from others; empty where unknown."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        # Not Linux: no containers that share a machine.
        known = "" if platform.system() == "Linux" else f"{socket.gethostname()}/{uuid.getnode():x}".replace(" ", "_")
        return {"boot": known, "namespace": "one"}
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
