"""Q1: which model is more accurate, and why?"""

import math
from collections.abc import Sequence

from leafexp import names
from leafexp.report.evidence.comparisons import Comparison, Verdict
from leafexp.report.evidence.power import needed
from leafexp.report.rows.learning import Milestone, at_epoch, milestone
from leafexp.report.rows.row import Row
from leafexp.report.say.answer import Answer, unseen
from leafexp.report.say.gaps import gap
from leafexp.report.say.question import Point, Question
from leafexp.report.say.words import Part, Sentence, in_hundred, listed, percent, rounded, say
from leafexp.wording import counted

TITLE = "Which model is more accurate, and why?"
_FIRST_MILESTONE = names.MILESTONES[0]


def q1(rows: Sequence[Row], comparisons: Sequence[Comparison], found: Answer, detect: float) -> Question:
    """The answer, when each arm reached 80 % validation accuracy, what goes with the accuracy, and what would decide.

    Args:
        rows: that share photos and settings.
        comparisons: the planned ones.
        found: the answer of these rows.
        detect: the difference that the reader cares for, a share.
    """
    points = (
        Point(f"When did each reach {_FIRST_MILESTONE} % validation accuracy?", tuple(_milestones(rows))),
        Point("Why?", tuple(_reasons(found))),
        Point("What would decide what is open?", tuple(_what_would_decide(rows, comparisons, detect))),
    )
    return Question(TITLE, _lead(comparisons, found), points)


def how_they_learned(rows: Sequence[Row]) -> Question:
    """Where the validation accuracy of each row ended, and when it reached 80 %: for a study of one arm's settings."""
    ends = sorted((at_epoch(row, names.VAL_ACCURACY, -1), place) for place, row in enumerate(rows))
    (low, worst), (high, best) = ends[0], ends[-1]
    lead = say("On validation photos ", rows[best], f" ends at {percent(high)}, ", rows[worst], f" at {percent(low)}.")
    reached = Point(f"When did each reach {_FIRST_MILESTONE} % validation accuracy?", tuple(_milestones(rows)))
    return Question("How did each way of training learn?", lead, (reached,))


def _lead(comparisons: Sequence[Comparison], found: Answer) -> Sentence:
    if len(found.best) < 2:
        return say("It can't be said: it takes a pretrained network and one trained from scratch.")
    item = gap(found.best[0], found.best[1], comparisons)
    if item is None:
        return say("It can't be said: there is nothing to compare on the same photos.")
    if item.decided:
        ahead: list[Part] = [f"{item.ahead.title}, ", item.ahead, ","] if item.ahead.pretrained else [item.ahead]
        return say(ahead, " is ", item.points, " more accurate than ", item.behind, ".")
    if item.too_few:
        return say("Not decided: a verdict takes three networks of each kind.")
    return say("Not decided between ", item.ahead, " and ", item.behind, ".")


def _milestones(rows: Sequence[Row]) -> list[Sentence]:
    """Rows of which the same is to be said are named together."""
    said: dict[tuple[str, str], list[Part]] = {}
    for row in rows:
        if not row.control and any(len(run.curves) for run in row.runs):
            said.setdefault(_reached(milestone(row, _FIRST_MILESTONE)), []).append(row)
    sentences = [say(before, listed(who), f"{after}.") for (before, after), who in said.items()]
    early: list[Part] = [
        row for row in rows if row.pretrained and milestone(row, _FIRST_MILESTONE).epoch <= _head_epochs(row)
    ]
    if len(early) > 1:
        sentences.append(say(listed(early), " train only a new head in these epochs, so they learn alike in them."))
    return sentences


def _reached(found: Milestone) -> tuple[str, str]:
    """What is said before and after the name."""
    if not found.reached:
        return "", f" did not reach it in {counted(found.epochs, 'epoch')}"
    some = f"{found.reached} of {counted(found.networks, 'network')}"
    if math.isinf(found.epoch):
        return f"only {some} reached it in {counted(found.epochs, 'epoch')} with ", ""
    if found.networks == 1:
        return "", f" needed {counted(found.epoch, 'epoch')}"
    of = f"; {some} reached it" if found.reached < found.networks else ""
    return f"the median is {counted(found.epoch, 'epoch')} for ", of


def _head_epochs(row: Row) -> float:
    """The epochs in which only the head learns; 0 where there is no such phase."""
    try:
        share = float(row.param("freeze.phases.head.epoch_share") or 0)
        return max(1.0, round(share * float(row.param("epochs")))) if share else 0.0
    except ValueError:
        return 0.0


def _reasons(found: Answer) -> list[Sentence]:
    if len(found.best) < 2:
        return []
    best, other = found.best
    said = []
    starts = [at_epoch(row, names.VAL_ACCURACY, 0) for row in found.best]
    if not any(map(math.isnan, starts)):
        one, two = in_hundred(*starts)
        said.append(
            say("After its first epoch ", best, f" is right on {one} of 100 validation photos, ", other, f" on {two}.")
        )
    gaps = [at_epoch(row, names.ACCURACY, -1) - at_epoch(row, names.VAL_ACCURACY, -1) for row in found.best]
    if not any(map(math.isnan, gaps)):
        known = [f"{rounded(abs(100 * value), 1)} points {'higher' if value >= 0 else 'lower'}" for value in gaps]
        said.append(
            say(
                "At the end the training accuracy of ",
                best,
                f" is {known[0]} than its validation accuracy; with ",
                other,
                f" it is {known[1]}.",
            )
        )
    if said:
        said.append(
            say(
                "These figures go with the gap and do not prove its cause. What ImageNet's weights add, below, "
                "compares the same network with and without them."
            )
        )
    return said


def _what_would_decide(rows: Sequence[Row], comparisons: Sequence[Comparison], detect: float) -> list[Sentence]:
    """For each comparison that is not decided: how many leaves, or networks, would show a difference of `detect`."""
    said = []
    size = counted(float(f"{100 * detect:.2g}"), "point")
    for item in comparisons:
        if item.verdict is not Verdict.NOT_DECIDED or item.estimate is None or not {item.one, item.other} <= {*rows}:
            continue
        found, what, there = needed(item.estimate, detect), unseen(item.one), item.estimate.leaves
        between: list[Part] = [f"a difference of {size} between ", item.one, " and ", item.other]
        if found.leaves <= there or found.networks <= item.networks:
            chance = "would have shown in four of five studies like this one."
            said.append(say(*between, f" {chance} A smaller one may be there."))
            continue
        ways = [
            f"with at least {about} {what} for {others}"
            for wanted, what, others in (
                (found.leaves, what, f"these {counted(item.networks, 'network')} of each"),
                (found.networks, "networks of each", f"these {there:,} {what}"),
            )
            if (about := _about(wanted))
        ]
        if ways:
            said.append(say(*between, f" would show {' or '.join(ways)}."))
        else:
            said.append(say(*between, f" would show with more {what} and more networks; more of one is not enough."))
    return said


def _about(wanted: float) -> str:
    """A count of two digits; empty where no number would be enough."""
    return "" if math.isinf(wanted) else f"{float(f'{wanted:.2g}'):,.0f}"
