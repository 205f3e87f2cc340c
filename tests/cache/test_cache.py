"""Arrays that runs share: made once, found again, never half there, never too many."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leafexp import locks
from leafexp.cache import __main__ as cache
from leafexp.cache import arrays, room
from leafexp.cache.arrays import Stored, get_or_make, take
from leafexp.cache.room import CacheTooSmall
from leafexp.errors import UserError
from leafexp.locks import file_lock

CONTENT = np.arange(2000, dtype=np.float32).reshape(20, 100)
SIZE = CONTENT.nbytes


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "leafexp"


def stored(key: str = "a", max_bytes: int = 10 * SIZE, times: list[str] | None = None) -> Stored:
    def make(about: dict[str, Any]) -> Iterator[np.ndarray]:
        if times is not None:
            times.append(key)
        about["noted"] = key
        for start in (0, 15):
            yield CONTENT[start : start + 15]

    return get_or_make("kind", key, "numbers", 20, (100,), np.float32, make, max_bytes)


def test_an_array_is_made_once_and_read_from_disk_after_that() -> None:
    times: list[str] = []
    first, second = stored(times=times), stored(times=times)
    assert times == ["a"]
    assert (first.reused, second.reused) == (False, True)
    assert second.about["noted"] == "a"
    assert second.about["seconds"] > 0
    np.testing.assert_array_equal(take(second.array, np.array([3, 19, 3])), CONTENT[[3, 19, 3]])
    with pytest.raises(ValueError, match="read-only"):
        second.array[0] = 1


def test_fewer_rows_than_foreseen_are_fine() -> None:
    kept = get_or_make("kind", "b", "numbers", 20, (100,), np.float32, lambda _: iter([CONTENT[:3]]), SIZE)
    assert kept.array.shape == (3, 100)


def test_what_fails_or_is_damaged_is_made_again(folder: Path) -> None:
    def fail(_: dict[str, Any]) -> Iterator[np.ndarray]:
        yield CONTENT
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        get_or_make("kind", "a", "numbers", 20, (100,), np.float32, fail, SIZE)
    assert not list(folder.glob("kind/a*/*"))
    os.truncate(Path(stored().array.filename), SIZE // 2)
    again = stored()
    assert not again.reused
    np.testing.assert_array_equal(again.array, CONTENT)


def test_the_least_recently_used_go_first_and_readers_go_on() -> None:
    files = {key: Path(stored(key).array.filename) for key in ("oldest", "newer")}
    for age, file in zip((200, 100), files.values(), strict=True):
        os.utime(file.parent, (time.time() - age,) * 2)
    reader = np.memmap(files["newer"], np.float32, mode="r", shape=CONTENT.shape)  # as of another process
    stored("oldest")  # used again, so no longer the one to go
    room_for_two = 2 * SIZE + 1000
    assert not stored("third", room_for_two).reused
    assert stored("oldest").reused
    assert not stored("newer").reused
    np.testing.assert_array_equal(reader, CONTENT)


def test_what_is_in_use_is_not_deleted_and_what_is_deleted_is_named(caplog: pytest.LogCaptureFixture) -> None:
    pixels = stored("pixels")
    with pytest.raises(CacheTooSmall, match="what is in use takes 0.00 GB; cache_gb=.* allows less. Raise cache_gb"):
        stored("features", SIZE + 1000)
    assert stored("pixels").reused and not caplog.text
    del pixels
    stored("features", SIZE + 1000)
    assert "Deleted from the cache to make room: numbers (last used " in caplog.text


def test_checkpoints_count_and_old_ones_go(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = folder / room.CHECKPOINTS
    checkpoints.mkdir(parents=True)
    for name in ("old", "new"):
        (checkpoints / f"{name}.npz").write_bytes(bytes(SIZE))
    os.utime(checkpoints / "old.npz", (time.time() - 40 * 86400,) * 2)
    with pytest.raises(CacheTooSmall, match="Raise cache_gb"):
        stored("a", 2 * SIZE - 1)
    assert [file.name for file in checkpoints.iterdir()] == ["new.npz"]
    assert "Deleted 1 checkpoint of runs not gone on with for 30 days" in caplog.text
    assert stored("a", 2 * SIZE).array.shape == CONTENT.shape


def test_an_array_of_bfloat16_comes_back_as_it_was() -> None:
    import ml_dtypes

    content = CONTENT.astype(ml_dtypes.bfloat16)
    for reused in (False, True):
        kept = get_or_make("kind", "half", "halves", 20, (100,), ml_dtypes.bfloat16, lambda _: iter([content]), SIZE)
        assert kept.reused == reused
        np.testing.assert_array_equal(kept.array, content)


def test_an_array_larger_than_the_cache_is_refused_before_it_is_made() -> None:
    with pytest.raises(CacheTooSmall, match=r"numbers would take 0.00 GB on disk, more than cache_gb=1e-06 allows"):
        stored(max_bytes=1000)


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="can't be used: Not a directory. Choose another .* XDG_CACHE_HOME"):
        stored()


def test_a_full_disk_is_told_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a small disk")
    try:
        monkeypatch.setenv("XDG_CACHE_HOME", str(small))
        assert stored(max_bytes=10**9).array.shape == CONTENT.shape

        def large(_: dict[str, Any]) -> Iterator[np.ndarray]:
            yield from [CONTENT] * 100

        with pytest.raises(CacheTooSmall, match="is full. Free some"):
            get_or_make("kind", "large", "numbers", 2000, (100,), np.float32, large, 10**9)
        assert stored(max_bytes=10**9).reused
        assert not list(small.glob("leafexp/kind/large*/*"))
    finally:
        subprocess.run(["umount", "-l", small], check=True)


MAKER = """
import sys, time
import numpy as np
from leafexp.cache.arrays import get_or_make
def make(about):
    open(sys.argv[1], "a").write("made\\n")
    for _ in range(20):
        time.sleep(float(sys.argv[2]))
        yield np.ones((1, 100), np.float32)
kept = get_or_make("kind", "shared", "numbers", 20, (100,), np.float32, make, 10**9)
print(kept.array.sum())
"""


def maker(log: Path, pause: float) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", MAKER, str(log), str(pause)], stdout=subprocess.PIPE, text=True)


def test_of_several_processes_at_once_one_makes_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [maker(log, 0.05) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in processes] == ["2000.0"] * 4
    assert log.read_text() == "made\n"


def test_one_killed_while_making_leaves_the_way_free(tmp_path: Path, folder: Path) -> None:
    log = tmp_path / "log"
    process = maker(log, 10)
    while not log.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert maker(log, 0).communicate()[0].strip() == "2000.0"
    assert [path.name for path in folder.glob("kind/*/")] == ["shared"]


@pytest.mark.parametrize("system_locks", [True, False])
def test_the_command_lists_and_clears_and_takes_nothing_from_a_run(
    system_locks: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locks, "system_locks", lambda _: system_locks)
    stored("a")
    arrays.kept("audit", arrays.key_of("found"), lambda: 1)
    for place in ("checkpoints", "running", "kind/killed.unfinished", "matplotlib"):
        (folder / place).mkdir(parents=True)
    old, fresh = folder / "checkpoints/a.1234.unfinished", folder / "checkpoints/b.1234.unfinished"
    free = folder / ("running/free.lock" if system_locks else "running/free.lock.lease")
    with file_lock(folder / "running/free.lock"):
        held = free.read_text()
    free.write_text(held.replace(f"pid={os.getpid()}", "pid=4000000"))  # as a process leaves it that was killed
    foreign = ("running/killed.word", "matplotlib/fontlist.json")
    for name in ("checkpoints/one.npz", "checkpoints/two.npz", old, fresh, "running/run.heard", *foreign):
        (folder / name).touch()
    for file in (old, free):
        os.utime(file, (time.time() - 700,) * 2)

    def typed(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cache", *words])
        assert cache.main() == 0
        return capsys.readouterr().out

    listed = typed()
    for words in ("1 array, ", "numbers, made in", "2 files of runs that are not finished: checkpoints",
                  "1 file of audits", "2 files of runs that are trained or were cut off", "2 files half"):  # fmt: skip
        assert words in listed
    with file_lock(folder / "running" / "held.lock"):
        said = typed("--clear")
    assert "Deleted 1 finding, 1 lock or note, 2 halves." in said
    assert "Kept, as a run is being trained: 1 array and 2 checkpoints." in said
    assert stored("a").reused
    said = typed("--clear")
    noted = "2 locks and notes" if system_locks else "1 lock or note"  # a lease goes with its holder
    assert f"Deleted 1 array, 2 checkpoints, {noted}." in said
    assert "2 unfinished runs can't be gone on with: the same command begins anew." in said
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left == {*foreign, fresh.relative_to(folder).as_posix()}
    assert "Deleted nothing." in typed("--clear")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
def test_rows_read_do_not_stay_in_memory() -> None:
    block = np.ones((1000, 1000), np.float32)
    kept = get_or_make("kind", "c", "much", 16000, (1000,), np.float32, lambda _: iter([block] * 16), 10**9)

    def mapped_megabytes() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssFile")).split()[1]) / 1000

    before = mapped_megabytes()
    for start in range(0, 16000, 100):
        take(kept.array, np.arange(start, start + 100))
    assert mapped_megabytes() - before < 10
    kept.array.sum()
    assert mapped_megabytes() - before > 40, "else this test could not fail"


def test_findings_are_kept_and_made_anew_where_they_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make() -> dict[str, int]:
        made.append(1)
        return {"pairs": len(made)}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert [arrays.kept("audit", "a", make) for _ in range(2)] == [{"pairs": 1}] * 2
    (tmp_path / "home" / "leafexp" / "audit" / "a.json").write_text("{broken")
    assert arrays.kept("audit", "a", make) == {"pairs": 2}
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [arrays.kept("audit", "a", make)["pairs"] for _ in range(2)] == [3, 4]
