"""Which rows are compared with which, and what may be said of each pair."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leafexp import names
from leafexp.report.rows import Row, groups_to_compare
from leafexp.report.statistics import SIGNIFICANCE, discordant_photos, holm, mcnemar
from leafexp.report.wording import count, p_value, points, share

BUDGET = {
    "epochs": lambda row: count(row.epochs),
    "optimizer steps": lambda row: count(row.mean(names.OPTIMIZER_STEPS)),
    "image size": lambda row: row.param("data.image_size"),
    "batch size": lambda row: row.param("trainer.batch_size"),
}


@dataclass(frozen=True)
class Comparison:
    """Two rows on the same photos; `better` has the higher test accuracy, or an equal one.

    `p` is the exact McNemar p after Holm's correction; None where predictions could not be read, and then the 95 %
    intervals decide.
    """

    better: Row
    worse: Row
    better_only: int = 0
    worse_only: int = 0
    p: float | None = None

    @property
    def told_apart(self) -> bool:
        """Whether the data bear out that `better` is more accurate."""
        if self.p is None:
            return self.better.interval[0] > self.worse.interval[1]
        return self.p < SIGNIFICANCE and self.better_only > self.worse_only


Comparisons = dict[frozenset[str], Comparison]


def compare(rows: Sequence[Row]) -> Comparisons:
    """Every comparison the answers make, by the pair's labels, with Holm's correction over all of them.

    One family for the whole report, so that a pair gets the same verdict under each question.
    """
    pairs = {frozenset((one.label, other.label)): (one, other) for one, other in _pairs(rows)}
    compared = {key: _compare(*pair) for key, pair in pairs.items()}
    tested = {key: item.p for key, item in compared.items() if item.p is not None}
    for key, p in zip(tested, holm(list(tested.values())), strict=True):
        item = compared[key]
        compared[key] = Comparison(item.better, item.worse, item.better_only, item.worse_only, p)
    return compared


def verdict(one: Row, other: Row, comparisons: Comparisons) -> str:
    """One sentence on a pair that `compare` covered, with its figures and any difference of budget."""
    item = comparisons[frozenset((one.label, other.label))]
    figures = f"test accuracy {share(item.better.accuracy)} against {share(item.worse.accuracy)}"
    if item.p is None:
        evidence = f"their intervals {'do not overlap' if item.told_apart else 'overlap'}; predictions can't be used"
    else:
        evidence = f"{count(item.better_only)}:{count(item.worse_only)} discordant photos, {p_value(item.p)}"
    if item.told_apart:
        gain = points(item.better.accuracy - item.worse.accuracy)
        said = f"{item.better.name} is more accurate than {item.worse.name} by {gain} ({figures}; {evidence})"
    else:
        photos = count(item.better.mean(names.TEST_IMAGES))
        said = (
            f"{item.better.name} and {item.worse.name} can't be told apart on these {photos} test photos "
            f"({figures}; {evidence})"
        )
    return f"{said}{unequal_budget(item.better, item.worse)}."


def unequal_budget(one: Row, other: Row) -> str:
    """What the two rows did not have alike, as the end of a sentence; empty if they had the same budget."""
    unlike = {name: (of(one), of(other)) for name, of in BUDGET.items() if of(one) != of(other)}
    if "epochs" in unlike:  # more epochs are more steps: said once
        unlike.pop("optimizer steps", None)
    parts = [f"{name} {mine} against {its}" for name, (mine, its) in unlike.items()]
    return f"; unequal budget: {', '.join(parts)}" if parts else ""


def budget_notes(rows: Iterable[Row]) -> list[str]:
    """A line for each part of the budget that differs among the rows, with who had how much."""
    notes = []
    rows = list(rows)
    for name, of in BUDGET.items():
        holders: dict[str, list[str]] = {}
        for row in rows:
            holders.setdefault(of(row), []).append(row.name)
        if len(holders) > 1:
            who = "; ".join(f"{value} for {', '.join(labels)}" for value, labels in holders.items())
            notes.append(f"Unequal budget, {name}: {who}.")
    return notes


def ranked(rows: Iterable[Row]) -> list[Row]:
    """The approaches (no controls) that have a test accuracy, the best first."""
    known = [row for row in rows if not row.control and row.accuracy == row.accuracy]
    return sorted(known, key=lambda row: -row.accuracy)


def transfer(rows: Iterable[Row], *freezes: str) -> list[Row]:
    """The pretrained rows, of the given freeze strategies if any are given."""
    return [row for row in rows if row.pretrained and not row.control and (not freezes or row.freeze in freezes)]


def scratch(rows: Iterable[Row]) -> list[Row]:
    """The rows trained whole from random weights."""
    return [row for row in rows if not row.pretrained and not row.control]


def counterparts(row: Row, others: Iterable[Row]) -> list[Row]:
    """Those of `others` on the same photos with the same settings (learning rate, ...); all of them if none has."""
    others = [other for other in others if other is not row and other.photos == row.photos]
    return [other for other in others if _shared_settings(other) == _shared_settings(row)] or others


def random_weights(row: Row, rows: Iterable[Row]) -> list[Row]:
    """The rows that differ from a pretrained one in their weights alone."""
    weights = ("model.weights", names.WEIGHTS_SHA256)
    settings = {key: value for key, value in row.settings.items() if key not in weights}
    return [
        other
        for other in rows
        if not other.pretrained
        and (other.model, other.freeze, other.photos) == (row.model, row.freeze, row.photos)
        and {key: value for key, value in other.settings.items() if key not in weights} == settings
    ]


def other_ways(row: Row, rows: Iterable[Row]) -> list[Row]:
    """The pretrained rows of the row's model that freeze otherwise."""
    return counterparts(
        row, [other for other in transfer(rows) if other.model == row.model and other.freeze != row.freeze]
    )


def _pairs(rows: Sequence[Row]) -> Iterable[tuple[Row, Row]]:
    for group in groups_to_compare(rows):
        order = ranked(group)
        yield from ((order[0], other) for other in order[1:])
        for row in transfer(order):
            yield from ((row, other) for other in random_weights(row, group) if other.accuracy == other.accuracy)
        for row in transfer(order, "unfrozen", "partial"):
            yield from ((row, other) for other in other_ways(row, order))


def _compare(one: Row, other: Row) -> Comparison:
    better, worse = (one, other) if one.accuracy >= other.accuracy else (other, one)
    if better.right is None or worse.right is None:
        return Comparison(better, worse)
    better_only, worse_only, photos = discordant_photos(better.right, worse.right)
    if photos != len(better.right) or photos != len(worse.right):
        return Comparison(better, worse)
    return Comparison(better, worse, better_only, worse_only, mcnemar(better_only, worse_only))


def _shared_settings(row: Row) -> dict[str, str]:
    told = ("model.", "freeze.", "epochs", names.WEIGHTS_SHA256)
    return {key: value for key, value in row.settings.items() if not key.startswith(told)}
