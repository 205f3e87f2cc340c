"""Who is taken for dead, and when: never a run that lives, whatever its machine is called and its clock shows."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.paths import cache_folder
from leafexp.tracking import claim
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
    store: Store, other: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(store.uri)
    still = begin(store, other, boot="another")
    moves = begin(store, other | {names.HEARTBEAT: "1"}, boot="another")
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
from leafexp.tracking import claim
with claim.held("mine"):
    print(claim.claim("mine"), flush=True)
    time.sleep(100)
"""


def test_a_killed_process_is_known_by_the_lock_it_held_whatever_its_machine_and_container(store: Store) -> None:
    client = MlflowClient(store.uri)
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        killed = {names.IDENTITY: "mine"} | eval(process.stdout.readline())
        elsewhere = {"boot": "earlier", "namespace": "pid:[1]"}
        run = begin(store, killed, **elsewhere)
        others = [begin(store, killed, **elsewhere, lock=word) for word in ("another", "")]
        assert claim.end_silent_runs(store) == 0
        process.kill()
        process.wait()
    assert claim.end_silent_runs(store) == 1
    assert [client.get_run(it).info.status for it in (run, *others)] == ["KILLED", "RUNNING", "RUNNING"]
    with claim.held("mine"):
        again = client.get_run(begin(store, killed, **elsewhere))
        assert claim.is_gone(again, held=True)
        assert not claim.is_gone(again)
    assert not claim.is_gone(again), "its word is gone with the lock"


def test_two_machines_that_make_one_run_at_once_leave_one(
    store: Store, other: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(store.uri)
    monkeypatch.setattr("leafexp.tracking.claim.random.uniform", lambda *_: 0)
    tags = {names.SWEEP: "s", names.IDENTITY: "both"}
    theirs = begin(store, {**other, **tags}, boot="another")
    with pytest.raises(claim.Met), tracked(store, "row", tags, {"epochs": 1}):
        pass
    (left,) = client.search_runs([store.experiment_id])
    assert left.info.run_id == theirs
    client.set_terminated(theirs, "FINISHED")
    with tracked(store, "row", tags, {"epochs": 1}) as run:
        # Of a call that the server answered too late.
        made = client.get_run(run.run_id)
        twin = client.create_run(store.experiment_id, tags=made.data.tags)
        claim.check_alone(store, made, "both")
    assert {it.info.run_id for it in client.search_runs([store.experiment_id])} == {theirs, run.run_id}
    assert client.get_run(twin.info.run_id).info.lifecycle_stage == "deleted"


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
