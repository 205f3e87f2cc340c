"""Q2: is transfer learning faster, what does freezing do, and what do ImageNet's weights add?"""

import math
from collections.abc import Sequence

from leafexp import names
from leafexp.report.evidence.comparisons import Comparison
from leafexp.report.read.settings import same_value
from leafexp.report.rows import timing
from leafexp.report.rows.learning import at_epoch
from leafexp.report.rows.row import Row
from leafexp.report.say.answer import Answer
from leafexp.report.say.commands import transfer_model, would_tell
from leafexp.report.say.gaps import gap, told
from leafexp.report.say.question import Point, Question
from leafexp.report.say.words import Part, Sentence, in_hundred, listed, percent, say, times
from leafexp.wording import duration

TITLE = "Is transfer learning faster, what does freezing do, and what do ImageNet's weights add?"
_FACTOR = "tune.learning_rate_factor"


def q2(rows: Sequence[Row], comparisons: Sequence[Comparison], found: Answer) -> Question:
    """Time for an epoch against the network from scratch, what frozen layers spare, and pretrained against random."""
    pretrained = [row for row in rows if row.pretrained]
    other = found.best[1] if len(found.best) > 1 else None
    points = (
        Point("How long is an epoch, and how much of the network learns?", tuple(_epochs(pretrained, other))),
        Point("Why is that faster, though the network has more layers?", tuple(_prefix(pretrained))),
        Point("What does freezing spare?", tuple(_freezing(rows, pretrained))),
        Point("What do ImageNet's weights add?", tuple(_pretraining(rows, pretrained, comparisons))),
    )
    return Question(TITLE, _lead(rows, pretrained, other), points)


def _lead(rows: Sequence[Row], pretrained: Sequence[Row], other: Row | None) -> Sentence:
    if not pretrained or other is None:
        arms = f"model=cnn,{transfer_model(rows)} freeze=frozen,unfrozen"
        return say("Not measured: it takes a pretrained network and one from scratch. ", would_tell(rows, arms))
    if not timing.one_machine(other, *pretrained):
        return say("Not decided: these networks were trained on several machines, or on ones that are not known.")
    theirs = timing.an_epoch(other)
    quick = [row for row in pretrained if timing.an_epoch(row).high < theirs.low]
    slow = [row for row in pretrained if timing.an_epoch(row).low > theirs.high]
    if len(quick) == len(pretrained):
        return say("Yes: an epoch is shorter than one of ", other, ".")
    if not quick:
        return say(
            "No: an epoch is " + ("longer than" if slow == pretrained else "not shorter than") + " one of ", other, "."
        )
    rest: list[Row] = [row for row in pretrained if row not in quick]
    where = "Only where layers stay frozen" if all(row.freeze != "unfrozen" for row in quick) else "In part"
    longer = "longer" if all(row in slow for row in rest) else "not"
    first = [f"{where}. An epoch of ", *listed(quick), " is shorter than one of ", other]
    return say(first, "; an epoch of ", listed(rest), f" is {longer}.")


def _epochs(pretrained: Sequence[Row], other: Row | None) -> list[Sentence]:
    said = []
    for row in pretrained:
        spent = timing.an_epoch(row).mean
        if math.isnan(spent):
            continue
        against: list[Part] = []
        theirs = timing.an_epoch(other).mean if other else math.nan
        if other is not None and timing.one_machine(row, other) and not math.isnan(theirs):
            against = [f", {times(spent / theirs)} the {duration(theirs)} of ", other]
        said.append(say("An epoch of ", row, f" takes {duration(spent)} on average", against, "."))
    shares = [
        (row, f" {percent(row.trainable / row.parameters)} of {_millions(row.parameters)}")
        for row in [*pretrained, *([other] if other else [])]
        if row.parameters > 0 and not math.isnan(row.trainable)
    ]
    return [*said, *([say("These shares of the weights learn: ", listed(shares), ".")] if shares else [])]


def _prefix(pretrained: Sequence[Row]) -> list[Sentence]:
    known = [row for row in pretrained if timing.frozen_layers(row) > 0]
    if not known:
        return [say("None of these networks kept layers frozen throughout.")]
    spent = [(f"{duration(timing.frozen_layers(row))} for ", row) for row in known]
    return [
        say(
            "A layer that never learns gives the same output whenever it sees the same image. So its output is "
            "computed once and kept, and the epochs train what is left."
        ),
        say(
            "One pass of the training photos through the frozen layers takes ",
            listed(spent),
            ". Without keeping the output, each epoch would take that again.",
        ),
    ]


def _freezing(rows: Sequence[Row], pretrained: Sequence[Row]) -> list[Sentence]:
    """The training steps of an epoch: with all layers learning, and with the rest of a network whose base is frozen."""
    said = [say("A frozen layer keeps its weights: training computes no gradient and no update for it.")]
    for whole in [row for row in pretrained if row.freeze == "unfrozen"][:1]:
        spent = timing.a_step_epoch(whole).mean
        others = [row for row in pretrained if row.model == whole.model and row.freeze in ("partial", "frozen")]
        known = [row for row in others if timing.one_machine(row, whole) and not math.isnan(spent + _spent(row))]
        if known:
            each = [(f"{duration(_spent(row))} for ", row) for row in known]
            said += [
                say(f"Once all layers learn, the steps of an epoch take {duration(spent)} for ", whole, "."),
                say("If frozen layers were computed in every epoch, they would take ", listed(each), "."),
            ]
    if len(said) == 1:
        arms = f"model={transfer_model(rows)} freeze=frozen,unfrozen"
        said.append(say("How much that spares is not measured here. ", would_tell(rows, arms)))
    return said


def _spent(row: Row) -> float:
    """Seconds of an epoch that computes its frozen layers."""
    return timing.frozen_layers(row) + timing.a_step_epoch(row).mean


def _pretraining(rows: Sequence[Row], pretrained: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Sentence]:
    said = []
    for row in pretrained:
        for other in rows:
            same = (other.model, other.freeze) == (row.model, row.freeze)
            item = gap(row, other, comparisons) if same and not other.pretrained else None
            if item is None:
                continue
            said.append(say(told(item), "."))
            starts = [at_epoch(each, names.VAL_ACCURACY, 0) for each in (row, other)]
            if not any(map(math.isnan, starts)):
                one, two = in_hundred(*starts)
                said.append(
                    say(
                        f"After the first epoch {one} of 100 validation photos are right with ImageNet's weights, "
                        f"{two} without."
                    )
                )
            if _own_schedule(row):
                said.append(
                    say("Their schedules differ: from random weights all epochs have the full rate, and no head phase.")
                )
    if said:
        return said
    arms = f"model={transfer_model(rows)} model.weights=null freeze=unfrozen"
    return [say("Not measured: it takes the same network from random weights. ", would_tell(rows, arms))]


def _own_schedule(row: Row) -> bool:
    """Whether a pretrained row has what one from random weights has not: a head phase, or another rate."""
    share, factor = (row.strategy.get(f"freeze.phases.{key}", "") for key in ("head.epoch_share", _FACTOR))
    return not same_value(share or "0", "0") or not same_value(factor or "1", "1")


def _millions(value: float) -> str:
    return f"{value / 1e6:.1f} million" if value >= 1e6 else f"{value:,.0f}"
