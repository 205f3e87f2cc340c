"""Synthetic leaf photos, healthy and with five diseases: the data set that needs no download.

A leaf is drawn once, on its own canvas, from an outline, veins, a colour and the signs of its class; each photo of it
then has its own pose, light, background, focus, noise and compression. The class shows in the signs alone: everything
else is drawn from the same distributions for every class, blemishes that resemble the signs included.
"""

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from leafexp.data.leafsim.leaf import CLASSES, draw_leaf
from leafexp.data.leafsim.photo import photograph
from leafexp.environment import processors

MANIFEST = "manifest.csv"
CANVAS_SCALE = 1.3  # canvas pixels per photo pixel: enough for a leaf that lies on the photo's diagonal


def generate(
    folder: Path,
    images: int = 1200,
    photos_per_leaf: int = 4,
    image_size: int = 160,
    seed: int = 0,
) -> Path:
    """The manifest (columns path, label, leaf_id) of leaf photos written to `folder`, one subfolder per class.

    The same arguments give the same bytes. Classes have `images // 6` photos each; the last leaf of a class has fewer
    photos if `photos_per_leaf` does not divide that.

    Raises:
        ValueError: There are too few images for one leaf per class.
    """
    needed = len(CLASSES) * photos_per_leaf
    if not 1 <= needed <= images:
        raise ValueError(
            f"images={images} is too few or photos_per_leaf={photos_per_leaf} is below 1: one leaf for each of the "
            f"{len(CLASSES)} classes takes {needed} images. Ask for more images, or for 1 or a few photos per leaf."
        )
    per_class = images // len(CLASSES)
    leaves = [
        (label, leaf, range(first, min(first + photos_per_leaf, per_class)))
        for label in CLASSES
        for leaf, first in enumerate(range(0, per_class, photos_per_leaf))
    ]
    for label in CLASSES:
        (folder / label).mkdir(parents=True, exist_ok=True)

    def write(leaf: tuple[str, int, range]) -> list[tuple[str, str, str]]:
        label, index, photos = leaf
        return _write_leaf(folder, label, index, len(photos), image_size, seed)

    # Threads, not processes: the time goes to NumPy and Pillow, which let go of the interpreter lock.
    with ThreadPoolExecutor(processors()) as pool:
        written = list(
            tqdm(pool.map(write, leaves), "Drawing leaves", len(leaves), unit="leaf", leave=False, disable=None)
        )
    manifest = folder / MANIFEST
    with manifest.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "label", "leaf_id"))
        table.writerows(row for rows in written for row in rows)
    return manifest


def _write_leaf(
    folder: Path, label: str, index: int, photos: int, image_size: int, seed: int
) -> list[tuple[str, str, str]]:
    """The manifest rows of one leaf, whose photos are written."""
    rng = np.random.default_rng([seed, CLASSES.index(label), index])
    leaf = draw_leaf(rng, label, round(CANVAS_SCALE * image_size))
    leaf_id = f"{label}_{index:04d}"
    rows = []
    for photo in range(photos):
        path = f"{label}/{leaf_id}_{photo}.jpg"
        photograph(rng, leaf, image_size).save(folder / path, quality=int(rng.integers(45, 93)))
        rows.append((path, label, leaf_id))
    return rows
