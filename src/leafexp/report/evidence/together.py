"""Answers of several: networks that answer a photo together, and photos of a leaf that are answered as one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from leafexp.report.evidence.intervals import Estimate, accuracy
from leafexp.report.evidence.outcomes import Outcomes
from leafexp.report.rows.predictions import probabilities as probabilities_of


@dataclass(frozen=True)
class Together:
    """Accuracies of answers that follow from the mean of several probabilities, with their 95 % intervals.

    Attributes:
        networks: how many networks tested each photo; they differ in their seed.
        photos: how many photos a leaf has, the median.
        by_networks: share of the photos that the networks get right together, for new leaves and these networks; None
            where one network tested each photo, or where not all photos were tested by as many.
        by_leaf: share of the leaves that one network gets right from all their photos, for new leaves and networks;
            None where the leaves have one photo each, or one has photos of several classes.
        by_both: share of the leaves that all networks get right from all photos; None where one of the others is.
    """

    networks: int
    photos: int
    by_networks: Estimate | None
    by_leaf: Estimate | None
    by_both: Estimate | None


def of_predictions(predictions: pd.DataFrame, seen: Outcomes) -> Together | None:
    """What the networks that `seen` speaks of, and the photos of a leaf, answer together.

    None where the probabilities are not known.
    """
    known = probabilities_of(predictions)
    if known is None:
        return None
    photo = pd.Index(seen.paths).get_indexer(pd.Index(predictions["path"]))
    truth = np.empty(len(seen.paths), int)
    truth[photo] = known[1]
    return together(known[0], predictions["network"].to_numpy(), photo, truth, seen.leaves)


def together(
    probabilities: np.ndarray, network: np.ndarray, photo: np.ndarray, truth: np.ndarray, leaves: np.ndarray
) -> Together:
    """The accuracies of answers of several.

    Args:
        probabilities: shape (predictions, classes).
        network: shape (predictions,): the number of the network.
        photo: shape (predictions,): the number of the photo.
        truth: shape (photos,): the place of each photo's class.
        leaves: shape (photos,): the number of each photo's leaf.
    """
    count = leaves.max() + 1
    of_leaf = np.full(count, -1)
    of_leaf[leaves] = truth
    sizes = np.bincount(leaves, minlength=count)
    one_class = bool((of_leaf[leaves] == truth).all()) and bool((sizes > 1).any())
    answers = np.bincount(photo, minlength=len(leaves))
    several = answers.min() > 1 and answers.min() == answers.max()
    alone = np.zeros(len(probabilities), int)  # all networks as one

    def estimate(who: np.ndarray, what: np.ndarray, classes: np.ndarray, clusters: np.ndarray) -> Estimate:
        return accuracy(_right(probabilities, who, what, classes), clusters)

    each = np.arange(count)
    return Together(
        int(answers.min()),
        int(np.median(sizes)),
        estimate(alone, photo, truth, leaves) if several else None,
        estimate(network, leaves[photo], of_leaf, each) if one_class else None,
        estimate(alone, leaves[photo], of_leaf, each) if several and one_class else None,
    )


def _right(probabilities: np.ndarray, who: np.ndarray, what: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Whether the mean probabilities name the class: shape (who, what), NaN where nobody answered."""
    cells, place = np.unique(who * len(classes) + what, return_inverse=True)
    sums = np.zeros((len(cells), probabilities.shape[1]))
    np.add.at(sums, place, probabilities)
    right = np.full((who.max() + 1) * len(classes), np.nan)
    right[cells] = sums.argmax(axis=1) == classes[cells % len(classes)]
    return right.reshape(-1, len(classes))
