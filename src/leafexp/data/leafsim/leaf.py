"""One leaf: outline, veins, colour, age and wear, which are the same for every class, and the signs of its class."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from leafexp.data.leafsim.noise import Floats, blend, green, noise, step, tint

REACH = 1.12  # the canvas spans [-REACH, REACH] leaf units each way; a leaf blade is 2 units long


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


def draw_leaf(rng: np.random.Generator, label: str, canvas: int) -> Leaf:
    """A leaf of class `label`, light to severe, on a canvas of `canvas` x `canvas` pixels."""
    severity = 0.3 + 0.7 * rng.beta(1.2, 1.2)
    crumple = rng.uniform(0.005, 0.03) + (0.03 * severity if label == "mosaic" else 0)
    leaf = _grow(rng, canvas, crumple)
    _age(rng, leaf)
    SIGNS[label](rng, leaf, severity)
    _weather(rng, leaf)
    return leaf


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
    return np.sqrt(nearest) * (1 + rough * noise(rng, side, cells, 3))


# The healthy leaf, its age and its wear: the same for every class.


def _grow(rng: np.random.Generator, canvas: int, crumple: float) -> Leaf:
    axis = np.linspace(-REACH, REACH, canvas, dtype=np.float32)
    across, along = np.meshgrid(axis, axis, indexing="ij")
    along = along + crumple * noise(rng, canvas, 7, 2)
    across = across + crumple * noise(rng, canvas, 7, 2) + rng.normal(0, 0.1) * (along**2 - 0.5)
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
    blade = blade * side * (1 + lobes + teeth + 0.03 * noise(rng, canvas, 12))
    pixel = 2 * REACH / canvas
    alpha = step(-pixel, pixel, blade - away)
    inset = ndimage.distance_transform_edt(alpha > 0.5).astype(np.float32) * np.float32(pixel)
    stalk = step(0.03, 0.03 - 2 * pixel, away) * step(-1.1, -1.07, along) * (along < 0)
    alpha = np.maximum(alpha, stalk)

    midrib = step(0.035, 0.008, away + 0.012 * (along + 1) / 2)
    lateral = step(0.016, 0.003, to_lateral) * step(0.9, 0.1, away / (blade + 1e-3))
    net = step(0.25, 0.0, np.abs(noise(rng, canvas, rng.uniform(22, 34))))
    base = green(rng)
    shade = 1 + 0.07 * noise(rng, canvas, 3, 4) + 0.02 * noise(rng, canvas, 70)
    colour = base * shade[..., None]
    vein_colour = base * rng.uniform(0.75, 1.1) + np.array([0.16, 0.17, 0.08], np.float32) * rng.uniform(0, 1)
    strength = rng.uniform(0.25, 0.9)
    colour = blend(colour, vein_colour, np.maximum.reduce([midrib, lateral * strength, net * strength * 0.2]))
    height = (
        rng.normal(0, 0.35) * away**2
        + rng.normal(0, 0.12) * along**2
        - rng.uniform(0.008, 0.02) * (midrib + 0.5 * lateral)
        + rng.uniform(0, 0.25) * np.minimum(vein, 0.08)
        + rng.uniform(0.003, 0.02) * noise(rng, canvas, 7, 2)
        + 0.0015 * net
    )
    gloss = float(rng.uniform(0, 0.45))
    return Leaf(colour, height.astype(np.float32), alpha, along, across, inset, vein, gloss)


def _age(rng: np.random.Generator, leaf: Leaf) -> None:
    """Yellowing, scorched margins and pale patches that come with age, sun and hunger, whatever the class."""
    side = len(leaf.alpha)
    yellow = tint(rng, (0.72, 0.68, 0.2))
    if rng.random() < 0.4:
        from_edge = step(rng.uniform(0.1, 0.45), 0, leaf.inset + 0.06 * noise(rng, side, 4, 2))
        leaf.colour = blend(leaf.colour, yellow, rng.uniform(0.2, 0.8) * from_edge)
    if rng.random() < 0.3:
        between = step(0.0, 0.07, leaf.vein) * step(-0.5, 1.5, noise(rng, side, 2, 2))
        leaf.colour = blend(leaf.colour, yellow, rng.uniform(0.15, 0.6) * between)
    if rng.random() < 0.35:
        patch = step(1.4, 0.2, _spots(rng, leaf, rng.uniform(0.1, 0.35, rng.integers(1, 4)), leaf.alpha, 0.2, 6))
        leaf.colour = blend(leaf.colour, tint(rng, (0.66, 0.7, 0.35)), rng.uniform(0.2, 0.7) * patch)
    if rng.random() < 0.25:
        edge = step(0.06, 0.02, leaf.inset + 0.05 * noise(rng, side, 5, 3)) * step(-0.4, 0.9, leaf.along)
        leaf.colour = blend(leaf.colour, tint(rng, (0.45, 0.33, 0.2)), rng.uniform(0.5, 0.9) * edge)


def _weather(rng: np.random.Generator, leaf: Leaf) -> None:
    """Insect holes, nicks, scars, soil and dust, whatever the class."""
    if rng.random() < 0.35:
        bitten = _spots(rng, leaf, rng.uniform(0.015, 0.06, rng.integers(1, 5)), leaf.alpha, 0.15, 12)
        leaf.colour = blend(leaf.colour, tint(rng, (0.42, 0.32, 0.16)), 0.8 * step(1.6, 1.2, bitten))
        leaf.alpha = leaf.alpha * step(0.9, 1.1, bitten)
    if rng.random() < 0.35:
        rim = ((leaf.inset > 0) & (leaf.inset < 0.03)).astype(np.float32)
        bitten = _spots(rng, leaf, rng.uniform(0.03, 0.1, rng.integers(1, 4)), rim, 0.15, 12)
        leaf.alpha = leaf.alpha * step(0.9, 1.1, bitten)
    if rng.random() < 0.35:
        scar = _spots(rng, leaf, rng.uniform(0.015, 0.07, rng.integers(1, 6)), leaf.alpha, 0.25, 14)
        scab = tint(rng, (0.5, 0.4, 0.24) if rng.random() < 0.6 else (0.75, 0.74, 0.6))
        leaf.colour = blend(leaf.colour, scab, rng.uniform(0.4, 0.9) * step(1.1, 0.8, scar))
    for tone in ((0.2, 0.15, 0.1), (0.8, 0.79, 0.74)):
        if rng.random() < 0.4:
            specks = _spots(rng, leaf, rng.uniform(0.006, 0.02, rng.integers(3, 30)), leaf.alpha, 0.2, 40)
            leaf.colour = blend(leaf.colour, tint(rng, tone), rng.uniform(0.4, 0.9) * step(1.2, 0.7, specks))


# The signs of each class.


def _healthy(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """No signs."""


def _bacterial_spot(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Many small dark angular spots with narrow yellow halos, in drifts."""
    side = len(leaf.alpha)
    drift = leaf.alpha * (0.05 + step(-0.2, 1.2, noise(rng, side, 2.5)))
    radii = rng.uniform(0.014, 0.024) * rng.lognormal(0, 0.35, round(8 + 120 * severity))
    spots = _spots(rng, leaf, radii, drift, 0.16, 34)
    leaf.colour = blend(leaf.colour, tint(rng, (0.72, 0.68, 0.2)), rng.uniform(0.2, 0.75) * step(2.8, 1.2, spots))
    leaf.colour = blend(leaf.colour, tint(rng, (0.2, 0.14, 0.09), 0.02), 0.92 * step(1.25, 0.8, spots))
    leaf.height -= 0.006 * step(1.3, 0.7, spots)


def _early_blight(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Brown round lesions with concentric rings, often in a yellow halo."""
    side = len(leaf.alpha)
    radii = rng.uniform(0.06, 0.12 + 0.12 * severity, 1 + round(rng.uniform(4, 12) * severity))
    lesion = _spots(rng, leaf, radii, leaf.alpha, 0.07, 9)
    halo = step(1.9, 1.0, lesion + 0.1 * noise(rng, side, 8)) * rng.uniform(0.1, 0.85)
    leaf.colour = blend(leaf.colour, tint(rng, (0.74, 0.68, 0.2)), halo)
    inside = step(1.08, 0.9, lesion)
    rings = 0.5 + 0.5 * np.cos(2 * np.pi * (rng.uniform(2.4, 4.2) * lesion + 0.12 * noise(rng, side, 12)))
    leaf.colour = blend(leaf.colour, tint(rng, (0.42, 0.29, 0.16)), 0.93 * inside)
    dark = rings * rng.uniform(0.45, 0.85) + 0.25 * step(0.5, 1, lesion)
    leaf.colour = blend(leaf.colour, tint(rng, (0.17, 0.11, 0.07), 0.02), np.clip(inside * dark, 0, 1))
    leaf.height += 0.006 * inside * rings


def _late_blight(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Large water-soaked blotches from margin or tip, grey-green to brown, in a pale fringe."""
    side = len(leaf.alpha)
    where = leaf.alpha * (leaf.inset < 0.1) * (0.15 + step(-0.6, 1, leaf.along))
    radii = rng.uniform(0.12 + 0.1 * severity, 0.2 + 0.4 * severity, 1 + round(rng.uniform(0, 3) * severity))
    blotch = _spots(rng, leaf, radii, where, 0.22, 5)
    soaked = step(1.15, 0.85, blotch)
    leaf.colour = blend(leaf.colour, tint(rng, (0.6, 0.66, 0.42)), rng.uniform(0.3, 0.8) * step(1.5, 1.1, blotch))
    leaf.colour = blend(leaf.colour, leaf.colour * np.array([0.55, 0.5, 0.6], np.float32) + 0.04, soaked)
    dead = step(1.0, 0.45, blotch + 0.15 * noise(rng, side, 9, 3)) * rng.uniform(0.5, 0.95)
    leaf.colour = blend(leaf.colour, tint(rng, (0.33, 0.25, 0.17)), dead)
    down = step(0.3, 0.0, np.abs(blotch - 1)) * step(-0.2, 1.5, noise(rng, side, 60))
    leaf.colour = blend(leaf.colour, (0.8, 0.8, 0.76), float(rng.choice([0, 0.6])) * down)
    leaf.height += 0.02 * soaked * noise(rng, side, 12, 2)


def _leaf_mold(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Pale yellow patches without a clear edge, olive-grey felt on some of them."""
    side = len(leaf.alpha)
    radii = rng.uniform(0.09, 0.16 + 0.16 * severity, 3 + round(rng.uniform(4, 10) * severity))
    patch = _spots(rng, leaf, radii, leaf.alpha, 0.18, 8) - 0.12 * step(0.0, 0.06, leaf.vein)
    leaf.colour = blend(leaf.colour, tint(rng, (0.72, 0.72, 0.32)), rng.uniform(0.6, 0.95) * step(1.3, 0.5, patch))
    felt = step(0.8, 0.35, patch + 0.2 * noise(rng, side, 7, 2)) * step(-1.7, 1.0, noise(rng, side, 45, 2))
    leaf.colour = blend(leaf.colour, tint(rng, (0.37, 0.36, 0.23), 0.03), rng.uniform(0.6, 0.95) * felt)
    leaf.height += 0.006 * felt


def _mosaic(rng: np.random.Generator, leaf: Leaf, severity: float) -> None:
    """Light and dark green mottling along the veins, and blisters between them."""
    side = len(leaf.alpha)
    follow = rng.uniform(0.5, 1.8) * (step(0.07, 0.0, leaf.vein) - 0.4)
    mottle = noise(rng, side, rng.uniform(7, 14), 3) + follow
    strength = 0.3 + 0.6 * severity
    light = np.array([1.35, 1.25, 1.0], np.float32) * leaf.colour + np.array([0.1, 0.1, 0.02], np.float32)
    leaf.colour = blend(leaf.colour, light, strength * step(0.35, -0.75, mottle))
    leaf.colour = blend(
        leaf.colour, leaf.colour * np.array([0.5, 0.64, 0.6], np.float32), strength * step(0.1, 1.1, mottle)
    )
    leaf.height += (0.006 + 0.02 * severity) * step(-0.8, 1.2, mottle)


SIGNS: dict[str, Callable[[np.random.Generator, Leaf, float], None]] = {
    "bacterial_spot": _bacterial_spot,
    "early_blight": _early_blight,
    "healthy": _healthy,
    "late_blight": _late_blight,
    "leaf_mold": _leaf_mold,
    "mosaic": _mosaic,
}
CLASSES = tuple(SIGNS)
