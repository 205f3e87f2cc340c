"""One estimate, one interval and one p from what several networks said of the photos of several leaves."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

ALPHA = 0.05
_NONE = 1e-18  # a variance that is only rounding


@dataclass(frozen=True)
class Estimate:
    """A mean over predictions, for new leaves and new networks, in shares.

    Attributes:
        value: the mean: an accuracy, or a difference of two.
        low, high: the interval at 1 - 0.05 / `comparisons`, so that all intervals of a family hold together.
        p: two-sided, that the mean is 0, multiplied by `comparisons`; below 0.05 exactly where the interval excludes 0.
        degrees: degrees of freedom of the interval.
        leaf_variance: of the mean, from which leaves were drawn.
        network_variance: what the chance of the network adds to it; 0 where it is not seen.
        parts: what the variance consists of, for planning.
        leaves, networks, predictions: how many.
        comparisons: how many the family has.
    """

    value: float
    low: float
    high: float
    p: float
    degrees: float
    leaf_variance: float
    network_variance: float
    parts: "Parts"
    leaves: int
    networks: int
    predictions: int
    comparisons: int

    @property
    def variance(self) -> float:
        """The variance of the mean."""
        return self.leaf_variance + self.network_variance


@dataclass(frozen=True)
class Parts:
    """What the variance of a mean consists of.

    Attributes:
        leaf: falls with the number of leaves alone.
        cell: of leaves and networks together, falls with the number of both.
        network: falls with the number of networks alone.
        over_networks: of the mean of so many networks, as their means differ from each other.
        one_split: whether all networks tested the same photos.
    """

    leaf: float
    cell: float
    network: float
    over_networks: float
    one_split: bool


@dataclass(frozen=True, eq=False)
class Variances:
    """A mean and what its interval and p are made of; arrays of the leading axes that the values had.

    Attributes:
        mean: over all predictions.
        leaf: variance by leaf.
        network: what networks add to it.
        degrees: of freedom of their sum.
        over_networks: variance by network alone; 0 for one network.
        leaves, networks: how many tested or were tested.
    """

    mean: np.ndarray
    leaf: np.ndarray
    network: np.ndarray
    degrees: np.ndarray
    over_networks: np.ndarray
    leaves: int
    networks: int

    def reach(self, comparisons: int) -> np.ndarray:
        """How far the interval goes to each side of the mean, for one of so many comparisons.

        It is the wider one of two: by leaf and network, and Student's over the networks' means (Ibragimov & Müller
        2010, J. Bus. Econ. Stat. 28:453-468). With three or four networks the variance by network is at times far too
        small by chance, and the first one's degrees of freedom, which are estimated from it, are then far too many.
        """
        level = 1 - ALPHA / comparisons / 2
        both = special.stdtrit(self.degrees, level) * np.sqrt(self.leaf + self.network)
        return np.maximum(both, special.stdtrit(max(self.networks - 1, 1), level) * np.sqrt(self.over_networks))

    def p(self, comparisons: int) -> np.ndarray:
        """Two-sided, that the mean is 0, for one of so many comparisons: below 0.05 where `reach` excludes 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            both = special.stdtr(self.degrees, -np.abs(self.mean) / np.sqrt(self.leaf + self.network))
            alone = special.stdtr(max(self.networks - 1, 1), -np.abs(self.mean) / np.sqrt(self.over_networks))
        return np.minimum(1.0, 2 * comparisons * np.fmax(both, alone))


def accuracy(right: np.ndarray, leaves: np.ndarray) -> Estimate:
    """The accuracy of a row with its 95 % interval, which lies in [0, 1].

    The interval of `estimate` is symmetric, and too narrow below an accuracy near 1. So its reach is taken on the scale
    of log odds (Korn & Graubard 1998, Surv. Methodol. 24:193-201, compare such intervals).

    Args:
        right: shape (networks, photos): 1 where right, 0 where wrong, NaN where a network did not test the photo.
        leaves: shape (photos,): the number of each photo's leaf.
    """
    found = estimate(right, leaves)
    if found.variance < _NONE or found.leaves == 1:  # as in `estimate`, with values from 0 to 1
        share = alike(found.leaves, 1)
        return replace(found, low=share * found.value, high=share * found.value + 1 - share)
    reach = (found.high - found.value) / (found.value * (1 - found.value))
    low, high = special.expit(special.logit(found.value) + np.array([-reach, reach]))
    return replace(found, low=float(low), high=float(high))


def estimate(values: np.ndarray, leaves: np.ndarray, comparisons: int = 1) -> Estimate:
    """The mean of values that networks have on photos, with its interval over leaves and networks.

    The variance is clustered in two ways, by leaf and by trained network (Cameron, Gelbach & Miller 2011, J. Bus. Econ.
    Stat. 29:238-249); its degrees of freedom are Satterthwaite's (1946, Biometrics Bull. 2:110-114). The interval is
    nowhere narrower than that over the networks' means (`Variances.reach`). A family is corrected by Bonferroni's rule
    for interval and p alike, so that they can't contradict each other.

    Where all values are the same the variance is 0 and says nothing. The interval then is what so many leaves leave
    possible: with L of L leaves alike, at least 0.025^(1 / L) of all leaves are (Clopper & Pearson 1934, Biometrika
    26:404-413), and the others may have any value from -1 to 1. So it is with one leaf, which shows nothing of others.

    Args:
        values: in [-1, 1], shape (networks, photos); NaN where a network did not test the photo.
        leaves: shape (photos,): the number of each photo's leaf.
        comparisons: of the family that this is one of.
    """
    known = np.isfinite(values).any(axis=0)
    numbers = np.unique(leaves[known], return_inverse=True)[1]
    seen = variances(values[:, known], numbers)
    mean, leaf, network = float(seen.mean), float(seen.leaf), float(seen.network)
    if leaf + network > _NONE and seen.leaves > 1:
        reach = float(seen.reach(comparisons))
        low, high, p = mean - reach, mean + reach, float(seen.p(comparisons))
    else:
        share = alike(seen.leaves, comparisons)
        low, high = share * mean - (1 - share), share * mean + (1 - share)
        p = min(1.0, 2 * comparisons * (1 + abs(mean)) ** -seen.leaves)
    return Estimate(
        mean,
        low,
        high,
        p,
        float(seen.degrees),
        leaf,
        network,
        _parts(values[:, known], numbers, seen),
        seen.leaves,
        seen.networks,
        int(np.isfinite(values).sum()),
        comparisons,
    )


def alike(leaves: float, comparisons: int) -> float:
    """The least share of all leaves that are as these, where all of these are alike; one of so many comparisons."""
    return float((ALPHA / comparisons / 2) ** (1 / leaves))


def variances(values: np.ndarray, leaves: np.ndarray) -> Variances:
    """The mean, its variance by leaf, what networks add to it, and the degrees of freedom of their sum.

    Args:
        values: shape (..., networks, photos); the same NaN in all of the leading axes.
        leaves: shape (photos,): numbers from 0, none left out.
    """
    count = leaves.max() + 1
    tested = np.isfinite(values[(0,) * (values.ndim - 2)])
    predictions = tested.sum()
    mean = np.nansum(values, axis=(-2, -1)) / predictions
    rest = np.where(tested, values - mean[..., None, None], 0.0)
    order = np.argsort(leaves, kind="stable")
    begins = np.searchsorted(leaves[order], np.arange(count))
    cells = np.add.reduceat(rest[..., order], begins, axis=-1)  # (..., networks, leaves)
    # Leaves and networks that a network and a leaf were never tested with are no clusters.
    networks = int(tested.any(axis=1).sum())
    by_leaf = _spread(cells.sum(axis=-2), count) / predictions**2
    by_network = _spread(cells.sum(axis=-1), networks) / predictions**2
    by_cell = (cells**2).sum(axis=(-2, -1)) / predictions**2
    met = np.logical_or.reduceat(tested[:, order], begins, axis=-1)
    once = networks > 1 and bool((met.sum(axis=0) == 1).all())  # one replicate of folds
    added = np.maximum(by_network - by_cell, 0.0)
    total = np.maximum(by_leaf + by_network - by_cell, by_leaf)
    if once:
        total = np.maximum(total, by_network)
    degrees = _satterthwaite(by_leaf, added, count - 1, networks - 1)
    if once:
        degrees = np.full_like(degrees, networks - 1)
    return Variances(mean, by_leaf, total - by_leaf, degrees, by_network, int(count), networks)


def _parts(values: np.ndarray, leaves: np.ndarray, seen: Variances) -> Parts:
    """Of networks that tested the same photos what they have in common on a leaf, else the variances as they are."""
    leaf, network, over_networks = float(seen.leaf), float(seen.network), float(seen.over_networks)
    if seen.networks == 1 or not np.isfinite(values).all():
        return Parts(leaf, 0.0, network, over_networks, False)
    sums = np.array([np.bincount(leaves, row) for row in values - values.mean()])
    own = sums - sums.mean(axis=0)
    cell = float((own**2).sum()) * seen.networks / (seen.networks - 1) / values.size**2
    return Parts(max(leaf - cell, 0.0), cell, max(over_networks - cell, 0.0), over_networks, True)


def _spread(sums: np.ndarray, clusters: int) -> np.ndarray:
    """The sum of squares of cluster sums, with the correction for their number; 0 for one cluster."""
    return (sums**2).sum(axis=-1) * (clusters / (clusters - 1) if clusters > 1 else 0.0)


def _satterthwaite(leaf: np.ndarray, network: np.ndarray, leaves: int, networks: int) -> np.ndarray:
    below = leaf**2 / max(leaves, 1) + (network**2 / networks if networks else 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (leaf + network) ** 2 / below
    return np.where(below > 0, found, max(leaves, 1))
