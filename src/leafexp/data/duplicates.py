"""Photos that are the same or nearly the same: by checksum, by perceptual hash and by their thumbnails."""

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

EXACT, NEAR, MIRRORED = "exact", "near", "near, mirrored"
# Of 3,152 PlantVillage photos, four a leaf, no pair within 12 bits has a correlation over 0.91, not even of one leaf.
MOST_BITS = 10  # of 64 by which perceptual hashes (DCT, as imagehash.phash) may differ
LEAST_CORRELATION = 0.95  # of the grey values of 32 x 32 thumbnails
_THUMBNAIL = 32
_BLOCK = 256


def duplicates(pixels: np.ndarray, sha256: pd.Series) -> pd.DataFrame:
    """The pairs of photos that are equal or nearly equal, also when mirrored.

    Args:
        pixels: uint8, shape (images, height, width, 3).
        sha256: Checksum of each photo's file.

    Returns:
        A row a pair: `one` and `other` (row numbers, one < other), `kind` (one of the three), `correlation` of their
        thumbnails in [-1, 1]. Of several equal photos the first is paired with each other one.
    """
    straight, mirrored, thumbnails = _look(pixels)
    found = [(one, other, EXACT, 1.0) for one, other in _equal(sha256)]
    known: set[tuple[int, int]] = set()
    checksums = sha256.to_numpy()
    for kind, hashes, images in (
        (NEAR, straight, thumbnails),
        (MIRRORED, mirrored, thumbnails[:, :, ::-1]),
    ):
        left, right = _standardised(images), _standardised(thumbnails)
        for start in range(0, len(hashes), _BLOCK):
            bits = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ straight[None])
            for place, other in zip(*np.nonzero(bits <= MOST_BITS), strict=True):
                one = start + int(place)
                correlation = float(left[one] @ right[other])
                new = one < other and (one, other) not in known and checksums[one] != checksums[other]
                if new and correlation >= LEAST_CORRELATION:
                    known.add((one, int(other)))
                    found.append((one, int(other), kind, correlation))
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


def _look(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Perceptual hashes of the photos and of their mirror images (64 bits each), and grey thumbnails."""
    hashes = np.empty((2, len(pixels)), np.uint64)
    thumbnails = np.empty((len(pixels), _THUMBNAIL, _THUMBNAIL), np.float32)
    for row in range(len(pixels)):
        image = Image.fromarray(np.array(pixels[row])).convert("L")
        flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for side, seen in enumerate((image, flipped)):
            hashes[side, row] = np.packbits(imagehash.phash(seen).hash.ravel()).view(np.uint64)[0]
        thumbnails[row] = np.asarray(image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX))
    return hashes[0], hashes[1], thumbnails


def _standardised(thumbnails: np.ndarray) -> np.ndarray:
    flat = thumbnails.reshape(len(thumbnails), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6))


def _equal(sha256: pd.Series) -> list[tuple[int, int]]:
    rows = pd.Series(range(len(sha256))).groupby(sha256.to_numpy()).agg(list)
    return [(group[0], other) for group in rows for other in group[1:]]
