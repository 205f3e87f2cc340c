"""Class by class: how many of its photos each row recognises, and what it takes them for."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from leafexp.report.evidence.intervals import Estimate
from leafexp.report.rows.row import Row
from leafexp.report.say.words import capital, percent
from leafexp.report.show import canvas
from leafexp.report.show.canvas import GRID, LINE, MOST, MUTED, PRETRAINED, SCRATCH, SMALL
from leafexp.wording import counted

_STEP = 30  # px, a class


def recalls(found: Mapping[Row, Mapping[str, Estimate]], width: int) -> Figure | None:
    """The share of each class's photos that each row recognises; the classes that are hardest first."""
    rows, left_out = canvas.shown(found)
    found = {row: found[row] for row in rows}
    classes = [name for name in next(iter(found.values()), {}) if all(name in by_class for by_class in found.values())]
    if not classes:
        return None
    look = canvas.looks(rows)
    classes.sort(key=lambda name: np.mean([by_class[name].value for by_class in found.values()]))
    more, classes = len(classes) - MOST, classes[:MOST]
    beside = max(map(canvas.text_width, classes)) + 14 <= 0.45 * width
    left = max(map(canvas.text_width, classes)) + 14 if beside else 6
    step = _STEP if beside else _STEP + 12
    key = [(row, canvas.shortened(capital(row.name), width - 20)) for row in found]
    body = step * len(classes)
    plot = width - left - 14
    figure = canvas.sheet(width, LINE * len(key) + 8 + body + 24 + (LINE if more > 0 or left_out else 0))
    top = LINE * len(key) + 8
    axes = canvas.panel(figure, left, top, plot, body)
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.set_ylim(body, 0)
    values = [100 * found[row][name].value for row in found for name in classes]
    margin = 0.05 * (max(values) - min(values)) or 2.0
    axes.set_xlim(min(values) - margin, max(values) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(max(2, int(plot / 70)), steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %" if 0 <= value <= 100 else ""))
    for place, name in enumerate(classes):
        y = step * place + (step / 2 if beside else step - 14)
        canvas.write(figure, 0, top + y - (0 if beside else 18), canvas.shortened(name, width))
        ends = [100 * by_class[name].value for by_class in found.values()]
        axes.vlines(axes.get_xticks(), y - 10, y + 10, color=GRID, linewidth=0.75, zorder=0)
        axes.hlines(y, min(ends), max(ends), color=GRID, linewidth=3, zorder=1)
        for row, end in zip(found, ends, strict=True):
            axes.plot(end, y, look[row].marker, color=look[row].colour, markersize=6.5, alpha=0.85, clip_on=False)
    for place, (row, name) in enumerate(key):
        high = figure.get_size_inches()[1] * canvas.DOTS
        y = LINE * place + 8
        axes.plot(
            7 / width, 1 - y / high, look[row].marker, color=look[row].colour, markersize=6,
            transform=figure.transFigure, clip_on=False,
        )  # fmt: skip
        canvas.write(figure, 18, y, name)
    rest = [counted(more, "more class", "more classes")] if more > 0 else []
    rest += [counted(left_out, "more row")] if left_out else []
    if rest:
        canvas.write(figure, 0, top + body + 30, f"{' and '.join(rest)} in the table", MUTED, size=SMALL)
    told = [f"{name}: {', '.join(percent(by_class[name].value) for by_class in found.values())}" for name in classes]
    who = ", ".join(row.name for row in found)
    figure.set_label(f"Recall by class of {who}. {'; '.join(told)}.")
    return figure


def confusion(counts: pd.DataFrame, name: str, width: int) -> Figure | None:
    """What the photos of each class were taken for, in percent of them; the classes with the most mistakes.

    Args:
        counts: photos: index true class, columns predicted classes.
        name: whose they are.
        width: in px.
    """
    known = sorted({*map(str, counts.index), *map(str, counts.columns)})
    square = counts.reindex(index=known, columns=known, fill_value=0).fillna(0).to_numpy(float)
    if not square.sum():
        return None
    wrong = square * (1 - np.eye(len(known)))
    order = sorted(np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:MOST])
    labels = [f"{place}  {known[index]}" for place, index in enumerate(order, 1)]
    beside = width >= canvas.WIDE  # else the names stand below
    labels = [canvas.shortened(label, 220 if beside else width) for label in labels]
    left = max(map(canvas.text_width, labels)) + 10 if beside else 20.0
    cell = min(40.0, (width - left) / len(order))
    body = cell * len(order)
    figure = canvas.sheet(width, body + 44 + (0 if beside else LINE * len(order)))
    axes = canvas.panel(figure, left, 40, body, body)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(0, len(order))
    axes.set_ylim(len(order), 0)
    shares = square / np.maximum(square.sum(1, keepdims=True), 1)
    canvas.write(figure, left + body / 2, 8, "taken for", MUTED, align="center", size=SMALL)
    for i, one in enumerate(order):
        canvas.write(figure, 0, 40 + cell * (i + 0.5), labels[i] if beside else str(i + 1))
        if not beside:
            canvas.write(figure, 0, body + 50 + LINE * i, labels[i])
        canvas.write(figure, left + cell * (i + 0.5), 27, str(i + 1), MUTED, align="center", size=SMALL)
        for j, other in enumerate(order):
            share = float(shares[one, other])
            shade = PRETRAINED if one == other else SCRATCH
            axes.bar(j + 0.5, 0.94, 0.94, i + 0.03, color=shade if share else GRID, alpha=_strength(share), lw=0)
            text = f"{100 * share:.0f}" if round(100 * share) else "<1" if share else ""
            if text and cell >= 21:
                canvas.write(
                    figure, left + cell * (j + 0.5), 40 + cell * (i + 0.5), text, align="center", size=SMALL
                )  # fmt: skip
    worst = np.unravel_index(int(wrong.argmax()), wrong.shape)
    told = f"{known[worst[0]]} is most often taken for {known[worst[1]]}" if wrong.sum() else "there is no mistake"
    of = f" The {len(order)} classes with the most mistakes." if len(order) < len(known) else ""
    figure.set_label(f"What {name} takes each class for, in percent of its photos: {told}.{of}")
    return figure


def most_confused(
    counts: Sequence[tuple[Row, pd.DataFrame]], most: int
) -> list[tuple[str, str, list[tuple[Row, int]]]]:
    """The pairs of true and predicted class that most photos fell to, with how many of them each row took so."""
    found: dict[tuple[str, str], list[tuple[Row, int]]] = {}
    for row, table in counts:
        for label, line in table.iterrows():
            for predicted, number in line.items():
                if label != predicted and number:
                    found.setdefault((str(label), str(predicted)), []).append((row, int(number)))
    order = sorted(found, key=lambda pair: -sum(number for _, number in found[pair]))[:most]
    return [(*pair, found[pair]) for pair in order]


def _strength(share: float) -> float:
    """How strongly a share is coloured, so that the number on it stays readable."""
    return 0.35 if not share else 0.1 + 0.35 * share**0.5
