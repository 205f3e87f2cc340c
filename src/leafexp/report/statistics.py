"""Intervals and tests for accuracies measured on the same photos, with the same seeds."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
POWER = 0.8
RESAMPLES = 5_000
EXACT_SEEDS = 15  # up to so many, every one of the 2^n sign flips is tried


def wilson_interval(accuracy: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share of `images` photos (Wilson 1927, J. Am. Stat. Assoc. 22:209-212).

    It holds the chance of which photos were drawn, as if each were of another leaf; not that of another seed.

    Args:
        accuracy: Share in [0, 1]; a mean over seeds is rounded to whole photos of one test set.
        images: Photos in the test set, at least 1.
    """
    interval = stats.binomtest(round(accuracy * images), images).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def seed_interval(accuracies: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean over seeds, on the same photos (Student 1908, Biometrika 6:1-25).

    It holds the chance of the seed, not of the photos. NaN for fewer than two seeds.
    """
    seeds = len(accuracies)
    if seeds < 2:
        return math.nan, math.nan
    mean, error = float(np.mean(accuracies)), float(stats.sem(accuracies))
    if error == 0:
        return mean, mean
    low, high = stats.t.interval(CONFIDENCE, seeds - 1, mean, error)
    return float(low), float(high)


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
    return float(stats.binomtest(one_only, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number, in the same order (Holm 1979, Scand. J. Stat. 6:65-70)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return [float(value) for value in corrected]


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p that paired differences are as likely below 0 as above (Fisher 1935, The Design of Experiments, 21).

    With n seeds it can't be below 2 / 2^n.

    Args:
        differences: One value a seed: one row's accuracy minus the other's.
    """
    values = np.round(np.asarray(differences, dtype=float), 12)
    if len(values) < 2 or not values.any():
        return 1.0
    trials = 2 ** len(values) if len(values) <= EXACT_SEEDS else RESAMPLES
    tested = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=trials,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(tested.pvalue)


def bootstrap_interval(values: np.ndarray, groups: Sequence[str]) -> tuple[float, float, float]:
    """The 95 % interval of a mean over photos and seeds, and its standard error from the photos alone.

    Whole groups of photos (leaves) are drawn with replacement and, apart from them, whole seeds: the pigeonhole
    bootstrap (Owen 2007, Ann. Appl. Stat. 1:386-411), with the percentile interval (Efron 1979, Ann. Stat. 7:1-26). For
    one seed it is the bootstrap over groups. The draws are the same in every call.

    Args:
        values: Shape (photos, seeds): right or wrong in [0, 1], or differences of two rows in [-1, 1].
        groups: The group of each photo.
    """
    codes, uniques = pd.factorize(np.asarray(groups, dtype=object))
    seeds = values.shape[1]
    sums = np.zeros((len(uniques), seeds))
    np.add.at(sums, codes, values)
    sizes = np.bincount(codes)
    drawn_groups, drawn_seeds = _draws(len(uniques), 0), _draws(seeds, 1) / seeds
    photos = drawn_groups @ sizes
    by_seed = drawn_groups @ sums
    means = (by_seed * drawn_seeds).sum(axis=1) / photos
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high), float((by_seed.mean(axis=1) / photos).std(ddof=1))


@functools.lru_cache(maxsize=4)  # every comparison of a report draws from the same leaves and seeds
def _draws(count: int, stream: int) -> np.ndarray:
    """How often each of `count` is in a draw of as many with replacement; shape (RESAMPLES, count)."""
    random = np.random.default_rng([stream, count])
    return random.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)


def photos_needed(difference: float, standard_error: float, images: int, power: float = POWER) -> float:
    """Test photos at which a difference of this size would be told apart (p < 0.05) with the given chance.

    The standard error falls with the root of the number of photos; with that of McNemar's test this is the sample size
    of Miettinen 1968 (Biometrics 24:339-352). Infinite where there is no difference.

    Args:
        difference: Of the accuracies, as measured.
        standard_error: Of the difference, on `images` photos.
        images: Test photos behind the standard error.
        power: The chance; 0.5 is the number at which the difference itself would just be significant.
    """
    if abs(difference) < 1e-9:
        return math.inf
    reach = stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(power)
    return float(images * (reach * standard_error / difference) ** 2)
