"""Photos that are the same or nearly the same: by checksum, by perceptual hash, by their thumbnails and closely."""

import importlib.metadata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from leafexp.cache.arrays import kept, key_of

EXACT, NEAR, TURNED, MIRRORED = "exact", "near", "near, turned", "near, mirrored"
# The eight ways to lay a square onto itself: copies that enlarge a data set often are turned or mirrored ones.
_WAYS = {
    None: NEAR,
    Image.Transpose.ROTATE_90: TURNED,
    Image.Transpose.ROTATE_180: TURNED,
    Image.Transpose.ROTATE_270: TURNED,
    Image.Transpose.FLIP_LEFT_RIGHT: MIRRORED,
    Image.Transpose.FLIP_TOP_BOTTOM: MIRRORED,
    Image.Transpose.TRANSPOSE: MIRRORED,
    Image.Transpose.TRANSVERSE: MIRRORED,
}
# Of 3,152 PlantVillage photos, four a leaf, no pair within 12 bits correlates by more than 0.90, laid in any way.
MOST_BITS = 10  # of 64 by which perceptual hashes (DCT, as imagehash.phash) may differ
LEAST_CORRELATION = 0.95  # of the grey values of 32 x 32 thumbnails
_THUMBNAIL = 32
# The close look: different leaves on one tray under one colour card differ in few blocks, and there by much; a copy
# that was saved anew, resized, brightened or cropped differs little, or everywhere. The 12th worst of the 256 blocks
# decides, by either of two ratios. To its own contrast: at most 0.26 for copies of drawn trays (JPEG of quality 30,
# half the size, brighter), at least 0.33 for 7,140 pairs of different leaves on them at 96 px. To the median block: at
# most 6.3 for such copies of PlantVillage photos (also 1.3 times the contrast, 1 % cropped); at least 7.8 for trays.
_CLOSE, _GRID = 64, 16  # pixels; blocks along a side
_BLOCKS_APART = 12
_MOST_TO_CONTRAST, _LEAST_CONTRAST = 0.3, 4.0  # the latter in grey values of 255
_MOST_TO_MEDIAN, _LEAST_MEDIAN = 6.5, 0.5
_LOOKS = 32  # of a photo with more candidates those most alike are looked at closely; if all are copies, so is the rest
_CELLS = 2_000_000  # pairs considered at once: bounds the memory
_PAIRS = 512  # pairs looked at closely at once


class Pairs(NamedTuple):
    """Some of the pairs of a data set, of one kind: row numbers (one < other) and correlation of thumbnails."""

    kind: str
    one: np.ndarray
    other: np.ndarray
    correlation: np.ndarray


def duplicates(
    pixels: np.ndarray | Sequence[np.ndarray], sha256: pd.Series, sides: np.ndarray | None = None
) -> Iterator[Pairs]:
    """The pairs of photos that are equal or nearly equal, also when turned by quarters or mirrored, part by part.

    The frames of a video make millions of them: what is asked of them should be reduced as they come.

    Args:
        pixels: uint8, shape (images, height, width, 3).
        sha256: Checksum of each photo's file.
        sides: where given, pairs of photos of one side are left out.

    Yields:
        Pairs of one kind of the four, with the correlation of their thumbnails, in [-1, 1]. Of several equal photos the
        first is paired with each other one.
    """
    sides = np.arange(len(pixels)) if sides is None else sides
    equal = _equal(sha256)
    equal = equal[sides[equal[:, 0]] != sides[equal[:, 1]]]
    if len(equal):
        yield Pairs(EXACT, equal[:, 0], equal[:, 1], np.ones(len(equal), np.float32))
    hashes, thumbnails, close = _look(pixels)
    contents = pd.factorize(sha256)[0]
    size = max(1, min(256, _CELLS // max(1, len(pixels))))
    for start in range(0, len(pixels), size):
        rows = np.arange(start, min(start + size, len(pixels)))
        # Pairs with a photo before the block were seen with that photo's.
        others = np.arange(start, len(pixels))
        open_pairs = (others > rows[:, None]) & (contents[others] != contents[rows, None])
        open_pairs &= sides[others] != sides[rows, None]
        for way, kind in _WAYS.items():
            bits = np.bitwise_count(hashes[way][rows, None] ^ hashes[None][others])
            left, right = np.nonzero((bits <= MOST_BITS) & open_pairs)
            if not len(left):
                continue
            laid = _laid(thumbnails[rows], way)
            correlation = _correlations(laid, thumbnails[start:], left, right)
            near = correlation >= LEAST_CORRELATION
            left, right, correlation = left[near], right[near], correlation[near]
            copies = _copies(_laid(close[rows], way), close[start:], left, right, correlation)
            left, right, correlation = left[copies], right[copies], correlation[copies]
            open_pairs[left, right] = False
            if len(left):
                yield Pairs(kind, left + start, right + start, correlation)


def joined_groups(pixels: np.ndarray, pixels_hash: str, table: pd.DataFrame) -> pd.Series:
    """The group of each photo, groups that share equal or nearly equal photos made one, named by their first."""
    codes, names = pd.factorize(table["group"], sort=True)

    def joined() -> list[int]:
        component = np.arange(len(names))
        for pairs in duplicates(pixels, table["sha256"]):
            edges = np.unique(np.stack([component[codes[pairs.one]], component[codes[pairs.other]]]), axis=1)
            graph = coo_array((np.ones(edges.shape[1]), tuple(edges)), shape=(len(names), len(names)))
            component = connected_components(graph, directed=False)[1][component]
        return [int(number) for number in component]

    key = key_of(
        "joined groups",
        importlib.metadata.version("imagehash"),
        MOST_BITS,
        _MOST_TO_CONTRAST,
        _MOST_TO_MEDIAN,
        pixels_hash,
        list(table["sha256"]),
        codes.tolist(),
    )
    component = np.array(kept("groups", key, joined))
    first = pd.Series(names).groupby(component).first()
    return pd.Series(first[component[codes]].to_numpy(), index=table.index)


def _correlations(laid: np.ndarray, thumbnails: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of standardised thumbnails: of many pairs all at once, of few each by itself."""
    one, other = laid.reshape(len(laid), -1), thumbnails.reshape(len(thumbnails), -1)
    if len(left) > len(laid) * len(thumbnails) / 16:
        return np.asarray((one @ other.T)[left, right])
    parts = [slice(start, start + _PAIRS) for start in range(0, len(left), _PAIRS)]
    return np.concatenate([np.einsum("ij,ij->i", one[left[part]], other[right[part]]) for part in parts])


def _copies(
    laid: np.ndarray, close: np.ndarray, left: np.ndarray, right: np.ndarray, correlation: np.ndarray
) -> np.ndarray:
    """Which of the pairs stand a close look, as booleans; of many of one photo, the most alike decide for the rest."""
    order = np.lexsort((-correlation, left))
    place = np.empty(len(left), int)
    place[order] = np.arange(len(left)) - np.searchsorted(left[order], left[order])
    looked = np.flatnonzero(place < _LOOKS)
    copies = np.ones(len(left), bool)
    for start in range(0, len(looked), _PAIRS):
        part = looked[start : start + _PAIRS]
        copies[part] = _differ_alike(laid[left[part]], close[right[part]])
    rest = place >= _LOOKS
    failed = np.zeros(len(laid), bool)
    failed[left[~copies]] = True
    copies[rest] = ~failed[left[rest]]
    return copies


def _differ_alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether two photos, equal up to brightness and contrast, differ in no few blocks much more than elsewhere."""
    one, other = (grey.astype(np.float32) - grey.mean((1, 2), keepdims=True, dtype=np.float32) for grey in (one, other))
    gain = (one * other).sum((1, 2)) / np.maximum((one * one).sum((1, 2)), 1e-6)
    difference = other - gain[:, None, None] * one
    usual, worst = _ordered(_by_block(difference**2).mean(2))
    to_contrast = _by_block(difference**2).mean(2) / (_by_block(other).std(2) + _LEAST_CONTRAST) ** 2
    little = _ordered(to_contrast)[1] <= _MOST_TO_CONTRAST
    return np.asarray(little | (worst <= _MOST_TO_MEDIAN * np.maximum(usual, _LEAST_MEDIAN)))


def _by_block(greys: np.ndarray) -> np.ndarray:
    """Shape (pairs, blocks, pixels of a block)."""
    side = greys.shape[1] // _GRID
    return greys.reshape(-1, _GRID, side, _GRID, side).swapaxes(2, 3).reshape(len(greys), _GRID**2, -1)


def _ordered(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The roots of the median and of the 12th largest of the blocks, pair by pair."""
    places = (_GRID**2 // 2, _GRID**2 - _BLOCKS_APART)
    ordered = np.sqrt(np.partition(squares, places, axis=1)[:, places])
    return ordered[:, 0], ordered[:, 1]


def _look(
    pixels: np.ndarray | Sequence[np.ndarray],
) -> tuple[dict[Image.Transpose | None, np.ndarray], np.ndarray, np.ndarray]:
    """Perceptual hashes (64 bits each) of the photos laid in each way, standardised thumbnails, and greys."""
    hashes = {way: np.empty(len(pixels), np.uint64) for way in _WAYS}
    thumbnails = np.empty((len(pixels), _THUMBNAIL, _THUMBNAIL), np.float32)
    side = min(_CLOSE, len(pixels[0]) // _GRID * _GRID)
    close = np.empty((len(pixels), side, side), np.uint8)
    for row in tqdm(range(len(pixels)), "Comparing photos", unit="", leave=False, disable=None):
        image = Image.fromarray(np.array(pixels[row])).convert("L")
        # The size that imagehash itself looks at: made once for all ways.
        small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        for way, column in hashes.items():
            laid = small if way is None else small.transpose(way)
            column[row] = np.packbits(imagehash.phash(laid).hash.ravel()).view(np.uint64)[0]
        thumbnails[row] = np.asarray(image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX))
        close[row] = np.asarray(image.resize((side, side), Image.Resampling.BOX))
    thumbnails -= thumbnails.mean((1, 2), keepdims=True)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=(1, 2), keepdims=True), 1e-6)
    return hashes, thumbnails, close


def _laid(images: np.ndarray, way: Image.Transpose | None) -> np.ndarray:
    """Square pictures, shape (images, side, side), laid in a way."""
    match way:
        case Image.Transpose.ROTATE_90 | Image.Transpose.ROTATE_180 | Image.Transpose.ROTATE_270:
            quarters = [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270].index(
                way
            ) + 1
            return np.rot90(images, quarters, (1, 2))
        case Image.Transpose.FLIP_LEFT_RIGHT:
            return images[:, :, ::-1]
        case Image.Transpose.FLIP_TOP_BOTTOM:
            return images[:, ::-1]
        case Image.Transpose.TRANSPOSE:
            return images.swapaxes(1, 2)
        case Image.Transpose.TRANSVERSE:
            return images[:, ::-1, ::-1].swapaxes(1, 2)
    return images


def _equal(sha256: pd.Series) -> np.ndarray:
    """Rows of equal files, shape (pairs, 2)."""
    first = pd.Series(range(len(sha256))).groupby(sha256.to_numpy()).transform("min").to_numpy()
    again = np.flatnonzero(first != np.arange(len(first)))
    return np.stack([first[again], again], axis=1)
