"""What the page shows of a second test set."""

from collections.abc import Sequence
from dataclasses import dataclass

from leafexp.report.evidence.external import External
from leafexp.report.rows.row import Row
from leafexp.report.say.external import headline
from leafexp.report.say.words import Sentence, percent, rounded
from leafexp.report.show.details import accuracy_caption
from leafexp.report.show.gallery import Photo, mistakes


@dataclass(frozen=True)
class Section:
    """A second test set on the page.

    Attributes:
        found: what the rows reached there.
        said: the headline.
        caption: what the marks and lines of its figure are.
        lines: a row, its accuracy there, the interval, its own accuracy, the points between them, its networks.
        largest: the share of its largest class; empty where that can't be read.
        photos: those that most networks got wrong, with their pictures.
        wrong: how many such photos there are in all.
    """

    found: External
    said: tuple[Sentence, ...]
    caption: str
    lines: list[tuple[Row, str, str, str, str, int]]
    largest: str
    photos: list[Photo]
    wrong: int


def section(found: External, chosen: Sequence[Row], tracking_uri: str) -> Section:
    """The page's section on a second test set; `chosen` are the rows of the answer."""
    photos, wrong = mistakes(found.rows, tracking_uri)
    tested = next((row.tested for row in found.rows if row.tested is not None), None)
    largest = "" if tested is None else percent(float(tested["label"].value_counts(normalize=True).iloc[0]))
    caption = accuracy_caption(found.rows)
    lines = [_line(row, found) for row in found.rows]
    return Section(found, headline(found, chosen), caption, lines, largest, photos, wrong)


def _line(row: Row, found: External) -> tuple[Row, str, str, str, str, int]:
    own, estimate = found.own[row.label], found.accuracies.get(row.label)
    interval = f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}" if estimate else "-"
    return row, percent(row.accuracy), interval, percent(own), rounded(100 * (row.accuracy - own), 1), len(row.runs)
