"""What a setting does on average, over rows that differ in it alone."""

from collections.abc import Iterable, Sequence

import pandas as pd

from leafexp.report.comparisons import paired_differences, ranked
from leafexp.report.rows import Row, groups_to_compare, short
from leafexp.report.statistics import bootstrap_interval
from leafexp.report.wording import count, points


def effects(rows: Sequence[Row]) -> list[str]:
    """A sentence for each setting of two values that two or more pairs of rows differ in, all else alike."""
    said: list[str] = []
    for group in groups_to_compare(rows):
        order = [row for row in ranked(group) if row.right_by_seed is not None]
        for name in dict.fromkeys(row.runs[0].row for row in order):
            members = [row for row in order if row.runs[0].row == name]
            for key in sorted({key for row in members for key in row.settings}):
                said += _effect(name, key, members)
    return said


def _effect(name: str, key: str, rows: Sequence[Row]) -> Iterable[str]:
    values = sorted({row.settings.get(key, "") for row in rows}, key=_by_size)
    if len(values) != 2:
        return
    pairs = [
        (row, other)
        for row in rows
        for other in rows
        if (other.settings.get(key, ""), row.settings.get(key, "")) == tuple(values)
        and _others(row, key) == _others(other, key)
    ]
    if len(pairs) < 2:
        return
    differences = [paired_differences(*pair) for pair in pairs]
    # The rows of a sweep share their seeds; where they don't, each pair is a mean over its own.
    mean = sum(differences[1:], differences[0]) / len(pairs)
    if mean.isna().any(axis=None):
        means = [table.mean(axis=1) for table in differences]
        mean = (sum(means[1:], means[0]) / len(pairs)).to_frame()
    low, high, _ = bootstrap_interval(mean.to_numpy(), list(rows[0].leaves[mean.index]))
    effect = float(mean.to_numpy().mean())
    single = [float(table.to_numpy().mean()) for table in differences]
    doubt = "" if low > 0 or high < 0 else ": it can't be told from no effect"
    holds = f"over leaves{' and seeds' if mean.shape[1] > 1 else ''}"
    yield (
        f"{name}, over the {count(len(pairs))} pairs of rows that differ in {short(key)} alone: {values[1]} instead of "
        f"{values[0]} changes the test accuracy by {points(effect)} on average (95 % interval {points(low, unit='')} "
        f"to {points(high)} {holds}; from {points(min(single), unit='')} to {points(max(single))} in single pairs)"
        f"{doubt}."
    )


def _others(row: Row, key: str) -> dict[str, str]:
    return {name: value for name, value in row.settings.items() if name != key}


def _by_size(value: str) -> tuple[int, float, str]:
    number = pd.to_numeric(value, errors="coerce")
    return (0, 0.0, "") if value in ("None", "") else (2, 0.0, value) if pd.isna(number) else (1, float(number), value)
