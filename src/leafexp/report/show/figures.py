"""The figures, drawn once with Matplotlib: as SVG for the page and as PNG for Markdown and paper."""

import io
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from leafexp import names
from leafexp.report.evidence.calibration import Calibration
from leafexp.report.report import Report
from leafexp.report.rows import timing
from leafexp.report.rows.learning import curve
from leafexp.report.rows.row import Row
from leafexp.report.say.gaps import gap
from leafexp.report.say.words import capital, percent, rounded
from leafexp.wording import duration

WIDE, NARROW = 540, 320  # px, as they are shown on a laptop and on a phone
MOST = 12  # rows or comparisons in a figure
_DOTS = 96
_TEXT = 11.5 * 72 / _DOTS  # points, for letters of 11.5 px
# Stand for the page's colours, which follow its light or dark mode.
INK, MUTED, GRID, CARD = "#1b1d1c", "#5f6763", "#dfe3e0", "#fffffe"
PRETRAINED, SCRATCH, CONTROL, UNDECIDED = "#1f7a4d", "#a86400", "#4a6fa5", "#8a938e"
_COLOURS = {
    INK: "ink", MUTED: "muted", GRID: "grid", CARD: "card",
    PRETRAINED: "pretrained", SCRATCH: "scratch", CONTROL: "control", UNDECIDED: "undecided",
}  # fmt: skip
_MARKERS = "osD^vPX*ph<>"
_TICK_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 3 * 3600, 12 * 3600, 24 * 3600)


@dataclass(frozen=True)
class Interval:
    """A line of a forest plot: a value with its ends and what stands beside it."""

    name: str
    value: float
    low: float
    high: float
    colour: str
    text: str


def accuracies(report: Report, width: int) -> Figure | None:
    """The accuracy of each row with its 95 % interval; controls are left out, as they are far below."""
    lines = []
    for row in report.main:
        found = None if row.control else report.accuracies.get(row.label)
        if found:
            ends = (100 * found.value, 100 * found.low, 100 * found.high)
            lines.append(Interval(row.name, *ends, colour(row), percent(found.value)))
    return _forest(lines[:MOST], width, "% right", None)


def differences(report: Report, width: int) -> Figure | None:
    """The planned differences of the main rows, in points, with their simultaneous intervals."""
    lines = []
    for item in report.comparisons:
        found = gap(item.one, item.other, [item])
        if found is None or found.too_few or not {item.one, item.other} <= {*report.main}:
            continue
        shade = colour(found.ahead) if found.decided else UNDECIDED
        text = f"+{rounded(100 * found.value, 1)}{'' if found.decided else ' ?'}"
        name = f"{found.ahead.name} − {found.behind.name}"
        lines.append(Interval(name, 100 * found.value, 100 * found.low, 100 * found.high, shade, text))
    lines.sort(key=lambda line: -line.value)
    return _forest(lines[:MOST], width, "points", 0.0)


def curves(rows: Sequence[Row], width: int) -> Figure | None:
    """Validation accuracy by epoch: means over networks, with bands from the lowest to the highest."""
    drawn = [row for row in rows if curve(row)[names.VAL_ACCURACY].notna().any()][:MOST]
    if not drawn:
        return None
    figure, axes = _canvas(width, 300, "epoch", "validation accuracy, %")
    ends = []
    for row, marker in zip(drawn, _MARKERS, strict=False):
        mean = 100 * curve(row)[names.VAL_ACCURACY].dropna()
        shade, dash = colour(row), "--" if row.control else "-"
        axes.plot(mean.index, mean, dash, color=shade, marker=marker, markersize=4, linewidth=1.6)
        runs = [100 * run.curves[names.VAL_ACCURACY] for run in row.runs if names.VAL_ACCURACY in run.curves]
        if len(runs) > 1:
            values = np.array([run.reindex(mean.index) for run in runs])
            low, high = np.nanmin(values, 0), np.nanmax(values, 0)
            axes.fill_between(mean.index, low, high, color=shade, alpha=0.14, lw=0)
        ends.append((row, marker, float(mean.index[-1]), float(mean.iloc[-1])))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(figure, axes, ends, width)
    return figure


def accuracy_against_time(report: Report, width: int) -> Figure | None:
    """Accuracy with its interval against training time; a line joins the rows that no other beats in both."""
    known = [
        (row, timing.total(row).mean, report.accuracies[row.label])
        for row in report.main
        if row.label in report.accuracies and timing.total(row).mean > 0
    ][:MOST]
    if len(known) < 2 or not timing.one_machine(*(row for row, _, _ in known)):
        return None
    figure, axes = _canvas(width, 300, "training time", "right on test photos, %")
    axes.set_xscale("log")
    ends = []
    for (row, seconds, found), marker in zip(known, _MARKERS, strict=False):
        axes.plot([seconds] * 2, [100 * found.low, 100 * found.high], color=colour(row), linewidth=1.4)
        face = CARD if row.control else colour(row)
        axes.plot(seconds, 100 * found.value, marker, color=colour(row), markerfacecolor=face, markersize=6)
        ends.append((row, marker, seconds, 100 * found.value))
    best = -math.inf
    front = []
    for _, seconds, found in sorted(known, key=lambda item: (item[1], -item[2].value)):
        if found.value > best:
            best = found.value
            front.append((seconds, 100 * best))
    axes.plot(*zip(*front, strict=True), color=MUTED, linewidth=1, linestyle=":", zorder=0)
    times = [seconds for _, seconds, _ in known]
    low, high = min(times) / 1.5, max(times) * 1.5
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in _TICK_SECONDS if low <= tick <= high]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    _label(figure, axes, ends, width)
    return figure


def reliability(found: Mapping[Row, Calibration], width: int) -> Figure | None:
    """How often a row is right where it states a probability; on the diagonal both are the same."""
    return _probabilities(found, width, lambda item: (item.stated, item.right), "stated probability, %", True)


def answered(found: Mapping[Row, Calibration], width: int) -> Figure | None:
    """The accuracy on the photos that are answered, if only the surest are."""
    return _probabilities(found, width, lambda item: (item.answered, item.accuracy), "share answered, %", False)


def svg(draw: Callable[[int], Figure | None], what: str) -> str:
    """A figure for the page as inline SVG, wide and narrow; empty where there is nothing to draw.

    Args:
        draw: draws it at a width in px.
        what: what it shows, for who can't see it.
    """
    parts = []
    for width, name in ((WIDE, "wide"), (NARROW, "narrow")):
        figure = draw(width)
        if figure is None:
            return ""
        parts.append(_inline(figure, name, what))
    return "".join(parts)


def write_pictures(report: Report, folder: Path) -> list[Path]:
    """The main figures as PNG; those with something in them."""
    drawn = {
        "accuracies.png": accuracies(report, WIDE),
        "differences.png": differences(report, WIDE),
        "validation_curves.png": curves(report.main, WIDE),
        "accuracy_against_time.png": accuracy_against_time(report, WIDE),
    }
    written = []
    for name, figure in drawn.items():
        if figure is not None:
            figure.set_facecolor("white")
            FigureCanvasAgg(figure).print_figure(str(folder / name), dpi=2 * _DOTS)
            written.append(folder / name)
    return written


def colour(row: Row) -> str:
    """The colour that stands for pretrained rows, those from scratch and controls."""
    return CONTROL if row.control else PRETRAINED if row.pretrained else SCRATCH


def spread(heights: Sequence[float], size: float) -> list[float]:
    """The heights in [0, 1] moved up or down until labels of this size don't overlap, in the same order."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    size = min(size, 1 / max(1, len(heights)))
    placed = dict.fromkeys(order, 0.0)
    floor = 0.0
    for index in order:
        placed[index] = max(heights[index], floor + size / 2)
        floor = placed[index] + size / 2
    ceiling = 1.0
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling - size / 2)
        ceiling = placed[index] - size / 2
    return [placed[index] for index in range(len(heights))]


_numbers = itertools.count()


def _inline(figure: Figure, name: str, what: str) -> str:
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "leafexp"}):
        FigureCanvasSVG(figure).print_svg(written, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = written.getvalue()[written.getvalue().index("<svg") :]
    width, height = (round(float(value) * _DOTS) for value in figure.get_size_inches())
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<svg [^>]*>", lambda found: _opening(found[0], name, width, height, what), text, count=1)
    # The same figure at two widths has the same ids.
    prefix = f"f{next(_numbers)}-"
    text = re.sub(r'(id="|url\(#|href="#)', lambda found: found[0] + prefix, text)
    for shade, variable in _COLOURS.items():
        text = text.replace(shade, f"var(--{variable})")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--font)", text)
    return re.sub(r"\n\s*", "\n", text)


def _opening(tag: str, name: str, width: int, height: int, what: str) -> str:
    box = re.search(r'viewBox="[^"]*"', tag)
    shown = what.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="{name}" role="img" '
        f'aria-label="{shown}" width="{width}" height="{height}" {box[0] if box else ""}>'
    )


def _canvas(width: int, height: int, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / _DOTS, height / _DOTS), dpi=_DOTS, facecolor="none")
    axes = figure.add_axes((52 / width, 44 / height, 1 - 64 / width, 1 - 56 / height), facecolor="none")
    axes.set_xlabel(x_label, fontsize=_TEXT, color=MUTED)
    axes.set_ylabel(y_label, fontsize=_TEXT, color=MUTED)
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=_TEXT, colors=MUTED, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _forest(lines: Sequence[Interval], width: int, unit: str, zero: float | None) -> Figure | None:
    """Values with their intervals below each other: each name beside its line, or above it where there is no room."""
    if not lines:
        return None
    longest = max(len(line.name) for line in lines)
    beside = longest * 6.6 + 12 if longest * 6.6 < 0.42 * width else 0.0
    step = 26 if beside else 40
    height = step * len(lines) + 40
    right = 66
    figure = Figure(figsize=(width / _DOTS, height / _DOTS), dpi=_DOTS, facecolor="none")
    box = ((beside or 8) / width, 34 / height, (width - (beside or 8) - right) / width, (height - 38) / height)
    axes = figure.add_axes(box, facecolor="none")
    _plain(axes)
    axes.grid(visible=False, axis="y")
    axes.set_yticks([])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    for place, line in enumerate(lines):
        at = place if beside else place + 0.2
        axes.plot([line.low, line.high], [at, at], color=line.colour, linewidth=2)
        axes.plot(line.value, at, "o", color=line.colour, markersize=6)
        axes.text(1.02, at, line.text, transform=axes.get_yaxis_transform(), va="center", fontsize=_TEXT, color=INK,
                  weight="bold")  # fmt: skip
        name = _safe(textwrap.shorten(capital(line.name), 58, placeholder="…"))
        if beside:
            axes.text(-beside / (width * box[2]), at, name, transform=axes.get_yaxis_transform(), va="center",
                      fontsize=_TEXT, color=INK)  # fmt: skip
        else:
            axes.text(0, place - 0.22, name, transform=axes.get_yaxis_transform(), va="center", fontsize=_TEXT,
                      color=INK, bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1})  # fmt: skip
    if zero is not None:
        axes.axvline(zero, color=INK, linewidth=1)
    axes.margins(x=0.04)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(unit, fontsize=_TEXT, color=MUTED)
    return figure


def _probabilities(
    found: Mapping[Row, Calibration],
    width: int,
    of: Callable[[Calibration], tuple[np.ndarray, np.ndarray]],
    x_label: str,
    diagonal: bool,
) -> Figure | None:
    drawn = list(found.items())[:MOST]
    if not drawn:
        return None
    figure, axes = _canvas(width, 300, x_label, "right, %")
    ends = []
    for (row, item), marker in zip(drawn, _MARKERS, strict=False):
        x, y = of(item)
        every = max(1, len(x) // 10)
        axes.plot(100 * x, 100 * y, color=colour(row), marker=marker, markevery=every, markersize=4, linewidth=1.6)
        ends.append((row, marker, 100 * float(x[-1]), 100 * float(y[-1])))
    if diagonal:
        low = min(axes.get_xlim()[0], axes.get_ylim()[0])
        axes.plot([low, 100], [low, 100], color=MUTED, linewidth=1, linestyle=":", zorder=0)
    _label(figure, axes, ends, width)
    return figure


def _label(figure: Figure, axes: Axes, ends: Sequence[tuple[Row, str, float, float]], width: int) -> None:
    """Name the rows: beside the ends of their lines, or below the axes where there is no room."""
    texts = [_safe(textwrap.fill(capital(row.name), 24)) for row, *_ in ends]
    height = figure.get_size_inches()[1] * _DOTS
    if width < 400:
        lines = [_safe(textwrap.shorten(capital(row.name), 44, placeholder="…")) for row, *_ in ends]
        more = 18 * len(lines)
        figure.set_size_inches(width / _DOTS, (height + more) / _DOTS)
        axes.set_position((52 / width, (44 + more) / (height + more), 1 - 64 / width, (height - 56) / (height + more)))
        for place, ((row, marker, _, _), line) in enumerate(zip(ends, lines, strict=True)):
            y = (more - 18 * place - 9) / (height + more)
            axes.plot(
                58 / width, y, marker, color=colour(row), transform=figure.transFigure, clip_on=False, markersize=5
            )
            figure.text(70 / width, y, line, fontsize=_TEXT, color=INK, va="center")
        return
    widest = max(len(line) for text in texts for line in text.splitlines())
    room = widest * 6.6 + 34
    axes.set_position((52 / width, 44 / height, 1 - (64 + room) / width, 1 - 56 / height))
    bottom, top = axes.get_ylim()
    inside = height - 56
    most = max(text.count("\n") + 1 for text in texts)
    heights = spread([(y - bottom) / (top - bottom) for *_, y in ends], (14 * most + 3) / inside)
    for (row, marker, x, y), text, beside in zip(ends, texts, heights, strict=True):
        axes.annotate(
            text, xy=(x, y), xytext=(1.085, beside), textcoords="axes fraction", color=INK, fontsize=_TEXT, va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": UNDECIDED, "linewidth": 0.7, "shrinkB": 4, "relpos": (0, 0.5)},
        )  # fmt: skip
        axes.plot(1.055, beside, marker, color=colour(row), transform=axes.transAxes, clip_on=False, markersize=5)
    axes.set_ylim(bottom, top)


def _safe(text: str) -> str:
    return text.replace("$", r"\$")  # between two of them Matplotlib reads a formula
