"""The report's figures: PNG, 1000 px wide, a colour per row that is the same in all of them."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from leafexp import names
from leafexp.report.rows import Row
from leafexp.report.table import CONTROL_MARK

# Okabe & Ito 2008, colours told apart with any colour vision; without the yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH, HEIGHT, DOTS_PER_INCH = 10.0, 5.6, 100
LINE_SHARE = 0.042  # of the axes' height, taken by a line of a label
LABEL_WIDTH = 38  # characters
WITHOUT_LABEL = "#CCCCCC"
CHARACTER_SHARE = 0.0069  # of the figure's width


def draw_figures(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write validation_curves.png and accuracy_vs_time.png into `folder`; a figure without data is not drawn."""
    drawn = {"validation_curves.png": validation_curves(rows), "accuracy_vs_time.png": accuracy_vs_time(rows)}
    written = []
    for name, figure in drawn.items():
        if figure is not None:
            FigureCanvasAgg(figure).print_png(str(folder / name))
            written.append(folder / name)
    return written


def validation_curves(rows: Sequence[Row]) -> Figure | None:
    """Validation accuracy by epoch, a line per row (mean over seeds), controls dashed; None without curves."""
    figure, axes = _canvas("Validation accuracy by epoch", "epoch", "validation accuracy")
    ends = []
    for row, colour, marker in _looks(rows):
        curve = row.curve[names.VAL_ACCURACY].dropna()
        if len(curve):
            dash = "--" if row.control else "-"
            order = 2 if marker else 1
            axes.plot(curve.index, curve, dash, color=colour, marker=marker, markersize=5, linewidth=1.8, zorder=order)
            ends.append((row, colour, marker, float(curve.index[-1]), float(curve.iloc[-1])))
    if not ends:
        return None
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, ends)
    return figure


def accuracy_vs_time(rows: Sequence[Row]) -> Figure | None:
    """Test accuracy with its 95 % Wilson interval against minutes of training; None without finished rows.

    The time axis is logarithmic where the longest training took more than ten times as long as the shortest.
    """
    figure, axes = _canvas(
        "Test accuracy (95 % interval) against training time",
        "training time (minutes, with frozen layers from earlier runs)",
        "test accuracy",
    )
    ends = []
    for row, colour, marker in _looks(rows):
        minutes = row.total_seconds_with_prefix / 60
        if minutes > 0 and 0 <= row.accuracy <= 1:
            low, high = row.interval
            order = 2 if marker else 1
            if low == low:
                bar = axes.vlines(minutes, low, high, color=colour, linewidth=1.8, zorder=order)
                bar.set_linestyle("--" if row.control else "-")
            face = "white" if row.control else colour
            axes.plot(
                minutes, row.accuracy, marker or ".", color=colour, markerfacecolor=face, markersize=9, zorder=order
            )
            ends.append((row, colour, marker, minutes, row.accuracy))
    if not ends:
        return None
    times = [minutes for *_, minutes, _ in ends]
    if max(times) > 10 * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.margins(x=0.08)
    _label(axes, ends)
    return figure


def spread(heights: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """The heights in [0, 1] moved up or down until labels of these sizes don't overlap, in the same order."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    room = min(1.0, 1.0 / sum(sizes)) if sizes else 1.0
    placed = dict.fromkeys(order, 0.0)
    floor = 0.0
    for index in order:
        placed[index] = max(heights[index], floor + sizes[index] * room / 2)
        floor = placed[index] + sizes[index] * room / 2
    ceiling = 1.0
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling - sizes[index] * room / 2)
        ceiling = placed[index] - sizes[index] * room / 2
    return [placed[index] for index in range(len(heights))]


def _canvas(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0.075, 0.11, 0.62, 0.8))
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(x_label, fontsize=11)
    axes.set_ylabel(y_label, fontsize=11)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _looks(rows: Sequence[Row]) -> list[tuple[Row, str, str]]:
    """Each row with its colour and marker; of too many to label, the less accurate are grey and without a marker."""
    free = 1.0
    labelled: list[Row] = []
    for row in sorted(rows, key=lambda row: -row.accuracy if row.accuracy == row.accuracy else 1.0):
        free -= _size(_text(row))
        if free >= 0 or len(labelled) < len(MARKERS):
            labelled.append(row)
    shown = [row for row in rows if row in labelled]
    looks = {id(row): (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]) for index, row in enumerate(shown)}
    return [(row, *looks.get(id(row), (WITHOUT_LABEL, ""))) for row in rows]


def _text(row: Row) -> str:
    # Between two dollars Matplotlib reads a formula.
    return textwrap.fill(row.name + (CONTROL_MARK if row.control else ""), LABEL_WIDTH).replace("$", r"\$")


def _size(text: str) -> float:
    return LINE_SHARE * (1.4 + text.count("\n"))


def _label(axes: Axes, ends: Sequence[tuple[Row, str, str, float, float]]) -> None:
    # Names stand in a column beside the axes, each with a thin line to its point: they hide nothing and never overlap.
    if others := sum(not marker for _, _, marker, *_ in ends):
        axes.set_title(f"grey: {others} rows more, in table.csv", loc="right", fontsize=9.5, color="#666666")
        ends = [end for end in ends if end[2]]
    if not ends:
        return
    texts = [_text(row) for row, *_ in ends]
    longest = max(len(line) for text in texts for line in text.splitlines())
    axes.set_position((0.075, 0.11, 0.87 - CHARACTER_SHARE * longest, 0.8))
    low, high = axes.get_ylim()
    sizes = [_size(text) for text in texts]
    heights = spread([(y - low) / (high - low) for *_, y in ends], sizes)
    for (_, colour, marker, x, y), text, height in zip(ends, texts, heights, strict=True):
        axes.annotate(
            text,
            xy=(x, y),
            xytext=(1.06, height),
            textcoords="axes fraction",
            color=colour,
            fontsize=9.5,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": "#888888",
                "linewidth": 0.8,
                "linestyle": ":",
                "shrinkB": 5,
                "relpos": (0, 0.5),
            },
        )
        axes.plot(1.04, height, marker, color=colour, transform=axes.transAxes, clip_on=False, markersize=6)
    axes.set_ylim(low, high)
