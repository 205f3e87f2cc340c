"""What the terminal shows while cells are trained, as somebody in front of it sees it."""

import contextlib
import logging
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tqdm import tqdm

from leafexp import names
from leafexp.runs import progress
from leafexp.runs.progress import Cell
from tests.conftest import CHECKOUT, write_photos

pty = pytest.importorskip("pty", reason="Windows has no pseudoterminals")
termios = pytest.importorskip("termios", reason="Windows has no pseudoterminals")

GRID = [[f"seed={seed}", f"model={model}", "epochs=4"] for seed in (0, 1, 10) for model in ("cnn", "mnv2")]


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_measured", {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that goes on when a test says so."""
    now = SimpleNamespace(seconds=1e6)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def cell(number: int, cells: list[list[str]] = GRID, in_parallel: bool = False) -> Cell:
    words = dict(word.split("=") for word in cells[number])
    config: Any = SimpleNamespace(
        model=SimpleNamespace(name=words["model"]),
        freeze=SimpleNamespace(name="partial", phases={"head": 0, "tune": 0}),
        seed=int(words["seed"]),
        epochs=int(words["epochs"]),
    )
    return Cell(number, cells[number], config, cells, in_parallel)


def train(clock: SimpleNamespace, one: Cell, seconds: list[float]) -> None:
    """Epochs of so many seconds, the first of them in the head phase."""
    for epoch, passed in enumerate(seconds, start=len(one.epochs) + 1):
        clock.seconds += passed
        phase = "head" if epoch == 1 else "tune"
        one.epoch({"epoch": epoch, "phase": phase, names.EPOCH_SECONDS: passed, names.VAL_ACCURACY: 0.875})


class Terminal:
    """A pseudoterminal of 80 columns: what is on it after each write of a process."""

    def __init__(self) -> None:
        self.theirs, self.ours = pty.openpty()
        termios.tcsetwinsize(self.ours, (24, 80))
        self.received = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while more := os.read(self.theirs, 10_000):
                self.received += more

    def close(self) -> None:
        os.close(self.ours)
        self._reader.join(timeout=10)
        os.close(self.theirs)

    def lines(self) -> tuple[list[str], list[str]]:
        """The lines as they stand in the end, and what stood in the last one at any time."""
        lines, column, seen = [""], 0, []
        for letter in self.received.decode().replace("\r\n", "\n"):
            if letter == "\n":
                lines.append("")
                column = 0
            elif letter == "\r":
                seen.append(lines[-1].rstrip())
                column = 0
            else:
                lines[-1] = lines[-1][:column] + letter + lines[-1][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines], seen


def test_the_last_line_is_rewritten_in_place_and_what_others_say_stays(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    screen = os.fdopen(os.dup(terminal.ours), "w", buffering=1)
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen), progress.in_place():
        handler = logging.StreamHandler(sys.stdout)
        one = cell(0)
        one.begin()
        for _ in tqdm(range(3), "Checking photos", leave=False, mininterval=0):
            pass
        train(clock, one, [1, 30])
        handler.emit(logging.makeLogRecord({"msg": "The tracking server does not answer."}))
        print("Photos: 12", "of one leaf", file=sys.stderr)
        train(clock, one, [10, 10])
        clock.seconds += 9
        one.done(0.5836)
        cell(1).skipped(1.0)
        other = cell(2)
        other.begin()
        train(clock, other, [1, 30])
        other.failed("The disk is full.")
        cell(3).begin()
    screen.close()
    terminal.close()
    lines, seen = terminal.lines()
    assert lines == [
        "The tracking server does not answer.",
        "Photos: 12 of one leaf",
        "  1/6  cnn   partial  seed 0   test  58.4 %            1 min",
        "  2/6  mnv2  partial  seed 0   test 100.0 %  finished before",
        "  3/6  cnn   partial  seed 1   failed",
        "The disk is full.",
        "",
    ]
    shown = [line for line in seen if "begins" in line or "epoch" in line]
    assert " 1/6 cnn partial seed 0  epoch 2/4, validation 87.5 %" in shown
    assert " 3/6 cnn partial seed 1  epoch 2/4, validation 87.5 %, about 20 s for this cell" in shown
    assert any("Checking photos" in line for line in seen)
    assert all(len(line) < 80 for line in [*lines, *seen])


def test_the_time_left_is_told_from_what_was_measured_and_from_nothing_else(clock: SimpleNamespace) -> None:
    first, one_kind = cell(0), [words for words in GRID if "model=cnn" in words]
    train(clock, first, [2, 200])
    assert first._left() == "", "one epoch of the last phase, with the tracing of graphs in it"
    train(clock, first, [20])
    assert first._left() == "20 s for this cell", "nothing is known of the other network"
    alone = cell(0, one_kind[:1])
    alone.epochs, alone.steady, alone.trained = [2, 200, 20], [200, 20], 222
    assert alone._left() == "20 s left"
    train(clock, first, [20])
    clock.seconds += 58
    first.done(0.5)  # 300 s
    second = cell(1)
    train(clock, second, [100, 300, 100, 100])
    second.done(0.5)  # 600 s
    third = cell(2)
    assert third._left() == f"{(242 + 600 + 300 + 600) // 60} min left"
    train(clock, third, [2, 200])
    assert third._left() == "26 min left"  # 40 + 1500 s
    # Of an epoch that an earlier command trained, only its own length counts.
    resumed = cell(0, one_kind)
    resumed.epoch({"epoch": 1, "phase": "head", names.EPOCH_SECONDS: 1000.0, names.VAL_ACCURACY: 0.5})
    train(clock, resumed, [10, 10, 10])
    resumed.done(0.5)
    assert cell(2, one_kind)._left() == "17 min left"
    assert cell(1, one_kind)._left() == "34 min left"


def test_settings_too_long_for_a_line_go_on_in_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    long = ["freeze.phases.head.epoch_share={}", "freeze.phases.tune.batch_norm_momentum={}", "data.path=fold{}.csv"]
    cells = [["seed=0", "model=mnv2", "epochs=4", *(word.format(value) for word in long)] for value in ("0", "0.25")]
    cell(0, cells).skipped(0.9)
    cell(1, cells, in_parallel=True).epoch({"epoch": 1, "phase": "head", names.EPOCH_SECONDS: 1, names.VAL_ACCURACY: 1})
    cell(1, cells, in_parallel=True).skipped(0.9)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("  1/2  mnv2  partial  seed 0  epoch_share=0 ")
    assert first.endswith("test  90.0 %  finished before")
    assert " ".join(rest).split()[-2:] == ["batch_norm_momentum=0.25", "path=fold0.25.csv"]
    assert all(len(line) <= 80 for line in (first, *rest))


@pytest.mark.slow
def test_a_sweep_on_a_terminal(tmp_path: Path) -> None:
    import subprocess

    write_photos(tmp_path / "photos", {"blight": 24, "healthy": 24, "mold": 24})
    terminal = Terminal()
    small = ["model=cnn", "model.network.filters=[4]", "data=folder", "data.path=photos", "data.image_size=32"]
    command = [sys.executable, "-m", "leafexp.train", "-m", *small, "freeze=unfrozen,partial", "seed=0,1", "epochs=3"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment |= {"PYTHONPATH": str(CHECKOUT / "src"), "COLUMNS": "80", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    uri = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    with_data = [*command, "model.partial_from=head_dense", uri]
    done = subprocess.run(
        with_data, cwd=tmp_path, env=environment, stdout=terminal.ours, stderr=terminal.ours, check=False
    )
    terminal.close()
    lines, seen = terminal.lines()
    assert done.returncode == 0, lines
    before = lines[: lines.index(next(line for line in lines if line.startswith("Sweep ")))]
    assert before[0] == "leafexp: 4 cells, 3 epochs each, model.network.filters=[4] data=folder"
    cells = [line for line in before if line.startswith(("  1/4", "  2/4", "  3/4", "  4/4"))]
    assert [line[:34].split() for line in cells] == [
        [f"{number}/4", "cnn", freeze, "seed", seed, "test"]
        for number, (freeze, seed) in enumerate(
            [("unfrozen", "0"), ("unfrozen", "1"), ("partial", "0"), ("partial", "1")], start=1
        )
    ]
    others = [line for line in before if line not in cells]
    assert not any("epoch " in line or "begins" in line for line in others), "nothing is left of the line in place"
    assert any(line.startswith(" 1/4 cnn unfrozen seed 0  epoch 3/3, validation ") for line in seen)
    assert all(len(line) <= 80 for line in [*before, *seen])
