"""One photo of a leaf: pose, background, light and camera, drawn from the same distributions for every class."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from leafexp.data.leafsim.leaf import REACH, Leaf
from leafexp.data.leafsim.noise import Floats, blend, green, noise, step, tint

FRAME = 0.065  # share of a photo's side that the leaf stays away from its border: a border shows background only


def photograph(rng: np.random.Generator, leaf: Leaf, size: int) -> Image.Image:
    """A photo of `leaf`, `size` x `size` pixels."""
    colour, alpha, height, scale = _pose(rng, leaf, size)
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([math.cos(angle), math.sin(angle)], np.float32)
    downhill, rightward = np.gradient(height)
    facing = (downhill * light[0] + rightward * light[1]) * (rng.uniform(0.3, 0.75) * scale)
    lit = np.clip(colour * (1 - facing[..., None]), 0, 1.3)
    shine = leaf.gloss * np.exp(-(((facing + rng.uniform(0.1, 0.5)) / rng.uniform(0.08, 0.25)) ** 2))
    lit = blend(lit, (1, 1, 0.98), shine * step(-0.6, 1.5, noise(rng, size, 4, 2)))

    ground = _background(rng, size)
    offset = np.round(light * rng.uniform(0, 0.03) * size).astype(int)
    blurred = ndimage.gaussian_filter(alpha, rng.uniform(0.006, 0.03) * size)
    shadow = np.roll(blurred, (offset[0], offset[1]), (0, 1))
    photo = blend(ground * (1 - rng.uniform(0.1, 0.6) * shadow)[..., None], lit, alpha)

    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    gradient = 1 + rng.uniform(0, 0.3) * (rows * light[0] + columns * light[1])
    gradient -= rng.uniform(0, 0.12) * (rows**2 + columns**2)
    if rng.random() < 0.35:
        edge = 0.08 * rng.uniform(0.2, 4)
        turned = rows * math.sin(angle * 3) + columns * math.cos(angle * 3) + 0.15 * noise(rng, size, 4)
        gradient *= 1 - rng.uniform(0.15, 0.45) * step(-edge, edge, turned - rng.uniform(-0.7, 0.7))
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
        image = Image.new("RGB", (size, size), _to_bytes(green(rng) * 0.5))
        draw = ImageDraw.Draw(image)
        for _ in range(40):
            length, width = size * rng.uniform(0.15, 0.45), rng.uniform(0.2, 0.45)
            t = np.linspace(0, 2 * np.pi, 24)
            shape = _rotation(rng.uniform(0, 6.3)) @ np.stack([np.cos(t), width * np.sin(t) * (1 - 0.4 * np.cos(t))])
            points = (shape * length / 2 + rng.uniform(0, size, (2, 1))).T
            draw.polygon([tuple(p) for p in points], _to_bytes(green(rng) * rng.uniform(0.25, 0.8)))
        ground = np.asarray(image, np.float32) / 255
        ground = ndimage.gaussian_filter(ground, (*[rng.uniform(0.005, 0.03) * size] * 2, 0))
        return ground * (1 + 0.06 * noise(rng, size, 20, 2))[..., None]
    if kind == "soil":
        tone, texture = tint(rng, (0.36, 0.28, 0.2), 0.02), 0.28 * noise(rng, size, 14, 4)
    elif kind == "wood":
        grain = (rng.uniform(2, 5), rng.uniform(20, 40))
        texture = 0.13 * noise(rng, size, grain if rng.random() < 0.5 else grain[::-1], 3)
        tone = tint(rng, (0.55, 0.43, 0.3), 0.02)
    elif kind == "paper":
        tone, texture = tint(rng, (0.8, 0.79, 0.75), 0.03), 0.03 * noise(rng, size, 30, 3)
    else:
        tone, texture = tint(rng, [rng.uniform(0.35, 0.65)] * 3, 0.02), 0.04 * noise(rng, size, 2, 3)
    return np.clip(tone * (1 + texture)[..., None], 0.01, 1)


def _to_bytes(colour: Floats) -> tuple[int, int, int]:
    red, green, blue = (int(255 * np.clip(c, 0, 1)) for c in colour)
    return red, green, blue
