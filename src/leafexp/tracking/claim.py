"""Who trains a run: one process at a time, and what an earlier one left is found again.

A process that trains a run writes a claim, a word of its own, and then a heartbeat every half minute. Another takes the
run up if that process is known to be gone, or if it has seen the heartbeat stand still for longer than a run waits for
its store. Clocks and names of hosts are not trusted: they move, and they are shared. Who has lost its claim stops.
"""

import contextlib
import functools
import logging
import os
import platform
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
from leafexp.cache import RUNNING
from leafexp.errors import UserError
from leafexp.locks import file_lock, system_locks
from leafexp.paths import cache_folder
from leafexp.tracking.store import PATIENCE_SECONDS, Store

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30
SILENT_SECONDS = PATIENCE_SECONDS + 10 * HEARTBEAT_SECONDS  # a heartbeat that stood still for so long is of a dead run
_LOOK_SECONDS = 5
MAX_TAG_CHARACTERS = 5000
_PROC = Path("/proc")
_OUTSIDE_CONTAINERS = "pid:[4026531836]"  # Linux's number for the processes' first namespace, the same everywhere


class ClaimLost(UserError):
    """Another process has taken over the run that this one trains."""


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
        if lock.lock_file == str(
            path
        ):  # of a lock that the system keeps; who waits finds the file gone, and makes another
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
        busy = next((run for run in running if not (is_gone(run, identity) or is_silent(run))), None)
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
    me = {"pid": str(os.getpid()), "start": _start(os.getpid()), **_machine(), "lock": _lock(identity)}
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


def is_gone(run: Run, identity: str = "") -> bool:
    """Whether the process that trained the run is known to have ended; False where that can't be known from here.

    Args:
        run: says it is running.
        identity: the run's, where this process holds it.
    """
    words = run.data.tags.get(names.PROCESS, "").split()
    other = dict(word.split("=", 1) for word in words if "=" in word)
    here = _machine()
    if not here["boot"] or not other.get("boot"):
        return False
    if other["boot"] != here["boot"]:
        # Of the same machine, before it was started anew.
        return bool(here["machine"]) and other.get("machine") == here["machine"]
    if identity and other.get("lock", "") == _lock(identity) != "":
        return True  # this process now has the very lock that the other held as long as it lived
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


def _lock(identity: str) -> str:
    """Which file the identity's lock is, for this machine; empty where the system knows no locks of it."""
    path = _lock_path(identity)
    if not identity or not path.is_file() or not system_locks(path.parent):
        return ""
    status = path.stat()
    return f"{status.st_dev}:{status.st_ino}"


@functools.cache
def _machine() -> dict[str, str]:
    """What tells processes of this machine, this start of it and this container from others; empty where unknown."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        # Not Linux: no containers that share a machine.
        known = "" if platform.system() == "Linux" else f"{socket.gethostname()}/{uuid.getnode():x}".replace(" ", "_")
        return {"boot": known, "namespace": "one", "machine": ""}
    if os.readlink(_PROC / "self") != str(os.getpid()):  # /proc shows another container's processes
        return {"boot": boot, "namespace": "", "machine": ""}
    machine = ""
    if namespace == _OUTSIDE_CONTAINERS:
        with contextlib.suppress(OSError):
            machine = f"{Path('/etc/machine-id').read_text(encoding='ascii').strip()}@{socket.gethostname()}"
    return {"boot": boot, "namespace": namespace, "machine": machine.replace(" ", "_")}


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
