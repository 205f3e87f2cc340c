"""Images with labels and splits, ready to train on."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import numpy as np
import pandas as pd

from leafexp.cache.arrays import Stored
from leafexp.data import splits
from leafexp.data.duplicates import joined_groups
from leafexp.data.folds import fold_split
from leafexp.data.pixels import load
from leafexp.data.spelling import printable
from leafexp.errors import UserError
from leafexp.notes import note
from leafexp.paths import ROOT

NEAR_DUPLICATES = "near_duplicates"  # data.groups: equal and nearly equal photos count as of one leaf
HELD_OUT = "held out"  # the part of test photos where settings are searched
_NAMED = 10  # unusable photos on the terminal
_UNUSABLE_FILE = Path("reports") / "unusable_photos.csv"


class Settings(Protocol):
    """How photos are read and divided: what the configuration calls data.image_size and so on."""

    image_size: int
    fit: str
    white: int | None
    on_bad_image: str
    validation_share: float
    test_share: float
    split_seed: int | None
    folds: int | None
    fold: int | None
    train_per_class: int | None
    groups: str
    views: int
    test_views: int


@dataclass(frozen=True)
class Dataset:
    """What a run trains and tests on.

    Attributes:
        pixels: a row an image: uint8 in [0, 255], shape (images, height, width, 3), usually mapped from the cache;
            or what `training.prefix` made of them.
        pixels_hash: SHA-256 of what decides `pixels`.
        table: one row an image: path, label, group, split, sha256, class_index.
        classes: class names in the order of the model's outputs.
        skipped: images left out, with columns path and reason.
        data_hash: SHA-256 of paths, labels and file contents.
        split_hash: SHA-256 of paths and splits.
        test_hash: SHA-256 of the test images' paths, labels and contents.
        views: in how many views training shows a photo.
        test_views: over how many views the test takes the mean.
        places: of what `training.prefix` made, the row of `pixels` for each image by its number (see `data.batches`);
            None where `pixels` are the photos.
    """

    pixels: np.ndarray
    pixels_hash: str
    table: pd.DataFrame
    classes: list[str]
    skipped: pd.DataFrame
    data_hash: str
    split_hash: str
    test_hash: str
    views: int = 1
    test_views: int = 1
    places: np.ndarray | None = None

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of the images in `part` (train, validation or test)."""
        return np.flatnonzero(self.table["split"] == part)

    def without_test(self) -> "Dataset":
        """The same with test photos in no part, so that nothing that is chosen can have looked at them."""
        held_out = self.table["split"].replace("test", HELD_OUT)
        return replace(self, table=self.table.assign(split=held_out))


def prepare(catalog: pd.DataFrame, settings: Settings, cache_bytes: int) -> Dataset:
    """Read, check and split the images of a catalog.

    Raises:
        UserError: unusable images with on_bad_image=error, ten named and all in a file; no usable image of a class; or
            a class that can't be split.
    """
    stored, table, skipped = read_usable(catalog, settings, cache_bytes)
    if settings.groups == NEAR_DUPLICATES:
        table["group"] = joined_groups(stored.array, stored.key, table)
    seed = settings.split_seed or 0
    if settings.folds is None:
        table["split"] = splits.split(table, settings.validation_share, settings.test_share, seed)
    else:
        table["split"] = fold_split(table, settings.folds, settings.fold, seed)
    if settings.train_per_class is not None:
        table["split"] = splits.limit_training(table, settings.train_per_class, seed)
    classes = sorted(table["label"].unique())
    table["class_index"] = table["label"].map({label: index for index, label in enumerate(classes)})
    return Dataset(
        stored.array,
        stored.key,
        table,
        classes,
        skipped,
        splits.data_hash(table),
        splits.split_hash(table),
        splits.hash_of_test(table),
        settings.views,
        settings.test_views,
    )


def read_usable(
    catalog: pd.DataFrame, settings: Settings, cache_bytes: int, unusable_file: Path = _UNUSABLE_FILE
) -> tuple[Stored, pd.DataFrame, pd.DataFrame]:
    """Read and check the images of a catalog.

    Returns:
        The pixels of the usable ones; the catalog's rows of these, with their sha256; and those left out, with columns
        path and reason.

    Raises:
        UserError: as `prepare`, of unusable images.
    """
    stored, checksums, problems = load(catalog, settings.image_size, cache_bytes, settings.white, settings.fit)
    skipped = pd.DataFrame(
        {"path": [catalog["path"].iloc[row] for row in problems], "reason": list(problems.values())}, dtype="str"
    )
    _check_usable(catalog, skipped, settings.on_bad_image, unusable_file)
    table = catalog.assign(sha256=checksums).drop(index=catalog.index[list(problems)]).reset_index(drop=True)
    return stored, table, skipped


def _check_usable(catalog: pd.DataFrame, skipped: pd.DataFrame, on_bad_image: str, unusable_file: Path) -> None:
    """Say which photos can't be used, and raise UserError unless they may be left out and each class has others."""
    if skipped.empty:
        return
    written = _written(skipped, unusable_file)
    if len(skipped) == len(catalog):
        first = catalog["file"].iloc[0]
        raise UserError(
            f"None of the {len(catalog)} photos can be used: {_reasons(skipped)}. The first is {printable(first)}."
            + (_why_missing(Path(first)) if "no such file" in set(skipped["reason"]) else "")
            + written
        )
    left = catalog["label"][~catalog["path"].isin(skipped["path"])]
    gone = sorted(set(catalog["label"]) - set(left))
    if gone:
        said = [
            f"Class {label!r} has no usable image of {len(paths)}: {_reasons(skipped[skipped['path'].isin(paths)])}."
            for label, paths in catalog.groupby("label")["path"]
            if label in gone
        ]
        raise UserError("\n".join(said) + written)
    listed = _listed(skipped)
    if on_bad_image == "error":
        raise UserError(
            f"{len(skipped)} of {len(catalog)} images can't be used:\n{listed}\n"
            f"Repair or remove them, or leave them out with data.on_bad_image=skip.{written}"
        )
    note(
        f"{len(skipped)} of {len(catalog)} images can't be used and are left out (data.on_bad_image=skip):\n"
        f"{listed}\n{written.strip()}"
    )


def _why_missing(file: Path) -> str:
    """Where a file may be that is not there: with an ending, as a web address spells it, or in a folder below."""
    beside = sorted(file.parent.glob(f"{escape(file.name)}.*")) if file.parent.is_dir() else []
    if beside:
        return f" {printable(beside[0].name)} is there: write the names with their endings."
    if os.path.exists(plain := unquote(str(file))):
        return f" {printable(Path(plain).name)} is there: write the names as they are, without %20 and its like."
    unquoted = Path(str(file.parent).replace("'", "")) / file.name.strip("'")
    if unquoted != file and unquoted.exists():
        return f" {printable(unquoted.name)} is there: write the names without quotes."
    if file.parent.is_dir() and (below := next(file.parent.glob(f"*/**/{escape(file.name)}"), None)):
        return f" {printable(below.relative_to(file.parent).as_posix())} is there: write the paths with their folders."
    return " In a CSV, paths start at the CSV's folder."


def _reasons(skipped: pd.DataFrame) -> str:
    """Each reason with its number, the most frequent first."""
    counts = Counter(skipped["reason"]).most_common()
    named = [f"{reason} ({number})" for reason, number in counts[:3]]
    return "; ".join(named) + (f"; other reasons ({sum(number for _, number in counts[3:])})" if counts[3:] else "")


def _listed(skipped: pd.DataFrame) -> str:
    """Ten of the photos with their reasons, and how many more there are."""
    lines = [f"  {path}: {reason}" for path, reason in skipped.head(_NAMED).itertuples(index=False)]
    if len(skipped) > _NAMED:
        lines.append(f"  and {len(skipped) - _NAMED} more: {_reasons(skipped)}")
    return "\n".join(lines)


def _written(skipped: pd.DataFrame, unusable_file: Path) -> str:
    """Write the photos that can't be used to a file, in place of those of another time; returns where they are."""
    file = ROOT / unusable_file
    try:
        file.parent.mkdir(exist_ok=True)
        skipped.to_csv(file, index=False)
    except OSError as error:
        return f" (Can't list them in {printable(str(file))}: {error.strerror}.)"
    return f" Listed in {printable(str(file))}."
