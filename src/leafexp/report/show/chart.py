"""Axes whose lines carry their names."""

import math
from collections.abc import Mapping

from matplotlib.ticker import MaxNLocator

from leafexp.report.rows.row import Row
from leafexp.report.say.words import capital
from leafexp.report.show import canvas
from leafexp.report.show.canvas import DOTS, LINE, MUTED, SMALL, UNDECIDED, Look

_HEIGHT = 230  # px, of the axes
LEFT, _TOP, _FOOT = 38, 26, 40  # px around them
_NAMES = 170  # px for the names at the ends of lines, at most


class Chart:
    """Axes, and the names of rows: beside the ends of their lines, or below where there is no room."""

    def __init__(
        self, look: Mapping[Row, Look], width: int, y_label: str, x_label: str, more: int, below: float = 0
    ) -> None:
        self.look, rows = look, list(look)
        self.ends: list[tuple[Row, float, float]] = []
        self.width = width
        self.beside = width >= canvas.WIDE
        self._below = not self.beside and not below  # else what stands below names the rows
        room = min(_NAMES, max(canvas.text_width(capital(row.name)) for row in rows) + 4) if self.beside else width - 20
        self._names = {row: canvas.wrapped(capital(row.name), room) for row in rows}
        sizes = sum(map(self._size, rows))
        self.plot = width - LEFT - (room + 34 if self.beside else 10)
        self.height = max(_HEIGHT, sizes) if self.beside else _HEIGHT
        self.bottom = _TOP + self.height + _FOOT
        self.figure = canvas.sheet(width, self.bottom + below + (sizes if self._below else 0))
        self.axes = canvas.panel(self.figure, LEFT, _TOP, self.plot, self.height)
        self.axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        canvas.write(self.figure, 0, 8, y_label, MUTED)
        if more:
            canvas.write(self.figure, width, 8, f"{more} more in the table", MUTED, align="right", size=SMALL)
        canvas.write(self.figure, LEFT + self.plot / 2, self.bottom - 9, x_label, MUTED, align="center")

    def end(self, row: Row, x: float, y: float) -> None:
        """Where the line of a row ends."""
        self.ends.append((row, x, y))

    def name_ends(self) -> None:
        """Write the names, once the axes have their limits."""
        if self.beside:
            self._beside()
        elif self._below:
            top = self.bottom
            for row, _, _ in self.ends:
                self._name(row, 2, top + LINE / 2)
                top += self._size(row)

    def mark(self, row: Row, x: float, y: float) -> None:
        """The row's marker at a place in pixels from the upper left corner."""
        wide, high = (side * DOTS for side in self.figure.get_size_inches())
        style = self.look[row]
        self.axes.plot(
            x / wide, 1 - y / high, style.marker, color=style.colour, markersize=5.5,
            transform=self.figure.transFigure, clip_on=False,
        )  # fmt: skip

    def _beside(self) -> None:
        (left, right), (bottom, top) = self.axes.get_xlim(), self.axes.get_ylim()
        log = self.axes.get_xscale() == "log"
        span = math.log(right / left) if log else right - left
        at = [_TOP + self.height * (top - y) / (top - bottom) for _, _, y in self.ends]
        sizes = [self._size(row) for row, _, _ in self.ends]
        placed = canvas.spread(at, sizes, _TOP - 6, _TOP + self.height + 6)
        wide, high = (side * DOTS for side in self.figure.get_size_inches())
        for (row, x, _), before, after in zip(self.ends, at, placed, strict=True):
            start = LEFT + self.plot * ((math.log(x / left) if log else x - left) / span) + 7
            end = LEFT + self.plot + 12
            line = [start, end - 8, end], [before, after, after]
            self.axes.plot(
                [value / wide for value in line[0]], [1 - value / high for value in line[1]], color=UNDECIDED,
                linewidth=0.6, transform=self.figure.transFigure, clip_on=False, zorder=0,
            )  # fmt: skip
            self._name(row, end + 6, after - self._size(row) / 2 + LINE / 2 + 1)
        self.axes.set_xlim(left, right)
        self.axes.set_ylim(bottom, top)

    def _name(self, row: Row, x: float, y: float) -> None:
        self.mark(row, x + 4, y)
        for place, line in enumerate(self._names[row]):
            canvas.write(self.figure, x + 14, y + 14 * place, line)

    def _size(self, row: Row) -> float:
        return 14.0 * len(self._names[row]) + 4
