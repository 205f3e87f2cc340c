"""What decides a run's result, as one hash: runs with the same identity are the same run."""

import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from leafexp.cache import key_of
from leafexp.names import NOT_CONFIGURATION
from leafexp.paths import cache_folder

# The photos' contents and labels stand for where they come from.
_NOT_DECIDING = (*NOT_CONFIGURATION, "data.name", "data.source.", "data.group_pattern", "data.classes")
_SOURCES = ("data", "models", "training", "run.py")
_LIBRARIES = ("tensorflow", "keras", "numpy", "pillow", "scikit-learn")


def identity(params: Mapping[str, Any], photos: pd.DataFrame, weights_sha256: str | None) -> str:
    """SHA-256 over all that decides a run's result, and nothing else.

    Args:
        params: the configuration, flat; of it, where things lie and what they are called does not count.
        photos: columns path (from the data's folder), label, group, sha256, and split where it is given.
        weights_sha256: checksum of the pretrained weights, None without.
    """
    settings = {name: value for name, value in params.items() if not name.startswith(_NOT_DECIDING)}
    columns = [name for name in ("path", "label", "group", "split", "sha256") if name in photos]
    versions = [importlib.metadata.version(library) for library in _LIBRARIES]
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1")
    rows = photos[columns].astype(str).to_numpy().tolist()
    return key_of(sorted(settings.items()), columns, rows, weights_sha256, _code_sha256(), versions, onednn)


def weights_sha256(weights: str, network: Mapping[str, Any], image_size: int) -> str | None:
    """Checksum of pretrained weights without loading them; of `imagenet`, as noted when they were loaded last."""
    if weights != "imagenet":
        with open(Path(weights).expanduser(), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    try:
        return _note(network, image_size).read_text(encoding="ascii")
    except OSError:
        return None


def note_imagenet(network: Mapping[str, Any], image_size: int, sha256: str) -> None:
    """Note which weights `imagenet` stood for."""
    note = _note(network, image_size)
    note.parent.mkdir(parents=True, exist_ok=True)
    unfinished = note.with_suffix(f".{os.getpid()}")
    unfinished.write_text(sha256, encoding="ascii")
    os.replace(unfinished, note)


def _note(network: Mapping[str, Any], image_size: int) -> Path:
    return cache_folder() / "imagenet" / key_of(json.dumps(dict(network), sort_keys=True, default=str), image_size)


@functools.cache  # the code of this process is the code it started with
def _code_sha256() -> str:
    """Over the sources that train: not those that track, report or read the command line."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for place in _SOURCES:
        for file in sorted([package / place] if place.endswith(".py") else (package / place).rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
    return digest.hexdigest()
