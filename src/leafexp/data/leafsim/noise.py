"""Smooth noise, blending and colours: what leaves and photos are drawn with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Floats = NDArray[np.float32]


def noise(rng: np.random.Generator, side: int, cells: float | tuple[float, float], octaves: int = 1) -> Floats:
    """Smooth noise of shape `(side, side)`, mean near 0, standard deviation 1; `cells` bumps fit in a side."""
    rows, columns = cells if isinstance(cells, tuple) else (cells, cells)
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        shape = [min(side, max(2, round(n * 2**octave) + 1)) for n in (rows, columns)]
        grid = Image.fromarray(rng.standard_normal(shape, dtype=np.float32))
        total += np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC)) * 0.55**octave
    return total / (total.std() + 1e-6)


def step(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth in between; `low` > `high` turns it round."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blend(image: Floats, colour: ArrayLike, weight: Floats) -> Floats:
    """`image`, and `colour` where `weight` is 1."""
    return image + (np.asarray(colour, np.float32) - image) * weight[..., None]


def tint(rng: np.random.Generator, colour: ArrayLike, spread: float = 0.03) -> Floats:
    """`colour`, a bit lighter or darker and a bit off its hue."""
    return np.clip(np.asarray(colour) * rng.uniform(0.8, 1.2) + rng.normal(0, spread, 3), 0.02, 1).astype(np.float32)


def green(rng: np.random.Generator) -> Floats:
    """A leaf colour: from yellowish to bluish, dark to light, dull to vivid."""
    green = rng.uniform(0.36, 0.68)
    red = green * rng.uniform(0.45, 0.88)
    blue = red * rng.uniform(0.35, 0.85)
    return np.array([red, green, blue], np.float32)
