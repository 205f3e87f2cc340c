"""What the networks of a row said of the test photos."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from leafexp import names
from leafexp.report.evidence.outcomes import Outcomes
from leafexp.report.read.runs import Run

PROBABILITY = "probability_"
_ROUNDING = 1e-4  # of a logged accuracy against the one that the predictions give


def network_of(run: Run) -> tuple[str, str]:
    """What the networks of a pair share: the seed and the fold."""
    return run.params.get("seed", "?"), run.fold


def tested(runs: Sequence[Run]) -> pd.DataFrame | None:
    """The predictions of all runs below each other, as logged, with the number of the run in `network`.

    None where those of any run can't be read.
    """
    tables = [run.predictions for run in runs if run.predictions is not None and len(run.predictions)]
    if len(tables) < len(runs):
        return None
    together = pd.concat(tables, ignore_index=True)
    return together.assign(network=np.repeat(np.arange(len(tables)), [len(table) for table in tables]))


def outcomes(predictions: pd.DataFrame, runs: Sequence[Run]) -> Outcomes | None:
    """Which network was right on which photo.

    None where a photo is named twice for a network, has two labels, or where the predictions don't give the accuracy
    that was logged; of folds also where a photo is tested neither by all nor once by those of each seed.
    """
    photos, paths = pd.factorize(predictions["path"], sort=True)
    network = predictions["network"].to_numpy()
    right = np.full((len(runs), len(paths)), np.nan)
    right[network, photos] = (predictions["label"] == predictions["predicted"]).to_numpy(float)
    if np.isfinite(right).sum() != len(predictions):
        return None
    logged = np.array([run.metrics.get(names.TEST_ACCURACY, np.nan) for run in runs])
    if not (np.abs(np.nanmean(right, axis=1) - logged) <= _ROUNDING).all():
        return None
    tested_by = np.isfinite(right)
    if any(run.fold for run in runs) and not (tested_by.all() or _once_a_seed(tested_by, runs)):
        return None
    first = np.unique(photos, return_index=True)[1]
    labels = predictions["label"].to_numpy()[first]
    if (labels[photos] != predictions["label"].to_numpy()).any():
        return None
    groups = predictions["group"].to_numpy(object)[first] if "group" in predictions else np.full(len(paths), None)
    # A photo without a group is a leaf of its own.
    named = [f"photo {path}" if pd.isna(group) else f"leaf {group}" for path, group in zip(paths, groups, strict=True)]
    return Outcomes(right, tuple(paths), pd.factorize(np.array(named, dtype=object))[0], tuple(map(network_of, runs)))


def _once_a_seed(tested: np.ndarray, runs: Sequence[Run]) -> bool:
    seeds = np.array([network_of(run)[0] for run in runs])
    return all((tested[seeds == seed].sum(axis=0) == 1).all() for seed in set(seeds.tolist()))


def probabilities(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """The probability of each class (predictions, classes), the place of the true class, and the classes.

    None where probabilities were not logged, or not of every class.
    """
    columns = [str(column) for column in predictions if str(column).startswith(PROBABILITY)]
    classes = [column.removeprefix(PROBABILITY) for column in columns]
    values = predictions[columns].to_numpy(float)
    truth = pd.Index(classes).get_indexer(pd.Index(predictions["label"]))
    if not columns or (truth < 0).any() or not np.isfinite(values).all():
        return None
    return values, truth, classes


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Test photos of all networks: index true class, a column per predicted class."""
    return pd.crosstab(predictions["label"], predictions["predicted"])
