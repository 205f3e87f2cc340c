"""Which image trains, which validates, which tests: stratified by class, photos of one leaf on one side."""

import hashlib

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from leafexp.data.spelling import SPLITS
from leafexp.errors import UserError, did_you_mean
from leafexp.notes import note
from leafexp.wording import counted

UNUSED = "unused"  # training photos that data.train_per_class leaves out


def split(table: pd.DataFrame, validation_share: float, test_share: float, seed: int) -> pd.Series:
    """`train`, `validation` or `test` for each row of `table`; a `split` column wins over the shares.

    Within each class, whole groups are drawn at random, so the shares hold for groups; where groups are so unequal that
    the photos of a class come out far from the shares, groups are assigned by their photos instead, and what is still
    far off is said. Parts that a `split` column does not name are drawn from its train part.

    Raises:
        UserError: a class has too few groups to be in all three parts, or is missing from one that the column names.
    """
    parts = table["split"].copy() if "split" in table else pd.Series("train", index=table.index, dtype="str")
    _check_given(table["label"], parts)
    shares = {"test": test_share, "validation": validation_share}
    missing = {part: share for part, share in shares.items() if part not in set(parts)}
    if missing:
        rows = table[parts == "train"]
        parts = parts.where(parts != "train", _draw(rows, missing, seed).reindex(parts.index))
        note_far_off(rows, parts[rows.index], missing)
    for part in SPLITS:
        absent = sorted(set(table["label"]) - set(table.loc[parts == part, "label"]))
        if absent:
            classes = "class" if len(absent) == 1 else "classes"
            raise UserError(
                f"The split has no {part} images of {classes} {', '.join(map(repr, absent))}. Add some, leave "
                f"{'the class' if len(absent) == 1 else 'the classes'} out with data.classes=[...], or take the split "
                "away: leafexp then draws one."
            )
    return parts


def _check_given(labels: pd.Series, parts: pd.Series) -> None:
    """Raise UserError where there is no train part, or it lacks a class: each such class with the nearest name."""
    trained = set(labels[parts == "train"])
    if not trained:
        raise UserError(
            f"There is no train part, only {' and '.join(sorted(set(parts)))}. Call one train: the parts that are then "
            "missing are drawn from it."
        )
    for part in sorted(set(parts) - {"train"}):
        if unknown := sorted(set(labels[parts == part]) - trained):
            hints = " ".join(f"{label!r}: {did_you_mean(label, trained)}" for label in unknown)
            number = "a class" if len(unknown) == 1 else f"{len(unknown)} classes"
            raise UserError(f"The {part} part has {number} that the train part lacks. {hints}")


def _draw(rows: pd.DataFrame, shares: dict[str, float], seed: int) -> pd.Series:
    """The part of each of `rows`: those of `shares`, the rest for training."""
    for label, photos in rows.groupby("label"):
        leaves = photos["group"].nunique()
        if leaves <= len(shares):
            raise UserError(
                f"Class {label!r} is too small to be split: {counted(len(photos), 'image')} of "
                f"{counted(leaves, 'leaf', 'leaves')}; "
                f"it needs at least {len(shares) + 1} leaves."
            )
    drawn = _by_number_of_groups(rows, shares, seed)
    if drawn is not None and not _far_off(rows, drawn, shares):
        return drawn
    by_photos = _by_number_of_photos(rows, shares, seed)
    unlike = [_distance(rows, parts, shares) for parts in (drawn, by_photos) if parts is not None]
    return by_photos if drawn is None or unlike[1] < unlike[0] else drawn


def _by_number_of_groups(rows: pd.DataFrame, shares: dict[str, float], seed: int) -> pd.Series | None:
    """Whole groups drawn at random, class by class; None where a class shares its groups with others."""
    # A group with photos of several classes is drawn with its first class, and stays on one side.
    class_of_group = rows.sort_values("path").groupby("group")["label"].first()
    part_of_group: dict[str, str] = {}
    for label in sorted(class_of_group.unique()):
        groups = sorted(class_of_group.index[class_of_group == label])
        if len(groups) <= len(shares):
            return None
        count = len(groups)
        for place, (part, share) in enumerate(shares.items()):
            # Each part gets one group at least, and leaves one for each part that is still to come and for train.
            size = min(max(1, round(share * count)), len(groups) - (len(shares) - place))
            groups, taken = train_test_split(groups, test_size=size, random_state=seed)
            part_of_group |= dict.fromkeys(taken, part)
    return rows["group"].map(part_of_group).fillna("train").astype("str")


def _by_number_of_photos(rows: pd.DataFrame, shares: dict[str, float], seed: int) -> pd.Series:
    """The largest groups first, each is given to the part that lacks its photos most; equal ones in a drawn order."""
    photos = pd.crosstab(rows["group"], rows["label"]).sort_index()
    photos = photos.sample(frac=1, random_state=seed)
    photos = photos.loc[photos.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    parts = [*shares, "train"]
    counts, all_photos = photos.to_numpy(float), photos.to_numpy(float).sum(axis=0)
    # Shares of each class, so that a small class counts as much as a large one: shape (parts, classes).
    wanted = np.array([*shares.values(), 1 - sum(shares.values())])[:, None]
    have = np.zeros((len(parts), len(all_photos)))
    # Training on few leaves teaches little: a third of those of each class are left to it at least.
    taken, most = np.zeros_like(have), np.maximum(1, (counts > 0).sum(axis=0) // 3)
    chosen = np.empty(len(counts), int)
    for row, group in enumerate(counts / all_photos):
        worse = ((have + group - wanted) ** 2 - (have - wanted) ** 2).sum(axis=1)
        worse[:-1][((taken[:-1] >= most) & (group > 0)).any(axis=1)] = np.inf
        chosen[row] = np.argmin(worse)
        have[chosen[row]] += group
        taken[chosen[row]] += group > 0
    cover(chosen, counts, len(parts))
    return rows["group"].map(dict(zip(photos.index, np.array(parts)[chosen], strict=True))).astype("str")


def cover(chosen: np.ndarray, counts: np.ndarray, parts: int) -> None:
    """Move the smallest groups that can be spared, in place, until each class is in each part, if that can be."""
    for _ in range(parts * counts.shape[1]):
        groups = np.array([(counts[chosen == part] > 0).sum(axis=0) for part in range(parts)])
        lacking = np.argwhere(groups == 0)
        # A group can be spared where its part keeps another of each class that it has.
        spare = [row for row in range(len(counts)) if (groups[chosen[row]][counts[row] > 0] > 1).all()]
        moves = [(counts[row].sum(), row, part) for part, label in lacking for row in spare if counts[row, label]]
        if not moves:
            return
        _, row, part = min(moves)
        chosen[row] = part


def _far_off(rows: pd.DataFrame, parts: pd.Series, shares: dict[str, float]) -> list[tuple[str, str, int, int]]:
    """Where a part has under half or over twice the photos of a class that it should: part, class, photos, of all."""
    found = []
    for label, photos in rows.groupby("label"):
        # A part of few groups can't come nearer than about one of them.
        group = 1.5 * photos["group"].value_counts().median()
        for part, share in shares.items():
            number, wanted = int((parts[photos.index] == part).sum()), share * len(photos)
            if number == 0 or not wanted / 2 - group <= number <= 2 * wanted + group:
                found.append((part, str(label), number, len(photos)))
    return found


def _distance(rows: pd.DataFrame, parts: pd.Series, shares: dict[str, float]) -> float:
    """How far the photos of each class in each part are from the shares; a class missing from a part counts most."""
    found = pd.crosstab(rows["label"], parts, normalize="index").reindex(columns=list(shares), fill_value=0)
    return float(((found - pd.Series(shares)) ** 2).to_numpy().sum() + (found == 0).to_numpy().sum())


def note_far_off(rows: pd.DataFrame, parts: pd.Series, shares: dict[str, float]) -> None:
    """Say which part has far more or fewer photos of a class than its share."""
    if found := _far_off(rows, parts, shares):
        part, label, number, photos = found[0]
        leaf = rows.loc[rows["label"] == label, "group"].value_counts()
        more = f"; {len(found) - 1} more parts of classes are as far off" if len(found) > 1 else ""
        note(
            f"the {part} part has {number} of the {photos} photos of {label!r} ({number / photos:.1%}) where "
            f"{shares[part]:.0%} were asked, as leaves stay whole and the largest has {leaf.iloc[0]}{more}."
        )


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
