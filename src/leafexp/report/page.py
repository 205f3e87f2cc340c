"""The report as one HTML file that needs nothing else: figures, pictures and how each row was made."""

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly import io as plotly_io
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from leafexp import names
from leafexp.findings import facts
from leafexp.report import charts
from leafexp.report.artifacts import parse_pictures, read_texts
from leafexp.report.collect import Run
from leafexp.report.content import Report, commits, data_facts, header, limits, more_tables, warnings
from leafexp.report.phrases import counted_confusions
from leafexp.report.rows import Row
from leafexp.report.table import shown_table
from leafexp.report.wording import CODE, counted
from leafexp.stores import linked

MOST_MATRICES = 12
WORST_PHOTOS = 12
MOST_RUNS = 100  # the latest of each row, as many of each, that are asked for the hardest photos
LOCAL_UI = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Drawing:
    """A figure with what it shows in words."""

    figure: Markup
    caption: str


@dataclass(frozen=True)
class Photo:
    """A test photo: what it shows, what each row said, and its picture as base64 JPEG, empty where none is kept."""

    path: str
    label: str
    probability: float
    said: list[str]
    jpeg: str


def make_page(report: Report, tracking_uri: str) -> str:
    """The page as HTML.

    Args:
        report: what it says.
        tracking_uri: the store's, to read pictures from and to link runs to.
    """
    rows = report.rows
    template = Environment(
        loader=PackageLoader("leafexp.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("page.html.j2")
    links = _Links(rows)
    audit = report.selection.audit
    return template.render(
        title=f"{report.selection.experiment}: {report.selection.sweep}",
        experiment=report.selection.experiment,
        header=header(report.selection),
        headline=[links.put(line) for line in report.headline],
        warnings=[links.put(line) for line in warnings(report)],
        table=shown_table(report.table),
        places=[links.places[row.name] for row in rows],
        notes=[links.put(line) for line in limits(report)],
        facts=data_facts(rows),
        answers=[(answer.question, [links.put(line) for line in answer.sentences]) for answer in report.answers],
        tables=more_tables(report),
        drawings=_drawings(rows),
        matrices=_matrices(rows),
        confusions=counted_confusions(rows),
        photos=worst_photos(rows, tracking_uri),
        found=facts(audit) if audit else [],
        pairs=audit["pairs"] if audit else [],
        counted=counted,
        commits=commits,
        breakable=Markup("_<wbr>"),
        rows=[(row, links.places[row.name]) for row in rows],
        tag=names,
        run_link=lambda run: _run_link(run, tracking_uri),
        local=not tracking_uri.startswith("http"),
        plotly=Markup(get_plotlyjs()),
    )


class _Links:
    """Links from rows' names in sentences to where they are told how to be made."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.places = {row.name: f"row-{number}" for number, row in enumerate(rows, 1)}
        known = sorted(map(re.escape, self.places), key=len, reverse=True)
        self._pattern = re.compile(rf"{CODE.pattern}|(?<![\w.])({'|'.join(known)})(?![\w(])", re.DOTALL)

    def put(self, sentence: str) -> Markup:
        """The sentence as HTML, commands in `code`."""
        parts, end = [], 0
        for match in self._pattern.finditer(sentence):
            parts.append(html.escape(sentence[end : match.start()]))
            _, command, name = match.groups()
            if command:
                parts.append(f"<code>{html.escape(command)}</code>")
            else:
                parts.append(f'<a href="#{self.places[name]}">{html.escape(name)}</a>')
            end = match.end()
        return Markup("".join([*parts, html.escape(sentence[end:])]))


def _drawings(rows: Sequence[Row]) -> dict[str, Drawing]:
    """Figures by title; those with data."""
    banded = len(rows) <= charts.MOST_BANDS and any(len(row.runs) > 1 for row in rows)
    several = "The band is from the lowest to the highest seed." if banded else ""
    interval = "Bars are 95 % intervals: over leaves and seeds, of one seed over leaves if known, else over photos."
    made = {
        "Validation accuracy by epoch": (charts.curves(rows), f"Lines are means over seeds. {several}"),
        "Test accuracy against training photos": (charts.accuracy_by_photos(rows), interval),
        "Test accuracy against training time": (
            charts.accuracy_against(rows, "minutes"),
            f"{interval} Frozen layers that an earlier run had computed are counted in. Hollow: controls.",
        ),
        "Test accuracy against trainable parameters": (charts.accuracy_against(rows, "parameters"), interval),
        "Where the seconds of an epoch go": (charts.time_split(rows), "Means over epochs and seeds."),
        "Recall by class": (charts.recall(rows), "The share of a class's test photos that is recognised."),
    }
    return {title: Drawing(_drawn(figure), caption) for title, (figure, caption) in made.items() if figure is not None}


def _matrices(rows: Sequence[Row]) -> list[tuple[str, Markup]]:
    found = [(row.name, charts.confusion(row)) for row in rows[:MOST_MATRICES]]
    return [(name, _drawn(figure)) for name, figure in found if figure is not None]


def _drawn(figure: Figure) -> Markup:
    config = {"displayModeBar": False, "responsive": True}
    return Markup(plotly_io.to_html(figure, include_plotlyjs=False, full_html=False, config=config))


def worst_photos(rows: Sequence[Row], tracking_uri: str) -> list[Photo]:
    """The test photos whose class got the lowest probability, a mean over runs tested on the first row's photos."""
    compared = [
        row for row in rows if row.photos == rows[0].photos and row.right_by_seed is not None and not row.control
    ]
    of_each = max(1, MOST_RUNS // max(1, len(compared)))
    asked = {row.name: row.runs[-of_each:] for row in compared}
    runs = list(chain.from_iterable(asked.values()))
    tables = {run.run_id: run.predictions.set_index("path") for run in runs if run.predictions is not None}
    scored = [_of_label(table) for table in tables.values()]
    if not scored or any(column is None for column in scored):
        return []
    mean = pd.concat([column for column in scored if column is not None], axis=1).mean(axis=1)
    worst = list(mean.sort_values(kind="stable").index[:WORST_PHOTOS])
    texts = read_texts([run.artifact_uri for run in runs], names.WORST_PHOTOS_FILE, tracking_uri)
    pictures = {path: jpeg for text in texts for path, jpeg in parse_pictures(text).items()}
    said = {run_id: table["predicted"].reindex(worst) for run_id, table in tables.items()}
    labels = tables[runs[0].run_id]["label"]
    return [
        Photo(
            path,
            str(labels[path]),
            float(mean[path]),
            [
                f"{name}: {_counted([said[run.run_id].iloc[place] for run in members])}"
                for name, members in asked.items()
            ],
            pictures.get(path, ""),
        )
        for place, path in enumerate(worst)
    ]


def _of_label(table: pd.DataFrame) -> pd.Series | None:
    """The probability that the run gave to each photo's own class, by path; None where it was not logged."""
    columns = [column for column in table if str(column).startswith("probability_")]
    places = pd.Index(columns).get_indexer(pd.Index("probability_" + table["label"]))
    if (places < 0).any():
        return None
    return pd.Series(table[columns].to_numpy(float)[np.arange(len(table)), places], index=table.index)


def _counted(said: Sequence[str]) -> str:
    if len(said) == 1:
        return said[0]
    return ", ".join(f"{label} ({times} of {len(said)})" for label, times in Counter(said).most_common())


def _run_link(run: Run, tracking_uri: str) -> str:
    server = linked(tracking_uri) if tracking_uri.startswith("http") else LOCAL_UI
    return f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
