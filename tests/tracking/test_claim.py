"""Who is taken for dead, and when: never a run that lives, whatever its machine is called and its clock shows."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.paths import cache_folder
from leafexp.tracking import claim, process
from leafexp.tracking.run import tracked
from leafexp.tracking.store import Store, open_store
from leafexp.training.checkpoint import Checkpoint, Progress


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """Where the store lies."""
    folder = tmp_path_factory.mktemp("claims")
    shutil.copy(empty_store, folder / "store.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leafexp.tracking.store.mlflow.set_tracking_uri", lambda _: None)
        yield folder


@pytest.fixture
def store(folder: Path, request: pytest.FixtureRequest) -> Store:
    return open_store(f"sqlite:///{folder}/store.db", str(request.node.name), folder)


@pytest.fixture
def other() -> Iterator[dict[str, str]]:
    """The tags by which another process of this machine, which lives, claims a run."""
    code = "import time; from leafexp.tracking import claim; print(claim.claim(), flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield eval(process.stdout.readline())
        process.kill()


def begin(store: Store, tags: dict[str, str], **changed: str) -> str:
    """The id of a run that is being trained by a process of these tags, some words of its `process` changed."""
    words = dict(word.split("=", 1) for word in tags[names.PROCESS].split()) | changed
    process = " ".join(f"{key}={value}" for key, value in words.items() if value)
    all_tags = {names.ROW: "a", **tags, names.PROCESS: process}
    return str(MlflowClient(store.uri).create_run(store.experiment_id, tags=all_tags).info.run_id)


def test_only_a_process_known_to_be_gone_is_ended_at_once(store: Store, other: dict[str, str]) -> None:
    lives = {
        "lives": begin(store, other),
        "is called otherwise": begin(store, other | {names.HOST: "other"}),
        "has a clock of its own": begin(store, other | {names.HEARTBEAT: "9"}),
        "is in another container": begin(store, other, namespace="pid:[1]", pid="999999999"),
        "is on another machine, or was before a power cut": begin(store, other, boot="earlier"),
        "is noted as before": begin(store, other, boot="", namespace=""),
    }
    gone = {
        "ended": begin(store, other, pid="999999999"),
        "has its number no more": begin(store, other, start="1"),
        "was trained here before": begin(store, claim.claim()),
    }
    client = MlflowClient(store.uri)
    foreign = client.create_run(store.experiment_id, tags={names.HEARTBEAT: "none"}).info.run_id
    assert claim.end_silent_runs(store) == len(gone)
    for which, status in ((lives, "RUNNING"), (gone, "KILLED"), ({"foreign": foreign}, "RUNNING")):
        for name, run_id in which.items():
            ended = client.get_run(run_id)
            assert ended.info.status == status, name
            assert ("ended without a word" in ended.data.tags.get(names.ERROR, "")) == (status == "KILLED"), name


def test_a_heartbeat_that_stands_still_is_of_a_dead_run_and_one_that_moves_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(store.uri)
    still = begin(store, claim.claim(), boot="another")
    moves = begin(store, claim.claim() | {names.HEARTBEAT: "1"}, boot="another")
    now = 1000.0
    monkeypatch.setattr("leafexp.tracking.claim.time.monotonic", lambda: now)
    for wait in (0.0, claim.SILENT_SECONDS - 1):
        now += wait
        assert claim.end_silent_runs(store) == 0
    client.set_tag(moves, names.HEARTBEAT, "0.5")  # by a clock that was set back
    now += 1
    assert claim.end_silent_runs(store) == 1
    assert [client.get_run(run_id).info.status for run_id in (still, moves)] == ["KILLED", "RUNNING"]
    now = 1.0  # started anew: what was noted before tells nothing
    assert claim.end_silent_runs(store) == 0


def test_silence_is_longer_than_a_run_waits_for_its_store() -> None:
    from leafexp.tracking.store import PATIENCE_SECONDS

    assert claim.SILENT_SECONDS >= PATIENCE_SECONDS + 2 * claim.HEARTBEAT_SECONDS


HOLD = """
import time
from leafexp.tracking import claim, process
with process.held("mine"):
    print(claim.claim("mine"), flush=True)
    time.sleep(100)
"""


def test_a_killed_process_is_known_by_the_lock_it_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(store.uri)
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdout
        killed = {names.IDENTITY: "mine"} | eval(holding.stdout.readline())
        container = begin(store, killed, namespace="pid:[1]")
        power_cut = begin(store, killed, boot="earlier")
        others = [begin(store, killed, namespace="pid:[1]", lock=word) for word in ("another", "")]
        assert claim.end_silent_runs(store) == 0
        locks = cache_folder() / "running"
        with monkeypatch.context() as patch:
            # A copy of the folder, made meanwhile, is free, and tells nothing.
            shutil.copytree(locks, locks.parent.parent / "copy" / "leafexp" / "running")
            patch.setenv("XDG_CACHE_HOME", str(locks.parent.parent / "copy"))
            with process.held("mine"):
                assert not claim.is_dead(client.get_run(container), held=True)
        holding.kill()
        holding.wait()
    assert claim.end_silent_runs(store) == 1
    ended = [client.get_run(it).info.status for it in (container, power_cut, *others)]
    assert ended == ["KILLED", "RUNNING", "RUNNING", "RUNNING"]
    # Two machines that share a disk may have locks of their own: what lives has a heartbeat.
    later = claim.time.monotonic() + claim.LOCKLESS_SECONDS
    monkeypatch.setattr("leafexp.tracking.claim.time.monotonic", lambda: later)
    with process.held("mine"):
        run = client.get_run(power_cut)
        assert not claim.is_dead(run), "its lock is held"
        assert claim.is_dead(run, held=True)
        client.set_tag(power_cut, names.HEARTBEAT, "1")
        assert not claim.is_dead(client.get_run(power_cut), held=True)
    assert not claim.is_dead(run), "its word is gone with the lock"


def test_a_run_that_was_heard_of_or_claimed_since_it_was_judged_is_not_ended(store: Store) -> None:
    client = MlflowClient(store.uri)
    for name, value, status in (
        (names.HEARTBEAT, "9", "RUNNING"),
        (names.CLAIM, "another's", "RUNNING"),
        (names.ROW, "b", "KILLED"),
    ):
        judged = client.get_run(begin(store, claim.claim()))
        client.set_tag(judged.info.run_id, name, value)
        assert claim._end(client, judged) == (status == "KILLED")
        assert client.get_run(judged.info.run_id).info.status == status


def test_of_machines_that_want_one_run_at_once_one_trains_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(store.uri)
    here, both = threading.local(), threading.Barrier(2)
    monkeypatch.setattr(process, "machine", lambda: {"boot": here.name, "namespace": "pid:[1]"})
    for module in (process, claim):
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / here.name)
    monkeypatch.setattr(claim, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(claim, "_MOST_APART_SECONDS", 0.2)
    tags = {names.SWEEP: "s", names.IDENTITY: "both"}

    def train(name: str, starts_anew: bool) -> str:
        here.name = name
        meeting = [both]
        with process.held("both"):
            while True:
                earlier = claim.look_up(store, "both")
                if earlier.finished:
                    return "skipped"
                if meeting:
                    meeting.pop().wait()  # each has seen that nobody trains it
                try:
                    with tracked(store, "row", tags, {"epochs": 1}, None if starts_anew else earlier.unfinished):
                        time.sleep(0.1)
                    return "trained"
                except claim.Met:
                    met.append(name)

    # New; and cut off, with a checkpoint on one machine alone.
    for cut_off in (False, True):
        met: list[str] = []
        if cut_off:
            here.name = "one"
            for run in client.search_runs([store.experiment_id]):
                client.delete_run(run.info.run_id)
            with pytest.raises(KeyboardInterrupt), tracked(store, "row", tags, {"epochs": 1}):
                raise KeyboardInterrupt
        with ThreadPoolExecutor(2) as machines:
            results = sorted(machines.map(train, ("one", "two"), (False, cut_off)))
        assert results == ["skipped", "trained"], met
        ended = [run.info.status for run in client.search_runs([store.experiment_id])]
        assert ended.count("FINISHED") == 1
        assert set(ended) <= {"FINISHED", "KILLED"}


def test_a_run_that_another_trains_is_let_go_of_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(store.uri)
    monkeypatch.setattr("leafexp.tracking.claim.random.uniform", lambda *_: 0)
    tags = {names.SWEEP: "s", names.IDENTITY: "both"}
    with pytest.raises(ValueError, match="once"), tracked(store, "row", tags, {"epochs": 1}) as run:
        raise ValueError("once")
    before = client.get_run(run.run_id)
    theirs = begin(store, {**claim.claim(), **tags}, boot="another")
    for earlier in (None, before):
        with pytest.raises(claim.Met), tracked(store, "row", tags, {"epochs": 1}, earlier):
            pass
    with pytest.raises(claim.Met), tracked(store, "row", tags, {"epochs": 1}, before):
        pass  # claimed since it was looked up
    after = client.get_run(run.run_id)
    assert (after.info.status, after.info.end_time) == ("FAILED", before.info.end_time)
    assert (after.data.tags[names.ERROR], after.data.tags.get(names.INTERRUPTIONS)) == ("ValueError: once", None)
    assert {it.info.run_id for it in client.search_runs([store.experiment_id])} == {theirs, run.run_id}
    client.set_terminated(theirs, "FINISHED")
    # Of a call that the server answered too late.
    made = claim.take(store, "row", tags, None)
    twin = client.create_run(store.experiment_id, tags=made.data.tags)
    claim._alone(store, made.info.run_id, made.data.tags[names.CLAIM], None)
    assert client.get_run(twin.info.run_id).info.lifecycle_stage == "deleted"


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_whose_claim_can_not_be_checked_is_not_ended(
    store: Store, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(store.uri)

    def unreachable(*_: object) -> None:
        raise ConnectionError("no route")

    error = KeyboardInterrupt if status == "KILLED" else ValueError
    with pytest.raises(error), tracked(store, "row", {names.SWEEP: "s", names.IDENTITY: status}, {}) as run:
        monkeypatch.setattr("leafexp.tracking.run.check_claim", unreachable)
        raise error
    after = client.get_run(run.run_id)
    assert (after.info.status, names.ERROR in after.data.tags) == ("RUNNING", False)


@pytest.mark.parametrize("where", ["epoch", "checkpoint", "result", "text", "end", "error"])
def test_a_run_whose_claim_was_lost_writes_nothing_more(store: Store, where: str, tmp_path: Path) -> None:
    client = MlflowClient(store.uri)

    def taken() -> None:
        with tracked(store, "row", {names.SWEEP: "s", names.IDENTITY: where}, {"epochs": 1}) as run:
            ids.append(run.run_id)
            client.set_tag(run.run_id, names.CLAIM, "another's")
            if where == "epoch":
                run.log_epoch({name: 1.0 for name in names.EPOCH_METRICS} | {"epoch": 1, names.TIMESTAMP: 1})
            elif where == "checkpoint":
                Checkpoint(saved, run.still_ours).save(Progress())
            elif where == "result":
                run.log_results({names.TEST_ACCURACY: 1.0})
            elif where == "text":
                run.log_text("x", "note.txt")
            elif where == "error":
                raise ValueError("of the run itself")

    ids: list[str] = []
    saved = tmp_path / "saved.npz"
    Checkpoint(saved).save(Progress(seconds=1))
    expected = ValueError if where == "error" else claim.ClaimLost
    with pytest.raises(expected):
        taken()
    after = client.get_run(ids[0])
    assert (after.info.status, dict(after.data.metrics)) == ("RUNNING", {})
    assert names.ERROR not in after.data.tags
    assert [file.path for file in client.list_artifacts(ids[0])] == [names.CONFIG_FILE]
    kept = Checkpoint(saved).load()
    assert kept is not None
    assert kept.seconds == 1
    assert [file.name for file in tmp_path.iterdir()] == ["saved.npz"]


def test_a_run_taken_up_has_a_new_claim(store: Store) -> None:
    client = MlflowClient(store.uri)
    tags = {names.SWEEP: "s", names.IDENTITY: "again"}
    with pytest.raises(KeyboardInterrupt), tracked(store, "row", tags, {"epochs": 1}) as run:
        raise KeyboardInterrupt
    first = client.get_run(run.run_id)
    assert first.info.status == "KILLED"
    with tracked(store, "row", tags, {"epochs": 1}, first) as again:
        assert client.get_run(again.run_id).info.status == "RUNNING"
    assert again.run_id == run.run_id
    last = client.get_run(run.run_id)
    assert last.info.status == "FINISHED"
    assert names.ERROR not in last.data.tags
    assert last.data.tags[names.CLAIM] != first.data.tags[names.CLAIM]
    assert str(os.getpid()) in last.data.tags[names.PROCESS]
    assert not list(cache_folder().glob("checkpoints/*"))
