"""Which network was right on which test photo."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Right or wrong, of every network of a row.

    Attributes:
        right: shape (networks, photos); 1 where right, 0 where wrong, NaN where the network did not test the photo.
        paths: the photos, sorted.
        leaves: shape (photos,); the number of each photo's leaf. A photo without a known leaf is a leaf of its own.
        networks: the seed and the fold of each network; fold "" without folds.
    """

    right: np.ndarray
    paths: tuple[str, ...]
    leaves: np.ndarray
    networks: tuple[tuple[str, str], ...]
