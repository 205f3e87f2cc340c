"""What the photos give away before anything is trained on them: copies, leaks between the splits, backgrounds."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import ExifTags, Image
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from leafexp.cache import key_of
from leafexp.data.dataset import Dataset
from leafexp.data.duplicates import EXACT, duplicates
from leafexp.data.spelling import SPLITS
from leafexp.errors import UserError
from leafexp.findings import leaks
from leafexp.paths import cache_folder

VERSION = 2  # of what the audit does: another number, another entry in the cache
MOST_PAIRS = 100
_PROBE_SIZE, _BORDER = 32, 2  # pixels: the border probe sees a ring of 2 of a photo squeezed to 32
_FLOOR_SIZE = 12  # pixels of the thumbnails whose nearest neighbour is asked


def audit(dataset: Dataset) -> dict[str, Any]:
    """The findings on a data set and its split; computed once for both and kept in the cache.

    Returns:
        `photos` and `classes` (counts); `exact_duplicates` and `near_duplicates` (pairs in all, with another label,
        across the split); `groups_across_splits`; `sizes`, `modes`, `formats`, `cameras` (the ten most frequent, with
        counts) and `rotated` (photos turned by their EXIF tag); `border_probe` (a logistic regression on a ring of
        border pixels), `file_probe` (a decision tree on size, mode, format and camera, no pixel) and
        `thumbnail_neighbour` (the nearest 12 x 12 thumbnail), each with its test accuracy, 95 % Wilson interval and
        chance (the share of the largest class); `pairs`, the first 100, those across the split first.
    """
    table = dataset.table
    columns = table[["path", "label", "group", "split", "sha256"]].astype(str).to_numpy().tolist()
    entry = cache_folder() / "audit" / f"{key_of(VERSION, dataset.pixels_hash, columns)}.json"
    try:
        found: dict[str, Any] = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = _audit(dataset)
        entry.parent.mkdir(parents=True, exist_ok=True)
        unfinished = entry.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(found), encoding="utf-8")
        os.replace(unfinished, entry)
    return found


def check(found: Mapping[str, Any]) -> None:
    """Raise UserError, naming pairs, where the split leaks."""
    if said := leaks(found):
        pairs = [pair for pair in found["pairs"] if pair["split"] != pair["other_split"]]
        named = [
            f"  {pair['path']} ({pair['split']}), {pair['other_path']} ({pair['other_split']})" for pair in pairs[:3]
        ]
        raise UserError(
            f"The test would be too easy: {'; '.join(said)}.\n"
            + "".join(f"{line}\n" for line in named)
            + "Remove copies, mend the split or group column, keep copies on one side with data.groups=near_duplicates "
            "(for splits that leafexp draws), or train nevertheless with data.audit=warn."
        )


def _audit(dataset: Dataset) -> dict[str, Any]:
    table = dataset.table
    used = table["split"].isin(SPLITS)
    pairs = duplicates(dataset.pixels, table["sha256"])
    for side in ("one", "other"):
        for column in ("path", "label", "split", "group"):
            pairs[f"{side}_{column}"] = table[column].to_numpy()[pairs[side].to_numpy(int)]
    both_used = used.to_numpy()[pairs["one"].to_numpy(int)] & used.to_numpy()[pairs["other"].to_numpy(int)]
    pairs["across"] = both_used & (pairs["one_split"] != pairs["other_split"])
    exact = pairs["kind"] == EXACT
    heads = _heads(list(table["file"]))
    listed = pairs.sort_values("across", ascending=False, kind="stable").head(MOST_PAIRS)
    return {
        "photos": len(table),
        "classes": {str(label): int(number) for label, number in table["label"].value_counts().items()},
        "exact_duplicates": _counts(pairs[exact]),
        "near_duplicates": _counts(pairs[~exact]),
        "groups_across_splits": int(table[used].groupby("group")["split"].nunique().gt(1).sum()),
        **_counted(heads),
        "border_probe": _border_probe(dataset),
        "file_probe": _file_probe(dataset, heads),
        "thumbnail_neighbour": _thumbnail_neighbour(dataset),
        "pairs": [
            {
                "kind": pair["kind"],
                "correlation": round(float(pair["correlation"]), 4),
                **{column: str(pair[f"one_{column}"]) for column in ("path", "label", "split", "group")},
                **{f"other_{column}": str(pair[f"other_{column}"]) for column in ("path", "label", "split", "group")},
            }
            for pair in listed.to_dict("records")
        ],
    }


def _counts(pairs: pd.DataFrame) -> dict[str, int]:
    return {
        "pairs": len(pairs),
        "other_label": int((pairs["one_label"] != pairs["other_label"]).sum()),
        "across_splits": int(pairs["across"].sum()),
    }


def _heads(files: list[str]) -> pd.DataFrame:
    """What the files say of themselves, a row a photo: width, height, mode, format, camera, and turned by EXIF."""
    heads = []
    for file in files:
        with Image.open(Path(file)) as image:
            exif = image.getexif()
            camera = str(exif.get(ExifTags.Base.Model, "")).strip("\0 ")
            turned = exif.get(ExifTags.Base.Orientation, 1) != 1
            heads.append((image.width, image.height, image.mode, str(image.format), camera, turned))
    return pd.DataFrame(heads, columns=["width", "height", "mode", "format", "camera", "turned"])


def _counted(heads: pd.DataFrame) -> dict[str, Any]:
    size = heads["width"].astype(str) + "x" + heads["height"].astype(str)
    columns = {"sizes": size, "modes": heads["mode"], "formats": heads["format"], "cameras": heads["camera"]}
    frequent = {name: column[column != ""].value_counts().head(10) for name, column in columns.items()}
    counts = {name: {str(key): int(number) for key, number in found.items()} for name, found in frequent.items()}
    return {**counts, "rotated": int(heads["turned"].sum())}


def _border_probe(dataset: Dataset) -> dict[str, float]:
    inner = slice(_BORDER, _PROBE_SIZE - _BORDER)
    ring = np.ones((_PROBE_SIZE, _PROBE_SIZE), bool)
    ring[inner, inner] = False
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    return _tested(classifier, dataset, lambda part: _thumbnails(dataset, part, _PROBE_SIZE)[:, ring])


def _file_probe(dataset: Dataset, heads: pd.DataFrame) -> dict[str, float]:
    told = pd.DataFrame({name: pd.factorize(heads[name])[0] for name in ("mode", "format", "camera")})
    told[["width", "height"]] = heads[["width", "height"]]
    tree = DecisionTreeClassifier(min_samples_leaf=5, random_state=0)
    return _tested(tree, dataset, lambda part: told.to_numpy()[dataset.rows(part)])


def _thumbnail_neighbour(dataset: Dataset) -> dict[str, float]:
    return _tested(KNeighborsClassifier(1), dataset, lambda part: _thumbnails(dataset, part, _FLOOR_SIZE))


def _thumbnails(dataset: Dataset, part: str, size: int) -> np.ndarray:
    images = [Image.fromarray(np.array(dataset.pixels[row])) for row in dataset.rows(part)]
    return np.stack([np.asarray(image.resize((size, size), Image.Resampling.BOX), np.float32) for image in images])


def _tested(classifier: Any, dataset: Dataset, features: Any) -> dict[str, float]:
    """Trained on the training photos, tested on the test photos."""
    labels = dataset.table["class_index"].to_numpy()
    train, test = (features(part).reshape(len(dataset.rows(part)), -1) for part in ("train", "test"))
    classifier.fit(train, labels[dataset.rows("train")])
    truth = labels[dataset.rows("test")]
    right = int((classifier.predict(test) == truth).sum())
    interval = binomtest(right, len(truth)).proportion_ci(0.95, method="wilson")
    chance = float(np.bincount(truth).max() / len(truth))
    return {
        "accuracy": right / len(truth),
        "low": float(interval.low),
        "high": float(interval.high),
        "chance": chance,
    }
