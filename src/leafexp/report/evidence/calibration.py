"""How far the probabilities of a row can be believed."""

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Probabilities against what came true, over all predictions of a row.

    Attributes:
        log_loss: mean of minus the logarithm of the true class's probability.
        brier: mean squared distance of the probabilities and the true class, in [0, 2] (Brier 1950, Mon. Weather Rev.
            78:1-3).
        error: mean gap of the top probability and the share that is right, over ten bins of as many predictions each,
            in [0, 1]. It is above 0 even for a perfect model, the more the fewer photos there are.
        by_chance: about the `error` that a perfect model would have by chance on so many photos: what does not exceed
            it is no sign of wrong probabilities.
        stated, right, counts: of each bin, the mean top probability, the share that is right, the predictions.
        answered, accuracy: shares of the predictions that are answered, the surest first, and the accuracy on them.
    """

    log_loss: float
    brier: float
    error: float
    by_chance: float
    stated: np.ndarray
    right: np.ndarray
    counts: np.ndarray
    answered: np.ndarray
    accuracy: np.ndarray


def calibration(probabilities: np.ndarray, truth: np.ndarray, photos: int | None = None) -> Calibration:
    """Calibration of predictions.

    Args:
        probabilities: shape (predictions, classes).
        truth: shape (predictions,): the place of each true class.
        photos: how many there are, where several networks predict the same; they share the chance of the photo.
    """
    count = len(truth)
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    order = np.argsort(top, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    stated, came = (np.array([values[part].mean() for part in bins]) for values in (top, right))
    sizes = np.array([len(part) for part in bins])
    # The mean distance from 0 of a normal variable, in each bin.
    spread = np.sqrt(2 / np.pi * stated * (1 - stated) / (sizes * ((photos or count) / count)))
    sure = right[order[::-1]].cumsum() / np.arange(1, count + 1)
    places = np.unique(np.linspace(1, count, 100).round().astype(int))
    off = probabilities - np.eye(probabilities.shape[1])[truth]
    of_truth = np.clip(probabilities[np.arange(count), truth], 1e-15, 1)
    return Calibration(
        float(-np.log(of_truth).mean()),
        float((off**2).sum(axis=1).mean()),
        float((sizes * np.abs(stated - came)).sum() / count),
        float((sizes * spread).sum() / count),
        stated,
        came,
        sizes,
        places / count,
        sure[places - 1],
    )
