"""Synthetic leaf photos, healthy and with five diseases: the data set that needs no download.

A leaf is drawn once, on its own canvas, from an outline, veins, a colour and the signs of its class; each photo of it
then has its own pose, light, background, focus, noise and compression. The class shows in the signs alone: everything
else is drawn from the same distributions for every class, blemishes that resemble the signs included.
"""

import csv
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from tqdm import tqdm

MANIFEST = "manifest.csv"
REACH = 1.12  # the canvas spans [-REACH, REACH] leaf units each way; a leaf blade is 2 units long
CANVAS_SCALE = 1.3  # canvas pixels per photo pixel: enough for a leaf that lies on the photo's diagonal
FRAME = 0.065  # share of a photo's side that the leaf stays away from its border: a border shows background only

Floats = NDArray[np.float32]


@dataclass
class Leaf:
    """One leaf on its canvas: maps of shape `(canvas, canvas)`, lengths in leaf units."""

    colour: Floats  # (canvas, canvas, 3), reflectance in [0, 1]
    height: Floats  # relief, seen through shading only
    alpha: Floats  # 1 on the leaf, 0 off it
    along: Floats  # coordinate from base (-1) to tip (1)
    across: Floats  # coordinate from the midrib
    inset: Floats  # distance to the margin, 0 off the leaf
    vein: Floats  # distance to the nearest lateral vein or the midrib
    gloss: float


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
    with ThreadPoolExecutor(os.cpu_count()) as pool:
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
    leaf = _draw_leaf(rng, label, round(CANVAS_SCALE * image_size))
    leaf_id = f"{label}_{index:04d}"
    rows = []
    for photo in range(photos):
        path = f"{label}/{leaf_id}_{photo}.jpg"
        _photograph(rng, leaf, image_size).save(folder / path, quality=int(rng.integers(45, 93)))
        rows.append((path, label, leaf_id))
    return rows


def _draw_leaf(rng: np.random.Generator, label: str, canvas: int) -> Leaf:
    severity = 0.3 + 0.7 * rng.beta(1.2, 1.2)
    crumple = rng.uniform(0.005, 0.03) + (0.03 * severity if label == "mosaic" else 0)
    leaf = _grow(rng, canvas, crumple)
    _age(rng, leaf)
    SIGNS[label](rng, leaf, severity)
    _weather(rng, leaf)
    return leaf


# Noise and blending.


def _noise(rng: np.random.Generator, side: int, cells: float | tuple[float, float], octaves: int = 1) -> Floats:
    """Smooth noise of shape `(side, side)`, mean near 0, standard deviation 1; `cells` bumps fit in a side."""
    rows, columns = cells if isinstance(cells, tuple) else (cells, cells)
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        shape = [min(side, max(2, round(n * 2**octave) + 1)) for n in (rows, columns)]
        grid = Image.fromarray(rng.standard_normal(shape, dtype=np.float32))
        total += np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC)) * 0.55**octave
    return total / (total.std() + 1e-6)


def _step(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth in between; `low` > `high` turns it round."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _blend(image: Floats, colour: ArrayLike, weight: Floats) -> Floats:
    return image + (np.asarray(colour, np.float32) - image) * weight[..., None]


def _tint(rng: np.random.Generator, colour: ArrayLike, spread: float = 0.03) -> Floats:
    """`colour`, a bit lighter or darker and a bit off its hue."""
    return np.clip(np.asarray(colour) * rng.uniform(0.8, 1.2) + rng.normal(0, spread, 3), 0.02, 1).astype(np.float32)


def _green(rng: np.random.Generator) -> Floats:
    """A leaf colour: from yellowish to bluish, dark to light, dull to vivid."""
    green = rng.uniform(0.36, 0.68)
    red = green * rng.uniform(0.45, 0.88)
    blue = red * rng.uniform(0.35, 0.85)
    return np.array([red, green, blue], np.float32)


def _spots(
    rng: np.random.Generator, leaf: Leaf, radii: NDArray[np.float64], where: Floats, rough: float, cells: float
) -> Floats:
    """Distance to the nearest spot centre over that spot's radius: below 1 inside a spot.

    The map `where` weighs where centres fall; `rough` and `cells` give how far, and how finely, edges are irregular.
    """
    side = len(leaf.alpha)
    weight = np.cumsum(where, dtype=np.float64)
    centres = np.searchsorted(weight, rng.uniform(0, weight[-1], len(radii)))
    axis = np.linspace(-REACH, REACH, side, dtype=np.float32)
    nearest = np.full((side, side), 99, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        row, column = divmod(int(centre), side)
        stretch = rng.uniform(0.75, 1.33)
        squared = ((axis[:, None] - axis[row]) * stretch) ** 2 + ((axis[None, :] - axis[column]) / stretch) ** 2
        np.minimum(nearest, squared / float(radius) ** 2, out=nearest)
    return np.sqrt(nearest) * (1 + rough * _noise(rng, side, cells, 3))


# The healthy leaf, its age and its wear: the same for every class.


def _grow(rng: np.random.Generator, canvas: int, crumple: float) -> Leaf:
    axis = np.linspace(-REACH, REACH, canvas, dtype=np.float32)
    across, along = np.meshgrid(axis, axis, indexing="ij")
    along = along + crumple * _noise(rng, canvas, 7, 2)
    across = across + crumple * _noise(rng, canvas, 7, 2) + rng.normal(0, 0.1) * (along**2 - 0.5)
    side = np.where(across > 0, np.float32(rng.uniform(0.93, 1.07)), np.float32(1))
    away = np.abs(across)

    # Lateral veins run at whole numbers of `phase`; lobes and teeth point where the veins end.
    spacing = rng.uniform(0.17, 0.34)
    slope, bow = rng.uniform(0.35, 1.1), rng.uniform(0, 0.6)
    phase = (along - slope * away - bow * away**2) / spacing + np.where(across > 0, np.float32(rng.uniform(0, 1)), 0)
    to_lateral = np.abs(phase - np.round(phase)) * spacing / math.hypot(1, slope)
    vein = np.minimum(away, to_lateral)

    rise, fall = rng.uniform(0.4, 0.85), rng.uniform(0.55, 1.2)
    t = np.clip((along + 1) / 2, 0, 1)
    peak = rise / (rise + fall)
    blade = rng.uniform(0.65, 1.0) * (t / peak) ** rise * ((1 - t) / (1 - peak)) ** fall
    lobes = float(rng.choice([0, 0.02, 0.1])) * rng.uniform(0.6, 1.2) * np.cos(2 * np.pi * phase)
    teeth = rng.uniform(0, 0.035) * (1 - 2 * np.mod(phase * int(rng.integers(2, 5)), 1))
    blade = blade * side * (1 + lobes + teeth + 0.03 * _noise(rng, canvas, 12))
    pixel = 2 * REACH / canvas
    alpha = _step(-pixel, pixel, blade - away)
    inset = ndimage.distance_transform_edt(alpha > 0.5).astype(np.float32) * np.float32(pixel)
    stalk = _step(0.03, 0.03 - 2 * pixel, away) * _step(-1.1, -1.07, along) * (along < 0)
    alpha = np.maximum(alpha, stalk)

    midrib = _step(0.035, 0.008, away + 0.012 * (along + 1) / 2)
    lateral = _step(0.016, 0.003, to_lateral) * _step(0.9, 0.1, away / (blade + 1e-3))
    net = _step(0.25, 0.0, np.abs(_noise(rng, canvas, rng.uniform(22, 34))))
    base = _green(rng)
    shade = 1 + 0.07 * _noise(rng, canvas, 3, 4) + 0.02 * _noise(rng, canvas, 70)
    colour = base * shade[..., None]
    vein_colour = base * rng.uniform(0.75, 1.1) + np.array([0.16, 0.17, 0.08], np.float32) * rng.uniform(0, 1)
    strength = rng.uniform(0.25, 0.9)
    colour = _blend(colour, vein_colour, np.maximum.reduce([midrib, lateral * strength, net * strength * 0.2]))
    height = (
        rng.normal(0, 0.35) * away**2
        + rng.normal(0, 0.12) * along**2
        - rng.uniform(0.008, 0.02) * (midrib + 0.5 * lateral)
        + rng.uniform(0, 0.25) * np.minimum(vein, 0.08)
        + rng.uniform(0.003, 0.02) * _noise(rng, canvas, 7, 2)
        + 0.0015 * net
    )
    gloss = float(rng.uniform(0, 0.45))
    return Leaf(colour, height.astype(np.float32), alpha, along, across, inset, vein, gloss)


def _age(rng: np.random.Generator, leaf: Leaf) -> None:
    """Yellowing, scorched margins and pale patches that come with age, sun and hunger, whatever the class."""
    side = len(leaf.alpha)
    yellow = _tint(rng, (0.72, 0.68, 0.2))
    if rng.random() < 0.4:
        from_edge = _step(rng.uniform(0.1, 0.45), 0, leaf.inset + 0.06 * _noise(rng, side, 4, 2))
        leaf.colour = _blend(leaf.colour, yellow, rng.uniform(0.2, 0.8) * from_edge)
    if rng.random() < 0.3:
        between = _step(0.0, 0.07, leaf.vein) * _step(-0.5, 1.5, _noise(rng, side, 2, 2))
        leaf.colour = _blend(leaf.colour, yellow, rng.uniform(0.15, 0.6) * between)
    if rng.random() < 0.35:
        patch = _step(1.4, 0.2, _spots(rng, leaf, rng.uniform(0.1, 0.35, rng.integers(1, 4)), leaf.alpha, 0.2, 6))
        leaf.colour = _blend(leaf.colour, _tint(rng, (0.66, 0.7, 0.35)), rng.uniform(0.2, 0.7) * patch)
    if rng.random() < 0.25:
        edge = _step(0.06, 0.02, leaf.inset + 0.05 * _noise(rng, side, 5, 3)) * _step(-0.4, 0.9, leaf.along)
        leaf.colour = _blend(leaf.colour, _tint(rng, (0.45, 0.33, 0.2)), rng.uniform(0.5, 0.9) * edge)


def _weather(rng: np.random.Generator, leaf: Leaf) -> None:
    """Insect holes, nicks, scars, soil and dust, whatever the class."""
    if rng.random() < 0.35:
        bitten = _spots(rng, leaf, rng.uniform(0.015, 0.06, rng.integers(1, 5)), leaf.alpha, 0.15, 12)
        leaf.colour = _blend(leaf.colour, _tint(rng, (0.42, 0.32, 0.16)), 0.8 * _step(1.6, 1.2, bitten))
        leaf.alpha = leaf.alpha * _step(0.9, 1.1, bitten)
    if rng.random() < 0.35:
        rim = ((leaf.inset > 0) & (leaf.inset < 0.03)).astype(np.float32)
        bitten = _spots(rng, leaf, rng.uniform(0.03, 0.1, rng.integers(1, 4)), rim, 0.15, 12)
        leaf.alpha = leaf.alpha * _step(0.9, 1.1, bitten)
    if rng.random() < 0.35:
        scar = _spots(rng, leaf, rng.uniform(0.015, 0.07, rng.integers(1, 6)), leaf.alpha, 0.25, 14)
        scab = _tint(rng, (0.5, 0.4, 0.24) if rng.random() < 0.6 else (0.75, 0.74, 0.6))
        leaf.colour = _blend(leaf.colour, scab, rng.uniform(0.4, 0.9) * _step(1.1, 0.8, scar))
    for tone in ((0.2, 0.15, 0.1), (0.8, 0.79, 0.74)):
        if rng.random() < 0.4:
            specks = _spots(rng, leaf, rng.uniform(0.006, 0.02, rng.integers(3, 30)), leaf.alpha, 0.2, 40)
            leaf.colour = _blend(leaf.colour, _tint(rng, tone), rng.uniform(0.4, 0.9) * _step(1.2, 0.7, specks))


# The signs of each class.


def _healthy(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """No signs."""


def _bacterial_spot(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Many small dark angular spots with narrow yellow halos, in drifts."""
    side = len(leaf.alpha)
    drift = leaf.alpha * (0.05 + _step(-0.2, 1.2, _noise(rng, side, 2.5)))
    radii = rng.uniform(0.014, 0.024) * rng.lognormal(0, 0.35, round(8 + 120 * severity))
    spots = _spots(rng, leaf, radii, drift, 0.16, 34)
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.72, 0.68, 0.2)), rng.uniform(0.2, 0.75) * _step(2.8, 1.2, spots))
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.2, 0.14, 0.09), 0.02), 0.92 * _step(1.25, 0.8, spots))
    leaf.height -= 0.006 * _step(1.3, 0.7, spots)


def _early_blight(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Brown round lesions with concentric rings, often in a yellow halo."""
    side = len(leaf.alpha)
    radii = rng.uniform(0.06, 0.12 + 0.12 * severity, 1 + round(rng.uniform(4, 12) * severity))
    lesion = _spots(rng, leaf, radii, leaf.alpha, 0.07, 9)
    halo = _step(1.9, 1.0, lesion + 0.1 * _noise(rng, side, 8)) * rng.uniform(0.1, 0.85)
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.74, 0.68, 0.2)), halo)
    inside = _step(1.08, 0.9, lesion)
    rings = 0.5 + 0.5 * np.cos(2 * np.pi * (rng.uniform(2.4, 4.2) * lesion + 0.12 * _noise(rng, side, 12)))
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.42, 0.29, 0.16)), 0.93 * inside)
    dark = rings * rng.uniform(0.45, 0.85) + 0.25 * _step(0.5, 1, lesion)
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.17, 0.11, 0.07), 0.02), np.clip(inside * dark, 0, 1))
    leaf.height += 0.006 * inside * rings


def _late_blight(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Large water-soaked blotches from margin or tip, grey-green to brown, in a pale fringe."""
    side = len(leaf.alpha)
    where = leaf.alpha * (leaf.inset < 0.1) * (0.15 + _step(-0.6, 1, leaf.along))
    radii = rng.uniform(0.12 + 0.1 * severity, 0.2 + 0.4 * severity, 1 + round(rng.uniform(0, 3) * severity))
    blotch = _spots(rng, leaf, radii, where, 0.22, 5)
    soaked = _step(1.15, 0.85, blotch)
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.6, 0.66, 0.42)), rng.uniform(0.3, 0.8) * _step(1.5, 1.1, blotch))
    leaf.colour = _blend(leaf.colour, leaf.colour * np.array([0.55, 0.5, 0.6], np.float32) + 0.04, soaked)
    dead = _step(1.0, 0.45, blotch + 0.15 * _noise(rng, side, 9, 3)) * rng.uniform(0.5, 0.95)
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.33, 0.25, 0.17)), dead)
    down = _step(0.3, 0.0, np.abs(blotch - 1)) * _step(-0.2, 1.5, _noise(rng, side, 60))
    leaf.colour = _blend(leaf.colour, (0.8, 0.8, 0.76), float(rng.choice([0, 0.6])) * down)
    leaf.height += 0.02 * soaked * _noise(rng, side, 12, 2)


def _leaf_mold(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Pale yellow patches without a clear edge, olive-grey felt on some of them."""
    side = len(leaf.alpha)
    radii = rng.uniform(0.09, 0.16 + 0.16 * severity, 3 + round(rng.uniform(4, 10) * severity))
    patch = _spots(rng, leaf, radii, leaf.alpha, 0.18, 8) - 0.12 * _step(0.0, 0.06, leaf.vein)
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.72, 0.72, 0.32)), rng.uniform(0.6, 0.95) * _step(1.3, 0.5, patch))
    felt = _step(0.8, 0.35, patch + 0.2 * _noise(rng, side, 7, 2)) * _step(-1.7, 1.0, _noise(rng, side, 45, 2))
    leaf.colour = _blend(leaf.colour, _tint(rng, (0.37, 0.36, 0.23), 0.03), rng.uniform(0.6, 0.95) * felt)
    leaf.height += 0.006 * felt


def _mosaic(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Light and dark green mottling along the veins, and blisters between them."""
    side = len(leaf.alpha)
    follow = rng.uniform(0.5, 1.8) * (_step(0.07, 0.0, leaf.vein) - 0.4)
    mottle = _noise(rng, side, rng.uniform(7, 14), 3) + follow
    strength = 0.3 + 0.6 * severity
    light = np.array([1.35, 1.25, 1.0], np.float32) * leaf.colour + np.array([0.1, 0.1, 0.02], np.float32)
    leaf.colour = _blend(leaf.colour, light, strength * _step(0.35, -0.75, mottle))
    leaf.colour = _blend(
        leaf.colour, leaf.colour * np.array([0.5, 0.64, 0.6], np.float32), strength * _step(0.1, 1.1, mottle)
    )
    leaf.height += (0.006 + 0.02 * severity) * _step(-0.8, 1.2, mottle)


SIGNS: dict[str, Callable[[np.random.Generator, Leaf, float], None]] = {
    "bacterial_spot": _bacterial_spot,
    "early_blight": _early_blight,
    "healthy": _healthy,
    "late_blight": _late_blight,
    "leaf_mold": _leaf_mold,
    "mosaic": _mosaic,
}
CLASSES = tuple(SIGNS)


# The photo: pose, background, light and camera.


def _photograph(rng: np.random.Generator, leaf: Leaf, size: int) -> Image.Image:
    colour, alpha, height, scale = _pose(rng, leaf, size)
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([math.cos(angle), math.sin(angle)], np.float32)
    downhill, rightward = np.gradient(height)
    facing = (downhill * light[0] + rightward * light[1]) * (rng.uniform(0.3, 0.75) * scale)
    lit = np.clip(colour * (1 - facing[..., None]), 0, 1.3)
    shine = leaf.gloss * np.exp(-(((facing + rng.uniform(0.1, 0.5)) / rng.uniform(0.08, 0.25)) ** 2))
    lit = _blend(lit, (1, 1, 0.98), shine * _step(-0.6, 1.5, _noise(rng, size, 4, 2)))

    ground = _background(rng, size)
    offset = np.round(light * rng.uniform(0, 0.03) * size).astype(int)
    blurred = ndimage.gaussian_filter(alpha, rng.uniform(0.006, 0.03) * size)
    shadow = np.roll(blurred, (offset[0], offset[1]), (0, 1))
    photo = _blend(ground * (1 - rng.uniform(0.1, 0.6) * shadow)[..., None], lit, alpha)

    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    gradient = 1 + rng.uniform(0, 0.3) * (rows * light[0] + columns * light[1])
    gradient -= rng.uniform(0, 0.12) * (rows**2 + columns**2)
    if rng.random() < 0.35:
        edge = 0.08 * rng.uniform(0.2, 4)
        turned = rows * math.sin(angle * 3) + columns * math.cos(angle * 3) + 0.15 * _noise(rng, size, 4)
        gradient *= 1 - rng.uniform(0.15, 0.45) * _step(-edge, edge, turned - rng.uniform(-0.7, 0.7))
    balance = rng.uniform(0.9, 1.25) * np.exp(rng.normal(0, 0.045, 3)).astype(np.float32)
    photo = np.clip(photo * gradient[..., None] * balance, 0, 1) ** rng.uniform(0.75, 1.05)
    photo = ndimage.gaussian_filter(photo, (*[rng.uniform(0.2, 1.0) * size / 160] * 2, 0))
    grain = rng.standard_normal(photo.shape, dtype=np.float32) * rng.uniform(0.003, 0.03)
    return Image.fromarray((np.clip(photo + grain, 0, 1) * 255 + 0.5).astype(np.uint8))


def _pose(rng: np.random.Generator, leaf: Leaf, size: int) -> tuple[Floats, Floats, Floats, float]:
    """The leaf's colour, alpha and height turned, tilted, scaled and shifted into a photo, and pixels per leaf unit."""
    canvas = len(leaf.alpha)
    turn, tilt_turn = rng.normal(-np.pi / 2, np.pi / 6), rng.uniform(0, np.pi)
    tilt = _rotation(tilt_turn) @ np.diag([1, rng.uniform(0.75, 1)]) @ _rotation(-tilt_turn)
    to_photo = tilt @ _rotation(turn) @ np.diag([1, rng.choice([-1, 1])])
    rows, columns = np.nonzero(leaf.alpha > 0.02)
    points = to_photo @ np.stack([columns, rows])
    low, high = points.min(axis=1), points.max(axis=1)
    room = size * (1 - 2 * FRAME)
    zoom = rng.uniform(0.88, 1) * room / float((high - low).max())
    corner = size * FRAME + rng.uniform(0, 1, 2) * (room - zoom * (high - low))
    back = np.linalg.inv(to_photo * zoom)
    shift = back @ (zoom * low - corner)
    matrix = (*back[0], shift[0], *back[1], shift[1])

    def place(values: NDArray[Any]) -> Floats:
        image = Image.fromarray(values)
        image = image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        return np.asarray(image, np.float32)

    colour = place((np.clip(leaf.colour, 0, 1) * 255 + 0.5).astype(np.uint8)) / np.float32(255)
    return colour, place(leaf.alpha), place(leaf.height), zoom * canvas / (2 * REACH)


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _background(rng: np.random.Generator, size: int) -> Floats:
    kind = rng.choice(["plain", "paper", "soil", "wood", "foliage"], p=[0.5, 0.3, 0.07, 0.07, 0.06])
    if kind == "foliage":
        image = Image.new("RGB", (size, size), _to_bytes(_green(rng) * 0.5))
        draw = ImageDraw.Draw(image)
        for _ in range(40):
            length, width = size * rng.uniform(0.15, 0.45), rng.uniform(0.2, 0.45)
            t = np.linspace(0, 2 * np.pi, 24)
            shape = _rotation(rng.uniform(0, 6.3)) @ np.stack([np.cos(t), width * np.sin(t) * (1 - 0.4 * np.cos(t))])
            points = (shape * length / 2 + rng.uniform(0, size, (2, 1))).T
            draw.polygon([tuple(p) for p in points], _to_bytes(_green(rng) * rng.uniform(0.25, 0.8)))
        ground = np.asarray(image, np.float32) / 255
        ground = ndimage.gaussian_filter(ground, (*[rng.uniform(0.005, 0.03) * size] * 2, 0))
        return ground * (1 + 0.06 * _noise(rng, size, 20, 2))[..., None]
    if kind == "soil":
        tone, texture = _tint(rng, (0.36, 0.28, 0.2), 0.02), 0.28 * _noise(rng, size, 14, 4)
    elif kind == "wood":
        grain = (rng.uniform(2, 5), rng.uniform(20, 40))
        texture = 0.13 * _noise(rng, size, grain if rng.random() < 0.5 else grain[::-1], 3)
        tone = _tint(rng, (0.55, 0.43, 0.3), 0.02)
    elif kind == "paper":
        tone, texture = _tint(rng, (0.8, 0.79, 0.75), 0.03), 0.03 * _noise(rng, size, 30, 3)
    else:
        tone, texture = _tint(rng, [rng.uniform(0.35, 0.65)] * 3, 0.02), 0.04 * _noise(rng, size, 2, 3)
    return np.clip(tone * (1 + texture)[..., None], 0.01, 1)


def _to_bytes(colour: Floats) -> tuple[int, int, int]:
    red, green, blue = (int(255 * np.clip(c, 0, 1)) for c in colour)
    return red, green, blue
