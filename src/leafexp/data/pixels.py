"""Photos become pixels: every file is checked, and decoded and resized once, into the cache."""

import functools
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import PIL
from PIL import Image, ImageOps
from tqdm import tqdm

from leafexp.cache import Stored, get_or_make, key_of
from leafexp.environment import processors
from leafexp.errors import UserError

T = TypeVar("T")

# Goes into the cache's keys: to be changed with anything in `decode` that changes a pixel.
_PREPROCESSING = "upright, on white, squeezed, bilinear, 1"


def decode(content: bytes, image_size: int) -> np.ndarray:
    """The photo as RGB pixels, uint8 in [0, 255], shape (image_size, image_size, 3).

    Turned as its EXIF orientation says; transparent parts become white; 16-bit values are scaled to 8; squeezed to a
    square without cropping.

    Raises:
        ValueError: in words, why `content` is not a photo.
    """
    if not content:
        raise ValueError("empty file")
    try:
        with Image.open(io.BytesIO(content)) as image:
            # Lets the JPEG decoder leave out detail far below the size wanted.
            image.draft("RGB", (2 * image_size, 2 * image_size))
            upright = _to_rgb(ImageOps.exif_transpose(image))
            return np.asarray(upright.resize((image_size, image_size), Image.Resampling.BILINEAR))
    except Image.UnidentifiedImageError:
        raise ValueError("not an image") from None
    except Image.DecompressionBombError:
        raise ValueError("more pixels than Pillow decodes safely") from None
    except Exception as error:
        # Pillow's decoders raise many kinds for broken files: OSError, SyntaxError, struct.error ...
        raise ValueError(f"broken image ({error})") from None


def checksums(files: Sequence[str]) -> tuple[list[str], dict[int, str]]:
    """The SHA-256 of each file, "" where it can't be read, and why not, by place in `files`."""
    problems: dict[int, str] = {}

    def checksum(row: int) -> str:
        try:
            status = os.stat(files[row])
            return _sha256(files[row], status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            problems[row] = "no such file"
        except OSError as error:
            problems[row] = f"can't be read ({error.strerror})"
        return ""

    return list(_in_parallel(checksum, range(len(files)), "Checking photos")), problems


def load(table: pd.DataFrame, image_size: int, cache_bytes: int) -> tuple[Stored, list[str], dict[int, str]]:
    """Every usable image of `table` (column `file`): decoded on first use, from the cache after that.

    The files are read each time (once a process), as only their contents tell whether the cache has them.

    Returns:
        Pixels in the table's order without the unusable images, uint8 in [0, 255], shape (images, image_size,
        image_size, 3); the SHA-256 of each file, "" where it can't be read; and why each unusable image is so, by row.

    Raises:
        UserError: the pixels don't fit into the cache, or a file changed between two looks at it.
    """
    files = list(table["file"])
    sha256, problems = checksums(files)
    rows = [row for row, value in enumerate(sha256) if value]

    def decoded(row: int) -> np.ndarray | str:
        try:
            with open(files[row], "rb") as file:
                content = file.read()
        except OSError as error:
            raise UserError(f"{files[row]} was there a moment ago and can't be read now: {error.strerror}.") from None
        if hashlib.sha256(content).hexdigest() != sha256[row]:
            raise UserError(f"{files[row]} changed while the photos were read. Start again when it is complete.")
        try:
            return decode(content, image_size)
        except ValueError as error:
            return str(error)

    def make(about: dict[str, Any]) -> Iterator[np.ndarray]:
        about["unusable"] = {}
        for place, result in enumerate(_in_parallel(decoded, rows, "Decoding photos")):
            if isinstance(result, str):
                about["unusable"][place] = result
            else:
                yield result[None]

    stored = get_or_make(
        "pixels",
        key_of(PIL.__version__, _PREPROCESSING, image_size, [sha256[row] for row in rows]),
        f"{len(rows)} photos at {image_size} px",
        len(rows),
        (image_size, image_size, 3),
        np.uint8,
        make,
        cache_bytes,
    )
    problems |= {rows[int(place)]: reason for place, reason in stored.about["unusable"].items()}
    return stored, sha256, dict(sorted(problems.items()))


@functools.cache  # a sweep's jobs share a process; a file that changes has another time or size
def _sha256(file: str, size: int, modified: int) -> str:  # noqa: ARG001
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _in_parallel(work: Callable[[int], T], rows: Sequence[int], title: str) -> Iterator[T]:
    """The results of `work` in order, by as many threads as there are processors, under a progress bar."""
    workers = ThreadPoolExecutor(processors())
    try:
        yield from tqdm(workers.map(work, rows), title, len(rows), unit="", leave=False, disable=None)
    finally:
        workers.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the rest


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit greys come as I;16*, or as I from formats without a 16-bit mode.
        values = np.asarray(image.convert("I"))
        scaled = values // 257 if values.max(initial=0) > 255 else values
        image = Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no defined white")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
