"""Images with labels and splits, ready to train on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from leafexp.data import splits
from leafexp.data.duplicates import joined_groups
from leafexp.data.pixels import load
from leafexp.errors import UserError

NEAR_DUPLICATES = "near_duplicates"  # data.groups: equal and nearly equal photos count as of one leaf


@dataclass(frozen=True)
class Dataset:
    """What a run trains and tests on.

    Attributes:
        pixels: a row an image: uint8 in [0, 255], shape (images, height, width, 3), usually mapped from the cache;
            or what `training.prefix` made of them, float32.
        pixels_hash: SHA-256 of what decides `pixels`.
        table: one row an image: path, label, group, split, sha256, class_index.
        classes: class names in the order of the model's outputs.
        skipped: images left out, with columns path and reason.
        data_hash: SHA-256 of paths, labels and file contents.
        split_hash: SHA-256 of paths and splits.
        test_hash: SHA-256 of the test images' paths, labels and contents.
    """

    pixels: np.ndarray
    pixels_hash: str
    table: pd.DataFrame
    classes: list[str]
    skipped: pd.DataFrame
    data_hash: str
    split_hash: str
    test_hash: str

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of the images in `part` (train, validation or test)."""
        return np.flatnonzero(self.table["split"] == part)


def prepare(
    catalog: pd.DataFrame,
    image_size: int,
    on_bad_image: str,
    validation_share: float,
    test_share: float,
    split_seed: int,
    train_per_class: int | None,
    groups: str,
    cache_bytes: int,
) -> Dataset:
    """Read, check and split the images of a catalog.

    Raises:
        UserError: unusable images with on_bad_image=error, all named at once; or a class that can't be split.
    """
    stored, checksums, problems = load(catalog, image_size, cache_bytes)
    skipped = pd.DataFrame(
        {"path": [catalog["path"].iloc[row] for row in problems], "reason": list(problems.values())}, dtype="str"
    )
    if problems and on_bad_image == "error":
        named = "\n".join(f"  {path}: {reason}" for path, reason in skipped.itertuples(index=False))
        raise UserError(
            f"{len(problems)} of {len(catalog)} images can't be used:\n{named}\n"
            "Repair or remove them, or leave them out with data.on_bad_image=skip."
        )
    table = catalog.assign(sha256=checksums).drop(index=catalog.index[list(problems)]).reset_index(drop=True)
    gone = sorted(set(catalog["label"]) - set(table["label"]))
    if gone:
        raise UserError(f"Class {gone[0]!r} has no usable image.")
    if groups == NEAR_DUPLICATES:
        table["group"] = joined_groups(stored.array, table)
    table["split"] = splits.split(table, validation_share, test_share, split_seed)
    if train_per_class is not None:
        table["split"] = splits.limit_training(table, train_per_class, split_seed)
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
    )
