"""What the terminal shows of cells: what they share, a line for each that is done, and how far the present one is.

On a terminal the last line is rewritten in place. Elsewhere, as in a file, a sweep has a line a cell, when the cell is
done, and a single run one an epoch as well.
"""

import contextlib
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.utils import get_class

from leafexp import names, stores
from leafexp.runs import outcomes
from leafexp.wording import counted, duration

if TYPE_CHECKING:
    from omegaconf import DictConfig

WIDTH = 80
_COLUMNS = ("model", "freeze", "seed")  # each cell's line begins with these
_ANYTHING = ("epochs", "row", "experiment")  # where cells differ in these, their numbers of epochs may


class Announcement(Callback):
    """Hydra, which knows all cells, calls it before the first of them, and it says what they share."""

    def on_run_start(self, config: "DictConfig", **_: Any) -> None:
        """Say what the only cell is."""
        _announce(config, [list(config.hydra.overrides.task)])

    def on_multirun_start(self, config: "DictConfig", **_: Any) -> None:
        """Say what the sweep's cells share; nothing where another sweeper than Hydra's own finds them as it goes."""
        if combine := getattr(get_class(config.hydra.sweeper._target_), "split_arguments", None):
            swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
            parsed = OverridesParser.create().parse_overrides([*swept, *config.hydra.overrides.task])
            _announce(config, combine(parsed, None)[0])


def _announce(config: "DictConfig", cells: Sequence[Sequence[str]]) -> None:
    planned = [own_words(cell) for cell in cells]
    outcomes.plan(str(config.sweep), planned)
    shared = set.intersection(*map(set, planned))
    name = config.tracking.experiment
    said = [f"{name}: {counted(len(planned), 'cell')}"]
    if not any(_key(word) in _ANYTHING for word in set().union(*planned) - shared):
        said.append(counted(config.epochs, "epoch") + (" each" if len(planned) > 1 else ""))
    told = (f"experiment={name}", f"tracking.experiment={name}", f"epochs={config.epochs}")
    words = [word for word in planned[0] if word in shared and word not in told and _key(word) not in _COLUMNS]
    text = ", ".join([*said, *filter(None, [" ".join(words)])])
    print(_wrapped(stores.scrubbed(text), "  ", first=""), flush=True)


def own_words(overrides: Sequence[str]) -> list[str]:
    """The overrides that a cell was typed with, without those that every command is given."""
    return [word for word in overrides if not word.startswith("sweep=") and word != "tracking.uri=null"]


@dataclass(frozen=True)
class _Measured:
    """The seconds of a cell: of each epoch, and of all else."""

    epochs: list[float]
    other: float

    @property
    def seconds(self) -> float:
        return sum(self.epochs) + self.other


@dataclass
class Cell:
    """A cell on the terminal.

    Attributes:
        number: its place among the command's cells, from 0.
        words: its overrides.
        config: its configuration.
        cells: the overrides of all cells; empty where they are not known.
        in_parallel: whether others print to the same terminal at the same time; it then has its last line only.
    """

    number: int
    words: list[str]
    config: "DictConfig"
    cells: list[list[str]]
    in_parallel: bool
    began: float = field(default_factory=lambda: time.monotonic())
    epochs: list[float] = field(default_factory=list)  # the seconds of each
    trained: float = 0.0  # of these, spent by this command
    steady: list[float] = field(default_factory=list)  # of these, the last phase's after its first

    def begin(self) -> None:
        """Show that it has begun."""
        self._show("begins")

    def epoch(self, row: Mapping[str, float | int | str]) -> None:
        """Show that an epoch is over, as training reports it."""
        seconds = float(row[names.EPOCH_SECONDS])
        self.epochs.append(seconds)
        if self.trained + seconds <= self._took():  # else an earlier command trained it
            self.trained += seconds
        if row["phase"] == list(self.config.freeze.phases)[-1]:
            self.steady.append(seconds)
        accuracy = f"validation {100 * float(row[names.VAL_ACCURACY]):.1f} %"
        self._show(f"epoch {row['epoch']}/{self.config.epochs}, {accuracy}", alone=len(self.cells) == 1)

    def done(self, accuracy: float) -> None:
        """Print its line, with test accuracy and time."""
        _measured[_kind(self.words)] = _Measured(self.epochs, self._took() - self.trained)
        planned, trained = self.config.epochs, len(self.epochs)
        ended = f"{trained} of {counted(planned, 'epoch')}, " if trained < planned else ""
        self._print(accuracy, f"{ended}{duration(self._took())}")

    def skipped(self, accuracy: float) -> None:
        """Print its line, with the test accuracy of the run that was finished before."""
        self._print(accuracy, "finished before")

    def failed(self, reason: str) -> None:
        """Print its line and why it failed."""
        _bottom.show("")
        print(f"{self._label('failed')}\n{reason}", file=sys.stderr, flush=True)

    def _took(self) -> float:
        return time.monotonic() - self.began

    def _print(self, accuracy: float, how: str) -> None:
        _bottom.show("")
        print(self._label(f"test {100 * accuracy:5.1f} %  {how:>15}"), flush=True)

    def _show(self, reached: str, alone: bool = False) -> None:
        if self.in_parallel:
            return
        left = self._left()
        said = f"{reached}, about {left}" if left else reached
        if _bottom.out:
            room = min(WIDTH, shutil.get_terminal_size().columns) - 1
            label = " ".join(["", self._place(), *map(str.strip, self._fixed()), *self._rest(self.words)])
            if len(label) + 2 + len(said) > room:
                label = f"{label[: max(0, room - len(said) - 5)]}..."
            _bottom.show(f"{label}  {said}"[:room])
        elif alone:
            print(f"  {said}", flush=True)

    def _left(self) -> str:
        """How long all cells will take, or else this one; nothing before that can be told from what was measured.

        A cell takes as long as the last one that differs from it in seeds and optimizer alone. The first of its kind
        takes as long as its epochs so far, once there are two of the last phase: phases differ, and each one's first
        epoch includes the tracing of graphs.
        """
        done, known = len(self.epochs), _measured.get(_kind(self.words))
        if known is None and len(self.steady) > 1:
            mean = sum(self.steady[1:]) / (len(self.steady) - 1)
            to_come = [mean] * (self.config.epochs - done)
            known = _Measured([*self.epochs, *to_come], self._took() - self.trained)
        if known is None:
            return ""
        left = sum(known.epochs[done:])
        measured = {**_measured, _kind(self.words): known}
        others = [measured.get(_kind(cell)) for cell in self.cells[self.number + 1 :]]
        cells = [cell for cell in others if cell]
        for_all = len(cells) == len(others)
        seconds = _rounded(left + sum(cell.seconds for cell in cells) if for_all else left)
        return f"{duration(seconds)} {'left' if for_all else 'for this cell'}" if seconds else ""

    def _label(self, result: str) -> str:
        """Its lines: number, model, freeze strategy, seed and what else differs among the cells, then the result."""
        begin = "  ".join(["", self._place(), *self._fixed()])
        room = WIDTH - len(begin) - len(result) - 4
        widest = max(len(" ".join(self._rest(cell))) for cell in self.cells or [self.words])
        first, words = "", self._rest(self.words)
        while words and len(longer := f"{first} {words[0]}".strip()) <= room:
            first, words = longer, words[1:]
        line = f"{begin}  {first:<{min(widest, room)}}  {result}" if widest else f"{begin}  {result}"
        more = _wrapped(" ".join(words), " " * (len(self._place()) + 4))
        return f"{line}\n{more}" if more else line

    def _place(self) -> str:
        total = len(self.cells)
        return f"{self.number + 1:>{len(str(total))}}/{total}" if total else str(self.number + 1)

    def _fixed(self) -> list[str]:
        """Model, freeze strategy and seed, as wide as the widest of the cells'."""
        own = (self.config.model.name, self.config.freeze.name, f"seed {self.config.seed}")
        columns = []
        for key, value in zip(_COLUMNS, own, strict=True):
            values = [word.partition("=")[2] for cell in self.cells for word in cell if _key(word) == key]
            widest = max(map(len, values), default=0) + (len("seed ") if key == "seed" else 0)
            columns.append(value.ljust(widest))
        return columns

    def _rest(self, words: Sequence[str]) -> list[str]:
        """What else of a cell's overrides is not all cells', by the last part of each key where that is plain."""
        shared = set.intersection(*map(set, self.cells)) if self.cells else set()
        own = [word for word in words if word not in shared and _key(word) not in _COLUMNS]
        last = [_key(word).rpartition(".")[2] for word in own]
        return [
            f"{part}={word.partition('=')[2]}" if last.count(part) == 1 else word
            for part, word in zip(last, own, strict=True)
        ]


_measured: dict[frozenset[str], _Measured] = {}


def _kind(words: Sequence[str]) -> frozenset[str]:
    """What of a cell decides how long it takes."""
    return frozenset(
        word
        for word in words
        if not _key(word).endswith(("seed", "data.fold")) and _key(word).partition(".")[0] != "optimizer"
    )


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _rounded(seconds: float) -> float:
    """As exact as it is meant: to 10 s, from two minutes on to whole minutes."""
    step = 10 if seconds < 120 else 60
    return step * round(seconds / step)


def _wrapped(text: str, indent: str, first: str | None = None) -> str:
    """In lines of the screen's width, indented; the first one otherwise where that is given."""
    begin = indent if first is None else first
    return textwrap.fill(text, WIDTH, initial_indent=begin, subsequent_indent=indent, break_on_hyphens=False)


class _Bottom:
    """The line at the bottom of a terminal: rewritten in place, it makes way for whatever else is written."""

    def __init__(self) -> None:
        self.out: IO[str] | None = None
        self._text = ""
        self._drawn = 0  # characters
        self._line_begun = False  # by others

    def show(self, text: str) -> None:
        """Show a text in place of the last one; an empty one shows nothing."""
        self._erase()
        self._text = text
        self._draw()

    def write(self, stream: IO[str], text: str) -> int:
        """Write what others have to say, above the line."""
        self._erase()
        written = stream.write(text)
        stream.flush()
        if text:
            # Bars of tqdm end what they erase with \r.
            self._line_begun = not text.endswith(("\n", "\r"))
        self._draw()
        return written

    def _erase(self) -> None:
        if self.out and self._drawn:
            self.out.write(f"\r{' ' * self._drawn}\r")
            self.out.flush()
        self._drawn = 0

    def _draw(self) -> None:
        if self.out and not self._line_begun and self._text:
            self.out.write(self._text)
            self.out.flush()
            self._drawn = len(self._text)


class _Above:
    """stdout or stderr of a terminal that shows a line at its bottom."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return _bottom.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_bottom = _Bottom()


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """Within the block the progress of cells is shown in place, where stdout is a terminal."""
    if not sys.stdout.isatty():
        yield
        return
    streams = sys.stdout, sys.stderr
    _bottom.out = sys.stdout
    sys.stdout, sys.stderr = (_Above(stream) if stream.isatty() else stream for stream in streams)
    try:
        yield
    finally:
        _bottom.show("")
        _bottom.out = None
        sys.stdout, sys.stderr = streams
