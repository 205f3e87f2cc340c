"""Parts of the answers' sentences: what is said of a row, or of one row beside another."""

import math
from collections.abc import Sequence

from leafexp import names
from leafexp.report.rows import Row
from leafexp.report.wording import count, counted, four_digits, percent, rate, share


def pace(row: Row, other: Row) -> str:
    """How fast an epoch of `row` is beside one of `other`, with both times."""
    mine, its = row.epoch_seconds, other.epoch_seconds
    said = f"{row.name} takes {four_digits(mine)} s per epoch, {other.name} {four_digits(its)} s"
    if any(it.mean(names.PREFIX_REUSED_SECONDS) > 0 for it in (row, other)):
        mine, its = row.epoch_seconds_with_prefix, other.epoch_seconds_with_prefix
        said += f" (with frozen layers from earlier runs {four_digits(mine)} s and {four_digits(its)} s)"
    if len(row.machines | other.machines) > 1:
        return f"{said}: not compared, as they ran on different machines"
    if not (mine > 0 and its > 0):
        return said
    factor = f"{max(its / mine, mine / its):.2f}"
    if factor == "1.00":
        return f"{said}: neither is faster"
    return f"{said}: {'faster' if mine < its else 'slower'} by a factor of {factor}"


def minutes(row: Row) -> str:
    """Minutes of training as run, and with the frozen layers that an earlier run had computed."""
    said = f"{four_digits(row.mean(names.TOTAL_SECONDS) / 60)} minutes of training"
    if not row.mean(names.PREFIX_REUSED_SECONDS) > 0:
        return said
    return f"{said} ({four_digits(row.total_seconds_with_prefix / 60)} with frozen layers from an earlier run)"


def memory(row: Row) -> str:
    """The most memory its process had, where it was measured."""
    peak = row.mean(names.PEAK_MEMORY_MB)
    return "" if math.isnan(peak) else f"; at most {four_digits(peak / 1000)} GB of memory in its process"


def learning_parameters(row: Row, other: Row) -> str:
    """The trainable parameters of `row` beside those of `other`, with their ratio."""
    said = f"it trains {count(row.trainable)} parameters against {count(other.trainable)}"
    return f"{said} ({percent(row.trainable / other.trainable)})" if other.trainable > 0 else said


def ranks(order: Sequence[Row]) -> str:
    """The rows with their place and test accuracy."""
    return ", ".join(f"{place}. {row.name} {share(row.accuracy)}" for place, row in enumerate(order, 1))


def milestone(row: Row) -> str:
    """When the row reached 80 % validation accuracy, or that it did not."""
    if not row.reached(80):
        return f"did not reach 80 % validation accuracy in {counted(row.epochs, 'epoch')}"
    some = "" if row.reached(80) == len(row.runs) else f" in {row.reached(80)} of {counted(len(row.runs), 'run')}"
    return f"reached 80 % validation accuracy in epoch {count(row.mean(names.epochs_to(80)))}{some}"


def milestones_of(row: Row) -> str:
    """Epochs and minutes to each milestone of validation accuracy, or that it was not reached."""
    said = []
    for percentage in names.MILESTONES:
        reached = row.reached(percentage)
        if not reached:
            said.append(f"{percentage} % not in {counted(row.epochs, 'epoch')}")
            continue
        some = "" if reached == len(row.runs) else f", in {reached} of {counted(len(row.runs), 'run')}"
        average = " on average" if len(row.runs) > 1 else ""
        epoch = f"{percentage} % in epoch {count(row.mean(names.epochs_to(percentage)))}{average}"
        said.append(f"{epoch} ({four_digits(row.minutes_to(percentage))} minutes{some})")
    return f"validation accuracy of {', '.join(said)}"


def spread(row: Row) -> str:
    """The standard deviation over seeds, where there are several."""
    return f"; standard deviation {share(row.accuracy_std)} over {len(row.runs)} seeds" if len(row.runs) > 1 else ""


def rates(row: Row) -> str:
    """The learning rates of the row's first and last epoch."""
    rates = row.curve[names.LEARNING_RATE].dropna()
    if rates.empty:
        return "(not logged)"
    return rate(rates.iloc[0]) if rates.nunique() == 1 else f"{rate(rates.iloc[0])} falling to {rate(rates.iloc[-1])}"


def photos(row: Row) -> str:
    """The hashes of what the row was trained and tested on."""
    return f"data {row.hashes(names.DATA_HASH)}, split {row.hashes(names.SPLIT_HASH)}"


def counted_confusions(rows: Sequence[Row], most: int = 8) -> list[str]:
    """The pairs of classes most often confused, over all approaches and seeds, with the rows that did it most."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    tested = 0
    for row in rows:
        if row.control or row.right_by_seed is None:
            continue
        tested += len(row.runs)
        for label, line in row.confusion.iterrows():
            for predicted, number in line.items():
                if label != predicted and number:
                    counts.setdefault((str(label), str(predicted)), {})[row.name] = int(number)
    order = sorted(counts, key=lambda pair: -sum(counts[pair].values()))[:most]
    return [
        f"{label} taken for {predicted}: {counted(sum(by_row.values()), 'time')} in {counted(tested, 'run')} ("
        f"{', '.join(f'{name} {count(number)}' for name, number in by_row.items())})."
        for (label, predicted), by_row in ((pair, counts[pair]) for pair in order)
    ]
