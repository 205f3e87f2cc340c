"""Q2: is transfer learning faster, what does freezing do, and what do ImageNet's weights add?"""

import math
from collections.abc import Sequence

from leafexp import names
from leafexp.report.evidence.comparisons import Comparison
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
    longer = "longer" if all(row in slow for row in rest) else "not shorter"
    return (
        say(
            "Only where layers stay frozen: an epoch of ",
            listed(quick),
            " is shorter than one of ",
            other,
            ", of ",
            listed(rest),
            f" {longer}.",
        )
        if all(row.freeze != "unfrozen" for row in quick)
        else say(
            "In part: an epoch of ",
            listed(quick),
            " is shorter than one of ",
            other,
            ", of ",
            listed(rest),
            f" {longer}.",
        )
    )


def _epochs(pretrained: Sequence[Row], other: Row | None) -> list[Sentence]:
    said = []
    for row in [*pretrained, *([other] if other else [])]:
        spent = timing.an_epoch(row).mean
        if math.isnan(spent) or math.isnan(row.parameters) or not row.parameters:
            continue
        against: list[Part] = []
        if other is not None and row is not other and timing.one_machine(row, other):
            against = [f", {times(spent / timing.an_epoch(other).mean)} an epoch of ", other]
        learn = f"{percent(row.trainable / row.parameters)} of its {_millions(row.parameters)} weights learn"
        said.append(say(row, f": {duration(spent)}", *against, f"; {learn}."))
    return said


def _prefix(pretrained: Sequence[Row]) -> list[Sentence]:
    said = []
    known = [row for row in pretrained if timing.frozen_layers(row) > 0]
    if known:
        said.append(
            say(
                "A layer that never learns gives the same output in every epoch. So its output is computed once and "
                "kept, and the epochs train what is left."
            )
        )
    said += [
        say(
            "One pass of the training photos through the frozen layers takes ",
            row,
            f" {duration(timing.frozen_layers(row))}; without keeping the output each epoch would take that again.",
        )
        for row in known
    ]
    return said or [say("None of these networks kept layers frozen throughout.")]


def _freezing(rows: Sequence[Row], pretrained: Sequence[Row]) -> list[Sentence]:
    """The training steps of an epoch: with all layers learning, and with the rest of a network whose base is frozen."""
    said = [say("A frozen layer keeps its weights: training computes no gradient and no update for it.")]
    for whole in [row for row in pretrained if row.freeze == "unfrozen"][:1]:
        spent = timing.a_step_epoch(whole).mean
        for row in [row for row in pretrained if row.model == whole.model and row.freeze in ("partial", "frozen")]:
            forward, rest = timing.frozen_layers(row), timing.a_step_epoch(row).mean
            if math.isnan(spent + forward + rest) or not timing.one_machine(row, whole):
                continue
            said.append(
                say(
                    "The training steps of an epoch take ",
                    whole,
                    f" {duration(spent)}. ",
                    row,
                    f" needs {duration(forward)} to pass the photos through its frozen layers and {duration(rest)} for "
                    f"the steps of the rest: together {times((forward + rest) / spent)} that.",
                )
            )
    if len(said) == 1:
        arms = f"model={transfer_model(rows)} freeze=frozen,unfrozen"
        said.append(say("How much that spares is not measured here. ", would_tell(rows, arms)))
    return said


def _pretraining(rows: Sequence[Row], pretrained: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Sentence]:
    said = []
    for row in pretrained:
        for other in rows:
            same = (other.model, other.freeze) == (row.model, row.freeze)
            item = gap(row, other, comparisons) if same and not other.pretrained else None
            if item is None:
                continue
            one, two = in_hundred(*(at_epoch(each, names.VAL_ACCURACY, 0) for each in (row, other)))
            said.append(
                say(told(item), f". After the first epoch {one} against {two} of 100 validation photos are right.")
            )
    if said:
        return said
    arms = f"model={transfer_model(rows)} model.weights=null freeze=unfrozen"
    return [say("Not measured: it takes the same network from random weights. ", would_tell(rows, arms))]


def _millions(value: float) -> str:
    return f"{value / 1e6:.1f} million" if value >= 1e6 else f"{value:,.0f}"
