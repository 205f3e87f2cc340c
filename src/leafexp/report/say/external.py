"""What is left of the accuracy on photos from elsewhere."""

from collections.abc import Sequence

from leafexp.report.evidence.external import External
from leafexp.report.evidence.intervals import Estimate
from leafexp.report.rows.row import Row
from leafexp.report.say.words import Part, Sentence, digits, in_hundred, listed, percent, rounded, say


def headline(found: External, chosen: Sequence[Row]) -> tuple[Sentence, ...]:
    """How often the chosen rows are right there, and how often on their own test photos; the first row if none was."""
    labels = [row.label for row in chosen]
    rows = sorted((row for row in found.rows if row.label in labels), key=lambda row: labels.index(row.label))
    said = []
    for place, row in enumerate(rows or found.rows[:1]):
        there, own = in_hundred(row.accuracy, found.own[row.label])
        ends = _ends(found.accuracies.get(row.label), "95 % interval " if place == 0 else "")
        if place == 0:
            begin: list[Part] = [f"On photos from elsewhere ({found.name}) ", row, f" is right {there} times in 100"]
            said.append(say(begin, f"{ends}, against {own} times on its own test photos."))
        else:
            said.append(say(row, f" is right {there} times there{ends}, against {own}."))
    return tuple(said)


def in_a_line(found: External) -> Sentence:
    """The accuracy of each row there."""
    rows: list[list[Part]] = [[row, f" {percent(row.accuracy)}"] for row in found.rows]
    return say(f"On photos from elsewhere ({found.name}): ", listed(rows), ".")


def _ends(estimate: Estimate | None, what: str) -> str:
    if estimate is None:
        return ""
    low, high = (rounded(100 * end, digits(estimate.high - estimate.low)) for end in (estimate.low, estimate.high))
    return f" ({what}{low} to {high})"
