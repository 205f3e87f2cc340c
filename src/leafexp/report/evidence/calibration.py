"""How far the probabilities of a row can be believed."""

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Probabilities against what came true, over all predictions of a row.

    Attributes:
        log_loss: mean of minus the logarithm of the true class's probability.
        error: mean gap of the top probability and the share that is right, over ten bins of as many predictions each,
            in [0, 1]. It is above 0 even for a perfect model, the more the fewer predictions there are.
        stated, right: of each bin, the mean top probability and the share that is right.
        answered, accuracy: shares of the predictions that are answered, the surest first, and the accuracy on them.
    """

    log_loss: float
    error: float
    stated: np.ndarray
    right: np.ndarray
    answered: np.ndarray
    accuracy: np.ndarray


def calibration(probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
    """Calibration of predictions.

    Args:
        probabilities: shape (predictions, classes).
        truth: shape (predictions,): the place of each true class.
    """
    count = len(truth)
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    order = np.argsort(top, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    stated, came = (np.array([values[part].mean() for part in bins]) for values in (top, right))
    sizes = np.array([len(part) for part in bins])
    sure = right[order[::-1]].cumsum() / np.arange(1, count + 1)
    places = np.unique(np.linspace(1, count, 100).round().astype(int))
    of_truth = np.clip(probabilities[np.arange(count), truth], 1e-15, 1)
    return Calibration(
        float(-np.log(of_truth).mean()),
        float((sizes * np.abs(stated - came)).sum() / count),
        stated,
        came,
        places / count,
        sure[places - 1],
    )
