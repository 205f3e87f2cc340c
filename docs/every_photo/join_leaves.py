"""Leaves of one class whose numbers follow each other become one: for leaf ids that are off by a photo.

python docs/every_photo/join_leaves.py PHOTOS.csv CLASS JOINED.csv

In the PlantVillage photos of this study the ids of Tomato_Early_blight are blocks of four photos in the order of their
file names, and most blocks hold one photo of the leaf before or after. Whole runs of such leaves have to stay on one
side of a split, as any two neighbours may share a leaf.
"""

import sys

import pandas as pd


def joined(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """The table with leaf ids, NAME/NUMBER, of this class replaced by the first of the run that they are in."""
    own = table["label"] == label
    numbers = table.loc[own, "leaf_id"].str.extract(r"(\d+)$", expand=False).astype(int)
    present = pd.Series(sorted(numbers.unique()))
    first = present.where(present.diff() != 1).ffill().astype(int)
    run_of = dict(zip(present, first, strict=True))
    return table.assign(
        leaf_id=table["leaf_id"].mask(own, label + "/from " + numbers.map(run_of).astype(str).reindex(table.index))
    )


if __name__ == "__main__":
    source, name, target = sys.argv[1:]
    joined(pd.read_csv(source, dtype=str), name).to_csv(target, index=False)
