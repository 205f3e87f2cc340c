"""Q3: what happens if all layers are unfrozen, and which way of fine-tuning is best?"""

import math
from collections.abc import Sequence

from leafexp import names
from leafexp.report.evidence.comparisons import Comparison
from leafexp.report.rows import timing
from leafexp.report.rows.learning import at_epoch, curve, largest_drop, loss_rise
from leafexp.report.rows.row import Row
from leafexp.report.say.answer import by_validation
from leafexp.report.say.commands import transfer_model, would_tell
from leafexp.report.say.gaps import Gap, gap, told
from leafexp.report.say.question import Point, Question
from leafexp.report.say.words import Sentence, as_long, in_hundred, listed, percent, rate, rounded, say

TITLE = "What happens if all layers are unfrozen, and which way of fine-tuning is best?"
_HEAD_PHASE = "freeze.phases.head.epoch_share"
_FACTOR = "freeze.phases.tune.learning_rate_factor"


def q3(rows: Sequence[Row], variants: Sequence[Row], comparisons: Sequence[Comparison]) -> Question:
    """The pretrained arms against each other, everything unfrozen from the start, and the top at a low rate.

    Args:
        rows: that share photos and settings.
        variants: of their freeze strategies.
        comparisons: the planned ones.
    """
    order = by_validation(row for row in rows if row.pretrained)
    every = [*order, *variants]
    points = (
        Point("What does unfreezing all layers change?", tuple(_unfreezing(rows, order, comparisons))),
        Point(
            "What goes wrong if all layers learn from the first epoch?",
            tuple(_from_the_start(rows, every, comparisons)),
        ),
        Point("Why fine-tune only the top, at a low learning rate?", tuple(_partial(rows, every, comparisons))),
    )
    return Question(TITLE, _lead(rows, order, comparisons), points)


def _lead(rows: Sequence[Row], order: Sequence[Row], comparisons: Sequence[Comparison]) -> Sentence:
    if len(order) < 2:
        arms = f"model={transfer_model(rows)} freeze=frozen,unfrozen,partial"
        return say("Not measured: it takes two ways of training one pretrained network. ", would_tell(rows, arms))
    best = order[0]
    found = [item for other in order[1:] if (item := gap(best, other, comparisons))]
    if not found:
        return say("It can't be said: the predictions of these networks can't be compared.")
    if any(item.too_few for item in found):
        return say("Not decided: a verdict takes three networks of each kind.")
    behind = [item.behind for item in found if item.decided and item.ahead is best]
    ahead = [item.ahead for item in found if item.decided and item.ahead is not best]
    level = [item.behind if item.ahead is best else item.ahead for item in found if not item.decided]
    if ahead:
        return say("Validation photos chose ", best, ", but on the test photos ", listed(ahead), " is more accurate.")
    if not behind:
        return say("Not decided: no way of training the pretrained network is borne out to be more accurate.")
    rest = [" Against ", *listed(level), " it is not decided."] if level else []
    return say(best, " is more accurate than ", listed(behind), ".", rest)


def _unfreezing(rows: Sequence[Row], order: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Sentence]:
    said = []
    for row in [row for row in order if row.freeze == "unfrozen" and not _at_once(row)]:
        for other in [other for other in order if other.freeze != "unfrozen" and other.model == row.model]:
            item = gap(row, other, comparisons)
            if item is None:
                continue
            said.append(say(told(item), "."))
            if timing.one_machine(row, other):
                ratio = timing.total(row).mean / timing.total(other).mean
                said.append(say("Training ", row, f" takes {as_long(ratio)} ", other, "."))
    if said:
        return said
    arms = f"model={transfer_model(rows)} freeze=frozen,unfrozen,partial"
    return [say("Not measured: it takes an unfrozen row beside another of its network. ", would_tell(rows, arms))]


def _from_the_start(rows: Sequence[Row], order: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Sentence]:
    whole = [row for row in order if row.freeze == "unfrozen"]
    for row in [row for row in whole if _at_once(row)]:
        for other in [other for other in whole if not _at_once(other) and other.model == row.model]:
            item = gap(row, other, comparisons)
            if item is None:
                continue
            return [say(told(item), "."), *_troubles(row, other)]
    arms = f"model={transfer_model(rows)} freeze=unfrozen {_HEAD_PHASE}=0"
    return [
        say("Not measured: the unfrozen arm here first trains its head. ", would_tell(rows, arms)),
    ]


def _troubles(row: Row, other: Row) -> list[Sentence]:
    """Instability, overfitting and time of a row that unfreezes at once, beside one that trains its head first."""
    said = []
    starts = [at_epoch(each, names.VAL_ACCURACY, 0) for each in (row, other)]
    if not any(map(math.isnan, starts)):
        one, two = in_hundred(*starts)
        said.append(
            say("After the first epoch ", row, f" is right on {one} of 100 validation photos, ", other, f" on {two}.")
        )
    drops = [largest_drop(each) for each in (row, other)]
    if not any(map(math.isnan, drops)):
        one, two = (rounded(100 * drop, 1) for drop in drops)
        said.append(
            say(
                "The largest fall of its validation accuracy from one epoch to the next is ",
                f"{one} points against {two}, medians over networks.",
            )
        )
    rises = [loss_rise(each) for each in (row, other)]
    if not any(map(math.isnan, rises)):
        one, two = map(percent, rises)
        said.append(say(f"Its validation loss ends {one} above its lowest, against {two}."))
    if timing.one_machine(row, other):
        own, others = timing.an_epoch(row), timing.an_epoch(other)
        if own.low <= others.high and others.low <= own.high:
            said.append(say("The times of their epochs overlap, so which of them takes longer is not decided."))
        else:
            said.append(say(f"Its epochs take {as_long(own.mean / others.mean)} the other's."))
    return said


def _partial(rows: Sequence[Row], order: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Sentence]:
    partial = [row for row in order if row.freeze == "partial"]
    said: list[Sentence] = []
    for row in partial[:1]:
        others = [other for other in order if other.freeze == "frozen" and other.model == row.model]
        said += [say(told(item), ".") for other in others if (item := gap(row, other, comparisons))]
        rates = curve(row)[names.LEARNING_RATE].dropna()
        if len(rates) and rates.nunique() > 1:
            said.append(
                say(
                    row,
                    f" trains its head at a learning rate of {rate(rates.iloc[0])} and its top at "
                    f"{rate(rates.iloc[-1])}.",
                )
            )
    pairs = [
        item
        for row in partial
        for other in partial
        if row.param(_FACTOR) != other.param(_FACTOR) and (item := gap(row, other, comparisons)) and item.ahead is row
    ]
    said += [_rate_matters(item) for item in pairs[:1]]
    if not pairs:
        arms = f"model={transfer_model(rows)} freeze=partial {_FACTOR}=1"
        said.append(say("Whether the low rate is the reason is not measured. ", would_tell(rows, arms)))
    return said


def _rate_matters(item: Gap) -> Sentence:
    rates = [rate(at_epoch(row, names.LEARNING_RATE, -1)) for row in (item.ahead, item.behind)]
    return say(told(item), f"; their last learning rates are {rates[0]} and {rates[1]}.")


def _at_once(row: Row) -> bool:
    """Whether everything learns from the first epoch."""
    try:
        return row.pretrained and row.freeze == "unfrozen" and float(row.param(_HEAD_PHASE) or 1) == 0
    except ValueError:
        return False
