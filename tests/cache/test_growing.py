"""Arrays that grow: each row made once, whoever needs it, and never half there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from leafexp.cache import growing
from leafexp.cache.growing import Grown, grow
from leafexp.cache.room import CacheTooSmall, by_last_use
from leafexp.errors import UserError
from leafexp.paths import cache_folder

ROW_BYTES = 400


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "leafexp" / "kind" / "a"


def row(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=100).astype(np.float32)


def grown(wanted: list[int], asked: list[int] | None = None, max_bytes: int = 10**6, stop_at: int = -1) -> Grown:
    def make(missing: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        for start in range(0, len(missing), 3):
            block = missing[start : start + 3]
            if stop_at in block:
                raise UserError("no more")
            if asked is not None:
                asked.extend(block.tolist())
            yield np.stack([row(number) for number in block]), 0.25

    return grow(cache_folder() / "kind" / "a", "numbers", np.array(wanted), (100,), np.float32, make, max_bytes)


def assert_right(found: Grown, wanted: list[int]) -> None:
    places = {number: place for place, number in enumerate(found.made["number"])}
    assert len(places) == len(found.made) == len(found.array)
    for number in wanted:
        np.testing.assert_array_equal(found.array[places[number]], row(number))


def test_a_row_is_made_when_it_is_first_needed_and_never_again(folder: Path) -> None:
    asked: list[int] = []
    first = grown([5, 3, 9, 3, 1], asked)
    assert (asked, first.before) == ([1, 3, 5, 9], 0)
    second = grown([9, 2, 5, 40], asked)
    assert (asked, second.before) == ([1, 3, 5, 9, 2, 40], 4)
    third = grown([1, 2, 3], asked)
    assert (len(asked), third.before) == (6, 6)
    for found in (first, second, third):
        assert_right(found, found.made["number"].tolist())
    # Each row keeps what it took.
    np.testing.assert_array_equal(third.made[:4], first.made)
    assert (third.made["seconds"] > 0).all() and (third.made["forward"] == 0.25).all()
    about = json.loads((folder / "about.json").read_text())
    assert about == {"what": "6 numbers", "seconds": pytest.approx(third.made["seconds"].sum())}
    assert (folder / "array.bin").stat().st_size == 6 * ROW_BYTES


def test_what_fails_leaves_the_rows_before_and_what_is_damaged_is_made_again(folder: Path) -> None:
    asked: list[int] = []
    grown([1, 2], asked)
    with pytest.raises(UserError, match="no more"):
        grown([3, 4, 5, 6, 7], asked, stop_at=7)
    assert (folder / "array.bin").stat().st_size == 2 * ROW_BYTES
    assert_right(grown([1, 2, 6], asked), [1, 2, 6])
    assert asked == [1, 2, 3, 4, 5, 6]
    for damage in (
        lambda: os.truncate(folder / "array.bin", 2 * ROW_BYTES),
        lambda: os.truncate(folder / "made.npy", 100),
        (folder / "about.json").unlink,
        (folder / "made.npy").unlink,  # an array of an earlier version
    ):
        damage()
        again = grown([1, 2, 6])
        assert again.before == 0
        assert_right(again, [1, 2, 6])


def test_rows_that_do_not_fit_are_refused_and_its_own_rows_are_not_deleted_for_them() -> None:
    room = 4 * ROW_BYTES + 1000
    first = grown([1, 2], max_bytes=room)
    with pytest.raises(CacheTooSmall, match="5 numbers would take .* on disk, more than cache_gb="):
        grown([1, 2, 3, 4, 5], max_bytes=4 * ROW_BYTES)
    with pytest.raises(CacheTooSmall, match="in use takes .* Raise cache_gb"):
        grown([3, 4, 5, 6], max_bytes=room)
    assert grown([1, 2]).before == 2
    assert_right(first, [1, 2])


def test_what_comes_before_the_first_row_counts_for_all_rows_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_KEEP_SECONDS", 0.0)

    def make(missing: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        time.sleep(0.2)  # as tracing a graph
        for number in missing:
            yield row(number)[None], 0.0

    kind = (cache_folder() / "kind" / "a", "numbers")
    grow(*kind, np.arange(3), (100,), np.float32, make, 10**6)
    made = grow(*kind, np.arange(7), (100,), np.float32, make, 10**6).made["seconds"]
    assert len(set(made[:3])) == len(set(made[3:])) == 1
    assert made[:3].sum() > 0.2 < made[3:].sum()


def test_rows_that_others_needed_go_where_there_is_no_room_beside_them(caplog: pytest.LogCaptureFixture) -> None:
    room = 4 * ROW_BYTES + 1000
    asked: list[int] = []
    grown([1, 2, 3], asked)  # by a process that has ended
    found = grown([3, 4, 5, 6], asked, max_bytes=room)
    assert_right(found, [3, 4, 5, 6])
    assert (asked, found.before, len(found.made)) == ([1, 2, 3, 3, 4, 5, 6], 0, 4)
    assert "Deleted from the cache to make room: 3 numbers." in caplog.text


def test_an_array_is_there_while_its_files_are_replaced(folder: Path) -> None:
    grown([1, 2])
    (folder / "made.npy.unfinished").symlink_to("gone")  # listed, and renamed before it is looked at
    assert [entry for _, _, entry in by_last_use()] == [folder]


MAKER = """
import sys, time
import numpy as np
from leafexp.cache import growing
from leafexp.paths import cache_folder
growing._KEEP_SECONDS = 0.0
def make(missing):
    for number in missing:
        open(sys.argv[1], "a").write(f"{number}\\n")
        time.sleep(float(sys.argv[2]))
        yield np.random.default_rng(number).normal(size=(1, 100)).astype(np.float32), 0.0
wanted = np.arange(int(sys.argv[3]), int(sys.argv[4]))
growing.grow(cache_folder() / "kind" / "a", "numbers", wanted, (100,), np.float32, make, 10**6)
"""


def maker(log: Path, pause: float, begin: int, end: int) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", MAKER, str(log), str(pause), str(begin), str(end)], text=True)


def test_processes_at_once_make_each_row_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [maker(log, 0.01, begin, begin + 30) for begin in (0, 20, 10)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert sorted(map(int, log.read_text().split())) == list(range(50))
    assert_right(grown(list(range(50)), max_bytes=10**6, stop_at=0), list(range(50)))


def test_one_killed_while_making_leaves_what_it_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = maker(log, 0.05, 0, 40)
    while not log.exists() or log.read_text().count("\n") < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open(cache_folder() / "kind" / "a" / "array.bin", "ab") as file:
        file.write(b"half a row")
    asked: list[int] = []
    found = grown(list(range(40)), asked)
    assert 4 <= found.before < 40
    assert asked == list(range(found.before, 40))
    assert_right(found, list(range(40)))


def test_a_disk_that_is_full_keeps_the_rows_before(monkeypatch: pytest.MonkeyPatch) -> None:
    grown([1, 2])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(CacheTooSmall, match="is full. Free some"):
        patch.setattr(growing.os, "fsync", full)
        grown([3, 4])
    assert_right(grown([1, 2, 3]), [1, 2, 3])
