"""What the report says, whatever form it is written in."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from leafexp import findings, names
from leafexp.report.answers import Answer, answer_questions, headline
from leafexp.report.budget import budget_notes, matched_view
from leafexp.report.read.collect import Run, Selection, why_not
from leafexp.report.comparisons import Comparisons, compare
from leafexp.report.phrases import photos
from leafexp.report.rows import Row, groups_to_compare, make_rows
from leafexp.report.table import CONTROL_MARK, make_table, shown_matched, shown_pairs, shown_recall
from leafexp.report.wording import count, counted, listed, percent, points

NEAR = 0.05  # so little above always naming the largest class, an accuracy is set against it
MOST_NAMED = 12


@dataclass(frozen=True)
class Report:
    """What the report says, whatever form it is written in."""

    selection: Selection
    rows: Sequence[Row]
    table: pd.DataFrame
    matched: pd.DataFrame
    comparisons: Comparisons
    headline: Sequence[str]
    answers: Sequence[Answer]


def make_report(selection: Selection) -> Report:
    """Rows, comparisons and sentences of the selected runs."""
    rows = make_rows(selection.finished)
    comparisons = compare(rows)
    return Report(
        selection,
        rows,
        make_table(rows),
        matched_view(rows),
        comparisons,
        headline(rows, comparisons),
        answer_questions(rows, comparisons),
    )


def more_tables(report: Report) -> list[tuple[str, pd.DataFrame]]:
    """The tables beside the main one, as texts with their titles; those with something in them."""
    tables = [
        ("Every pair of rows", shown_pairs(report.comparisons)),
        ("The best validation accuracy within the same budget", shown_matched(report.matched)),
        ("Recall by class", shown_recall(report.rows)),
    ]
    return [(title, frame) for title, frame in tables if len(frame) > (1 if title != "Every pair of rows" else 0)]


def warnings(report: Report) -> list[str]:
    """What forbids to compare rows (other test photos) or to believe their accuracy (copies, one class for most)."""
    groups, audit = groups_to_compare(report.rows), report.selection.audit
    said = [*(findings.warnings(audit) if audit else []), *(line for group in groups for line in _largest_class(group))]
    if len(groups) > 1:
        parts = " | ".join(f"{', '.join(row.name for row in group)} ({photos(group[0])})" for group in groups)
        unknown = " or unknown" if any("?" in photos(group[0]) for group in groups) else ""
        said = [
            f"Not comparable: these rows were tested on different{unknown} photos, so they are not compared: {parts}.",
            *said,
        ]
    return said


def _largest_class(rows: Sequence[Row]) -> list[str]:
    """The accuracies against always naming the largest class, where that is right often or nearly as often as they."""
    known = [row for row in rows if len(row.class_shares)]
    if not known:
        return []
    name, most = known[0].class_shares.index[0], float(known[0].class_shares.iloc[0])
    order = sorted(rows, key=lambda row: -row.accuracy)
    if most <= 0.5 and not order[0].accuracy - most < NEAR:
        return []
    against = [f"{row.name} {percent(row.accuracy)} ({_beyond(row.accuracy - most)})" for row in order[:MOST_NAMED]]
    more = [f"{counted(len(order) - MOST_NAMED, 'row')} more"] if len(order) > MOST_NAMED else []
    photos = counted(known[0].mean(names.TEST_IMAGES), "test photo")
    return [
        f"Always answering {name}, the largest class, is right on {percent(most)} of the {photos}. "
        f"Against that: {listed([*against, *more])}. Recall by class and macro F1 tell more than accuracy here."
    ]


def _beyond(difference: float) -> str:
    if round(100 * difference, 2) == 0:
        return "no better"
    return f"{points(abs(difference))} {'better' if difference > 0 else 'worse'}"


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
            f"validation, {images[2]} test{_of_leaves(row)}; image size {sizes}; "
            f"data {row.hashes(names.DATA_HASH, 12)}, split {row.hashes(names.SPLIT_HASH, 12)}."
        )
    sources: dict[str, list[str]] = {}
    for row in rows:
        mark = CONTROL_MARK if row.control else ""
        sources.setdefault(row.tag(names.WEIGHTS_SOURCE) or "not logged", []).append(row.name + mark)
    facts.append("Weights: " + "; ".join(f"{source}: {', '.join(labels)}" for source, labels in sources.items()) + ".")
    for precision, labels in _by_precision(rows).items():
        facts.append(f"Computed in {precision}, not float32: {', '.join(labels)}.")
    return [*facts, f"Code: git commit {commits([run for row in rows for run in row.runs])}."]


def commits(runs: Sequence[Run]) -> str:
    """The commits that the runs were made from, shortened; `none (leafexp 0.1.0)` where there was no repository."""
    found = {run.tags.get(names.GIT_COMMIT, "?") for run in runs}
    return ", ".join(sorted({commit if " " in commit else commit[:12] for commit in found}))


def _of_leaves(row: Row) -> str:
    return f" (of {counted(row.leaves.nunique(), 'leaf', 'leaves')})" if row.leaves_shared else ""


def _by_precision(rows: Sequence[Row]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        if (precision := row.param("trainer.precision")) not in ("", "float32"):
            found.setdefault(precision, []).append(row.name)
    return found


def limits(report: Report) -> list[str]:
    """What weakens the comparisons: budgets, seeds, leaves, what the photos give away, runs that are not there."""
    audit = report.selection.audit
    doubts = findings.doubts(audit) if audit else []
    return [*notes(report.rows), *doubts, *unfinished_runs(report.selection.unfinished)]


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know: unequal budgets, how many seeds stand behind a row, and which leaves."""
    said = budget_notes(rows)
    unsure = [row.name for row in rows if row.pretrained and not row.every(names.WEIGHTS_SHA256)]
    if unsure:
        said.append(f"Which pretrained weights they began from was not logged: {', '.join(unsure)}.")
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
    elif any(row.leaves_shared for row in rows):
        said.append(
            "Over photos: as if each were of another leaf (Wilson); over leaves: photos of a leaf going together "
            "(bootstrap)."
        )
    if rows and not any(row.leaves_shared for row in rows):
        said.append(
            "No two test photos are known to show the same leaf, so each counts as a leaf of its own. Where some do, "
            "the test is easier than it looks and the intervals are too narrow; a column `group` or "
            "`data.group_pattern` tells leafexp which."
        )
    return said


def unfinished_runs(runs: Sequence[Run]) -> list[str]:
    """The runs that are not in the table, each with the reason."""
    said = []
    for run in runs:
        seed = run.tags.get(names.SEED) or run.params.get("seed", "?")
        said.append(f"Not in the table: {run.row}, seed {seed}: {run.status.lower()} ({why_not(run)}).")
    return said


def header(selection: Selection) -> list[str]:
    """Which runs these are."""
    which = "All finished runs" if selection.sweep == "all" else f"Sweep {selection.sweep}"
    others = (
        "" if selection.sweep == "all" else f"; {counted(selection.other_sweeps, 'other sweep')} (--sweep NAME or all)"
    )
    return [f"{which} of experiment {selection.experiment}{others}.", *selection.notes]
