"""Accuracy against what it costs."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from leafexp.report.evidence.intervals import Estimate
from leafexp.report.rows import timing
from leafexp.report.rows.row import Row
from leafexp.report.say.words import capital, percent
from leafexp.report.show import canvas
from leafexp.report.show.canvas import MUTED, SMALL
from leafexp.report.show.chart import Chart
from leafexp.wording import duration

_MINUTE, _HOUR = 60, 3600
_TICKS = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 30),
    *(_MINUTE * value for value in (1, 2, 3, 5, 10, 20, 30)),
    *(_HOUR * value for value in (1, 2, 3, 5, 10, 24, 48, 96)),
)


def accuracy_against_time(rows: Sequence[Row], known: Mapping[str, Estimate], width: int) -> Figure | None:
    """Accuracy with its interval against training time; a line joins the rows that no other beats in both."""
    rows, more = canvas.shown(row for row in rows if row.label in known and timing.total(row).mean > 0)
    there = [(row, timing.total(row).mean, known[row.label]) for row in rows]
    if len(there) < 2 or not timing.one_machine(*(row for row, _, _ in there)):
        return None
    look = canvas.looks(rows)
    chart = Chart(look, width, "Right on test photos, %", "training time", more)
    chart.axes.set_xscale("log")
    for row, seconds, found in there:
        style, height = look[row], 100 * found.value
        chart.axes.plot([seconds] * 2, [100 * found.low, 100 * found.high], color=style.colour, linewidth=1.4)
        chart.axes.plot(seconds, height, style.marker, color=style.colour, markersize=6.5)
        chart.end(row, seconds, height)
    front = _front([(seconds, 100 * found.value) for _, seconds, found in there])
    chart.axes.plot(*zip(*front, strict=True), color=MUTED, linewidth=1, linestyle=":", zorder=0)
    _time_axis(chart.axes, [seconds for _, seconds, _ in there], chart.plot)
    chart.name_ends()
    told = "; ".join(f"{capital(row.name)} {percent(found.value)} in {duration(time)}" for row, time, found in there)
    chart.figure.set_label(f"Accuracy against training time: {told}.")
    return chart.figure


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both: quicker and more accurate."""
    best, front = -math.inf, []
    for seconds, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if accuracy > best:
            best = accuracy
            front.append((seconds, accuracy))
    return front


def _time_axis(axes: Axes, times: Sequence[float], plot: float) -> None:
    """A logarithmic axis with ticks at times that one would say, as many as there is room for."""
    low, high = min(times) / 1.8, max(times) * 1.8
    kept: list[float] = []
    end = -math.inf
    for tick in [tick for tick in _TICKS if low <= tick <= high]:
        place = plot * math.log(tick / low) / math.log(high / low)
        half = canvas.text_width(duration(tick), SMALL) / 2
        if place - half >= end + 8:
            kept.append(tick)
            end = place + half
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
