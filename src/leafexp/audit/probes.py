"""What the photos give away before anything is trained on them: copies, leaks between the splits, backgrounds."""

import importlib.metadata
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

from leafexp.audit.findings import leaks
from leafexp.cache.arrays import kept, key_of
from leafexp.data.dataset import Dataset
from leafexp.data.duplicates import EXACT, Pairs, duplicates
from leafexp.data.spelling import SPLITS
from leafexp.errors import UserError

VERSION = 3  # of what the audit does: another number, another entry in the cache
MOST_PAIRS = 100
_PROBE_SIZE, _BORDER = 32, 2  # pixels: the border probe sees a ring of 2 of a photo squeezed to 32
_FLOOR_SIZE = 12  # pixels of the thumbnails whose nearest neighbour is asked


def audit(dataset: Dataset) -> dict[str, Any]:
    """The findings on a data set and its split; computed once for both and kept in the cache.

    Returns:
        `photos` and `classes` (counts); `parts` (photos and leaves of each); `leaves` (the class whose largest leaf has
        the largest share of its photos, and how many leaves have photos of several classes); `exact_duplicates` and
        `near_duplicates` (pairs in all, with another label, across the split); `groups_across_splits`;
        `to_leave_out` (paths of the photos without which nothing tested is trained on: copies and leaves);
        `sizes`, `modes`, `formats`, `cameras` (the ten most frequent, with counts) and `rotated` (photos turned by
        their EXIF tag); `border_probe` (a logistic regression on a ring of border pixels), `file_probe` (a decision
        tree on size, mode, format and camera, no pixel) and `thumbnail_neighbour` (the nearest 12 x 12 thumbnail),
        each with its test accuracy, 95 % Wilson interval and chance (the share of the largest class); `pairs`, the
        first 100, those across the split first.
    """
    columns = dataset.table[["path", "label", "group", "split", "sha256"]].astype(str).to_numpy().tolist()
    versions = [importlib.metadata.version(library) for library in ("imagehash", "scikit-learn")]
    found: dict[str, Any] = kept(
        "audit", key_of(VERSION, versions, dataset.pixels_hash, columns), lambda: _audit(dataset)
    )
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
            + "`python -m leafexp.audit` with the same settings writes clean.csv, without the training copies (not for "
            "folds), and names the command that trains on it. Or mend the split or group column, keep copies on one "
            "side with data.groups=near_duplicates (for splits and folds that leafexp draws), or train nevertheless "
            "with data.audit=warn."
        )


def _audit(dataset: Dataset) -> dict[str, Any]:
    table = dataset.table
    used = table["split"].isin(SPLITS)
    heads = _heads(list(table["file"]))
    return {
        "photos": len(table),
        "classes": {str(label): int(number) for label, number in table["label"].value_counts().items()},
        "parts": {
            part: {"photos": len(rows), "leaves": int(rows["group"].nunique())}
            for part in (*SPLITS, *sorted(set(table["split"][~used])))
            for rows in [table[table["split"] == part]]
        },
        "leaves": _leaves(table),
        **_copies(dataset),
        "groups_across_splits": int(table[used].groupby("group")["split"].nunique().gt(1).sum()),
        **_counted(heads),
        "border_probe": _border_probe(dataset),
        "file_probe": _file_probe(dataset, heads),
        "thumbnail_neighbour": _thumbnail_neighbour(dataset),
    }


def _leaves(table: pd.DataFrame) -> dict[str, Any]:
    """The class whose largest leaf has the largest share of it, and the leaves that have photos of several classes."""
    sizes = table.groupby(["label", "group"]).size().reset_index(name="photos")
    sizes["label_photos"] = sizes.groupby("label")["photos"].transform("sum")
    largest = sizes.iloc[int((sizes["photos"] / sizes["label_photos"]).argmax())]
    classes = table.groupby("group")["label"].nunique()
    shared = classes.index[classes > 1]
    return {
        "leaves": len(classes),
        "largest": str(largest["group"]),
        "largest_label": str(largest["label"]),
        "largest_photos": int(largest["photos"]),
        "label_photos": int(largest["label_photos"]),
        "of_several_classes": len(shared),
        "example": str(shared[0]) if len(shared) else "",
    }


def _copies(dataset: Dataset) -> dict[str, Any]:
    """The pairs counted, the first of them, and what to leave out; they come in parts, as they may be millions."""
    table = dataset.table
    label, split = table["label"].to_numpy(object), table["split"].to_numpy(object)
    # Photos that data.train_per_class leaves out are training photos too.
    rank = table["split"].map({"validation": 1, "test": 2}).fillna(0).to_numpy(int)
    used = np.isin(split, SPLITS)
    counts = {kind: dict.fromkeys(("pairs", "other_label", "across_splits"), 0) for kind in ("exact", "near")}
    listed = pd.DataFrame()
    lower = np.zeros(len(table), bool)
    for pairs in duplicates(dataset.pixels, table["sha256"]):
        one, other = pairs.one, pairs.other
        across = used[one] & used[other] & (split[one] != split[other])
        counted = counts["exact" if pairs.kind == EXACT else "near"]
        counted["pairs"] += len(one)
        counted["other_label"] += int((label[one] != label[other]).sum())
        counted["across_splits"] += int(across.sum())
        lower[one[rank[one] < rank[other]]] = True
        lower[other[rank[other] < rank[one]]] = True
        first = _first_pairs(pairs, across)
        listed = pd.concat([listed, first]).sort_values(
            ["across", "exact", "one", "other"], ascending=[False, False, True, True]
        )
        listed = listed.head(MOST_PAIRS)
    # Of equal photos only the first is paired with each other one; a leaf on two sides is tested too.
    for column in ("sha256", "group"):
        lower |= rank < pd.Series(rank).groupby(table[column].to_numpy()).transform("max").to_numpy()
    return {
        "exact_duplicates": counts["exact"],
        "near_duplicates": counts["near"],
        "to_leave_out": table["path"][lower].tolist(),
        "pairs": [_described(pair, table) for pair in listed.to_dict("records")],
    }


def _first_pairs(pairs: Pairs, across: np.ndarray) -> pd.DataFrame:
    chosen = np.concatenate([np.flatnonzero(across)[:MOST_PAIRS], np.flatnonzero(~across)[:MOST_PAIRS]])
    columns = {"one": pairs.one, "other": pairs.other, "correlation": pairs.correlation, "across": across}
    chosen_columns = {name: values[chosen] for name, values in columns.items()}
    return pd.DataFrame(chosen_columns).assign(kind=pairs.kind, exact=pairs.kind == EXACT)


def _described(pair: Mapping[Any, Any], table: pd.DataFrame) -> dict[str, Any]:
    columns = ("path", "label", "split", "group")
    return {
        "kind": pair["kind"],
        "correlation": round(float(pair["correlation"]), 4),
        **{column: str(table[column].iloc[pair["one"]]) for column in columns},
        **{f"other_{column}": str(table[column].iloc[pair["other"]]) for column in columns},
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
