"""Text files of runs: read where they lie if that is this machine, fetched by many threads if not."""

import contextlib
import csv
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from leafexp.report.read.history import in_threads

_NEEDED = ["path", "label", "predicted"]
_END = "\x1f"  # a line between two texts


def read_texts(artifact_uris: Sequence[str], name: str, tracking_uri: str) -> list[str | None]:
    """The file `name` of each run, by the URI of its artifacts; None where it can't be read.

    Args:
        artifact_uris: as `run.info.artifact_uri` has them.
        name: The file's path among a run's artifacts.
        tracking_uri: The store's, as artifacts that a server hands out are asked of it.
    """
    from mlflow.utils.file_utils import get_local_path_or_none

    folders = [get_local_path_or_none(uri) for uri in artifact_uris]
    remote = [uri for uri, folder in zip(artifact_uris, folders, strict=True) if folder is None]
    fetched = iter(in_threads(lambda uri: _fetch(uri, name, tracking_uri), remote) if remote else [])
    return [next(fetched) if folder is None else _read(Path(folder) / name) for folder in folders]


def parse_predictions(texts: Sequence[str | None]) -> list[pd.DataFrame | None]:
    """The tables of predictions with all their columns, None where a text is not one.

    The `probability_...` of each class are floats in [0, 1]. All else, such as `path`, `label`, `predicted` and `group`
    (missing where a photo has none), are strings, whatever they look like.
    """
    # Texts with the same columns are parsed as one, which takes a third of the time.
    alike: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        alike.setdefault((text or "").partition("\n")[0], []).append(place)
    parsed: list[pd.DataFrame | None] = [None] * len(texts)
    for columns, places in alike.items():
        same = [texts[place] or "" for place in places]
        for place, table in zip(places, _parse_alike(columns, same) or map(_parse, same), strict=True):
            parsed[place] = table
    return parsed


def _parse_alike(columns: str, texts: Sequence[str]) -> list[pd.DataFrame | None] | None:
    """What `_parse` gives for each text, whose first line is `columns`; None where one may reach into the next."""
    if len(texts) == 1 or columns.count('"') % 2:
        return None
    ended = [text.removeprefix(columns).rstrip("\r\n") for text in texts]
    together = _read_csv(columns + "".join(f"{text}\n{_END}\n" for text in ended))
    if together is None:
        return None
    ends = np.flatnonzero(together.iloc[:, 0] == _END)
    if len(ends) != len(texts):  # a quote that was not closed
        return None
    wanting = _wanting(together)
    starts = [0, *(ends[:-1] + 1)]
    return [
        None if wanting[start:end].any() else together.iloc[start:end].reset_index(drop=True)
        for start, end in zip(starts, ends, strict=True)
    ]


def _parse(text: str) -> pd.DataFrame | None:
    table = _read_csv(text)
    return None if table is None or _wanting(table).any() else table


def _read_csv(text: str) -> pd.DataFrame | None:
    encoded = text.encode()
    columns = next(csv.reader(io.TextIOWrapper(io.BytesIO(encoded), "utf-8", newline="")), [])
    probabilities = [name for name in columns if name.startswith("probability_")]
    types: dict[str, type] = {**dict.fromkeys(columns, str), **dict.fromkeys(probabilities, float)}
    # A class may be called NA or null: only what may be missing can be.
    missing = {"group": [""], **{name: ["", "nan"] for name in probabilities}}
    try:
        table = pd.read_csv(io.BytesIO(encoded), dtype=types, keep_default_na=False, na_values=missing)
    except ValueError:
        return None
    return table if {*_NEEDED} <= {*table.columns} else None


def _wanting(table: pd.DataFrame) -> np.ndarray:
    """Which lines lack a value: one that was cut off lacks its last, which pandas takes for empty."""
    lacking: np.ndarray = (table[_NEEDED].fillna("") == "").any(axis=1).to_numpy(bool)
    return lacking


def parse_phases(text: str | None) -> pd.DataFrame | None:
    """The phases of a run, a line each: at least `phase`, `epochs`, `learns`, `learning_rate_factor`; else None."""
    numbers = ["epochs", "learning_rate_factor"]
    try:
        table = pd.read_csv(io.StringIO(text or ""), dtype={"phase": str, "learns": str})
    except ValueError:
        return None
    if not {"phase", "learns", *numbers} <= {*table.columns} or not len(table):
        return None
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    return None if table[["learns", *numbers]].isna().any(axis=None) else table


def parse_pictures(text: str | None) -> dict[str, str]:
    """The pictures of the hardest photos as base64 JPEG by path; those that can be read."""
    try:
        photos = json.loads(text or "")
    except ValueError:
        return {}
    if not isinstance(photos, list):
        return {}
    kept = [(photo.get("path"), photo.get("jpeg")) for photo in photos if isinstance(photo, dict)]
    return {path: jpeg for path, jpeg in kept if isinstance(path, str) and isinstance(jpeg, str)}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _fetch(artifact_uri: str, name: str, tracking_uri: str) -> str | None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    # A store fails in as many ways as it has drivers, hence every exception.
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(Exception):
        # What mlflow.artifacts.download_artifacts calls after it has asked whether the file is a folder.
        get_artifact_repository(artifact_uri, tracking_uri)._download_file(name, f"{scratch}/file")
        return _read(Path(scratch) / "file")
    return None
