"""The report as one HTML file that needs nothing else."""

import math
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from leafexp import names
from leafexp.findings import facts
from leafexp.report.evidence.calibration import Calibration, calibration
from leafexp.report.evidence.classes import recall, recall_differences
from leafexp.report.evidence.comparisons import Comparison
from leafexp.report.evidence.intervals import Estimate
from leafexp.report.read.collect import Run, number
from leafexp.report.report import Report
from leafexp.report.rows import timing
from leafexp.report.rows.budget import matched_view
from leafexp.report.rows.labels import in_short
from leafexp.report.rows.learning import epochs, milestone
from leafexp.report.rows.predictions import confusion, probabilities
from leafexp.report.rows.row import Row
from leafexp.report.say.effects import effects_said
from leafexp.report.say.gaps import Gap, gap
from leafexp.report.say.words import Code, Sentence, called, capital, few, percent, rate, rounded, say
from leafexp.report.show import figures
from leafexp.report.show.gallery import disagreements
from leafexp.report.show.terminal import about, about_selection, setting_of
from leafexp.stores import link
from leafexp.wording import count, counted, duration

FIRST_CAVEATS = 4
LOCAL_UI = "http://127.0.0.1:5000"
MOST_CONFUSIONS = 8


def make_page(report: Report, tracking_uri: str) -> str:
    """The page as HTML.

    Args:
        report: what it says.
        tracking_uri: the store's, to read pictures from and to link runs to.
    """
    here = files("leafexp.report.show")
    environment = Environment(
        loader=PackageLoader("leafexp.report", "show"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    places = {row.label: f"row-{number}" for number, row in enumerate(report.rows, 1)}
    environment.filters["said"] = partial(_html, places=places)
    photos, disagreed = disagreements(report.main, tracking_uri)
    believed = _calibrations(report.main)
    svg = {
        "accuracies": (partial(figures.accuracies, report), "Accuracy of each arm with its 95 % interval"),
        "differences": (partial(figures.differences, report), "Differences of the arms with their intervals"),
        "curves": (partial(figures.curves, report.main), "Validation accuracy by epoch"),
        "time": (partial(figures.accuracy_against_time, report), "Accuracy against training time"),
        "reliability": (partial(figures.reliability, believed), "Share right against the probability stated"),
        "answered": (partial(figures.answered, believed), "Accuracy against the share of photos answered"),
    }
    return environment.get_template("page.html.j2").render(
        report=report,
        about=_about(report),
        title=about(report),
        style=Markup(here.joinpath("page.css").read_text("utf-8")),
        script=Markup(here.joinpath("page.js").read_text("utf-8")),
        figures={name: Markup(figures.svg(draw, what)) for name, (draw, what) in svg.items()},
        several=len(report.answers) > 1,
        setting_of=setting_of,
        first_caveats=report.caveats[:FIRST_CAVEATS],
        more_caveats=report.caveats[FIRST_CAVEATS:],
        caption=_caption(report),
        planned=sum(item.kind in _KINDS for item in report.comparisons),
        bars=_bars(report.main),
        places=places,
        arms=[_arm(row, report) for row in report.rows],
        pairs=[_pair(item) for item in report.comparisons],
        strips=[(row, strip) for row in report.main if (strip := _strip(row, report))],
        classes=_classes(report),
        confusions=_confusions(report.main),
        photos=photos,
        disagreed=disagreed,
        labels=sorted({photo.label for photo in photos}),
        believed=[(row, f"{item.log_loss:.3f}", percent(item.error)) for row, item in believed.items()],
        matched=_matched(report),
        effects=effects_said(report.effects),
        settings=[(row, [in_short(*item) for item in row.settings.items()]) for row in report.rows if row.settings],
        found=facts(report.selection.audit) if report.selection.audit else [],
        notes=about_selection(report),
        run_link=lambda run: _run_link(run, tracking_uri),
        local=not tracking_uri.startswith("http"),
        tag=names,
        counted=counted,
        percent=percent,
        rounded=rounded,
        capital=capital,
    )


_KINDS = {"transfer": "against the network from scratch", "freezing": "ways of fine-tuning", "weights": "weights"}


def _html(sentence: Sentence, places: dict[str, str]) -> Markup:
    """A sentence with links from its rows to how they were made, and commands that can be copied."""
    parts = []
    for place, part in enumerate(sentence.parts):
        match part:
            case Row():
                name = capital(called(part)) if place == 0 else called(part)
                parts.append(Markup('<a href="#{}">{}</a>').format(places[part.label], name))
            case Code():
                parts.append(Markup('<code class="command">{}</code>').format(part.text))
            case _:
                parts.append(escape(capital(part) if place == 0 else part))
    return Markup("").join(parts)


def _about(report: Report) -> list[str]:
    """What was compared, in a few words each."""
    audit: dict[str, Any] = report.selection.audit or {}
    said = [about(report).partition(":")[0]]
    if "photos" in audit and "classes" in audit:
        leaves = sum(part["leaves"] for part in audit.get("parts", {}).values())
        of = f" of {count(leaves)} leaves" if leaves and leaves < audit["photos"] else ""
        said.append(f"{count(audit['photos'])} photos{of}, {counted(len(audit['classes']), 'class', 'classes')}")
    return [*said, *about(report).partition(": ")[2].split(", ", 1)]


def _caption(report: Report) -> str:
    row = report.main[0]
    split = "" if row.folded else ", on this split"
    if len(row.runs) == 1:
        return f"Lines: 95 % interval for new {_what(row)}, with these weights{split}."
    return (
        f"Dots: mean of {few(len(row.runs))} networks. Lines: 95 % interval, for new {_what(row)} and new seeds{split}."
    )


def _what(row: Row) -> str:
    seen = row.outcomes
    return "leaves" if seen is not None and len(set(seen.leaves.tolist())) < len(seen.paths) else "photos"


def _bars(rows: Sequence[Row]) -> dict[str, Any]:
    """Training times as shares of the longest, for bars; none where they were measured on several machines."""
    spent = [(row, timing.total(row)) for row in rows if not row.control and not math.isnan(timing.total(row).mean)]
    if not spent or not timing.one_machine(*(row for row, _ in spent)):
        return {"bars": [], "note": "These arms were trained on several machines, so their times can't be compared."}
    longest = max(seconds.mean for _, seconds in spent)
    widest = max((seconds.high - seconds.low) / seconds.mean for _, seconds in spent)
    trained = {epochs(row) for row, _ in spent}
    each = f", {few(int(min(trained)))} epochs each" if len(trained) == 1 and min(trained) == int(min(trained)) else ""
    ranges = f" From seed to seed a time ranges over up to {100 * widest:.0f} % of it." if len(rows[0].runs) > 1 else ""
    return {
        "bars": [(row, 100 * seconds.mean / longest, duration(seconds.mean)) for row, seconds in spent],
        "note": f"As each would take alone{each}, on one machine.{ranges}",
    }


def _arm(row: Row, report: Report) -> dict[str, Any]:
    found = report.accuracies.get(row.label)
    reached = milestone(row, names.MILESTONES[0])
    when = f"> {count(reached.epochs)}" if math.isinf(reached.epoch) else count(reached.epoch)
    return {
        "row": row,
        "accuracy": percent(row.accuracy),
        "interval": _ends(found),
        "time": duration(timing.total(row).mean),
        "seconds": timing.total(row).mean,
        "epoch": duration(timing.an_epoch(row).mean),
        "learn": count(row.trainable),
        "all": count(row.parameters),
        "reached": when,
        "networks": len(row.runs),
    }


def _ends(found: Estimate | None) -> str:
    return f"{100 * found.low:.1f} to {100 * found.high:.1f}" if found else "-"


def _pair(item: Comparison) -> dict[str, Any]:
    found = gap(item.one, item.other, [item])
    if found is None:
        return {
            "one": item.one,
            "other": item.other,
            "kind": item.kind,
            "said": "can't be compared",
            "points": "-",
            "p": "-",
        }
    decided = "yes" if found.decided else "too few networks" if found.too_few else "no"
    assert item.estimate is not None
    p = "-" if found.too_few else "< 0.0001" if item.estimate.p < 0.0001 else f"{item.estimate.p:.2g}"
    kind = _KINDS.get(item.kind, item.kind.removeprefix("freeze.phases."))
    return {"one": found.ahead, "other": found.behind, "kind": kind, "said": decided, "points": _signed(found), "p": p}


def _signed(found: Gap | Estimate) -> str:
    value, low, high = (rounded(100 * end, 1) for end in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _strip(row: Row, report: Report) -> list[tuple[float, str]]:
    """The phases of a row: their share of the epochs, and what learned at what rate."""
    table = report.phases.get(row.label)
    if table is None:
        return []
    learns = {"head": "the head", "all": "all layers"}
    full = number(row.param("optimizer.learning_rate"))
    return [
        (
            float(phase["epochs"]),
            f"{learns.get(str(phase['learns']), 'from ' + str(phase['learns']) + ' on')}, "
            f"{counted(float(phase['epochs']), 'epoch')}, rate {rate(full * float(phase['learning_rate_factor']))}",
        )
        for phase in table.to_dict("records")
    ]


def _calibrations(rows: Sequence[Row]) -> dict[Row, Calibration]:
    found = {}
    for row in rows:
        known = None if row.control or row.tested is None or row.outcomes is None else probabilities(row.tested)
        if known is not None:
            found[row] = calibration(known[0], known[1])
    return found


def _classes(report: Report) -> dict[str, Any]:
    """Recall of each class by row, and the difference of the answer's two rows."""
    rows = [row for row in report.main if not row.control and row.outcomes is not None and row.tested is not None]
    if not rows:
        return {}
    tested = rows[0].tested
    assert tested is not None
    labels = dict(zip(tested["path"], tested["label"], strict=True))
    by_row = {row.label: recall(row.outcomes, labels) for row in rows if row.outcomes is not None}
    best = [row for row in report.answers[0][1].best if row in rows]
    apart: dict[str, Estimate] = {}
    if len(best) > 1 and best[0].outcomes is not None and best[1].outcomes is not None:
        apart = recall_differences(best[0].outcomes, best[1].outcomes, labels)
    lines = []
    for name in by_row[rows[0].label]:
        there = apart.get(name)
        ends = "-"
        if there is not None and there.networks > 2:
            ends = f"{_signed(there)}{'' if there.low > 0 or there.high < 0 else ' ?'}"
        lines.append((name, [percent(by_row[row.label][name].value) for row in rows], ends))
    return {"rows": rows, "best": best, "lines": lines}


def _confusions(rows: Sequence[Row]) -> list[Sentence]:
    """The pairs of classes that are most often taken for each other, with the rows that did it most."""
    counts: dict[tuple[str, str], list[tuple[Row, int]]] = {}
    for row in rows:
        if row.control or row.tested is None or row.outcomes is None:
            continue
        for label, line in confusion(row.tested).iterrows():
            for predicted, times in line.items():
                if label != predicted and times:
                    counts.setdefault((str(label), str(predicted)), []).append((row, int(times)))
    order = sorted(counts, key=lambda pair: -sum(times for _, times in counts[pair]))[:MOST_CONFUSIONS]
    said = []
    for label, predicted in order:
        parts: list[Any] = []
        for row, times in counts[label, predicted]:
            parts += [*([", "] if parts else []), f"{times:,} by ", row]
        said.append(say(f"{label} taken for {predicted}: ", parts, "."))
    return said


def _matched(report: Report) -> dict[str, Any]:
    table = matched_view(report.main)
    if len(table.columns) < 2:
        return {}
    shown = table.drop(columns="arm").map(lambda value: percent(float(value)) if value == value else "-")
    return {"columns": list(shown.columns), "lines": list(zip(table["arm"], shown.to_numpy().tolist(), strict=True))}


def _run_link(run: Run, tracking_uri: str) -> str:
    server = link(tracking_uri) if tracking_uri.startswith("http") else LOCAL_UI
    return f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
