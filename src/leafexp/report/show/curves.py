"""How networks learned: validation curves, and what learned in which epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from leafexp import names
from leafexp.report.rows.learning import curve, stopped_early
from leafexp.report.rows.row import Row
from leafexp.report.say.words import capital, rate, rounded
from leafexp.report.show import canvas
from leafexp.report.show.canvas import CARD, SMALL
from leafexp.report.show.chart import LEFT, Chart
from leafexp.wording import counted


def accuracy(rows: Sequence[Row], phases: Mapping[str, pd.DataFrame], width: int) -> Figure | None:
    """Validation accuracy by epoch, and below it which layers of each row learned in which epochs, at what rate.

    Args:
        rows: whose curves.
        phases: of each row by label, as phases.csv has them.
        width: in px.
    """
    drawn, more = canvas.shown(row for row in rows if curve(row)[names.VAL_ACCURACY].notna().any())
    strips = {row: _Strip.of(row, phases.get(row.label), width - LEFT - 18) for row in drawn}
    if width >= canvas.WIDE and not any(strip.parts for strip in strips.values()):
        strips = {}  # the names stand at the ends of the lines
    chart = _draw(drawn, more, names.VAL_ACCURACY, 100, "Validation accuracy, %", width, strips)
    if chart is None:
        return None
    top = chart.bottom + 4
    for row, strip in strips.items():
        strip.draw(chart, row, top)
        top += strip.height
    told = "; ".join(f"{capital(row.name)} ends at {rounded(y, 1)} %" for row, _, y in chart.ends)
    chart.figure.set_label(f"Validation accuracy by epoch: {told}.")
    return chart.figure


def loss(rows: Sequence[Row], width: int) -> Figure | None:
    """Validation loss by epoch."""
    drawn, more = canvas.shown(row for row in rows if curve(row)[names.VAL_LOSS].notna().any())
    chart = _draw(drawn, more, names.VAL_LOSS, 1, "Validation loss", width, {})
    if chart is None:
        return None
    told = "; ".join(f"{capital(row.name)} ends at {rounded(y, 2)}" for row, _, y in chart.ends)
    chart.figure.set_label(f"Validation loss by epoch: {told}.")
    return chart.figure


def _draw(
    rows: Sequence[Row], more: int, metric: str, unit: float, title: str, width: int, strips: Mapping[Row, "_Strip"]
) -> Chart | None:
    """A line for each row, a mean over networks, in a band from the lowest to the highest."""
    if not rows:
        return None
    look = canvas.looks(rows)
    chart = Chart(look, width, title, "epoch", more, sum(strip.height for strip in strips.values()) + 4 * bool(strips))
    last = 1.0
    for row in rows:
        mean = unit * curve(row)[metric].dropna()
        last = max(last, float(mean.index[-1]))
        style = look[row]
        chart.axes.plot(
            mean.index, mean, linestyle=style.dash, color=style.colour, marker=style.marker, markersize=4.5,
            markevery=max(1, len(mean) // 12), linewidth=1.5,
        )  # fmt: skip
        runs = [run.curves[metric] for run in row.runs if metric in run.curves]
        if len(runs) > 1:
            band = pd.concat(runs).groupby(level=0)
            ends = [unit * end.reindex(mean.index) for end in (band.min(), band.max())]
            chart.axes.fill_between(mean.index, *ends, color=style.colour, alpha=0.13, lw=0)
        chart.end(row, float(mean.index[-1]), float(mean.iloc[-1]))
    chart.axes.set_xlim(0.5, last + 0.5)
    chart.axes.xaxis.set_major_locator(MaxNLocator(max(2, int(chart.plot / 45)), integer=True))
    chart.name_ends()
    return chart


@dataclass(frozen=True)
class _Strip:
    """How a row was trained: its phases as parts of a bar below the epochs, and in words."""

    parts: list[tuple[float, str]]  # epochs, what learns
    lines: list[str]

    @classmethod
    def of(cls, row: Row, table: pd.DataFrame | None, room: float) -> "_Strip":
        parts = [] if table is None else [(float(line["epochs"]), str(line["learns"])) for _, line in table.iterrows()]
        told = f"{capital(row.name)}: {phases_told(row, parts)}" if parts else capital(row.name)
        return cls(parts, canvas.wrapped(told, room))

    @property
    def height(self) -> float:
        return 15.0 * len(self.lines) + (17 if self.parts else 6)

    def draw(self, chart: Chart, row: Row, top: float) -> None:
        chart.mark(row, LEFT + 5, top + 8)
        for place, line in enumerate(self.lines):
            canvas.write(chart.figure, LEFT + 16, top + 8 + 15 * place, line, size=SMALL)
        axes = canvas.panel(chart.figure, LEFT, top + 15 * len(self.lines) + 2, chart.plot, 8)
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlim(chart.axes.get_xlim())
        begin = 0.5
        for epochs, learns in self.parts:
            strength = {"head": 0.25, "all": 1.0}.get(learns, 0.6)
            axes.barh(0, epochs, 1, begin, color=chart.look[row].colour, alpha=strength, edgecolor=CARD, linewidth=1)
            begin += epochs


def phases_told(row: Row, parts: Sequence[tuple[float, str]]) -> str:
    """The phases of a row in words: `2 epochs only the head at 0.001, then 8 epochs all layers at 0.0001`."""
    rates = curve(row)[names.LEARNING_RATE].dropna()
    told, end = [], 0.0
    for epochs, learns in parts:
        end += epochs
        layers = {"head": "only the head", "all": "all layers"}.get(learns, f"from {learns} on")
        before = rates[rates.index <= end]
        at = f" at {rate(float(before.iloc[-1]))}" if len(before) else ""
        told.append(f"{counted(epochs, 'epoch')} {layers}{at}")
    if any(map(stopped_early, row.runs)) and len({len(run.curves) for run in row.runs}) > 1:
        told[-1] = f"{told[-1]} (the first network; patience ended others at other epochs)"
    return ", then ".join(told)
