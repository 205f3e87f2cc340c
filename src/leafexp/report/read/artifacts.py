"""Text files of runs: read where they lie if that is this machine, fetched by many threads if not."""

import contextlib
import csv
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from leafexp.report.read.history import in_threads

TEXT_COLUMNS = ("path", "label", "group", "predicted")


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


def parse_predictions(text: str | None) -> pd.DataFrame | None:
    """The table of predictions with all its columns, None where it is not one.

    `path`, `label`, `predicted` and, if it is there, `group` (missing where a photo has none) are strings, whatever
    they look like; the `probability_...` of each class are floats in [0, 1].
    """
    if text is None:
        return None
    columns = next(csv.reader(io.StringIO(text)), [])
    probabilities = [name for name in columns if name.startswith("probability_")]
    types: dict[str, type] = {**dict.fromkeys(TEXT_COLUMNS, str), **dict.fromkeys(probabilities, float)}
    # A class may be called NA or null: only what may be missing can be.
    missing = {"group": [""], **{name: ["", "nan"] for name in probabilities}}
    try:
        table = pd.read_csv(io.StringIO(text), dtype=types, keep_default_na=False, na_values=missing)
    except ValueError:
        return None
    needed = ["path", "label", "predicted"]
    # A line that was cut off lacks its last values, which pandas takes for empty.
    return table if {*needed} <= {*table.columns} and bool((table[needed].fillna("") != "").all(axis=None)) else None


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
