"""How accurate the rows are, how steadily they learned, and which is better: sentences for Q1 and Q3."""

from collections.abc import Sequence

from leafexp import names
from leafexp.report.budget import unequal_budget
from leafexp.report.commands import command, transfer_model
from leafexp.report.comparisons import Comparison, Comparisons, evidence, other_ways, ranked, scratch, transfer, verdict
from leafexp.report.phrases import (
    milestone,
    milestones_of,
    minutes,
    pace,
    photos,
    ranks,
    rates,
    spread,
)
from leafexp.report.rows import FREEZE_ORDER, Row, groups_to_compare
from leafexp.report.statistics import SIGNIFICANCE
from leafexp.report.wording import count, counted, listed, percent, points, share


def performance(rows: Sequence[Row]) -> list[str]:
    """Training time, test accuracy, parameters and epochs to 80 % of each approach."""
    said = []
    for row in rows:
        if not row.control:
            (low, high), over = row.widest_interval
            said.append(
                f"{row.name}: {minutes(row)}, test accuracy {share(row.accuracy)} (95 % interval {share(low)} to "
                f"{share(high)} over {over}{spread(row)}), {count(row.trainable)} trainable parameters, "
                f"{milestone(row)}."
            )
    return said


def milestones(rows: Sequence[Row]) -> list[str]:
    """Epochs and minutes to 80, 90 and 95 % validation accuracy of each approach."""
    return [f"{row.name}: {milestones_of(row)}." for row in rows if not row.control and not row.curve.empty]


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
            "Discordant photos are those that one of two rows gets right and the other wrong, of several seeds gets "
            "right more often (p is then a sign test's over photos); p is the exact McNemar test's, after Holm's "
            f"correction for the {counted(tested, 'comparison')} of this report; the interval is a paired bootstrap's, "
            "over whole leaves (groups of photos) and, where rows have the same seeds, over seeds; told apart means "
            f"both: p < {SIGNIFICANCE} and an interval above 0. The p of seeds is that of all sign flips of the "
            "differences by seed, not corrected."
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
            f"(epoch {losses.idxmin()} of {count(row.epochs)}); run by run it ends {percent(row.val_loss_rise)} over "
            "its lowest."
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
        (low, high), over = order[0].widest_interval
        said.append(
            f"The best test accuracy is {share(order[0].accuracy)}, {order[0].name} (95 % interval {share(low)} to "
            f"{share(high)} over {over}){doubt}."
        )
    return said


def partial(rows: Sequence[Row], comparisons: Comparisons) -> list[str]:
    """Partial fine-tuning against the other pretrained rows of its model, with the learning rates."""
    said = []
    for row in ranked(transfer(rows, "partial")):
        for other in other_ways(row, ranked(rows)):
            item = comparisons[frozenset((row.label, other.label))]
            said.append(
                f"{_verdict_on(row, item)}: learning rate {rates(row)} against {rates(other)} of {other.name}, test "
                f"accuracy {share(row.accuracy)} against {share(other.accuracy)} ({evidence(item)})"
                f"{unequal_budget(row, other)}."
            )
    if said:
        return said
    arms = f"model={transfer_model(rows)} freeze=partial,frozen,unfrozen"
    return [f"Partial fine-tuning is not measured beside another row of its model. {command(rows, arms)}."]


def _verdict_on(row: Row, item: Comparison) -> str:
    other = item.worse if item.better is row else item.better
    if not item.told_apart:
        return f"{row.name} is neither better nor worse than {other.name} as far as these photos tell"
    return f"{row.name} is {'better' if item.better is row else 'worse'} than {other.name}"
