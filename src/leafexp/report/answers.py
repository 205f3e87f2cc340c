"""The study's three questions, answered from the rows and from nothing else: no figure, no sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

from leafexp.report import accuracy, cost
from leafexp.report.comparisons import (
    Comparisons,
    ranked,
    scratch,
    shared_settings,
    transfer,
    verdict,
    with_shared_settings,
)
from leafexp.report.factors import effects
from leafexp.report.phrases import minutes, pace
from leafexp.report.rows import Row, groups_to_compare
from leafexp.report.wording import listed

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


def answer_questions(rows: Sequence[Row], comparisons: Comparisons) -> list[Answer]:
    """The answers to Q1, Q2 and Q3; what can't be answered from the rows names the command that would tell."""
    answers = (
        [
            *accuracy.performance(rows),
            *accuracy.ranking(rows, comparisons),
            *accuracy.milestones(rows),
            *accuracy.reasons(rows),
            *accuracy.missing_arms(rows),
        ],
        [
            *cost.speed(rows),
            *cost.time_split(rows),
            *cost.freezing(rows),
            *cost.cached(rows),
            *cost.pretraining(rows, comparisons),
        ],
        [
            *accuracy.unfreezing(rows, comparisons),
            *accuracy.stability(rows),
            *accuracy.best(rows, comparisons),
            *accuracy.partial(rows, comparisons),
            *effects(rows),
        ],
    )
    return [Answer(question, said) for question, said in zip(QUESTIONS, answers, strict=True)]


def headline(rows: Sequence[Row], comparisons: Comparisons) -> list[str]:
    """The study's question in a few sentences, for each set of rows that share test photos and settings."""
    said = []
    for group in groups_to_compare(rows):
        for members in with_shared_settings(group):
            settings = shared_settings(members[0])
            where = listed([f"{key}={value}" for key, value in sorted(settings.items())]) if settings else ""
            said += [f"With {where}: {line}" if where else line for line in _headline(members, comparisons)]
    said += effects(rows)
    if said:
        return said
    orders = [order for order in map(ranked, groups_to_compare(rows)) if len(order) > 1]
    if not orders:
        return ["Nothing can be compared: it takes at least two approaches on the same test photos."]
    lacking = "pretrained" if not transfer(rows) else "trained from scratch"
    return [
        f"Whether transfer learning is better can't be told: no row is {lacking}.",
        *(verdict(order[0], order[1], comparisons) for order in orders),
    ]


def _headline(rows: Sequence[Row], comparisons: Comparisons) -> list[str]:
    pretrained, from_scratch = ranked(transfer(rows)), ranked(scratch(rows))
    said = []
    if pretrained and from_scratch:
        best, other = pretrained[0], from_scratch[0]
        pair = comparisons[frozenset((best.label, other.label))]
        if not pair.told_apart:
            answer = "Whether transfer learning is better can't be told from these runs"
        elif pair.better is best:
            answer = "Transfer learning is better"
        else:
            answer = "Training from scratch is better"
        said.append(f"{answer}: {verdict(best, other, comparisons)}")
        said.append(f"Its cost: {minutes(best)}, {other.name} {minutes(other)}; {pace(best, other)}.")
    if len({row.freeze for row in pretrained}) > 1:
        best = pretrained[0]
        open_ones = [
            other.name for other in pretrained[1:] if not comparisons[frozenset((best.label, other.label))].told_apart
        ]
        cheapest = min(pretrained, key=lambda row: row.total_seconds_with_prefix)
        doubt = f"can't be told apart from {listed(open_ones)}" if open_ones else "is told apart from the others"
        one_machine = len(frozenset().union(*(row.machines for row in pretrained))) == 1
        cost = (
            f"{cheapest.name} is the cheapest, with {minutes(cheapest)}"
            if one_machine
            else "they ran on different machines, so none is called the cheapest"
        )
        said.append(f"Of the pretrained rows {best.name} has the best test accuracy and {doubt}; {cost}.")
    return said
