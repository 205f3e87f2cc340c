"""What the frozen prefix of a phase took, by the part of the data that it was computed for."""

import math

import numpy as np

from leafexp import names
from leafexp.data.batches import images_to_fit
from leafexp.data.dataset import Dataset
from leafexp.training.checkpoint import Progress
from leafexp.training.prefix import Features


def prefix_costs(
    features: Features | None, dataset: Dataset, progress: Progress, seed: int, epochs: int
) -> dict[str, float]:
    """Seconds of the features of a phase of so many epochs that is to begin.

    What an earlier phase of the run used already counts there; two phases may learn from the same features.
    """
    if features is None:
        return {
            names.PREFIX_SECONDS: 0.0,
            names.PREFIX_VALIDATION_SECONDS: 0.0,
            names.PREFIX_REUSED_SECONDS: 0.0,
            names.PREFIX_FORWARD_SECONDS: math.nan,
        }
    begin = sum(phase["epochs"] for phase in progress.phases)
    images = images_to_fit(dataset, seed, begin, epochs)
    new = np.setdiff1d(images, _used(progress, features.dataset.pixels_hash, dataset, seed))
    return {
        names.PREFIX_SECONDS: features.seconds(new),
        names.PREFIX_VALIDATION_SECONDS: features.seconds(np.intersect1d(new, dataset.rows("validation"))),
        names.PREFIX_REUSED_SECONDS: features.reused_seconds(new),
        names.PREFIX_FORWARD_SECONDS: features.forward_seconds(images) * len(dataset.rows("train")),
    }


def _used(progress: Progress, key: str, dataset: Dataset, seed: int) -> np.ndarray:
    """The images whose features of this key the phases so far have used."""
    used, begin = [np.empty(0, np.int64)], 0
    for phase, seen in zip(progress.phases, progress.features_seen, strict=True):
        if seen == key:
            used.append(images_to_fit(dataset, seed, begin, phase["epochs"]))
        begin += phase["epochs"]
    return np.concatenate(used)
