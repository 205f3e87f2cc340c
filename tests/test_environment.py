"""The machine and the terminal as a user has them: other encodings, few processors, no home, no locks."""

import errno
import fcntl
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import SoftFileLease, Timeout

from leafexp import environment, interrupt, locks
from leafexp.errors import UserError
from leafexp.runs import outcomes
from leafexp.runs.outcomes import Outcome


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("cp1252", "-- rouille brûlée \\u5065 …"), ("ascii", "-- rouille br\\xfbl\\xe9e \\u5065 ...")],
)
def test_what_a_terminal_can_not_show_is_written_as_what_it_can(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", out)
    environment.print_everything()
    print("── rouille brûlée 健 …", end="", flush=True)
    assert out.buffer.getvalue().decode(encoding) == shown  # type: ignore[attr-defined]


def test_who_has_read_enough_sees_no_traceback() -> None:
    code = (
        "import sys; from leafexp.environment import begin_command; begin_command()\n"
        "for _ in range(10000): print('x' * 80)"
    )
    head = subprocess.run(
        f"{sys.executable} -c \"$CODE\" | head -1", shell=True, env={**os.environ, "CODE": code},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (head.stdout, head.stderr) == ("x" * 80 + "\n", "")


def test_processors_are_those_that_affinity_and_a_containers_limit_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr("leafexp.environment._CGROUPS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert environment.processors() == (2 if Path("/proc/self/cgroup").exists() else 8)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert environment.processors() == 8
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    assert environment.processors() == 1


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert environment.user() == str(os.getuid())


def test_a_cache_that_can_not_be_is_said_with_the_variable_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"can't be kept \(.*file.*XDG_CACHE_HOME\.$"):
        environment.check_environment()


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


HOLD = """
import time
from filelock import SoftFileLease
lock = SoftFileLease({path!r}, lease_duration=0.6)
lock.acquire()
print("held", flush=True)
time.sleep(100)
"""


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_lease_locks_and_a_dead_holder_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locks.file_lock(tmp_path / "a.lock"), pytest.raises(Timeout):
        locks.file_lock(tmp_path / "a.lock", timeout=0).acquire()
    assert isinstance(locks.file_lock(tmp_path / "a.lock"), SoftFileLease)
    # Of another container: it can't be seen that its holder is dead, only that it renews the lease no more.
    path = str(tmp_path / "b.lock.lease")
    with subprocess.Popen([sys.executable, "-c", HOLD.format(path=path)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        monkeypatch.setattr("filelock._identity.host_name", lambda: "another")
        with pytest.raises(Timeout):
            SoftFileLease(path, lease_duration=0.6, timeout=1).acquire()
        process.kill()
    SoftFileLease(path, lease_duration=0.6, timeout=10).acquire()


def test_a_run_that_ends_in_good_order_is_not_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("leafexp.interrupt._AT_LAST_SECONDS", 0.3)
    monkeypatch.setattr("os._exit", ended.append)
    for understands in (True, False):
        with interrupt.interruptible():
            with pytest.raises(interrupt.Interrupted):
                os.kill(os.getpid(), 15)
                time.sleep(1)
            if understands:
                interrupt.ending()
                time.sleep(0.6)
                assert not ended
            else:
                for _ in range(6):
                    time.sleep(0.1)
    assert ended == [128 + 15]


def test_a_sweep_begun_again_removes_what_leafexp_wrote_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leafexp.runs.outcomes.ROOT", tmp_path)
    outcomes.note("a", 3, Outcome("seed=1", outcomes.FAILED, "why"), "details")
    cells = tmp_path / "outputs" / "a" / "cells"
    (cells / "notes.json").write_text("mine")
    (cells / "sub").mkdir()
    assert [outcome.cell for outcome in outcomes.read("a")] == ["seed=1"]
    outcomes.begin("a")
    assert {path.name for path in cells.iterdir()} == {"notes.json", "sub"}
    assert outcomes.read("a") == []


def test_pictures_are_the_same_whatever_the_home_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / ".config" / "matplotlib"
    own.mkdir(parents=True)
    (own / "matplotlibrc").write_text("lines.linewidth: 9\n")
    own.parent.chmod(0o555)
    code = "from leafexp.environment import begin_command; begin_command(); import matplotlib; "
    code += "print(matplotlib.rcParams['lines.linewidth'])"
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | home, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1.5\n", "")
