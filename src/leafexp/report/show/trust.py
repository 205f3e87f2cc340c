"""How far the probabilities of a network can be trusted."""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure

from leafexp.report.evidence.calibration import Calibration
from leafexp.report.rows.row import Row
from leafexp.report.say.words import capital, percent
from leafexp.report.show import canvas
from leafexp.report.show.canvas import MUTED
from leafexp.report.show.chart import Chart


def reliability(found: Mapping[Row, Calibration], width: int) -> Figure | None:
    """How often a row is right where it states a probability; on the dotted line both are the same."""
    drawn = _of_calibration(found, width, lambda item: (item.stated, item.right), "stated probability, %")
    if drawn is None:
        return None
    chart, looked = drawn
    low = min(min(axis) for axis in (chart.axes.get_xlim(), chart.axes.get_ylim()))
    chart.axes.plot([low, 100], [low, 100], color=MUTED, linewidth=1, linestyle=":", zorder=0)
    chart.name_ends()
    told = "; ".join(f"{capital(row.name)} off by {percent(item.error)}" for row, item in looked.items())
    chart.figure.set_label(f"Share right against the probability stated, mean gap: {told}.")
    return chart.figure


def answered(found: Mapping[Row, Calibration], width: int) -> Figure | None:
    """The accuracy on the photos that are answered, if only the surest are."""
    drawn = _of_calibration(
        found, width, lambda item: (item.answered, item.accuracy), "share answered, surest first, %"
    )
    if drawn is None:
        return None
    chart, looked = drawn
    chart.name_ends()
    told = "; ".join(f"{capital(row.name)} {percent(at_share(item, 0.8))}" for row, item in looked.items())
    chart.figure.set_label(f"Accuracy against the share answered; on the surest 80 %: {told}.")
    return chart.figure


def at_share(found: Calibration, share: float) -> float:
    """The accuracy on the surest share of the photos."""
    return float(found.accuracy[np.searchsorted(found.answered, share - 1e-9).clip(max=len(found.accuracy) - 1)])


def _of_calibration(
    found: Mapping[Row, Calibration], width: int, of: Callable[[Calibration], tuple[np.ndarray, np.ndarray]], x: str
) -> tuple[Chart, dict[Row, Calibration]] | None:
    rows, more = canvas.shown(found)
    if not rows:
        return None
    known = {row: found[row] for row in rows}
    look = canvas.looks(rows)
    chart = Chart(look, width, "Right, %", x, more)
    for row, item in known.items():
        horizontal, vertical = (100 * values for values in of(item))
        style = look[row]
        chart.axes.plot(
            horizontal, vertical, linestyle=style.dash, color=style.colour, marker=style.marker, markersize=4.5,
            markevery=max(1, len(horizontal) // 8), linewidth=1.5,
        )  # fmt: skip
        chart.end(row, float(horizontal[-1]), float(vertical[-1]))
    return chart, known
