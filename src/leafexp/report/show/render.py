"""`write_report`: reads the store, writes the report's files, and gives what to print."""

import json
import math
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leafexp import names
from leafexp.errors import UserError
from leafexp.names import folder_name
from leafexp.report.read.collect import collect
from leafexp.report.read.store import default_tracking_uri
from leafexp.report.report import Report, make_report
from leafexp.report.rows.budget import matched_view
from leafexp.report.rows.learning import curve
from leafexp.report.rows.row import Row
from leafexp.report.say.effects import effects_said
from leafexp.report.say.words import Sentence, in_markdown, markdown, plain
from leafexp.report.show.page import make_page
from leafexp.report.show.pictures import write_pictures
from leafexp.report.show.table import arms_of, as_csv, as_latex, as_markdown, pairs_table, raw_table
from leafexp.report.show.terminal import about, about_selection, on_terminal, setting_of


def write_report(
    root: Path,
    experiment: str = "leafexp",
    sweep: str = "latest",
    tracking_uri: str | None = None,
    output: Path | None = None,
    output_format: str = "text",
    detect: float = 0.02,
) -> str:
    """Read the store, write the page, tables and pictures, and return what to print.

    Args:
        root: The folder of mlflow.db and reports/ where the next arguments do not say otherwise.
        experiment: The MLflow experiment's name.
        sweep: A sweep's name, `latest` (the newest with a finished run) or `all`.
        tracking_uri: The MLflow store, or the path of its SQLite file; MLFLOW_TRACKING_URI, else `root`/mlflow.db.
        output: The folder to write to, made if need be; `root`/reports/<experiment> by default.
        output_format: `text` for one screen, or `md`, `csv`, `json`, `tex`.
        detect: The difference of accuracies that the reader cares for, a share.

    Raises:
        UserError: the store, the experiment or the sweep is not there, or holds no finished run.
    """
    uri = tracking_uri or default_tracking_uri(root)
    report = make_report(collect(uri, experiment, sweep), uri, detect)
    folder = output or root / "reports" / folder_name(experiment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = write_pictures(report, folder)
        table = raw_table(report.rows, report.accuracies)
        written = {
            "report.html": make_page(report, uri),
            "report.md": in_full(report, [(picture.name, told) for picture, told in pictures]),
            "report.json": as_json(report, table),
            "table.csv": as_csv(table),
            "table.tex": as_latex(arms_of(report)),
            "pairs.csv": as_csv(pairs_table(report.comparisons)),
            "matched.csv": as_csv(matched_view(report.rows)),
        }
        for name, content in written.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"Can't write the report to {folder}: {error.strerror}.") from None
    if output_format == "text":
        where = [f"Page: {folder / 'report.html'}", f"Table: {folder / 'table.csv'}"]
        return on_terminal(report) + "\n" + "\n".join(where)
    kept = {"md": "report.md", "csv": "table.csv", "json": "report.json", "tex": "table.tex"}
    return written[kept[output_format]]


def in_full(report: Report, pictures: list[tuple[str, str]]) -> str:
    """The whole report in Markdown; `pictures` are file names beside it, with what they show."""
    blocks = [f"# {in_markdown(about(report))}"]
    for rows, found in report.answers:
        if len(report.answers) > 1:
            blocks.append(f"## {in_markdown(setting_of(report, rows))}")
        blocks += [f"**{markdown(found.title)}**", " ".join(map(markdown, found.said))]
    blocks += [" ".join(map(markdown, report.elsewhere)), as_markdown(arms_of(report))]
    if any(row.control for row in report.rows):
        blocks += ["In the random arms layers keep random weights: they show what is reached without learned features."]
    if report.caveats:
        blocks += ["## Before you rely on it", _bullets([caveat.sentence for caveat in report.caveats])]
    for question in report.questions:
        blocks += [f"## {question.title}", f"**{markdown(question.lead)}**"]
        for point in question.points:
            if point.said:
                blocks += [f"### {point.asked}", " ".join(map(markdown, point.said))]
    if report.effects:
        blocks += ["## What the settings do", _bullets(effects_said(report.effects))]
    blocks += [f"![{in_markdown(told)}]({name})" for name, told in pictures]
    blocks += ["\n".join(f"- {in_markdown(line)}" for line in about_selection(report))]
    return "\n\n".join(block for block in blocks if block) + "\n"


def as_json(report: Report, table: pd.DataFrame) -> str:
    """Every number of the report, those of its `raw_table` among them, and its sentences."""
    content = {
        "experiment": report.selection.experiment,
        "sweep": report.selection.sweep,
        "about": about(report),
        "notes": about_selection(report),
        "answers": [
            {"rows": [row.label for row in rows], "title": plain(found.title), "said": list(map(plain, found.said))}
            for rows, found in report.answers
        ],
        "arms": [
            {
                **line,
                "name": row.name,
                "estimate": report.accuracies.get(row.label),
                "together": report.together.get(row.label),
                "settings": row.settings,
                "runs": {run.run_id: run.metrics for run in row.runs},
                "curve": curve(row).to_dict("list"),
            }
            for row, line in zip(report.rows, table.to_dict("records"), strict=True)
        ],
        "comparisons": report.comparisons,
        "effects": report.effects,
        "caveats": [{"weight": caveat.weight, "said": plain(caveat.sentence)} for caveat in report.caveats],
        "questions": report.questions,
        "externals": [
            {
                "name": found.name,
                "photos": found.photos,
                "overlap": found.overlap,
                "absent_classes": found.absent,
                "arms": [
                    {
                        "model": row.label,
                        "accuracy": row.accuracy,
                        "own_accuracy": found.own[row.label],
                        "macro_f1": row.mean(names.EXTERNAL_MACRO_F1),
                        "estimate": found.accuracies.get(row.label),
                        "networks": len(row.runs),
                    }
                    for row in found.rows
                ],
            }
            for found in report.externals
        ],
        "audit": report.selection.audit,
    }
    return json.dumps(_simple(content), indent=1, ensure_ascii=False, allow_nan=False)


def _simple(value: Any) -> Any:
    """A value as JSON has it: rows by their label, sentences as text, what is not a number as null."""
    if isinstance(value, Row):
        return value.label
    if isinstance(value, Sentence):
        return plain(value)
    if is_dataclass(value):
        return {field.name: _simple(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): _simple(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_simple(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if value is None or value is pd.NA:
        return None
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _bullets(sentences: list[Sentence]) -> str:
    return "\n".join(f"- {markdown(sentence)}" for sentence in sentences)
