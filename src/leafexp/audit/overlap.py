"""Which photos of a second test set a network has learned from."""

import importlib.metadata

import numpy as np
import pandas as pd

from leafexp.cache.arrays import kept, key_of
from leafexp.data.dataset import Dataset
from leafexp.data.duplicates import EXACT, duplicates

VERSION = 1  # of what is looked for: another number, another entry in the cache


def overlap(dataset: Dataset, external: Dataset) -> pd.DataFrame:
    """The photos from elsewhere that equal, or nearly equal, one that is trained or validated on; kept in the cache.

    Returns:
        One row such a photo, with the photo most like it: kind (`exact`, `near`, ...), path, label, other_path,
        other_label, other_split.
    """
    learned = np.flatnonzero(dataset.table["split"].isin(("train", "validation")))
    contents = [*dataset.table["sha256"].iloc[learned], *external.table["sha256"]]

    def found() -> list[list[str | int]]:
        # Views, not copies: the photos stay where they are mapped.
        pixels = [*(dataset.pixels[row] for row in learned), *external.pixels]
        sides = np.arange(len(pixels)) >= len(learned)
        nearest: dict[int, tuple[tuple[bool, float], str, int]] = {}
        for pairs in duplicates(pixels, pd.Series(contents), sides):
            order = np.lexsort((-pairs.correlation, pairs.other))
            most_alike = order[np.unique(pairs.other[order], return_index=True)[1]]
            for pair in most_alike:
                place = int(pairs.other[pair]) - len(learned)
                rank = pairs.kind == EXACT, float(pairs.correlation[pair])
                if place not in nearest or rank > nearest[place][0]:
                    nearest[place] = rank, pairs.kind, int(pairs.one[pair])
        return [[place, kind, one] for place, (_, kind, one) in sorted(nearest.items())]

    key = key_of(VERSION, importlib.metadata.version("imagehash"), dataset.pixels_hash, external.pixels_hash,
                 learned.tolist(), contents)  # fmt: skip
    columns = ["path", "label", "split"]
    rows = []
    for place, kind, one in kept("overlap", key, found):
        theirs, ours = external.table.iloc[place], dataset.table.iloc[learned[one]]
        rows.append([kind, theirs["path"], theirs["label"], *ours[columns]])
    return pd.DataFrame(rows, columns=["kind", "path", "label", *(f"other_{name}" for name in columns)])
