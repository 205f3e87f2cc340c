"""Values with their intervals below each other, and bars of training time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from leafexp.report.evidence.comparisons import Comparison
from leafexp.report.evidence.factors import Effect
from leafexp.report.evidence.intervals import Estimate
from leafexp.report.rows import timing
from leafexp.report.rows.labels import in_short, in_words, told
from leafexp.report.rows.row import Row
from leafexp.report.say.gaps import gap
from leafexp.report.say.words import capital, digits, percent, rounded
from leafexp.report.show import canvas
from leafexp.report.show.canvas import GRID, INK, LINE, MOST, MUTED, PRETRAINED, SCRATCH, SMALL, UNDECIDED
from leafexp.wording import duration

_PLOT = 170  # px that the intervals need at least beside the names
_FOOT = 22  # px for the ticks


@dataclass(frozen=True)
class Line:
    """A line of the plot: a value with its ends, what stands at its left and right, and a note below the name."""

    name: str
    value: float
    low: float
    high: float
    text: str
    colour: str
    marker: str = "o"
    note: str = ""


def accuracies(rows: Sequence[Row], known: Mapping[str, Estimate], width: int) -> Figure | None:
    """The accuracy of each row with its 95 % interval, and below its name the configuration's."""
    lines = []
    rows, more = canvas.shown(row for row in rows if row.label in known)
    look = canvas.looks(rows)
    for row in rows:
        if found := known.get(row.label):
            ends = (100 * found.value, 100 * found.low, 100 * found.high)
            note = f"{row.model} · {row.freeze}"
            if canvas.lettered(row):
                note = " · ".join([note, *(in_short(*item) for item in told(row.settings).items())])
            text = percent(found.value)
            lines.append(Line(row.name, *ends, text, look[row].colour, look[row].marker, note))
    return _forest(lines, width, lambda value: f"{value:g} %", "Accuracy with its 95 % interval", None, more=more)


def differences(comparisons: Iterable[Comparison], width: int) -> Figure | None:
    """The difference of each pair, in points, counted from the more accurate; coloured where it is decided."""
    lines = []
    for item in comparisons:
        found = gap(item.one, item.other, [item])
        if found is not None and not found.too_few:
            name = f"{capital(found.ahead.name)} − {found.behind.name}"
            shade = canvas.colour(found.ahead) if found.decided else UNDECIDED
            lines.append(_difference(name, found.value, found.low, found.high, found.decided, shade))
    lines.sort(key=lambda line: -line.value)
    return _forest(lines, width, _signed, "Differences of accuracy in points, with simultaneous intervals", 0.0)


def averages(effects: Sequence[Effect], width: int) -> Figure | None:
    """What each setting does on average, where that may be said."""
    lines = []
    for found in effects:
        if (mean := found.average) is not None:
            low, high = (in_short(found.setting, value) for value in (found.low, found.high))
            decided = mean.low > 0 or mean.high < 0
            shade = PRETRAINED if decided else UNDECIDED
            name = f"{capital(high)}, not {low}"
            lines.append(_difference(name, mean.value, mean.low, mean.high, decided, shade))
    return _forest(lines, width, _signed, "What settings change on average, in points", 0.0)


def effect(found: Effect, width: int) -> Figure | None:
    """What a setting does in each pair of rows, and on average where that may be said."""
    lines = []
    for item in found.pairs:
        if item.estimate is not None and item.networks > 2:
            others = [in_short(*other) for other in told(item.one.settings).items() if other[0] != found.setting]
            seen = item.estimate
            decided = seen.low > 0 or seen.high < 0
            name = ", ".join([capital(in_words(item.one.runs[0])), *others])
            shade = canvas.colour(item.one) if decided else UNDECIDED
            lines.append(_difference(name, seen.value, seen.low, seen.high, decided, shade))
    if (mean := found.average) is not None and mean.networks > 2:
        decided = mean.low > 0 or mean.high < 0
        shade = INK if decided else UNDECIDED
        lines.append(_difference("On average", mean.value, mean.low, mean.high, decided, shade, "D"))
    low, high = (in_short(found.setting, value) for value in (found.low, found.high))
    return _forest(lines, width, _signed, f"What {high} instead of {low} changes, in points", 0.0)


def class_differences(found: Mapping[str, Estimate], width: int) -> Figure | None:
    """The difference of two rows class by class, in points; the classes with the largest first."""
    lines = []
    for name, seen in found.items():
        if seen.networks > 2:
            decided = seen.low > 0 or seen.high < 0
            shade = UNDECIDED if not decided else PRETRAINED if seen.value > 0 else SCRATCH
            lines.append(_difference(name, seen.value, seen.low, seen.high, decided, shade))
    lines.sort(key=lambda line: -abs(line.value))
    return _forest(lines, width, _signed, "Difference by class in points, with simultaneous intervals", 0.0, "classes")


def times(rows: Sequence[Row], width: int) -> Figure | None:
    """Training time of each row as a bar, with a line from its shortest to its longest network."""
    rows, more = canvas.shown(row for row in rows if timing.total(row).mean > 0)
    spent = [(row, timing.total(row)) for row in rows]
    if not spent or not timing.one_machine(*(row for row, _ in spent)):
        return None
    lines = [
        Line(row.name, seconds.mean, seconds.low, seconds.high, duration(seconds.mean), canvas.colour(row))
        for row, seconds in spent
    ]
    layout = _Layout(lines, width)
    figure = canvas.sheet(width, layout.height + 6 + (LINE if more else 0))
    axes = canvas.panel(figure, layout.left, 0, layout.plot, layout.height)
    axes.grid(visible=False)
    axes.set_xticks([])
    longest = max(line.high for line in lines)
    axes.set_xlim(0, longest * 1.02)
    axes.set_ylim(layout.height, 0)
    axes.set_yticks([])
    for line, y in zip(lines, layout.places, strict=True):
        layout.texts(figure, line, y, 0)
        axes.barh(y, longest * 1.02, 9, color=GRID)
        axes.barh(y, line.value, 9, color=line.colour)
        if line.high > line.low:
            axes.plot([line.low, line.high], [y, y], color=INK, linewidth=1.2, marker="|", markersize=7)
    if more:
        canvas.write(figure, 0, layout.height + 12, f"{more} more rows in the table", MUTED, size=SMALL)
    figure.set_label("Training time: " + _told(lines))
    return figure


class _Layout:
    """Where the names and lines of a plot stand: beside each other, or each name above its line if there is no room."""

    def __init__(self, lines: Sequence[Line], width: int) -> None:
        self.right = max(canvas.text_width(line.text, bold=True) for line in lines) + 14
        names = [
            max(canvas.text_width(capital(line.name), bold=bool(line.note)), canvas.text_width(line.note, SMALL))
            for line in lines
        ]
        self.beside = max(names) + 16 <= width - self.right - _PLOT
        self.left = max(names) + 16 if self.beside else 6.0
        self.width, self.plot = width, width - self.left - self.right
        self.step = (33 if any(line.note for line in lines) else 24) if self.beside else 30
        self.height = self.step * len(lines)
        middle = self.step / 2 if self.beside else self.step - 8
        self.places = [self.step * place + middle for place in range(len(lines))]

    def texts(self, figure: Figure, line: Line, y: float, top: float) -> None:
        """The name and its note at the left or above, the value at the right; `y` is from the plot's top."""
        bold = bool(line.note)
        room = self.left - 14 if self.beside else self.width - 2
        name = canvas.shortened(capital(line.name), room, bold=bold)
        if self.beside:
            canvas.write(figure, 0, top + y - (7 if bold else 0), name, bold=bold)
            canvas.write(figure, 0, top + y + 7, canvas.shortened(line.note, room, SMALL), MUTED, size=SMALL)
        else:
            canvas.write(figure, 0, top + y - 14, name, bold=bold)
            begin = canvas.text_width(name, bold=bold) + 10
            if room - begin > 40:
                note = canvas.shortened(line.note, room - begin, SMALL)
                canvas.write(figure, begin, top + y - 14, note, MUTED, size=SMALL)
        canvas.write(figure, self.width, top + y, line.text, align="right", bold=True)


def _difference(name: str, value: float, low: float, high: float, decided: bool, shade: str, marker: str = "") -> Line:
    low, high = max(low, -1.0), min(high, 1.0)
    decimals = digits(high - low)
    text = f"{_plus(rounded(100 * value, decimals))}{'' if decided else ' ?'}"
    marker = marker or ("o" if decided else "s")
    return Line(name, 100 * value, 100 * low, 100 * high, text, shade, marker)


def _forest(
    lines: Sequence[Line],
    width: int,
    tick: Callable[[float], str],
    what: str,
    zero: float | None,
    kind: str = "rows",
    more: int = 0,
) -> Figure | None:
    if not lines:
        return None
    more, lines = more + max(0, len(lines) - MOST), lines[:MOST]
    layout = _Layout(lines, width)
    figure = canvas.sheet(width, layout.height + _FOOT + 6 + (LINE if more else 0))
    axes = canvas.panel(figure, layout.left, 2, layout.plot, layout.height)
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.set_ylim(layout.height, 0)
    _limits(axes, lines, zero)
    axes.xaxis.set_major_locator(MaxNLocator(max(2, int(layout.plot / 42)), steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    reach = layout.step / 2 if layout.beside else 8  # names that stand above their lines are not crossed
    for line, y in zip(lines, layout.places, strict=True):
        axes.vlines(axes.get_xticks(), y - reach, y + reach, color=GRID, linewidth=0.75, zorder=0)
        if zero is not None:
            axes.vlines(zero, y - reach, y + reach, color=INK, linewidth=1, zorder=1)
        layout.texts(figure, line, y, 2)
        axes.plot([line.low, line.high], [y, y], color=line.colour, linewidth=2, solid_capstyle="butt", zorder=2)
        face = canvas.CARD if line.marker == "s" and line.colour == UNDECIDED else line.colour
        axes.plot(
            line.value, y, line.marker, color=line.colour, markerfacecolor=face, markersize=6, zorder=3, clip_on=False
        )
    if more:
        canvas.write(figure, 0, layout.height + _FOOT + 10, f"{more} more {kind} in the table", MUTED, size=SMALL)
    figure.set_label(f"{what}: {_told(lines)}")
    return figure


def _limits(axes: Axes, lines: Sequence[Line], zero: float | None) -> None:
    low, high = min(line.low for line in lines), max(line.high for line in lines)
    if zero is not None:
        low, high = min(low, zero), max(high, zero)
    margin = 0.05 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin if zero is not None else min(high + margin, max(high, 100.0)) + 0.1)


def _told(lines: Sequence[Line]) -> str:
    return "; ".join(f"{capital(line.name)} {line.text}" for line in lines) + "."


def _signed(value: float) -> str:
    return _plus(rounded(value, 0 if value == round(value) else 1))


def _plus(text: str) -> str:
    return text if text.startswith("−") or not text.strip("0.") else f"+{text}"
