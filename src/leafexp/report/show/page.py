"""The report as one HTML file that needs nothing else."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from leafexp import names
from leafexp.audit.findings import facts
from leafexp.report.evidence.calibration import Calibration
from leafexp.report.read.runs import Run
from leafexp.report.report import Report
from leafexp.report.rows.labels import in_short
from leafexp.report.rows.predictions import confusion
from leafexp.report.rows.row import Row
from leafexp.report.say.answer import unseen
from leafexp.report.say.effects import effects_said
from leafexp.report.say.words import Code, Sentence, called, capital, percent
from leafexp.report.show import canvas, cost, curves, details, forest, trust
from leafexp.report.show.classes import confusion as confusion_figure
from leafexp.report.show.classes import recalls
from leafexp.report.show.external import section
from leafexp.report.show.gallery import disagreements
from leafexp.report.show.terminal import about, about_selection, setting_of, split_of
from leafexp.stores import linked
from leafexp.wording import count, counted, one_line

FIRST_CAVEATS = 4
LOCAL_UI = "http://127.0.0.1:5000"
_MOST_GROUPS = 6  # groups of settings that are not folded
_MOST_COPIES = 50  # that the audit found
_MOST_PAIRS = 100  # of comparisons in the table
_UNIT = re.compile(r"(?<=\d) (?=(s|min|h|points?|epochs?|million)\b|%)")  # no line ends between number and unit


def make_page(report: Report, tracking_uri: str) -> str:
    """The page as HTML.

    Args:
        report: what it says.
        tracking_uri: the store's, to read pictures from and to link runs to.
    """
    environment = Environment(
        loader=PackageLoader("leafexp.report", "show"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    here = files("leafexp.report.show")
    places = {row.label: f"row-{number}" for number, row in enumerate(report.rows, 1)}
    environment.filters |= {"said": partial(_html, places=places), "capital": capital, "percent": percent}
    environment.globals |= {"counted": counted, "setting_of": setting_of, "split_of": split_of, "tag": names}
    photos, disagreed = disagreements(report.main, tracking_uri)
    trusted = details.calibrations(report.main)
    classes = details.by_class(report)
    audit = report.selection.audit or {}
    elsewhere = [section(found, report.answers[0][1].best, tracking_uri) for found in report.externals]
    return environment.get_template("page.html.j2").render(
        report=report,
        about=_about(report),
        title=about(report),
        style=Markup(here.joinpath("page.css").read_text("utf-8")),
        script=Markup(here.joinpath("page.js").read_text("utf-8")),
        figures=_figures(report, trusted, classes),
        what=unseen(report.main[0]),
        controls=[row for row in report.main if row.control],
        first_caveats=report.caveats[:FIRST_CAVEATS],
        more_caveats=report.caveats[FIRST_CAVEATS:],
        accuracy_caption=details.accuracy_caption(report.main),
        time_caption=details.time_caption(report.main),
        planned=len(report.planned),
        shown_groups=_MOST_GROUPS,
        key=details.key(report.rows),
        places=places,
        arms=[details.arm(row, report) for row in report.rows],
        pairs=list(map(details.pair, report.comparisons)),
        most_pairs=_MOST_PAIRS,
        classes=classes,
        confusions=details.confusions(report.main),
        elsewhere=elsewhere,
        photos=photos,
        disagreed=disagreed,
        labels=sorted({photo.label for photo in photos}),
        trusted=[
            (row, f"{item.log_loss:.3f}", *map(percent, (item.error, item.by_chance, trust.at_share(item, 0.8))))
            for row, item in trusted.items()
        ],
        together=details.together(report),
        matched=details.matched(report.main),
        effects=list(zip(report.effects, effects_said(report.effects), strict=True)),
        in_short=in_short,
        found=facts(audit) if audit else [],
        copies=audit.get("pairs", [])[:_MOST_COPIES],
        notes=about_selection(report),
        run_link=lambda run: _run_link(run, tracking_uri),
        local=not tracking_uri.startswith("http"),
    )


def _figures(report: Report, trusted: Mapping[Row, Calibration], classes: details.Classes) -> dict[str, Markup]:
    """Every figure by name, empty where there is nothing to draw."""
    rows, known = report.main, report.accuracies
    draw: dict[str, Callable[[int], Figure | None]] = {
        "accuracies": partial(forest.accuracies, rows, known),
        "differences": partial(forest.differences, report.planned),
        "averages": partial(forest.averages, report.effects),
        "times": partial(forest.times, rows),
        "curves": partial(curves.accuracy, rows, report.phases),
        "loss": partial(curves.loss, [row for row in rows if row.pretrained]),
        "cost": partial(cost.accuracy_against_time, rows, known),
        "reliability": partial(trust.reliability, trusted),
        "answered": partial(trust.answered, trusted),
        "recalls": partial(recalls, classes.recalls),
        "classes": partial(forest.class_differences, classes.apart),
    }
    for number, (group, _) in enumerate(report.answers[:_MOST_GROUPS] if len(report.answers) > 1 else ()):
        draw[f"group-{number}"] = partial(forest.accuracies, group, known)
    for number, found in enumerate(report.externals):
        draw[f"elsewhere-{number}"] = partial(forest.accuracies, found.rows, found.accuracies)
    for number, effect in enumerate(report.effects):
        draw[f"effect-{number}"] = partial(forest.effect, effect)
    for number, row in enumerate(classes.best):
        assert row.tested is not None
        draw[f"confusion-{number}"] = partial(confusion_figure, confusion(row.tested), row.name)
    return {name: Markup(canvas.svg(figure, name)) for name, figure in draw.items()}


def _html(sentence: Sentence, places: Mapping[str, str]) -> Markup:
    """A sentence with links from its rows to how they were made, and commands that can be copied."""
    parts = []
    for number, part in enumerate(sentence.parts):
        match part:
            case Row():
                name = capital(called(part)) if number == 0 else called(part)
                parts.append(Markup('<a class="row" href="#{}">{}</a>').format(places[part.label], name))
            case Code(text) if " " in text:
                parts.append(Markup('<code class="command">{}</code>').format(one_line(text)))
            case Code(text):
                parts.append(Markup("<code>{}</code>").format(one_line(text)))
            case _:
                parts.append(escape(_UNIT.sub("\N{NO-BREAK SPACE}", capital(part) if number == 0 else part)))
    return Markup("").join(parts)


def _about(report: Report) -> list[str]:
    """What was compared, in a few words each."""
    audit: dict[str, Any] = report.selection.audit or {}
    data, _, runs = about(report).partition(": ")
    said = [data]
    if "photos" in audit and "classes" in audit:
        leaves = sum(part["leaves"] for part in audit.get("parts", {}).values())
        of = f" of {counted(leaves, 'leaf', 'leaves')}" if 0 < leaves < audit["photos"] else ""
        said.append(f"{count(audit['photos'])} photos{of}, {counted(len(audit['classes']), 'class', 'classes')}")
    return [*said, *runs.split(", ", 1)]


def _run_link(run: Run, tracking_uri: str) -> str:
    server = linked(tracking_uri) if tracking_uri.startswith("http") else LOCAL_UI
    return f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
