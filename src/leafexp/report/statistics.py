"""Intervals and tests for accuracies measured on the same photos."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05


def wilson_interval(accuracy: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share of `images` photos (Wilson 1927, J. Am. Stat. Assoc. 22:209-212).

    It holds the chance of which photos were drawn, not that of another seed.

    Args:
        accuracy: Share in [0, 1]; a mean over seeds is rounded to whole photos of one test set.
        images: Photos in the test set, at least 1.
    """
    interval = binomtest(round(accuracy * images), images).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def discordant_photos(one: pd.Series, other: pd.Series) -> tuple[int, int, int]:
    """How many photos only `one` gets right, how many only `other` does, and how many both have seen.

    Args:
        one: Index path, values the share of seeds that got the photo right; with several seeds a photo counts for the
            row that gets it right more often.
        other: The same for the other row.
    """
    paired = pd.concat([one, other], axis=1, join="inner").to_numpy(dtype=float)
    difference = np.round(paired[:, 0] - paired[:, 1], 9)
    return int((difference > 0).sum()), int((difference < 0).sum()), len(paired)


def mcnemar(one_only: int, other_only: int) -> float:
    """The exact two-sided p of McNemar's test (McNemar 1947, Psychometrika 12:153-157); 1 without discordant photos."""
    discordant = one_only + other_only
    return float(binomtest(one_only, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number, in the same order (Holm 1979, Scand. J. Stat. 6:65-70)."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda position: p_values[position])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected
