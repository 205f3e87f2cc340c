"""The report: its text for the terminal, its files, and `write_report`, which makes both."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from leafexp.errors import UserError
from leafexp.names import folder_name
from leafexp.report.read.collect import collect
from leafexp.report.content import (
    Report,
    data_facts,
    header,
    limits,
    make_report,
    more_tables,
    warnings,
)
from leafexp.report.figures import draw_figures
from leafexp.report.page import make_page
from leafexp.report.read.store import default_tracking_uri
from leafexp.report.table import (
    pairs_table,
    print_frame,
    print_table,
    shown_table,
)
from leafexp.report.wording import CODE, in_markdown, one_line, plain_in_markdown

MARKDOWN, LATEX = "github", "latex_booktabs"
LINE_WIDTH = 120
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")


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
    report = make_report(selection)
    rows, table = report.rows, report.table
    folder = output or root / "reports" / folder_name(experiment)
    page = make_page(report, tracking_uri or default_tracking_uri(root))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figures = draw_figures(rows, folder)
        markdown = as_markdown(report, [figure.name for figure in figures])
        written = {
            "report.md": markdown,
            "table.csv": as_csv(table),
            "table.tex": print_frame(shown_table(table).map(one_line), LATEX) + "\n",
            "pairs.csv": as_csv(pairs_table(report.comparisons)),
            "matched.csv": as_csv(report.matched),
            "report.html": page,
        }
        for name, content in written.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"Can't write the report to {folder}: {error.strerror}.") from None
    texts = {"markdown": markdown, "csv": as_csv(table)}
    text = texts.get(output_format) or as_text(report)
    return text, warnings(report), [*(folder / name for name in written), *figures]


def as_text(report: Report) -> str:
    """The report for a terminal."""
    selection, rows, table, answers = report.selection, report.rows, report.table, report.answers
    blocks = [
        "\n".join(_wrap(line) for line in [*header(selection), *_shouted(report)]),
        "\n".join(_wrap(line) for line in report.headline),
        "\n".join(_wrap(line) for line in data_facts(rows)),
        print_table(table.assign(model=table["model"].map(one_line))),
        "\n".join(_wrap(line) for line in limits(report)),
    ]
    blocks += ["\n".join([answer.question, *(_wrap(line, "- ") for line in answer.sentences)]) for answer in answers]
    return "\n\n".join(block for block in blocks if block) + "\n"


def as_markdown(report: Report, figures: Sequence[str]) -> str:
    """The report as report.md; `figures` are file names beside it."""
    selection, rows, table, answers = report.selection, report.rows, report.table, report.answers
    blocks = [
        f"# Report of {plain_in_markdown(selection.experiment)}",
        *map(in_markdown, report.headline),
        *map(in_markdown, header(selection)),
        *(f"**{in_markdown(line)}**" for line in _shouted(report)),
        _bullets(data_facts(rows)),
        _markdown_table(shown_table(table)),
        _bullets(limits(report)),
    ]
    for answer in answers:
        blocks += [f"## {answer.question}", _bullets(answer.sentences)]
    for title, frame in more_tables(report):
        blocks += [f"## {title}", _markdown_table(frame)]
    blocks += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in figures]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _markdown_table(frame: pd.DataFrame) -> str:
    escaped = frame.map(plain_in_markdown).set_axis(list(map(plain_in_markdown, frame.columns)), axis=1)
    return print_frame(escaped, MARKDOWN)


def as_csv(table: pd.DataFrame) -> str:
    """The raw table; ten digits, so that sums of seconds do not end in 0.0000001.

    A text that a spreadsheet would take for a formula has an apostrophe before it (OWASP, CSV Injection).
    """
    shown = table.map(lambda value: f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value)
    return str(shown.to_csv(index=False, float_format="%.10g"))


def _shouted(report: Report) -> list[str]:
    return [f"WARNING. {line}" for line in warnings(report)]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {in_markdown(line)}" for line in lines)


def _wrap(line: str, bullet: str = "") -> str:
    whole = CODE.sub(lambda command: command[0].replace(" ", "\0"), one_line(line))  # a command stays on one line
    filled = textwrap.fill(
        whole,
        LINE_WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\0", " ")
