"""Who trains a run: one process at a time, and what an earlier one left is found again."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from filelock import FileLock, Timeout
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.paths import cache_folder
from leafexp.tracking.store import Store

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30
_SILENT_SECONDS = 4 * HEARTBEAT_SECONDS  # after which a process on another machine counts as dead
_LOOK_SECONDS = 5
_MAX_TAG_CHARACTERS = 5000


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
    folder = cache_folder() / "running"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{identity}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("Another process is training this very run; waiting for it.")
        lock.acquire(poll_interval=0.5)
    try:
        yield
    finally:
        lock.release()


def look_up(store: Store, identity: str) -> Earlier:
    """The runs of an identity; waits while another machine trains it. The identity must be held."""
    client = MlflowClient(store.uri)
    said = False
    while True:
        runs = client.search_runs(
            [store.experiment_id], f"tags.{names.IDENTITY} = '{identity}'", order_by=["attributes.start_time DESC"]
        )
        busy = next((run for run in runs if run.info.status == "RUNNING" and is_alive(run)), None)
        if busy is None:
            break
        if not said:
            log.warning("Machine %s is training this very run; waiting for it.", busy.data.tags.get(names.HOST))
            said = True
        time.sleep(_LOOK_SECONDS)
    finished = next((run for run in runs if run.info.status == "FINISHED"), None)
    newer = runs[: runs.index(finished)] if finished else runs
    return Earlier(finished, newer[0] if newer else None)


def join_sweep(store: Store, run: Run, sweep: str) -> None:
    """Note that a sweep asked for a run that is there already."""
    client = MlflowClient(store.uri)
    for name, value in asked_by(run, sweep).items():
        client.set_tag(run.info.run_id, name, value)


def asked_by(run: Run | None, sweep: str) -> dict[str, str]:
    """The tags that say which sweeps asked for a run, the latest last, as many as a tag can hold."""
    before = names.sweeps_of(run.data.tags.get(names.SWEEP, "")) if run else []
    sweeps = [name for name in before if name != sweep] + [sweep]
    while len(", ".join(sweeps)) > _MAX_TAG_CHARACTERS:
        sweeps.pop(0)
    return {names.SWEEP: ", ".join(sweeps), names.ASKED: f"{time.time():.3f}"}


def process() -> dict[str, str]:
    """The tags that say which process trains a run."""
    me = psutil.Process()
    return {
        names.HOST: socket.gethostname(),
        names.PROCESS: f"{os.getpid()} since {me.create_time():.0f}",
        names.HEARTBEAT: f"{time.time():.0f}",
    }


def is_alive(run: Run) -> bool:
    """Whether the process that trains the run is there: looked up on this machine, heard of lately from another."""
    tags = run.data.tags
    if tags.get(names.HOST) != socket.gethostname():
        return time.time() - float(tags.get(names.HEARTBEAT, 0)) < _SILENT_SECONDS
    number, _, since = tags.get(names.PROCESS, "0 since 0").partition(" since ")
    if int(number) == os.getpid():
        # This process holds the identity, and trains one run at a time.
        return False
    try:
        return abs(psutil.Process(int(number)).create_time() - float(since)) < 2
    except psutil.Error:
        return False


def end_silent_runs(store: Store) -> int:
    """End runs that say they are running and whose process is gone, as KILLED; returns their number.

    That is what SIGKILL, a lack of memory or a power cut leave.
    """
    client = MlflowClient(store.uri)
    running = client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")
    silent = [run for run in running if names.HEARTBEAT in run.data.tags and not is_alive(run)]
    for run in silent:
        tags = run.data.tags
        heard = float(tags[names.HEARTBEAT])
        reason = (
            f"process {tags[names.PROCESS].partition(' ')[0]} on {tags[names.HOST]} ended without a word after "
            f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(heard))}: killed, out of memory, or a power cut"
        )
        client.set_tag(run.info.run_id, names.ERROR, reason)
        client.set_terminated(run.info.run_id, "KILLED", end_time=int(heard * 1000))
    return len(silent)


def epochs_logged(store: Store, run: Run) -> int:
    """The last epoch that the store has of a run, 0 where it has none."""
    if names.LOSS not in run.data.metrics:
        return 0
    return max(point.step for point in MlflowClient(store.uri).get_metric_history(run.info.run_id, names.LOSS))
