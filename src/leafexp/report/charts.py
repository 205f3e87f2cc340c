"""The page's figures: Plotly, which shows values on hover; a colour and a marker per row, the same in all of them."""

import html
import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from leafexp import names
from leafexp.report.figures import COLOURS
from leafexp.report.rows import Row
from leafexp.report.table import CONTROL_MARK

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
PHASES = {
    names.DATA_SECONDS: ("waiting for photos", "#56B4E9"),
    names.COMPUTE_SECONDS: ("computing training steps", "#0072B2"),
    names.VALIDATION_SECONDS: ("validating", "#E69F00"),
}
MOST_BANDS = 8  # with more rows they hide each other
LOGARITHMIC_FROM = 10  # times between the smallest and the largest value of an axis


def curves(rows: Sequence[Row]) -> go.Figure | None:
    """Validation accuracy by epoch: the mean over seeds as a line, lowest to highest seed as a band."""
    figure = _figure("epoch", "validation accuracy")
    for index, row in enumerate(rows):
        columns = [run.curves[names.VAL_ACCURACY] for run in row.runs if names.VAL_ACCURACY in run.curves]
        if not columns:
            continue
        table = pd.concat(columns, axis=1)
        colour, _ = _look(index)
        if len(columns) > 1 and len(rows) <= MOST_BANDS:
            low, high = table.min(axis=1), table.max(axis=1)
            figure.add_scatter(
                x=[*table.index, *table.index[::-1]],
                y=[*high, *low[::-1]],
                fill="toself",
                fillcolor=_pale(colour),
                line={"width": 0},
                hoverinfo="skip",
                legendgroup=row.label,
                showlegend=False,
            )
        figure.add_scatter(
            x=table.index, y=table.mean(axis=1), name=_name(row), legendgroup=row.label, **_line(index, row)
        )
    return _drawn(figure)


def accuracy_against(rows: Sequence[Row], what: str) -> go.Figure | None:
    """Test accuracy with its 95 % interval against `minutes` of training or trainable `parameters`."""
    values = {
        "minutes": lambda row: row.total_seconds_with_prefix / 60,
        "parameters": lambda row: row.trainable,
    }[what]
    title = "training time in minutes" if what == "minutes" else "trainable parameters"
    figure = _figure(title, "test accuracy")
    shown = []
    for index, row in enumerate(rows):
        value = values(row)
        low, high = row.widest_interval[0]
        if not value > 0 or math.isnan(row.accuracy):
            continue
        shown.append(value)
        colour, symbol = _look(index)
        figure.add_scatter(
            x=[value],
            y=[row.accuracy],
            error_y={"array": [high - row.accuracy], "arrayminus": [row.accuracy - low], "color": colour},
            name=_name(row),
            mode="markers",
            marker={"color": colour, "symbol": f"{symbol}-open" if row.control else symbol, "size": 11},
        )
    if shown and max(shown) > LOGARITHMIC_FROM * min(shown):
        figure.update_xaxes(type="log", dtick="D2")
    return _drawn(figure)


def accuracy_by_photos(rows: Sequence[Row]) -> go.Figure | None:
    """Test accuracy with its interval against training photos, a line per arm; None unless arms have several sizes."""
    arms: dict[str, list[Row]] = {}
    for row in rows:
        if row.mean(names.TRAIN_IMAGES) > 0 and not math.isnan(row.accuracy):
            arms.setdefault(row.runs[0].row, []).append(row)
    if not any(len({row.mean(names.TRAIN_IMAGES) for row in arm}) > 1 for arm in arms.values()):
        return None
    figure = _figure("training photos", "test accuracy")
    for index, (name, arm) in enumerate(arms.items()):
        arm = sorted(arm, key=lambda row: row.mean(names.TRAIN_IMAGES))
        accuracies = [row.accuracy for row in arm]
        lows, highs = zip(*(row.widest_interval[0] for row in arm), strict=True)
        figure.add_scatter(
            x=[row.mean(names.TRAIN_IMAGES) for row in arm],
            y=accuracies,
            error_y={
                "array": [high - value for high, value in zip(highs, accuracies, strict=True)],
                "arrayminus": [value - low for low, value in zip(lows, accuracies, strict=True)],
            },
            name=html.escape(name, quote=False) + (CONTROL_MARK if arm[0].control else ""),
            **_line(index, arm[0]),
        )
    figure.update_xaxes(
        type="log", tickvals=sorted({row.mean(names.TRAIN_IMAGES) for arm in arms.values() for row in arm})
    )
    return _drawn(figure)


def time_split(rows: Sequence[Row]) -> go.Figure | None:
    """Mean seconds of an epoch by what they are spent on, a bar per row."""
    shown = [row for row in rows if not math.isnan(row.mean_over_epochs(names.COMPUTE_SECONDS))]
    figure = _figure("seconds per epoch", "")
    for metric, (title, colour) in PHASES.items():
        figure.add_bar(
            y=[_name(row) for row in shown],
            x=[row.mean_over_epochs(metric) for row in shown],
            name=title,
            orientation="h",
            marker={"color": colour},
        )
    figure.add_bar(
        y=[_name(row) for row in shown],
        x=[row.other_seconds for row in shown],
        name="frozen layers, once, and tracing graphs",
        orientation="h",
        marker={"color": "#999999"},
    )
    figure.update_layout(
        barmode="stack", legend={"traceorder": "normal"}, yaxis={"autorange": "reversed"}, height=150 + 34 * len(shown)
    )
    return _drawn(figure) if shown else None


def confusion(row: Row) -> go.Figure | None:
    """Test photos of all seeds by true class (down) and predicted class (across), coloured by recall."""
    if row.right_by_seed is None:
        return None
    table = row.confusion
    classes = sorted({*table.index, *table.columns})
    shown = [html.escape(name, quote=False) for name in classes]
    counts = table.reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    figure = _figure("predicted", "true")
    figure.add_heatmap(
        z=counts / counts.sum(axis=1, keepdims=True).clip(min=1),
        x=shown,
        y=shown,
        text=counts,
        texttemplate="%{text}",
        colorscale="Blues",
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="true %{y}<br>predicted %{x}<br>%{text} photos, %{z:.1%}<extra></extra>",
    )
    figure.update_layout(yaxis={"autorange": "reversed"}, xaxis={"tickangle": 40}, height=150 + 42 * len(classes))
    return figure


def recall(rows: Sequence[Row]) -> go.Figure | None:
    """Recall of each class, a marker per row."""
    figure = _figure("recall", "")
    for index, row in enumerate(rows):
        if not row.recall.empty:
            colour, symbol = _look(index)
            figure.add_scatter(
                x=row.recall.to_numpy(),
                y=[html.escape(name, quote=False) for name in row.recall.index],
                name=_name(row),
                mode="markers",
                marker={"color": colour, "symbol": f"{symbol}-open" if row.control else symbol, "size": 10},
            )
    figure.update_layout(yaxis={"autorange": "reversed"})
    return _drawn(figure)


def _figure(x_title: str, y_title: str) -> go.Figure:
    return go.Figure(
        layout={
            "template": "plotly_white",
            "xaxis": {"title": {"text": x_title}, "automargin": True},
            "yaxis": {"title": {"text": y_title}, "automargin": True},
            "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
            "height": 430,
            "legend": {"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0},
            "font": {"size": 13, "color": "#222222"},
            "hovermode": "closest",
            "dragmode": False,  # a finger scrolls the page
        }
    )


def _drawn(figure: go.Figure) -> go.Figure | None:
    entries = sum(trace.showlegend is not False for trace in figure.data)
    figure.update_layout(height=figure.layout.height + 12 * max(0, entries - 8))  # room for the legend
    return figure if figure.data else None


def _name(row: Row) -> str:
    # Plotly takes some HTML in texts for formatting.
    return html.escape(row.name, quote=False) + (CONTROL_MARK if row.control else "")


def _look(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], SYMBOLS[index % len(SYMBOLS)]


def _line(index: int, row: Row) -> dict[str, object]:
    colour, symbol = _look(index)
    return {
        "mode": "lines+markers",
        "line": {"color": colour, "dash": "dash" if row.control else "solid"},
        "marker": {"color": colour, "symbol": symbol, "size": 7},
    }


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"
