"""Test photos on which the arms disagree or that they get wrong, with what each arm said of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from leafexp import names
from leafexp.report.read.artifacts import parse_pictures, read_texts
from leafexp.report.rows.predictions import probabilities
from leafexp.report.rows.row import Row

MOST_PHOTOS = 24
_MOST_RUNS = 100  # the latest of each row, as many of each, whose pictures are read


@dataclass(frozen=True)
class Said:
    """What a row said of a photo.

    Attributes:
        row: the row.
        right: how many of its networks were right.
        networks: how many there are.
        probability: their mean probability of the true class.
        predicted: what most of them said.
    """

    row: Row
    right: int
    networks: int
    probability: float
    predicted: str


@dataclass(frozen=True)
class Photo:
    """A test photo: its class, its picture as base64 JPEG, and what each row said of it."""

    path: str
    label: str
    jpeg: str
    said: tuple[Said, ...]


def disagreements(rows: Sequence[Row], tracking_uri: str) -> tuple[list[Photo], int]:
    """The photos that one row gets right and another wrong in most of their networks, and how many there are in all.

    Those come first whose rows differ most; only those with a picture are given, as each run keeps its hardest ones.
    """
    compared = [row for row in rows if not row.control and row.outcomes is not None and row.tested is not None]
    if len(compared) < 2:
        return [], 0
    right = pd.DataFrame({row.label: _share_right(row) for row in compared})
    apart = (right.max(axis=1) > 0.5) & (right.min(axis=1) < 0.5)
    order = (right.max(axis=1) - right.min(axis=1))[apart].sort_values(ascending=False, kind="stable").index
    return _photos(compared, order, _pictures(compared, tracking_uri, names.WORST_PHOTOS_FILE)), int(apart.sum())


def mistakes(rows: Sequence[Row], tracking_uri: str) -> tuple[list[Photo], int]:
    """The photos of a second test set that most networks get wrong, and how many there are in all.

    Those come first that most get wrong; only those with a picture are given.
    """
    tested = [row for row in rows if not row.control and row.outcomes is not None and row.tested is not None]
    if not tested:
        return [], 0
    right = pd.DataFrame({row.label: _share_right(row) for row in tested}).mean(axis=1)
    order = right[right < 0.5].sort_values(kind="stable").index
    return _photos(tested, order, _pictures(tested, tracking_uri, names.EXTERNAL_WORST_PHOTOS_FILE)), len(order)


def _photos(rows: Sequence[Row], order: Iterable[str], pictures: Mapping[str, str]) -> list[Photo]:
    """The first of the paths in `order` that have a picture, with what each row said of them."""
    stated = {row.label: _of_truth(row) for row in rows}
    tested = rows[0].tested
    assert tested is not None
    labels = tested.drop_duplicates("path").set_index("path")["label"]
    photos = []
    for path in [path for path in order if path in pictures][:MOST_PHOTOS]:
        said = tuple(_said(row, path, stated[row.label]) for row in rows)
        photos.append(Photo(str(path), str(labels[path]), pictures[path], said))
    return photos


def _said(row: Row, path: str, stated: pd.Series | None) -> Said:
    assert row.outcomes is not None and row.tested is not None
    column = row.outcomes.right[:, row.outcomes.paths.index(path)]
    tested = column[np.isfinite(column)]
    probability = float("nan") if stated is None else float(stated[path])
    predicted = str(row.tested.loc[row.tested["path"] == path, "predicted"].mode().iloc[0])
    return Said(row, int(tested.sum()), len(tested), probability, predicted)


def _share_right(row: Row) -> pd.Series:
    assert row.outcomes is not None
    return pd.Series(np.nanmean(row.outcomes.right, axis=0), index=list(row.outcomes.paths))


def _of_truth(row: Row) -> pd.Series | None:
    """The mean probability that the row's networks gave to each photo's own class, by path."""
    assert row.tested is not None
    found = probabilities(row.tested)
    if found is None:
        return None
    values, truth, _ = found
    of_truth = pd.Series(values[np.arange(len(truth)), truth], index=row.tested["path"].to_numpy())
    return of_truth.groupby(level=0).mean()


def _pictures(rows: Sequence[Row], tracking_uri: str, file: str) -> dict[str, str]:
    of_each = max(1, _MOST_RUNS // len(rows))
    runs = list(chain.from_iterable(row.runs[-of_each:] for row in rows))
    texts = read_texts([run.artifact_uri for run in runs], file, tracking_uri)
    return {path: jpeg for text in texts for path, jpeg in parse_pictures(text).items()}
