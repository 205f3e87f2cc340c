"""The report on one screen of a terminal: the answer, the arms, and what to know before relying on it."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import pandas as pd

from leafexp import names
from leafexp.report.evidence.external import externals
from leafexp.report.evidence.intervals import Estimate
from leafexp.report.read.runs import Run
from leafexp.report.report import Report, accuracies
from leafexp.report.rows import timing
from leafexp.report.rows.labels import in_short, told
from leafexp.report.rows.row import Row, make_rows, varied_settings
from leafexp.report.say.effects import effects_said
from leafexp.report.say.external import in_a_line
from leafexp.report.say.words import Code, Sentence, capital, few, plain
from leafexp.report.show.table import arms_table, as_text
from leafexp.wording import counted, one_line

WIDTH, HEIGHT = 80, 30
MOST_ARMS = 8
MOST_OF_A_SWEEP = 20
MOST_OF_A_NAME = 32  # characters
MOST_CAVEATS = 4
_FOOT = 3  # lines that the caller adds: where the page and the table lie


def on_terminal(report: Report) -> str:
    """The report in 80 columns and, with the files' names below it, 30 lines. Commands are never broken."""
    lines = [about(report), ""]
    for rows, found in report.answers[:4]:
        # Of several groups of settings each answer is one line or two; else it is told in full.
        single = len(report.answers) == 1
        begin = "" if single else f"{setting_of(report, rows)}: "
        lines += _wrapped([found.title, *found.said] if single else [found.title, *found.said[:1]], begin)
    if report.elsewhere:
        lines += _wrapped(report.elsewhere, "")
    if not report.planned:
        lines += [line for sentence in effects_said(report.effects) for line in _wrapped([sentence], "")]
    every = [row for rows, _ in report.answers for row in rows]
    arms = [row for row in every if not row.control] or every
    lines += ["", *_arms(arms[:MOST_ARMS], report.accuracies, len(report.rows))]
    return "\n".join([*lines, *_caveats(report, HEIGHT - _FOOT - len(lines))]) + "\n"


def sweep_table(runs: Sequence[Run]) -> str:
    """The arms of a sweep's finished runs, for a terminal, with their accuracy on photos from elsewhere."""
    rows = make_rows(runs)
    elsewhere = [line for found in externals(rows) for line in _wrapped([in_a_line(found)], "")]
    return "\n".join([*_arms(rows[:MOST_OF_A_SWEEP], accuracies(rows), len(rows)), *elsewhere])


def _arms(shown: Sequence[Row], found: Mapping[str, Estimate], rows: int) -> list[str]:
    """Arms in a table of 80 columns, and how many of all rows are left out."""
    table = arms_table(shown, found).rename(columns={"weights that learn": "weights", "accuracy": "right"})
    most = max(min(MOST_OF_A_NAME, len(name)) for name in table["arm"])
    lines = _lines(table, most)
    if (over := max(map(len, lines)) - WIDTH) > 0:  # where runs took long, their times are long too
        lines = _lines(table, most - over)
    indent = " " * min(2, max(0, WIDTH - max(map(len, lines))))
    more = [f"and {rows - len(shown)} more in the report"] if rows > len(shown) else []
    times = textwrap.wrap(timing.of_a_replicate(shown), WIDTH)
    return [*(indent + line for line in [*lines, *more]), *times]


def _lines(table: pd.DataFrame, most: int) -> list[str]:
    """The table as text, its arms' names in `most` characters."""
    arms = [textwrap.shorten(one_line(name), most, placeholder="…") for name in table["arm"]]
    return as_text(table.assign(arm=arms)).splitlines()


def about(report: Report) -> str:
    """What was compared, in a line: the data, the networks, the split and the seeds."""
    rows = report.rows
    path = rows[0].param("data.path")
    named = "" if path == "None" else PurePath(path.replace("\\", "/")).stem
    data = named or rows[0].tag(names.DATA) or rows[0].param("data.name") or report.selection.experiment
    networks = sum(len(row.runs) for row in rows)
    seeds = max(len(row.seeds) for row in rows)
    folds = {row.folds for row in rows}
    splits = "one split" if folds == {0} else f"{folds.pop()} folds" if len(folds) == 1 else "several splits"
    said = f"{data}: {counted(networks, 'network')}, {splits}, {counted(seeds, 'seed')}"
    return one_line(said)


def setting_of(report: Report, rows: Sequence[Row]) -> str:
    """What the rows of a group have in common and other groups have not: `With 8 photos a class`."""
    varied = {key: rows[0].settings[key] for key in varied_settings(report.rows) if key in rows[0].settings}
    # One setting says its usual value too; of several, those that are as usual go without saying.
    said = [in_short(*item) for item in (varied if len(varied) == 1 else told(varied)).items()] or ["no lever"]
    return capital("with " + ", ".join(said)) if varied else about_photos(rows[0])


def about_photos(row: Row) -> str:
    """Which photos a row was trained on, by the beginning of their hash."""
    return f"On photos {row.hashes(names.DATA_HASH)}, {split_of(row)}"


def split_of(row: Row, length: int = 8) -> str:
    """Its folds, or its split by the beginning of the hash."""
    return f"{row.folds} folds" if row.folded else f"split {row.hashes(names.SPLIT_HASH, length)}"


def _wrapped(sentences: Sequence[Sentence], begin: str) -> list[str]:
    """The sentences as a paragraph; a command stands on a line of its own."""
    lines: list[str] = []
    text = begin
    for sentence in sentences:
        commands = [part.text for part in sentence.parts if isinstance(part, Code) and " " in part.text]
        text += plain(sentence) + " "
        for command in commands:
            before, _, text = text.partition(one_line(command))
            lines += [*textwrap.wrap(before, WIDTH), f"  {one_line(command)}"]
            text = text.removeprefix(".").lstrip()
    return [*lines, *textwrap.wrap(text, WIDTH)]


def _caveats(report: Report, room: int) -> list[str]:
    """As many of the gravest caveats as there is room for, and how many more there are."""
    lines = ["", "Before you rely on it"]
    shown = 0
    for caveat in report.caveats[:MOST_CAVEATS]:
        more = textwrap.wrap(plain(caveat.sentence), WIDTH, initial_indent="  ! ", subsequent_indent="    ")
        if shown and len(lines) + len(more) + 1 > room:
            break
        lines += more
        shown += 1
    rest = len(report.caveats) - shown
    if not report.caveats:
        return []
    return [*lines, *([f"    {capital(few(rest))} more on the page."] if rest else [])]


def about_selection(report: Report) -> list[str]:
    """Which runs these are, and what was left out."""
    selection = report.selection
    which = "All finished runs" if selection.sweep == "all" else f"Sweep {selection.sweep}"
    others = ""
    if selection.sweep != "all" and selection.other_sweeps:
        others = f" {counted(selection.other_sweeps, 'other sweep')} can be shown: --sweep NAME, or --sweep all."
    return [f"{which} of experiment {selection.experiment}.{others}", *selection.notes]
