"""The rows as they did on a second test set: photos from elsewhere."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from leafexp import names
from leafexp.report.evidence.intervals import Estimate, accuracy
from leafexp.report.read.runs import Run
from leafexp.report.rows.predictions import PROBABILITY
from leafexp.report.rows.row import Row


@dataclass(frozen=True, eq=False)
class External:
    """What rows reached on one second test set.

    Attributes:
        name: what it is called; where two are called alike, with the beginning of its hash.
        photos: the hash of its photos.
        rows: the rows as tested there. Their accuracy, predictions and outcomes are those on these photos, and their
            networks are those that were tested on them.
        own: the accuracy of the same networks on their own test photos, by the row's label.
    """

    name: str
    photos: str
    rows: tuple[Row, ...]
    own: dict[str, float]

    @cached_property
    def accuracies(self) -> dict[str, Estimate]:
        """The accuracy there by the row's label, with its 95 % interval; rows whose predictions can't be used lack."""
        seen = {row.label: row.outcomes for row in self.rows}
        return {label: accuracy(known.right, known.leaves) for label, known in seen.items() if known is not None}

    @cached_property
    def absent(self) -> list[str]:
        """The classes that the networks know and of which there is no photo; none where that can't be read."""
        tested = next((row.tested for row in self.rows if row.tested is not None), None)
        if tested is None:
            return []
        known = {column.removeprefix(PROBABILITY) for column in map(str, tested) if column.startswith(PROBABILITY)}
        return sorted(known - set(tested["label"]))

    @property
    def overlaps(self) -> frozenset[int]:
        """How many of its photos equal, or nearly equal, one that a network learned from: networks differ by split."""
        kinds = (names.EXTERNAL_EXACT_DUPLICATES, names.EXTERNAL_NEAR_DUPLICATES)
        return frozenset(
            round(sum(run.metrics.get(kind, 0) for kind in kinds)) for row in self.rows for run in row.runs
        )

    @property
    def overlap(self) -> int:
        """The most of any network."""
        return max(self.overlaps)


def externals(rows: Sequence[Row]) -> tuple[External, ...]:
    """The second test sets on which networks of the rows were tested; other photos are another set."""
    tested: dict[str, list[tuple[Row, list[Run]]]] = {}
    for row in rows:
        by_photos: dict[str, list[Run]] = {}
        for run in row.runs:
            if run.tags.get(names.EXTERNAL_HASH) and 0 <= run.metrics.get(names.EXTERNAL_ACCURACY, -1) <= 1:
                by_photos.setdefault(run.tags[names.EXTERNAL_HASH], []).append(run)
        for photos, runs in by_photos.items():
            tested.setdefault(photos, []).append((row, runs))
    called = {photos: found[0][1][0].tags.get(names.EXTERNAL, "") or photos[:8] for photos, found in tested.items()}
    alike = Counter(called.values())
    return tuple(
        External(
            called[photos] if alike[called[photos]] == 1 else f"{called[photos]}, {photos[:8]}",
            photos,
            tuple(replace(row, runs=_as_tested(runs)) for row, runs in found),
            {row.label: replace(row, runs=tuple(runs)).accuracy for row, runs in found},
        )
        for photos, found in tested.items()
    )


def _as_tested(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs with what they reached and said on the second test set in place of their own test photos."""
    return tuple(replace(run, metrics=_there(run), predictions=run.external) for run in runs)


def _there(run: Run) -> dict[str, float]:
    reached, photos = run.metrics[names.EXTERNAL_ACCURACY], run.metrics.get(names.EXTERNAL_IMAGES, 0.0)
    return {**run.metrics, names.TEST_ACCURACY: reached, names.TEST_IMAGES: photos}
