"""The study's three questions, answered from the rows and from nothing else: no figure, no sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leafexp import names
from leafexp.report.comparisons import (
    Comparisons,
    compare,
    counterparts,
    other_ways,
    random_weights,
    ranked,
    scratch,
    transfer,
    unequal_budget,
    verdict,
)
from leafexp.report.phrases import (
    command,
    learning_parameters,
    memory,
    milestone,
    minutes,
    pace,
    photos,
    ranks,
    rates,
    spread,
    transfer_model,
)
from leafexp.report.rows import FREEZE_ORDER, Row, groups_to_compare
from leafexp.report.statistics import SIGNIFICANCE
from leafexp.report.wording import count, four_digits, listed, percent, points, share

QUESTIONS = (
    "Q1. Which model is more accurate, and why?",
    "Q2. Is transfer learning faster, what does freezing do, and what do ImageNet weights add?",
    "Q3. What happens if all layers are unfrozen, and is partial fine-tuning better?",
)


@dataclass(frozen=True)
class Answer:
    """A question and the sentences that answer it."""

    question: str
    sentences: list[str]


def answer_questions(rows: Sequence[Row]) -> list[Answer]:
    """The answers to Q1, Q2 and Q3; what can't be answered from the rows names the command that would tell."""
    comparisons = compare(rows)
    answers = (
        [*performance(rows), *ranking(rows, comparisons), *reasons(rows), *missing_arms(rows)],
        [*speed(rows), *time_split(rows), *freezing(rows), *cached(rows), *pretraining(rows, comparisons)],
        [*unfreezing(rows, comparisons), *stability(rows), *best(rows, comparisons), *partial(rows, comparisons)],
    )
    return [Answer(question, said) for question, said in zip(QUESTIONS, answers, strict=True)]


def performance(rows: Sequence[Row]) -> list[str]:
    """Training time, test accuracy, parameters and epochs to 80 % of each approach."""
    return [
        f"{row.name}: {minutes(row)}, "
        f"test accuracy {share(row.accuracy)} "
        f"(95 % interval {share(row.interval[0])} to {share(row.interval[1])}{spread(row)}), "
        f"{count(row.trainable)} trainable parameters, {milestone(row)}."
        for row in rows
        if not row.control
    ]


def ranking(rows: Sequence[Row], comparisons: Comparisons) -> list[str]:
    """The order by test accuracy, and the best row against each other one; apart for each set of test photos."""
    said = []
    groups = [order for order in map(ranked, groups_to_compare(rows)) if order]
    for order in groups:
        where = f" on {photos(order[0])}" if len(groups) > 1 else ""
        if len(order) > 1:
            said.append(f"By test accuracy{where}: {ranks(order)}.")
            said += [verdict(order[0], other, comparisons) for other in order[1:]]
    tested = sum(item.p is not None for item in comparisons.values())
    if tested:
        said.append(
            f"Discordant photos are those that one of two rows gets right and the other wrong (of several "
            f"seeds: gets right more often); p is the exact McNemar "
            f"test's, after Holm's correction for the {tested} comparison(s) of this report; "
            f"told apart means p < {SIGNIFICANCE}."
        )
    return said


def reasons(rows: Sequence[Row]) -> list[str]:
    """What was measured beside the accuracy."""
    order = ranked(rows)
    if len(order) < 2:
        return []
    measured = [
        f"{row.name}: {percent(row.share_trainable)} of {count(row.parameters)} parameters learn, "
        f"validation accuracy {share(row.first_val_accuracy)} after epoch 1 and {share(row.last_val_accuracy)} after "
        f"the last, training minus validation accuracy at the end {points(row.last_gap)}."
        for row in order
    ]
    return ["Why: these figures go with the accuracies; only rows that differ in one setting show a cause.", *measured]


def missing_arms(rows: Sequence[Row]) -> list[str]:
    """What the study compares and these runs lack, with the command that makes it."""
    said = []
    if not any(row.model not in [other.model for other in transfer(rows)] for row in scratch(rows)):
        said.append(f"No CNN trained from scratch is among these runs. {command(rows, 'model=cnn freeze=unfrozen')}.")
    absent = [freeze for freeze in FREEZE_ORDER if not transfer(rows, freeze)]
    if absent:
        said.append(
            f"No pretrained row that is {' or '.join(absent)} is among these runs. "
            f"{command(rows, f'model={transfer_model(rows)} freeze=' + ','.join(absent))}."
        )
    return said


def speed(rows: Sequence[Row]) -> list[str]:
    """Seconds per epoch and trainable parameters of the pretrained rows against the CNN from scratch."""
    said = []
    for row in transfer(rows):
        others = [other for other in scratch(rows) if other.model != row.model]
        for other in ranked(counterparts(row, others))[:1]:
            said.append(f"{pace(row, other)}; {learning_parameters(row, other)}{unequal_budget(row, other)}.")
    return said or [
        "Not measured: it takes a pretrained row and a CNN from scratch on the same photos.",
        *missing_arms(rows),
    ]


def time_split(rows: Sequence[Row]) -> list[str]:
    """Where the seconds of an epoch go, on average over all epochs."""
    said = []
    for row in rows:
        waiting, computing, validating = (
            row.mean_over_epochs(metric)
            for metric in (names.DATA_SECONDS, names.COMPUTE_SECONDS, names.VALIDATION_SECONDS)
        )
        if row.control or math.isnan(computing):
            continue
        said.append(
            f"{row.name}: of {four_digits(row.epoch_seconds)} s per epoch {four_digits(waiting)} s wait for photos, "
            f"{four_digits(computing)} s compute training steps, {four_digits(validating)} s validate; "
            f"{four_digits(row.images_per_second)} training photos a second{memory(row)}."
        )
    return said


def freezing(rows: Sequence[Row]) -> list[str]:
    """What freezing saves: in the backward pass, and by computing frozen layers once."""
    said = ["Freezing a layer keeps its weights as they are: training computes no gradient and no update for them."]
    for row in transfer(rows, "frozen", "partial"):
        for other in [other for other in other_ways(row, rows) if other.freeze == "unfrozen"]:
            if row.freeze == "frozen":
                said.append(
                    f"{row.name} trains {percent(row.share_trainable)} of its parameters, {other.name} "
                    f"{percent(other.share_trainable)}; {pace(row, other)}{unequal_budget(row, other)}."
                )
            said += _saved(row, other)
    if len(said) == 1:
        said.append(
            f"Not measured here: it takes a frozen and an unfrozen row of one model. "
            f"{command(rows, f'model={transfer_model(rows)} freeze=frozen,unfrozen')}."
        )
    return said


def _saved(row: Row, unfrozen: Row) -> list[str]:
    """What an epoch of `row` computes less than one of `unfrozen`, by cause."""
    forward, rest = row.mean(names.PREFIX_FORWARD_SECONDS), row.mean(names.STEADY_COMPUTE_SECONDS)
    whole = unfrozen.mean(names.STEADY_COMPUTE_SECONDS)
    if math.isnan(forward + rest + whole) or unfrozen.mean(names.TRAIN_IMAGES) != row.mean(names.TRAIN_IMAGES):
        return []
    saved = whole - (forward + rest)
    compared = f"{four_digits(abs(saved))} s ({percent(abs(saved) / whole)}) {'less' if saved > 0 else 'more'}"
    return [
        f"Computing an epoch takes {unfrozen.name} {four_digits(whole)} s. {row.name} takes {four_digits(forward)} s "
        f"to pass the photos through its frozen layers and {four_digits(rest)} s for the rest: {compared}, by what it "
        f"spares of backward pass, updates and batch norm. The cache spares the {four_digits(forward)} s as well."
    ]


def cached(rows: Sequence[Row]) -> list[str]:
    """What computing frozen layers once took, and which run did."""
    said = []
    for row in rows:
        taken, reused = row.mean(names.PREFIX_SECONDS), row.mean(names.PREFIX_REUSED_SECONDS)
        if row.control or not taken > 0:
            continue
        total = four_digits(row.mean(names.TOTAL_SECONDS))
        if not reused > 0:
            what = f"took {four_digits(taken)} s of its {total} s and is in its seconds per epoch"
        else:
            share_reused = "all of them" if math.isclose(reused, taken) else f"{four_digits(reused)} s of them"
            what = (
                f"took {four_digits(taken)} s, {share_reused} in an earlier run: {total} s as run, "
                f"{four_digits(row.total_seconds_with_prefix)} s with these counted in"
            )
        said.append(f"{row.name}: computing its frozen layers once, not each epoch, {what}.")
    return said


def pretraining(rows: Sequence[Row], comparisons: Comparisons) -> list[str]:
    """Pretrained rows against the same network from random weights."""
    said = []
    for row in transfer(rows):
        for other in random_weights(row, rows):
            if frozenset((row.label, other.label)) in comparisons:
                said.append(
                    f"Pretrained weights ({row.tag(names.WEIGHTS_SOURCE)}) against random ones, all else alike: "
                    f"validation accuracy after epoch 1 is "
                    f"{share(row.first_val_accuracy)} against {share(other.first_val_accuracy)}; "
                    f"{verdict(row, other, comparisons)}"
                )
    if said:
        return said
    if not transfer(rows):
        return [f"No row is pretrained. {command(rows, f'model={transfer_model(rows)} freeze=frozen')}."]
    starts = [f"{row.name} {share(row.first_val_accuracy)}" for row in [*transfer(rows), *scratch(rows)]]
    control = f"model={transfer_model(rows)} model.weights=null freeze=frozen"
    return [
        f"Validation accuracy after epoch 1: {', '.join(starts)}.",
        "That does not measure what ImageNet's weights add: no row differs from a pretrained one in its weights alone. "
        f"{command(rows, control)}.",
    ]


def unfreezing(rows: Sequence[Row], comparisons: Comparisons) -> list[str]:
    """Unfrozen rows against the frozen and partial ones of their model: accuracy and time."""
    said = []
    for row in ranked(transfer(rows, "unfrozen")):
        for other in other_ways(row, ranked(rows)):
            said.append(verdict(row, other, comparisons))
            said.append(f"{pace(row, other)}{unequal_budget(row, other)}.")
    if said:
        return said
    arms = f"model={transfer_model(rows)} freeze=frozen,unfrozen,partial"
    return [f"Not measured: it takes an unfrozen row and another of the same model. {command(rows, arms)}."]


def stability(rows: Sequence[Row]) -> list[str]:
    """Instability and overfitting of each approach, as numbers."""
    said = []
    for row in rows:
        losses = row.curve[names.VAL_LOSS].dropna()
        if row.control or losses.empty:
            continue
        said.append(
            f"{row.name}: the largest fall of validation accuracy from one epoch to the next is "
            f"{points(row.largest_drop)}; training minus validation accuracy at the end {points(row.last_gap)}; "
            f"validation loss {losses.iloc[-1]:.4f} at the end, {losses.min():.4f} at its lowest "
            f"(epoch {losses.idxmin()} of {count(row.epochs)})."
        )
    return said


def best(rows: Sequence[Row], comparisons: Comparisons) -> list[str]:
    """The row with the best test accuracy and those that can't be told from it."""
    said = []
    for order in map(ranked, groups_to_compare(rows)):
        if len(order) < 2:
            continue
        pairs = [(other, comparisons[frozenset((order[0].label, other.label))]) for other in order[1:]]
        open_ones = [f"{other.name} ({share(other.accuracy)})" for other, pair in pairs if not pair.told_apart]
        doubt = (
            f"; it can't be told apart from {listed(open_ones)}" if open_ones else "; it is told apart from all others"
        )
        said.append(f"The best test accuracy is {share(order[0].accuracy)}, {order[0].name}{doubt}.")
    return said


def partial(rows: Sequence[Row], comparisons: Comparisons) -> list[str]:
    """Partial fine-tuning against the other pretrained rows of its model, with the learning rates."""
    said = []
    for row in ranked(transfer(rows, "partial")):
        for other in other_ways(row, ranked(rows)):
            said.append(
                f"{_verdict_on(row, other, comparisons)}: learning rate {rates(row)} against {rates(other)} of "
                f"{other.name}, test accuracy {share(row.accuracy)} against {share(other.accuracy)}"
                f"{unequal_budget(row, other)}."
            )
    if said:
        return said
    arms = f"model={transfer_model(rows)} freeze=partial,frozen,unfrozen"
    return [f"Partial fine-tuning is not measured beside another row of its model. {command(rows, arms)}."]


def _verdict_on(row: Row, other: Row, comparisons: Comparisons) -> str:
    item = comparisons[frozenset((row.label, other.label))]
    if not item.told_apart:
        return f"{row.name} is neither better nor worse than {other.name} as far as these photos tell"
    return f"{row.name} is {'better' if item.better is row else 'worse'} than {other.name}"
