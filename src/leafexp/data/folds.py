"""Folds: every photo is tested once, by a network that never saw its leaf."""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from leafexp.data.splits import cover, note_far_off
from leafexp.errors import UserError
from leafexp.wording import counted


def fold_split(table: pd.DataFrame, folds: int, number: int | None, seed: int) -> pd.Series:
    """`train`, `validation` or `test` for each row of `table`: fold `number` tests, the next one validates.

    The partition depends on the photos, `folds` and `seed` alone. Each class is in every fold, whole groups are in one.

    Args:
        table: one row an image: path, label, group.
        folds: how many.
        number: which of them tests, from 0.
        seed: of the partition.

    Raises:
        UserError: no fold is named, the photos bring a split of their own, or a class has too few groups.
    """
    if number is None:
        raise UserError(
            f"data.folds={folds} needs data.fold: which of the folds 0 to {folds - 1} is tested. "
            "A command of leafexp.train that names none trains them all."
        )
    if "split" in table:
        raise UserError(
            f"These photos have a split of their own, and data.folds={folds} would draw another. "
            "Take away the split column or the folders of parts, or set data.folds=null."
        )
    fold = partition(table, folds, seed)
    parts = pd.Series("train", index=table.index, dtype="str")
    parts[fold == (number + 1) % folds] = "validation"
    parts[fold == number] = "test"
    note_far_off(table, parts, dict.fromkeys(("test", "validation"), 1 / folds))
    return parts


def partition(table: pd.DataFrame, folds: int, seed: int) -> pd.Series:
    """The number of the fold of each row of `table`, whatever the order of its rows."""
    for label, photos in table.groupby("label"):
        if (leaves := photos["group"].nunique()) < folds:
            raise UserError(
                f"Class {label!r} has {counted(leaves, 'leaf', 'leaves')}; data.folds={folds} needs at least {folds} "
                "of each class. Take fewer folds, or leave the class out with data.classes=[...]."
            )
    counts = pd.crosstab(table["group"], table["label"]).sort_index()
    numbers = _drawn(counts, folds, seed)
    # scikit-learn balances photos, and may leave a fold without a class.
    cover(numbers, counts.to_numpy(float), folds)
    there = np.array([(counts.to_numpy()[numbers == number] > 0).any(axis=0) for number in range(folds)])
    if not there.all():
        lacking = str(counts.columns[int(np.argwhere(~there)[0][1])])
        raise UserError(
            f"Class {lacking!r} can't be in each of {folds} folds, as it shares its leaves with other classes. "
            "Take fewer folds."
        )
    return table["group"].map(dict(zip(counts.index, numbers, strict=True)))


def _drawn(counts: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """The fold of each group.

    Photos of a group and class count as the power of two below their number. With the numbers themselves scikit-learn
    puts groups of unlike sizes into almost the same folds by every seed, as it takes the largest first.

    Args:
        counts: photos: index group, a column per class.
        folds: how many.
        seed: of the order of groups that are alike.
    """
    group, label = np.nonzero(counts.to_numpy())
    times = 2 ** np.log2(counts.to_numpy()[group, label]).astype(int)
    group, label = np.repeat(group, times), np.repeat(label, times)
    numbers = np.empty(len(counts), int)
    for number, (_, tested) in enumerate(
        StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(label, label, group)
    ):
        numbers[group[tested]] = number
    return numbers
