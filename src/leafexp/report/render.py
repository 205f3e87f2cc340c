"""The report: its text for the terminal, its files, and `write_report`, which makes both."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from leafexp import names
from leafexp.errors import UserError
from leafexp.report.answers import Answer, answer_questions, headline
from leafexp.report.budget import budget_notes, matched_view
from leafexp.report.collect import Run, Selection, collect
from leafexp.report.comparisons import Comparisons, compare
from leafexp.report.figures import draw_figures
from leafexp.report.phrases import photos
from leafexp.report.rows import Row, groups_to_compare, make_rows
from leafexp.report.store import default_tracking_uri
from leafexp.report.table import (
    CONTROL_MARK,
    make_table,
    pairs_table,
    print_frame,
    print_table,
    shown_matched,
    shown_pairs,
    shown_recall,
)
from leafexp.report.wording import count

FORMATS = ("text", "markdown", "csv")
LINE_WIDTH = 120


@dataclass(frozen=True)
class Report:
    """What the report says, whatever form it is written in."""

    selection: Selection
    rows: Sequence[Row]
    table: pd.DataFrame
    comparisons: Comparisons
    headline: Sequence[str]
    answers: Sequence[Answer]


def write_report(
    root: Path,
    experiment: str = "leafexp",
    sweep: str = "latest",
    tracking_uri: str | None = None,
    output: Path | None = None,
    output_format: str = "text",
) -> tuple[str, list[str], list[Path]]:
    """Read the store, write report.md, table.csv and the figures, and return what to print.

    Args:
        root: The folder of mlflow.db and reports/ where the next arguments do not say otherwise.
        experiment: The MLflow experiment's name.
        sweep: A sweep's name, `latest` (the newest with a finished run) or `all`.
        tracking_uri: The MLflow store, or the path of its SQLite file; MLFLOW_TRACKING_URI, else `root`/mlflow.db.
        output: The folder to write to, made if need be; `root`/reports/<experiment> by default.
        output_format: `text`, `markdown` or `csv` (the table alone).

    Returns:
        The text in the chosen format, the warnings that a bare table does not carry, and the written files.

    Raises:
        UserError: the store, the experiment or the sweep is not there, or holds no finished run.
    """
    selection = collect(tracking_uri or default_tracking_uri(root), experiment, sweep)
    rows = make_rows(selection.finished)
    table = make_table(rows)
    comparisons = compare(rows)
    answers = answer_questions(rows, comparisons)
    folder = output or root / "reports" / experiment
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Can't write the report to {folder}: {error.strerror}.") from None
    figures = draw_figures(rows, folder)
    report = Report(selection, rows, table, comparisons, headline(rows, comparisons), answers)
    markdown = as_markdown(report, [figure.name for figure in figures])
    written = {
        "report.md": markdown,
        "table.csv": as_csv(table),
        "pairs.csv": as_csv(pairs_table(comparisons)),
        "matched.csv": as_csv(matched_view(rows)),
    }
    for name, content in written.items():
        (folder / name).write_text(content, encoding="utf-8")
    texts = {"markdown": markdown, "csv": as_csv(table)}
    text = texts.get(output_format) or as_text(report)
    return text, warnings(rows), [*(folder / name for name in written), *figures]


def as_text(report: Report) -> str:
    """The report for a terminal."""
    selection, rows, table, answers = report.selection, report.rows, report.table, report.answers
    blocks = [
        "\n".join(_wrap(line) for line in [*_header(selection), *_shouted(rows)]),
        "\n".join(_wrap(line) for line in report.headline),
        "\n".join(_wrap(line) for line in data_facts(rows)),
        print_table(table),
        "\n".join(_wrap(line) for line in [*notes(rows), *unfinished_runs(selection.unfinished)]),
    ]
    blocks += ["\n".join([answer.question, *(_wrap(line, "- ") for line in answer.sentences)]) for answer in answers]
    return "\n\n".join(block for block in blocks if block) + "\n"


def as_markdown(report: Report, figures: Sequence[str]) -> str:
    """The report as report.md; `figures` are file names beside it."""
    selection, rows, table, answers = report.selection, report.rows, report.table, report.answers
    blocks = [
        f"# Report of {selection.experiment}",
        *report.headline,
        *_header(selection),
        *(f"**{line}**" for line in _shouted(rows)),
        _bullets(data_facts(rows)),
        print_table(table, markdown=True),
        _bullets([*notes(rows), *unfinished_runs(selection.unfinished)]),
    ]
    for answer in answers:
        blocks += [f"## {answer.question}", _bullets(answer.sentences)]
    for title, frame in more_tables(report):
        blocks += [f"## {title}", print_frame(frame, markdown=True)]
    blocks += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in figures]
    return "\n\n".join(block for block in blocks if block) + "\n"


def more_tables(report: Report) -> list[tuple[str, pd.DataFrame]]:
    """The tables beside the main one, as texts with their titles; those with something in them."""
    tables = [
        ("Every pair of rows", shown_pairs(report.comparisons)),
        ("The best validation accuracy within the same budget", shown_matched(matched_view(report.rows))),
        ("Recall by class", shown_recall(report.rows)),
    ]
    return [(title, frame) for title, frame in tables if len(frame) > (1 if title != "Every pair of rows" else 0)]


def as_csv(table: pd.DataFrame) -> str:
    """The raw table; ten digits, so that sums of seconds do not end in 0.0000001."""
    return str(table.to_csv(index=False, float_format="%.10g"))


def warnings(rows: Sequence[Row]) -> list[str]:
    """What forbids to compare rows: different photos or different splits of them."""
    groups = groups_to_compare(rows)
    if len(groups) == 1:
        return []
    parts = [f"{', '.join(row.name for row in group)} ({photos(group[0])})" for group in groups]
    return [f"Not comparable: these rows were tested on different photos and are not compared: {' | '.join(parts)}."]


def data_facts(rows: Sequence[Row]) -> list[str]:
    """What the runs were trained and tested on, and from which weights and code."""
    facts = []
    for group in groups_to_compare(rows):
        row = group[0]
        images = [
            "/".join(dict.fromkeys(count(item.mean(metric)) for item in group))
            for metric in (names.TRAIN_IMAGES, names.VALIDATION_IMAGES, names.TEST_IMAGES)
        ]
        sizes = "/".join(sorted({item.param("data.image_size") or "?" for item in group}))
        facts.append(
            f"Data: {row.tag(names.DATA) or row.param('data.name') or '?'}; images: {images[0]} train, {images[1]} "
            f"validation, {images[2]} test; image size {sizes}; "
            f"data {row.hashes(names.DATA_HASH, 12)}, split {row.hashes(names.SPLIT_HASH, 12)}."
        )
    sources: dict[str, list[str]] = {}
    for row in rows:
        mark = CONTROL_MARK if row.control else ""
        sources.setdefault(row.tag(names.WEIGHTS_SOURCE) or "not logged", []).append(row.name + mark)
    facts.append("Weights: " + "; ".join(f"{source}: {', '.join(labels)}" for source, labels in sources.items()) + ".")
    for precision, labels in _by_precision(rows).items():
        facts.append(f"Computed in {precision}, not float32: {', '.join(labels)}.")
    commits = sorted({run.tags.get(names.GIT_COMMIT, "?")[:12] for row in rows for run in row.runs})
    return [*facts, f"Code: git commit {', '.join(commits)}."]


def _by_precision(rows: Sequence[Row]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        if (precision := row.param("trainer.precision")) not in ("", "float32"):
            found.setdefault(precision, []).append(row.name)
    return found


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know: unequal budgets, and how many seeds stand behind a row."""
    said = budget_notes(rows)
    single = [row.name for row in rows if len(row.runs) == 1]
    if len(single) == len(rows):
        said.append("One seed: differences from seed to seed are not in these intervals.")
    elif single:
        said.append(f"One seed only, so differences from seed to seed are unknown: {', '.join(single)}.")
    if len(single) < len(rows):
        said.append(
            "Several seeds: values are means. Over photos: the chance of which photos were drawn, as if each were of "
            "another leaf (Wilson); over seeds: of another seed, on these photos (Student); over leaves and seeds: of "
            "both, photos of a leaf going together (bootstrap)."
        )
    return said


def unfinished_runs(runs: Sequence[Run]) -> list[str]:
    """The runs that are not in the table, each with the reason."""
    said = []
    for run in runs:
        seed = run.tags.get(names.SEED) or run.params.get("seed", "?")
        reason = (run.tags.get(names.ERROR, "").strip().splitlines() or ["no reason logged"])[0][:200]
        why = "still running, or its process is gone" if run.status == "RUNNING" else reason
        said.append(f"Not in the table: {run.row}, seed {seed}: {run.status.lower()} ({why}).")
    return said


def _header(selection: Selection) -> list[str]:
    which = "All finished runs" if selection.sweep == "all" else f"Sweep {selection.sweep}"
    others = "" if selection.sweep == "all" else f"; {selection.other_sweeps} other sweep(s) (--sweep NAME or all)"
    return [f"{which} of experiment {selection.experiment}{others}.", *selection.notes]


def _shouted(rows: Sequence[Row]) -> list[str]:
    return [f"WARNING. {line}" for line in warnings(rows)]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _wrap(line: str, bullet: str = "") -> str:
    whole = re.sub(r"`[^`]*`", lambda command: command[0].replace(" ", "\0"), line)  # a command stays on one line
    filled = textwrap.fill(
        whole,
        LINE_WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\0", " ")
