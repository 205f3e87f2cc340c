"""A planned comparison as a sentence needs it: who is ahead, by how much, and whether that is decided."""

from collections.abc import Iterable
from dataclasses import dataclass

from leafexp.report.evidence.comparisons import Comparison, Verdict
from leafexp.report.rows.row import Row
from leafexp.report.say.words import Part, digits, points, rounded


@dataclass(frozen=True)
class Gap:
    """The difference of two rows, counted from the one that is ahead; equal ones in the order they were asked for.

    Attributes:
        ahead, behind: the rows.
        value, low, high: accuracy of `ahead` minus that of `behind` with the interval of the planned family, in shares.
        verdict: whether the data decide it.
        comparison: where it comes from.
    """

    ahead: Row
    behind: Row
    value: float
    low: float
    high: float
    comparison: Comparison

    @property
    def decided(self) -> bool:
        """Whether the data bear out that `ahead` is more accurate."""
        return self.comparison.verdict in (Verdict.ONE_MORE, Verdict.OTHER_MORE)

    @property
    def too_few(self) -> bool:
        """Whether there are too few networks for a verdict."""
        return self.comparison.verdict is Verdict.TOO_FEW

    @property
    def points(self) -> str:
        """The difference with its interval: `11 points (7 to 15)`."""
        return points(self.value, self.low, self.high)


def gap(one: Row, other: Row, comparisons: Iterable[Comparison]) -> Gap | None:
    """The comparison of two rows; None where none was planned or where it could not be made."""
    for found in comparisons:
        if {found.one, found.other} == {one, other} and found.estimate is not None:
            seen = found.estimate
            turned = seen.value < 0 or (seen.value == 0 and found.one is not one)
            if turned:
                return Gap(found.other, found.one, -seen.value, -seen.high, -seen.low, found)
            return Gap(found.one, found.other, seen.value, seen.low, seen.high, found)
    return None


def told(item: Gap) -> list[Part]:
    """The comparison in a clause: who is ahead by how much, or that it is not decided, with the interval."""
    if item.decided:
        return [item.ahead, " is more accurate than ", item.behind, f", by {item.points}"]
    if item.too_few:
        return [*counted_only(item)]
    decimals = digits(item.high - item.low)
    low, high = rounded(100 * item.low, decimals), rounded(100 * item.high, decimals)
    return [
        "whether ",
        item.ahead,
        " or ",
        item.behind,
        f" is more accurate is not decided: the difference is {item.points.split(' (')[0]}, and anything from "
        f"{low} to {high} fits the data",
    ]


def counted_only(item: Gap) -> list[Part]:
    """What too few networks counted: no verdict."""
    found = item.comparison
    more, less = found.one_only, found.other_only
    if item.ahead is not found.one:
        more, less = less, more
    return [
        "on these weights ",
        item.ahead,
        f" was right on {more - less:,.0f} of {found.tested:,.0f} photos more than ",
        item.behind,
        f" ({more:,.0f} against {less:,.0f} where only one was right)",
    ]
