"""What the photos give away before anything is trained on them: copies, leaks between the splits, backgrounds."""

import json
import os
from collections import Counter
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

from leafexp.cache import key_of
from leafexp.data.catalog import SPLITS
from leafexp.data.dataset import Dataset
from leafexp.data.duplicates import EXACT, duplicates
from leafexp.errors import UserError
from leafexp.paths import cache_folder

VERSION = 1  # of what the audit does: another number, another entry in the cache
MOST_PAIRS = 100
_PROBE_SIZE, _BORDER = 32, 2  # pixels: the border probe sees a ring of 2 of a photo squeezed to 32
_FLOOR_SIZE = 12  # pixels of the thumbnails whose nearest neighbour is asked


def audit(dataset: Dataset) -> dict[str, Any]:
    """The findings on a data set and its split; computed once for both and kept in the cache.

    Returns:
        `photos` and `classes` (counts); `exact_duplicates` and `near_duplicates` (pairs in all, with another label,
        across the split); `groups_across_splits`; `sizes`, `modes`, `formats` (the ten most frequent, with counts) and
        `rotated` (photos turned by their EXIF tag); `border_probe` (a logistic regression on a ring of border pixels)
        and `thumbnail_neighbour` (the nearest 12 x 12 thumbnail), each with its test accuracy, 95 % Wilson interval and
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


def leaks(found: Mapping[str, Any]) -> list[str]:
    """What of the findings makes a test too easy, a line each; empty if nothing does."""
    said = []
    for kind in ("exact", "near"):
        if number := found[f"{kind}_duplicates"]["across_splits"]:
            equal = "equal" if kind == "exact" else "nearly equal"
            said.append(f"{number} pair(s) of {equal} photos are on two sides of the split")
    if number := found["groups_across_splits"]:
        said.append(f"photos of {number} leaf or leaves are on two sides of the split")
    return said


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


def remarks(found: Mapping[str, Any]) -> list[str]:
    """What a user should know, a sentence each; empty if nothing was found."""
    said = [f"{line[0].upper()}{line[1:]}: the test is easier than it looks." for line in leaks(found)]
    for kind, equal in (("exact", "equal"), ("near", "nearly equal")):
        if number := found[f"{kind}_duplicates"]["other_label"]:
            said.append(f"{number} pair(s) of {equal} photos have two different labels.")
    probe = found["border_probe"]
    if probe["low"] > probe["chance"]:
        said.append(
            f"The borders alone tell the class of {probe['accuracy']:.1%} of the test photos (95 % interval "
            f"{probe['low']:.1%} to {probe['high']:.1%}, chance {probe['chance']:.1%}): a network may learn the "
            "background."
        )
    return said


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
    listed = pairs.sort_values("across", ascending=False, kind="stable").head(MOST_PAIRS)
    return {
        "photos": len(table),
        "classes": {str(label): int(number) for label, number in table["label"].value_counts().items()},
        "exact_duplicates": _counts(pairs[exact]),
        "near_duplicates": _counts(pairs[~exact]),
        "groups_across_splits": int(table[used].groupby("group")["split"].nunique().gt(1).sum()),
        **_files(list(table["file"])),
        "border_probe": _border_probe(dataset),
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


def _files(files: list[str]) -> dict[str, Any]:
    """Sizes, modes and formats of the files, from their heads."""
    sizes, modes, formats = Counter[str](), Counter[str](), Counter[str]()
    rotated = 0
    for file in files:
        with Image.open(Path(file)) as image:
            sizes[f"{image.width}x{image.height}"] += 1
            modes[image.mode] += 1
            formats[str(image.format)] += 1
            rotated += image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    frequent = {"sizes": sizes, "modes": modes, "formats": formats}
    return {**{name: dict(counter.most_common(10)) for name, counter in frequent.items()}, "rotated": rotated}


def _border_probe(dataset: Dataset) -> dict[str, float]:
    inner = slice(_BORDER, _PROBE_SIZE - _BORDER)
    ring = np.ones((_PROBE_SIZE, _PROBE_SIZE), bool)
    ring[inner, inner] = False
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    return _tested(classifier, dataset, lambda part: _thumbnails(dataset, part, _PROBE_SIZE)[:, ring])


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
