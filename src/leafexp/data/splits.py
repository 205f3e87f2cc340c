"""Which image trains, which validates, which tests: stratified by class, photos of one leaf on one side."""

import hashlib

import pandas as pd
from sklearn.model_selection import train_test_split

from leafexp.data.spelling import SPLITS
from leafexp.errors import UserError

UNUSED = "unused"  # training photos that data.train_per_class leaves out


def split(table: pd.DataFrame, validation_share: float, test_share: float, seed: int) -> pd.Series:
    """`train`, `validation` or `test` for each row of `table`; a `split` column wins over the shares.

    Within each class, whole groups are drawn at random, so the shares hold for groups. Parts that a `split` column does
    not name are drawn from its train part.

    Raises:
        UserError: a class has too few groups to be in all three parts, or is missing from one that the column names.
    """
    parts = table["split"].copy() if "split" in table else pd.Series("train", index=table.index, dtype="str")
    given = set(parts)
    shares = {"test": test_share, "validation": validation_share}
    missing = {part: share for part, share in shares.items() if part not in given}
    if missing:
        parts = _draw(table, parts, missing, seed)
    for part in SPLITS:
        absent = sorted(set(table["label"]) - set(table.loc[parts == part, "label"]))
        if absent:
            raise UserError(f"The split has no {part} images of class {absent[0]!r}.")
    return parts


def _draw(table: pd.DataFrame, parts: pd.Series, missing: dict[str, float], seed: int) -> pd.Series:
    """`parts` with the missing ones drawn, class by class, from the groups of the train part."""
    open_rows = table[parts == "train"]
    # A group with photos of several classes is drawn with its first class, and stays on one side.
    class_of_group = open_rows.sort_values("path").groupby("group")["label"].first()
    part_of_group: dict[str, str] = {}
    for label in sorted(class_of_group.unique()):
        groups = sorted(class_of_group.index[class_of_group == label])
        if len(groups) <= len(missing):
            images = int((open_rows["label"] == label).sum())
            raise UserError(
                f"Class {label!r} is too small to be split: {images} images of {len(groups)} leaves; "
                f"it needs at least {len(missing) + 1} leaves."
            )
        count = len(groups)
        for place, (part, share) in enumerate(missing.items()):
            # Each part gets one group at least, and leaves one for each part that is still to come and for train.
            size = min(max(1, round(share * count)), len(groups) - (len(missing) - place))
            groups, taken = train_test_split(groups, test_size=size, random_state=seed)
            part_of_group |= dict.fromkeys(taken, part)
    drawn = open_rows["group"].map(part_of_group).fillna("train")
    return parts.where(parts != "train", drawn.reindex(parts.index))


def limit_training(table: pd.DataFrame, per_class: int, seed: int) -> pd.Series:
    """The `split` of each row of `table`, with `unused` where a class has more than `per_class` training photos.

    Whole groups are drawn in an order that depends on `seed` alone, so that fewer photos are always among more.
    """
    parts = table["split"].copy()
    for _, training in table[parts == "train"].groupby("label"):
        groups = pd.Series(sorted(training["group"].unique())).sample(frac=1, random_state=seed)
        place = dict(zip(groups, range(len(groups)), strict=True))
        ordered = training.assign(place=training["group"].map(place)).sort_values(["place", "path"])
        parts[ordered.index[per_class:]] = UNUSED
    return parts


def split_hash(table: pd.DataFrame) -> str:
    """SHA-256 over the sorted (path, split) pairs of `table`."""
    return _hash_rows(table, ["path", "split"])


def hash_of_test(table: pd.DataFrame) -> str:
    """SHA-256 over the (path, label, sha256) triples of the test rows: accuracies compare where it is equal."""
    return _hash_rows(table[table["split"] == "test"], ["path", "label", "sha256"])


def data_hash(table: pd.DataFrame) -> str:
    """SHA-256 over the sorted (path, label, sha256) triples of `table`: what is trained on, wherever it lies."""
    return _hash_rows(table, ["path", "label", "sha256"])


def _hash_rows(table: pd.DataFrame, columns: list[str]) -> str:
    """SHA-256 over the given columns, whatever the order of the rows."""
    rows = sorted("\t".join(row) for row in table[columns].astype(str).itertuples(index=False))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
