"""What the rows cost, what freezing saves and what pretraining adds: sentences for Q2."""

import math
from collections.abc import Sequence

from leafexp import names
from leafexp.report.accuracy import missing_arms
from leafexp.report.budget import unequal_budget
from leafexp.report.commands import command, transfer_model
from leafexp.report.comparisons import (
    Comparisons,
    counterparts,
    other_ways,
    random_weights,
    ranked,
    scratch,
    transfer,
    verdict,
)
from leafexp.report.phrases import learning_parameters, memory, pace
from leafexp.report.rows import Row
from leafexp.report.wording import four_digits, percent, share


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
        other = row.other_seconds
        rest = (
            f", {four_digits(other)} s go to frozen layers, once, and to tracing graphs"
            if other > 0.001 * row.epoch_seconds
            else ""
        )
        said.append(
            f"{row.name}: of {four_digits(row.epoch_seconds)} s per epoch {four_digits(waiting)} s wait for photos, "
            f"{four_digits(computing)} s compute training steps, {four_digits(validating)} s validate{rest}; "
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
    if math.isnan(forward + rest + whole) or not whole > 0 or len(row.machines | unfrozen.machines) > 1:
        return []
    if unfrozen.mean(names.TRAIN_IMAGES) != row.mean(names.TRAIN_IMAGES):
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
