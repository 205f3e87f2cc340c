"""Accuracy class by class, of one row and of one against another."""

from collections.abc import Mapping

import numpy as np

from leafexp.report.evidence.comparisons import differences
from leafexp.report.evidence.intervals import Estimate, accuracy, estimate
from leafexp.report.evidence.outcomes import Outcomes


def recall(seen: Outcomes, labels: Mapping[str, str]) -> dict[str, Estimate]:
    """For each class the share of its test photos that is recognised, with its 95 % interval.

    Args:
        seen: of the row.
        labels: the class of each photo by path.
    """
    return {name: accuracy(seen.right[:, there], seen.leaves[there]) for name, there in _places(seen, labels).items()}


def recall_differences(one: Outcomes, other: Outcomes, labels: Mapping[str, str]) -> dict[str, Estimate]:
    """For each class the recall of one row minus that of another, with intervals that hold for all classes together."""
    paired = differences(one, other)
    if paired is None:
        return {}
    places = _places(one, labels)
    return {name: estimate(paired[:, there], one.leaves[there], len(places)) for name, there in places.items()}


def _places(seen: Outcomes, labels: Mapping[str, str]) -> dict[str, np.ndarray]:
    known = np.array([labels[path] for path in seen.paths], dtype=object)
    return {str(name): np.flatnonzero(known == name) for name in sorted(set(known.tolist()))}
