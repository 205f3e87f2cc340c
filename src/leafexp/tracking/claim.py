"""Who trains a run: one process at a time, and what an earlier one left is found again.

A process that trains a run writes a claim, a word of its own, and then a heartbeat every half minute. Another takes the
run up if that process is known to be gone, or if it has seen the heartbeat stand still for longer than a run waits for
its store. Clocks, names of hosts and ids of machines are not trusted: they move, and they are shared.

A run that lives and is cut off from its store for so long, as by a network that fails or a laptop that sleeps, may be
taken over meanwhile. It stops as soon as it can read that.
"""

import functools
import logging
import random
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run, RunTag
from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.cache.arrays import write_whole
from leafexp.cache.room import RUNNING
from leafexp.environment import user
from leafexp.errors import UserError
from leafexp.paths import cache_folder
from leafexp.tracking import process
from leafexp.tracking.store import PATIENCE_SECONDS, Store

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30
SILENT_SECONDS = PATIENCE_SECONDS + 10 * HEARTBEAT_SECONDS  # a heartbeat that stood still for so long is of a dead run
LOCKLESS_SECONDS = 5 * HEARTBEAT_SECONDS  # the same where the lock of the process is free, though on another start
MAX_TAG_CHARACTERS = 5000
_LOOK_SECONDS = 5
_MOST_APART_SECONDS = 3.0  # two that met in claiming the same try again within so long


class ClaimLost(UserError):
    """Another process has taken over the run that this one trains."""


class Met(Exception):
    """Another process claimed a run of the same identity at the same time; this one has let go of its own."""


@dataclass(frozen=True)
class Earlier:
    """What is in the store of an identity: its finished run, and a newer one to take up; None where there is none."""

    finished: Run | None
    unfinished: Run | None


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
        if not running:
            finished = next((run for run in runs if run.info.status == "FINISHED"), None)
            newer = runs[: runs.index(finished)] if finished else runs
            return Earlier(finished, newer[0] if newer else None)
        dead = [run for run in running if is_dead(run, held=True)]
        for run in dead:
            store.patiently(functools.partial(_end, client, run))
        busy = [run for run in running if run not in dead]
        if busy and not said:
            log.warning(
                "%s is training this very run, or was when it was cut off; waiting until it has finished, or was "
                "silent for %.0f minutes at most.",
                busy[0].data.tags.get(names.HOST, "Another machine"),
                SILENT_SECONDS / 60,
            )
            said = True
        if busy:
            time.sleep(min(_LOOK_SECONDS, SILENT_SECONDS))


def take(store: Store, row: str, tags: Mapping[str, str], earlier: Run | None) -> Run:
    """The run that this process has claimed, and that says it is running: a new one, or `earlier`.

    Args:
        store: where.
        row: its name.
        tags: its tags; what has an identity is claimed by one process alone, and the identity must be held.
        earlier: a run that was cut off, as `look_up` gave it.

    Raises:
        Met: another process claimed the same at the same time; look it up again.
    """
    client = MlflowClient(store.uri)
    words = {**claim(tags.get(names.IDENTITY, "")), **asked_by(earlier, tags[names.SWEEP])}
    if earlier is None:
        # By the client, and not mlflow.start_run: that takes up what another program has begun in this process.
        shown = {"mlflow.user": user(), "mlflow.source.name": "leafexp.train", "mlflow.source.type": "LOCAL"}
        all_tags = {**shown, names.ROW: row, **tags, **words}
        run: Run = store.patiently(lambda: client.create_run(store.experiment_id, tags=all_tags, run_name=row))
        return _alone(store, run.info.run_id, words[names.CLAIM], None) if names.IDENTITY in tags else run
    run_id = earlier.info.run_id
    now = store.patiently(lambda: client.get_run(run_id))
    if now.data.tags.get(names.CLAIM) != earlier.data.tags.get(names.CLAIM):
        raise Met
    # At once, so that nobody reads a claim of two halves; before it says RUNNING, so that nobody takes it for dead.
    batch = [RunTag(name, value) for name, value in words.items()]
    store.patiently(lambda: client.log_batch(run_id, tags=batch))
    store.patiently(lambda: client.update_run(run_id, status="RUNNING"))
    run = _alone(store, run_id, words[names.CLAIM], earlier)
    times = int(earlier.data.tags.get(names.INTERRUPTIONS, 0)) + (earlier.info.status != names.PAUSED)
    if times:
        store.patiently(lambda: client.set_tag(run_id, names.INTERRUPTIONS, str(times)))
    if names.ERROR in run.data.tags:
        store.patiently(lambda: client.delete_tag(run_id, names.ERROR))
    return run


def _alone(store: Store, run_id: str, word: str, earlier: Run | None) -> Run:
    """The run just claimed; raises Met, and lets go of it, where another process claimed one of the same identity.

    Two machines share no lock. Each looks after it has claimed its run, so that at least one of them sees the other's.
    Which began earlier decides nothing, as each has a clock of its own, and the other may have looked before.
    """
    client = MlflowClient(store.uri)
    run: Run = store.patiently(lambda: client.get_run(run_id))
    if run.data.tags.get(names.CLAIM) != word:
        raise Met
    same = f"tags.{names.IDENTITY} = '{run.data.tags[names.IDENTITY]}' AND attributes.status = 'RUNNING'"
    for other in store.patiently(lambda: client.search_runs([run.info.experiment_id], same)):
        if other.info.run_id == run_id:
            continue
        if other.data.tags.get(names.CLAIM) == word:  # made by a call whose answer was lost
            store.patiently(functools.partial(client.delete_run, other.info.run_id))
            continue
        if is_dead(other, held=True):
            continue
        if earlier is None:
            store.patiently(functools.partial(client.delete_run, run_id))
        else:
            as_before = (earlier.info.status, earlier.info.end_time)
            store.patiently(functools.partial(client.set_terminated, run_id, *as_before))
        time.sleep(random.uniform(0, _MOST_APART_SECONDS))  # by chance one begins earlier, and the other then waits
        raise Met
    return run


def join_sweep(store: Store, run: Run, sweep: str, tuned: Mapping[str, str]) -> None:
    """Note that a sweep asked for a run that is there already, and how its settings were found."""
    client = MlflowClient(store.uri)
    tags = [RunTag(name, value) for name, value in {**asked_by(run, sweep), **tuned}.items()]
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
    return {
        names.CLAIM: uuid.uuid4().hex,
        names.HOST: socket.gethostname(),
        names.PROCESS: process.described(identity),
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


def is_dead(run: Run, held: bool = False) -> bool:
    """Whether the process that trains a run, as the run says, has ended: as is known here, or as its silence tells.

    Args:
        run: says it is running.
        held: whether this process holds the run's identity.
    """
    other = process.read(run.data.tags.get(names.PROCESS, ""))
    ended = process.has_ended(other)
    if ended is not None:
        return ended
    if process.has_lost_its_lock(other, run.data.tags.get(names.IDENTITY, ""), held):
        # After another start of the machine, as after a power cut, it may also be a copy of the machine, or one of two
        # that share a disk and not its locks. Those that live have a heartbeat.
        return process.since_same_start(other) or _is_silent(run, LOCKLESS_SECONDS)
    return _is_silent(run, SILENT_SECONDS)


def end_silent_runs(store: Store) -> int:
    """End runs that say they are running and whose process is gone, as KILLED; returns their number.

    That is what SIGKILL, a lack of memory or a power cut leave.
    """
    client = MlflowClient(store.uri)
    running = store.patiently(lambda: client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'"))
    ours = [run for run in running if {names.ROW, names.PROCESS, names.HEARTBEAT} <= run.data.tags.keys()]
    return sum(store.patiently(functools.partial(_end, client, run)) for run in ours if is_dead(run))


def epochs_logged(store: Store, run: Run) -> int:
    """The last epoch that the store has of a run, 0 where it has none."""
    if names.LOSS not in run.data.metrics:
        return 0
    return max(point.step for point in MlflowClient(store.uri).get_metric_history(run.info.run_id, names.LOSS))


def _is_silent(run: Run, seconds: float) -> bool:
    """Whether the run's heartbeat stood still for so long, by this machine's own clock since it first saw this one.

    When that was is kept in a file, so that it counts from one command to the next.
    """
    heard = run.data.tags.get(names.HEARTBEAT, "")
    now = time.monotonic()  # since the machine was started; no setting of the clock changes it
    note = _note(run.info.run_id)
    try:
        seen, since = note.read_text(encoding="utf-8").split("\n")
        if seen == heard and now >= float(since):
            return now - float(since) >= seconds
    except (OSError, ValueError):
        pass
    write_whole(note, f"{heard}\n{now}")
    return False


def _note(run_id: str) -> Path:
    """Where this machine notes when it first saw the run's heartbeat; others may share the folder, not the clock."""
    return cache_folder() / RUNNING / f"{run_id}.{process.machine()['boot'] or _this_process()}.heard"


@functools.cache
def _this_process() -> str:
    return uuid.uuid4().hex


def _end(client: MlflowClient, run: Run) -> bool:
    """End a run whose process is gone; False, and nothing is done, where another has claimed it or it was heard of."""
    tags, run_id = run.data.tags, run.info.run_id
    now = client.get_run(run_id)
    same = all(now.data.tags.get(name) == tags.get(name) for name in (names.CLAIM, names.HEARTBEAT))
    if not same or now.info.status != "RUNNING":
        return False
    try:
        heard = float(tags[names.HEARTBEAT])
    except (KeyError, ValueError):
        heard = run.info.start_time / 1000
    reason = (
        f"its process on {tags.get(names.HOST, 'another machine')} ended without a word after "
        f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(heard))}: killed, out of memory, or a power cut"
    )
    ended = {names.CLAIM: f"ended by {socket.gethostname()}", names.ERROR: reason}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in ended.items()])
    client.set_terminated(run_id, "KILLED", end_time=int(heard * 1000))
    _note(run_id).unlink(missing_ok=True)
    return True
