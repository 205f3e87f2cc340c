"""The study's three questions, answered from the rows and from nothing else: no figure, no sentence."""

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
    milestone,
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
        [*speed(rows), *freezing(rows), *cached(rows), *pretraining(rows, comparisons)],
        [*unfreezing(rows, comparisons), *stability(rows), *best(rows, comparisons), *partial(rows, comparisons)],
    )
    return [Answer(question, said) for question, said in zip(QUESTIONS, answers, strict=True)]


def performance(rows: Sequence[Row]) -> list[str]:
    """Training time, test accuracy, parameters and epochs to 80 % of each approach."""
    return [
        f"{row.name}: {four_digits(row.mean(names.TOTAL_SECONDS) / 60)} minutes of training, "
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


def freezing(rows: Sequence[Row]) -> list[str]:
    """What freezing does to time and parameters, from frozen against unfrozen rows of one model."""
    said = ["Freezing a layer keeps its weights as they are: training computes no gradient and no update for them."]
    for row in transfer(rows, "frozen"):
        for other in [other for other in other_ways(row, rows) if other.freeze == "unfrozen"]:
            said.append(
                f"{row.name} trains {percent(row.share_trainable)} of its parameters, {other.name} "
                f"{percent(other.share_trainable)}; {pace(row, other)}{unequal_budget(row, other)}."
            )
    if len(said) == 1:
        said.append(
            f"Not measured here: it takes a frozen and an unfrozen row of one model. "
            f"{command(rows, f'model={transfer_model(rows)} freeze=frozen,unfrozen')}."
        )
    return said


def cached(rows: Sequence[Row]) -> list[str]:
    """How much of a row's time went into computing its frozen layers once instead of each epoch."""
    return [
        f"{row.name}: its frozen layers were computed once a phase, not each epoch; that took "
        f"{four_digits(row.mean(names.PREFIX_SECONDS))} s of its {four_digits(row.mean(names.TOTAL_SECONDS))} s and is "
        "in its seconds per epoch."
        for row in rows
        if not row.control and row.mean(names.PREFIX_SECONDS) > 0
    ]


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
