"""Photos that are the same or nearly the same: by checksum, by perceptual hash and by their thumbnails."""

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

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
_BLOCK = 256


def duplicates(pixels: np.ndarray, sha256: pd.Series) -> pd.DataFrame:
    """The pairs of photos that are equal or nearly equal, also when turned by quarters or mirrored.

    Args:
        pixels: uint8, shape (images, height, width, 3).
        sha256: Checksum of each photo's file.

    Returns:
        A row a pair: `one` and `other` (row numbers, one < other), `kind` (one of the four), `correlation` of their
        thumbnails in [-1, 1]. Of several equal photos the first is paired with each other one.
    """
    hashes, thumbnails = _look(pixels)
    straight, standardised = hashes[None], _standardised(thumbnails)
    found = [(one, other, EXACT, 1.0) for one, other in _equal(sha256)]
    known: set[tuple[int, int]] = set()
    checksums = sha256.to_numpy()
    for way, kind in _WAYS.items():
        for start in range(0, len(pixels), _BLOCK):
            block = slice(start, start + _BLOCK)
            # Pairs with a photo before the block were seen with that photo's.
            bits = np.bitwise_count(hashes[way][block, None] ^ straight[None, start:])
            for one, other in np.argwhere(bits <= MOST_BITS) + start:
                if one >= other or (one, other) in known or checksums[one] == checksums[other]:
                    continue
                correlation = float(_standardised(_laid(thumbnails[one], way)[None])[0] @ standardised[other])
                if correlation >= LEAST_CORRELATION:
                    known.add((one, other))
                    found.append((int(one), int(other), kind, correlation))
    return pd.DataFrame(found, columns=["one", "other", "kind", "correlation"]).sort_values(
        ["one", "other"], ignore_index=True
    )


def joined_groups(pixels: np.ndarray, table: pd.DataFrame) -> pd.Series:
    """The group of each photo, groups that share equal or nearly equal photos made one, named by their first."""
    pairs = duplicates(pixels, table["sha256"])
    codes, names = pd.factorize(table["group"], sort=True)
    edges = (codes[pairs["one"]], codes[pairs["other"]])
    graph = coo_array((np.ones(len(pairs)), edges), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    first = pd.Series(names).groupby(component).first()
    return pd.Series(first.to_numpy()[component[codes]], index=table.index)


def _look(pixels: np.ndarray) -> tuple[dict[Image.Transpose | None, np.ndarray], np.ndarray]:
    """Perceptual hashes (64 bits each) of the photos, laid in each way, and their grey thumbnails."""
    hashes = {way: np.empty(len(pixels), np.uint64) for way in _WAYS}
    thumbnails = np.empty((len(pixels), _THUMBNAIL, _THUMBNAIL), np.float32)
    for row in tqdm(range(len(pixels)), "Comparing photos", unit="", leave=False, disable=None):
        image = Image.fromarray(np.array(pixels[row])).convert("L")
        # The size that imagehash itself looks at: made once for all ways.
        small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        for way, column in hashes.items():
            laid = small if way is None else small.transpose(way)
            column[row] = np.packbits(imagehash.phash(laid).hash.ravel()).view(np.uint64)[0]
        thumbnails[row] = np.asarray(image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX))
    return hashes, thumbnails


def _laid(thumbnail: np.ndarray, way: Image.Transpose | None) -> np.ndarray:
    return thumbnail if way is None else np.asarray(Image.fromarray(thumbnail).transpose(way))


def _standardised(thumbnails: np.ndarray) -> np.ndarray:
    flat = thumbnails.reshape(len(thumbnails), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6))


def _equal(sha256: pd.Series) -> list[tuple[int, int]]:
    rows = pd.Series(range(len(sha256))).groupby(sha256.to_numpy()).agg(list)
    return [(group[0], other) for group in rows for other in group[1:]]
