"""Studies drawn from a known truth: what arms of equal or unequal accuracy say of photos of leaves."""

from dataclasses import dataclass, replace

import numpy as np
from golden import study_run
from scipy import stats

from leafexp import names
from leafexp.report.evidence.outcomes import Outcomes
from leafexp.report.read.runs import Run
from leafexp.report.rows.row import Row, make_rows

CLUSTERING = {"weak": 0.3, "middle": 0.6, "strong": 0.9}


@dataclass(frozen=True)
class Design:
    """How a study is made.

    Attributes:
        leaves: tested, of four photos each.
        seeds: networks of each arm, or replicates of `folds` networks.
        folds: 0 for one split.
        clustering: how alike the photos of a leaf are, and how alike what an arm says of them.
        network_effect: standard deviation of an arm's accuracy from network to network.
        ahead: by how much the first arm is more accurate.
        arms: how many.
        accuracy: of all arms on average.
    """

    leaves: int = 116
    seeds: int = 6
    folds: int = 0
    clustering: str = "middle"
    network_effect: float = 0.01
    ahead: float = 0.0
    arms: int = 2
    accuracy: float = 0.93

    @property
    def networks(self) -> int:
        return self.seeds * max(1, self.folds)

    @property
    def leaf_of(self) -> np.ndarray:
        return np.repeat(np.arange(self.leaves), 4)


def right(design: Design, studies: int, random: np.random.Generator) -> np.ndarray:
    """1 where right, 0 where wrong, NaN where not tested; shape (studies, arms, networks, photos).

    A probit model. Leaves and photos are as difficult for one arm as for another, and each arm has leaves of its own
    liking. Half of the variance that is not the leaves' is the photo's, and half each network's own.
    """
    photos = 4 * design.leaves
    share = CLUSTERING[design.clustering]

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, dtype=np.float32)

    leaf = normal(studies, 1, 1, design.leaves) + normal(studies, design.arms, 1, design.leaves)
    latent = np.repeat(leaf, 4, axis=-1) * np.sqrt(share / 2)
    latent = latent + normal(studies, 1, 1, photos) * np.sqrt((1 - share) / 2)
    latent = latent + normal(studies, design.arms, design.networks, photos) * np.sqrt((1 - share) / 2)
    slope = stats.norm.pdf(stats.norm.ppf(design.accuracy))  # accuracy lost for a unit of the latent value
    network = normal(studies, design.arms, design.networks, 1) * design.network_effect / slope
    accuracies = np.full(design.arms, design.accuracy - design.ahead / 2)
    accuracies[0] += design.ahead
    means = stats.norm.ppf(accuracies) * np.sqrt(1 + (design.network_effect / slope) ** 2)
    found = (latent + network + means[None, :, None, None] > 0).astype(np.float32)
    if design.folds:
        for seed in range(design.seeds):
            fold = np.repeat(random.permutation(np.arange(design.leaves) % design.folds), 4)
            for number in range(design.folds):
                found[:, :, seed * design.folds + number, fold != number] = np.nan
    return found


ARMS = ("MobileNetV2_unfrozen", "Simple_CNN", "MobileNetV2_partial", "MobileNetV2_frozen")


def runs_of(design: Design) -> list[Run]:
    """A run for each network of the first arms of the study, without predictions."""
    folds = [str(fold) for fold in range(design.folds)] or ["None"]
    return [
        study_run(
            name, seed=seed, with_predictions=False, params={"data.fold": fold}, epochs=10, val_accuracy=[0.9] * 10
        )
        for name in ARMS[: design.arms]
        for seed in range(design.seeds)
        for fold in folds
    ]


def rows_of(runs: list[Run], tested: np.ndarray, design: Design) -> list[Row]:
    """The rows of one study: `tested` has shape (arms, networks, photos), as `right` draws it."""
    paths = tuple(f"{photo:05d}.jpg" for photo in range(4 * design.leaves))
    accuracies = np.nanmean(tested, axis=-1).ravel()
    measured = [
        replace(run, metrics={**run.metrics, names.TEST_ACCURACY: float(value), names.TEST_IMAGES: float(len(paths))})
        for run, value in zip(runs, accuracies, strict=True)
    ]
    by_name = dict(zip(ARMS, tested, strict=False))
    rows = make_rows(measured)
    for row in rows:
        networks = tuple((run.params["seed"], run.params["data.fold"].replace("None", "")) for run in row.runs)
        # As `Row.outcomes` keeps what it makes from predictions.
        vars(row)["outcomes"] = Outcomes(by_name[row.label].astype(float), paths, design.leaf_of, networks)
    return rows
