"""What the page's tables hold, as texts: arms, comparisons, classes, budgets, how each row was made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leafexp import names
from leafexp.report.evidence.calibration import Calibration, calibration
from leafexp.report.evidence.classes import recall, recall_differences
from leafexp.report.evidence.comparisons import Comparison
from leafexp.report.evidence.intervals import Estimate
from leafexp.report.report import Report
from leafexp.report.rows import timing
from leafexp.report.rows.budget import matched_view
from leafexp.report.rows.labels import in_short, in_words, told
from leafexp.report.rows.learning import epochs, milestone
from leafexp.report.rows.predictions import confusion, probabilities
from leafexp.report.rows.row import Row
from leafexp.report.say.answer import holds_for, unseen
from leafexp.report.say.gaps import Gap, gap
from leafexp.report.say.words import Part, Sentence, apart, few, percent, rounded, say
from leafexp.report.show.canvas import lettered
from leafexp.report.show.classes import most_confused
from leafexp.wording import count, counted, duration

_KINDS = {
    "transfer": "pretrained against from scratch",
    "freezing": "ways of fine-tuning",
    "weights": "what ImageNet's weights add",
}
_MOST_CONFUSIONS = 8


@dataclass(frozen=True)
class Classes:
    """Class by class: the rows, their recalls, and the difference of the answer's two rows."""

    recalls: dict[Row, dict[str, Estimate]]
    best: tuple[Row, ...]
    apart: dict[str, Estimate]

    @property
    def lines(self) -> list[tuple[str, list[str], str]]:
        """A class, its recall by row, and the difference with its interval."""
        found = []
        for name in dict.fromkeys(name for by_class in self.recalls.values() for name in by_class):
            there, ends = self.apart.get(name), "-"
            if there is not None and there.networks > 2:
                ends = f"{_signed(there)}{'' if there.low > 0 or there.high < 0 else ' ?'}"
            known = [by_class.get(name) for by_class in self.recalls.values()]
            found.append((name, [percent(seen.value) if seen else "-" for seen in known], ends))
        return found


def arm(row: Row, report: Report) -> dict[str, Any]:
    """A row in the table of arms: texts, and the numbers that they are sorted by."""
    found, seconds = report.accuracies.get(row.label), timing.total(row)
    reached = milestone(row, names.MILESTONES[0])
    return {
        "row": row,
        "config": " · ".join([row.model, row.freeze]),
        "accuracy": percent(row.accuracy),
        "interval": f"{100 * found.low:.1f} to {100 * found.high:.1f}" if found else "-",
        "time": duration(seconds.mean),
        "seconds": "" if math.isnan(seconds.mean) else seconds.mean,
        "epoch": duration(timing.an_epoch(row).mean),
        "epoch_seconds": timing.an_epoch(row).mean,
        "learn": count(row.trainable),
        "all": count(row.parameters),
        "reached": f"> {count(reached.epochs)}" if math.isinf(reached.epoch) else count(reached.epoch),
        "networks": len(row.runs),
    }


def pair(item: Comparison) -> dict[str, Any]:
    """A comparison in the table, counted from the more accurate row."""
    found = gap(item.one, item.other, [item])
    kind = _KINDS.get(item.kind, item.kind.removeprefix("freeze.phases."))
    if found is None:
        return {"ahead": item.one, "behind": item.other, "kind": kind, "said": "no data", "points": "-", "p": "-"}
    decided = "yes" if found.decided else "too few networks" if found.too_few else "no"
    assert item.estimate is not None
    p = "-" if found.too_few else "< 0.0001" if item.estimate.p < 0.0001 else f"{item.estimate.p:.2g}"
    rows = {"ahead": found.ahead, "behind": found.behind}
    return {**rows, "kind": kind, "said": decided, "points": _signed(found), "p": p}


def key(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """What the letters stand for, where rows are called by letters: the arm and its settings."""
    return [
        (row, ", ".join([in_words(row.runs[0]), *(in_short(*item) for item in told(row.settings).items())]))
        for row in rows
        if lettered(row)
    ]


def accuracy_caption(rows: Sequence[Row]) -> str:
    """What dots and lines of the first figure are."""
    sizes = sorted({len(row.runs) for row in rows if not row.control}) or [1]
    if sizes == [1]:
        return f"Lines: 95 % interval for new {unseen(rows[0])}, with these weights, on this split."
    how_many = few(sizes[0]) if len(sizes) == 1 else f"{few(sizes[0])} to {few(sizes[-1])}"
    return f"Marks: mean of {how_many} networks. Lines: 95 % interval, for {holds_for(rows[0])}."


def time_caption(rows: Sequence[Row]) -> str:
    """Under what conditions the times were measured."""
    rows = [row for row in rows if not row.control] or list(rows)
    if not timing.one_machine(*rows):
        return "These arms were trained on several machines, or on unknown ones: no time is set against another."
    trained = {epochs(row) for row in rows}
    whole = len(trained) == 1 and min(trained) == int(min(trained))
    each = f", {counted(min(trained), 'epoch')} each" if whole else ""
    lines = " Thin lines: from the shortest to the longest network." if any(len(row.runs) > 1 for row in rows) else ""
    return f"As each would take alone{each}, on one machine.{lines} {timing.of_a_replicate(rows)}".rstrip()


def calibrations(rows: Sequence[Row]) -> dict[Row, Calibration]:
    """How far each row's probabilities can be trusted; rows that logged none lack."""
    found = {}
    for row in rows:
        if row.control or row.tested is None or row.outcomes is None:
            continue
        if known := probabilities(row.tested):
            found[row] = calibration(known[0], known[1], row.tested["path"].nunique())
    return found


def by_class(report: Report) -> Classes:
    """Recall of each class by row, and the difference of the answer's two rows."""
    recalls = {
        row: recall(row.outcomes, _labels(row))
        for row in report.main
        if not row.control and row.outcomes is not None and row.tested is not None
    }
    best = tuple(row for row in report.answers[0][1].best if row in recalls)
    if len(best) < 2 or best[0].outcomes is None or best[1].outcomes is None:
        return Classes(recalls, best, {})
    return Classes(recalls, best, recall_differences(best[0].outcomes, best[1].outcomes, _labels(best[0])))


def together(report: Report) -> list[dict[str, Any]]:
    """The rows of `main` whose networks or photos can answer together: texts."""
    lines = []
    for row in report.main:
        if (found := report.together.get(row.label)) is None:
            continue
        alone = report.accuracies[row.label]
        shares = {"alone": alone, "networks": found.by_networks, "leaf": found.by_leaf, "both": found.by_both}
        lines.append({"row": row, "found": found, **{name: _with_interval(share) for name, share in shares.items()}})
    return lines


def confusions(rows: Sequence[Row]) -> list[Sentence]:
    """The pairs of classes that are most often taken for each other, with how often each row did."""
    counts = [(row, confusion(row.tested)) for row in rows if not row.control and row.tested is not None]
    said = []
    for label, predicted, by_row in most_confused(counts, _MOST_CONFUSIONS):
        parts: list[Part] = []
        for row, number in by_row:
            parts += [*([", "] if parts else []), row, f" {number:,}"]
        said.append(say(f"{label} taken for {predicted}: ", parts, "."))
    return said


def matched(rows: Sequence[Row]) -> dict[str, Any]:
    """The best validation accuracy within the same epochs, time and steps; empty where there is nothing to set."""
    table = matched_view(rows)
    if len(table.columns) < 2:
        return {}
    shown = table.drop(columns="arm").map(lambda value: percent(float(value)) if value == value else "-")
    return {"columns": list(shown.columns), "lines": list(zip(table["arm"], shown.to_numpy().tolist(), strict=True))}


def _with_interval(found: Estimate | None) -> str:
    return f"{percent(found.value)} ({100 * found.low:.1f} to {100 * found.high:.1f})" if found else "-"


def _signed(found: Gap | Estimate) -> str:
    ends = found.value, max(found.low, -1.0), min(found.high, 1.0)
    value, low, high = (rounded(100 * end, apart(found.low, found.high, 1)) for end in ends)
    return f"{value} ({low} to {high})"


def _labels(row: Row) -> dict[str, str]:
    assert row.tested is not None
    first = row.tested.drop_duplicates("path")
    return dict(zip(first["path"].tolist(), first["label"].tolist(), strict=True))
