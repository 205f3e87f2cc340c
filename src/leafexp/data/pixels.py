"""Photos become pixels: every file is checked, and decoded and resized once, into the cache."""

import errno
import functools
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import PIL
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile
from tqdm import tqdm

from leafexp.cache.arrays import Stored, get_or_make, key_of
from leafexp.data.spelling import printable
from leafexp.environment import processors
from leafexp.errors import UserError
from leafexp.notes import note

T = TypeVar("T")

# Goes into the cache's keys: to be changed with anything in `decode` that changes a pixel or a reason.
_PREPROCESSING = "upright, on white, squeezed, bilinear, 16 bits as the file says, 2"

# How files begin that lie where a photo was meant to be, and what to do about them.
_NO_PHOTOS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the photo itself: `git lfs pull` fetches it"),
    (rb"....ftyp(?:hei|hev|mif1|msf1)", "HEIC, which Pillow doesn't read: export as JPEG"),
    (rb"\s*(?i:<!doctype html|<html)", "a web page, not the photo itself: download it again"),
    (rb"\0+\Z", "nothing but zero bytes: copy it again"),
)
_SIXTEEN_BITS = 2**16 - 1
_TAGS_OF_WHITE = (50717, 341, 281)  # TIFF: WhiteLevel, SMaxSampleValue, MaxSampleValue
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT, _SIGNED = 258, 262, 339, 2
# Errors of the file itself; any other is the machine's, and may be gone the next time.
_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}


class _Unusable(ValueError):
    """Why a file can't be used as a photo, in words."""


def decode(content: bytes, image_size: int, white: int | None = None, fit: str = "squeeze") -> np.ndarray:
    """The photo as RGB pixels, uint8 in [0, 255], shape (image_size, image_size, 3).

    Turned as its EXIF orientation says; transparent parts become white; made square as `fit` says (FITS). Greys of more
    than 8 bits are divided by `white`, else by the white that the file states (a TIFF's tags), else by what 16 bits
    hold at most: never by what the file happens to hold at most.

    Raises:
        ValueError: in words, why `content` is not a photo.
        MemoryError: it may well be a photo.
    """
    if not content:
        raise _Unusable("empty file")
    for beginning, reason in _NO_PHOTOS:
        if re.match(beginning, content, re.DOTALL):
            raise _Unusable(reason)
    try:
        with Image.open(io.BytesIO(content)) as image:
            # Lets the JPEG decoder leave out detail far below the size wanted.
            image.draft("RGB", (2 * image_size, 2 * image_size))
            if white is not None and _is_sixteen_bit_colour(image):
                raise _Unusable("colour of 16 bits, of which Pillow keeps the upper 8: export with 8 bits")
            upright = ImageOps.exif_transpose(image)
            if image.mode == "F" or image.mode.startswith("I"):
                scale = white or _stated_white(image) or _usual_white(image)
                upright = _scaled(np.asarray(upright), scale, _white_is_zero(image))
            return np.asarray(FITS[fit](_to_rgb(upright), (image_size, image_size)))
    except (_Unusable, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise _Unusable("not an image") from None
    except Image.DecompressionBombError:
        raise _Unusable("more pixels than Pillow decodes safely") from None
    except Exception as error:
        # Pillow's decoders raise many kinds for broken files: OSError, SyntaxError, struct.error ...
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if "memory" in str(error):
            raise MemoryError(str(error)) from None
        if re.search("truncated|unexpected end", str(error), re.IGNORECASE):
            raise _Unusable("broken image: the file ends too early, copy it again") from None
        raise _Unusable(f"broken image ({error})") from None


def checksums(files: Sequence[str]) -> tuple[list[str], dict[int, str]]:
    """The SHA-256 of each file, "" where it can't be read, and why not, by place in `files`."""
    problems: dict[int, str] = {}

    def checksum(row: int) -> str:
        try:
            status = os.stat(files[row])
            return _sha256(files[row], status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            problems[row] = "a link to a file that is not there" if os.path.islink(files[row]) else "no such file"
        except OSError as error:
            if error.errno not in _OF_THE_FILE:
                raise UserError(f"{printable(files[row])} can't be read: {error.strerror}. Try again.") from None
            problems[row] = f"can't be read ({error.strerror})"
        return ""

    return list(_in_parallel(checksum, range(len(files)), "Checking photos")), problems


def load(
    table: pd.DataFrame, image_size: int, cache_bytes: int, white: int | None = None, fit: str = "squeeze"
) -> tuple[Stored, list[str], dict[int, str]]:
    """Every usable image of `table` (column `file`): decoded on first use, from the cache after that.

    The files are read each time (once a process), as only their contents tell whether the cache has them.

    Returns:
        Pixels in the table's order without the unusable images, uint8 in [0, 255], shape (images, image_size,
        image_size, 3); the SHA-256 of each file, "" where it can't be read; and why each unusable image is so, by row.

    Raises:
        UserError: the pixels don't fit into the cache, a file changed between two looks at it, or the machine can't
            read or decode it now.
    """
    files = list(table["file"])
    sha256, problems = checksums(files)
    rows = [row for row, value in enumerate(sha256) if value]

    def decoded(row: int) -> tuple[np.ndarray, int, bool] | str:
        name = printable(files[row])
        try:
            with open(files[row], "rb") as file:
                content = file.read()
            if hashlib.sha256(content).hexdigest() != sha256[row]:
                raise UserError(f"{name} changed while the photos were read. Start again when it is complete.")
            if white is not None:
                return decode(content, image_size, white, fit), 0, _holds_several(content)
            return decode(content, image_size, None, fit), _largest_of_sixteen_bits(content), _holds_several(content)
        except ValueError as error:
            return str(error)
        except OSError as error:
            raise UserError(f"{name} was there a moment ago and can't be read now: {error.strerror}.") from None
        except MemoryError:
            raise UserError(f"Out of memory while decoding {name}. Close other programs, or make it smaller.") from None

    def make(about: dict[str, Any]) -> Iterator[np.ndarray]:
        about["unusable"], about["sixteen_bit"], about["several"] = {}, {"photos": 0, "largest": 0}, 0
        for place, result in enumerate(_in_parallel(decoded, rows, "Decoding photos")):
            if isinstance(result, str):
                about["unusable"][place] = result
            else:
                pixels, largest, several = result
                about["several"] += several
                about["sixteen_bit"]["photos"] += largest > 0
                about["sixteen_bit"]["largest"] = max(about["sixteen_bit"]["largest"], largest)
                yield pixels[None]

    squared = () if fit == "squeeze" else (fit,)  # so that arrays of earlier versions are found
    stored = get_or_make(
        "pixels",
        key_of(PIL.__version__, _PREPROCESSING, image_size, white, [sha256[row] for row in rows], *squared),
        f"{len(rows)} photos at {image_size} px",
        len(rows),
        (image_size, image_size, 3),
        np.uint8,
        make,
        cache_bytes,
    )
    problems |= {rows[int(place)]: reason for place, reason in stored.about["unusable"].items()}
    if several := stored.about.get("several"):  # arrays of earlier versions don't tell
        note(f"{'1 file holds' if several == 1 else f'{several} files hold'} several pictures: the first is used.")
    if white is None:
        _note_dark(**stored.about["sixteen_bit"])
    return stored, sha256, dict(sorted(problems.items()))


def _note_dark(photos: int, largest: int) -> None:
    """Say where photos of 16 bits use the lowest of them only: the sensor had fewer."""
    bits = largest.bit_length()
    if 0 < bits < 15:
        they_use = "the photo of 16 bits uses" if photos == 1 else f"the {photos} photos of 16 bits use"
        note(
            f"{they_use} the lowest {bits} bits only (no value is over {largest:,}), which comes out dark. "
            f"If white is {2**bits - 1} for the camera, set data.white={2**bits - 1}."
        )


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


def _squeezed(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR)


def _padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole photo in its proportions; beside it the median colour of the photo's outermost pixels."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(value) for value in np.median(edge, axis=0))
    return ImageOps.pad(image, size, Image.Resampling.BILINEAR, (red, green, blue))


def _cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest square in the photo's middle."""
    return ImageOps.fit(image, size, Image.Resampling.BILINEAR)


# How a photo that is not square becomes so: data.fit.
FITS = {"squeeze": _squeezed, "pad": _padded, "crop": _cropped}


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _scaled(values: np.ndarray, white: int, white_is_zero: bool) -> Image.Image:
    scaled = values * 255.0 / white if values.dtype.kind == "f" else values.astype(np.int64) * 255 // white
    grey = np.nan_to_num(scaled).clip(0, 255).astype(np.uint8)
    return Image.fromarray(255 - grey if white_is_zero else grey)


def _stated_white(image: Image.Image) -> int | None:
    """The value that the file itself states as white; None where it states none."""
    if not isinstance(image, TiffImageFile):
        return None
    for tag in _TAGS_OF_WHITE:
        # TIFF's maximum may be that of the values; one less than a power of two is that of their range.
        stated = int(_first(image, tag))
        if stated > 255 and (stated & (stated + 1) == 0 or tag == _TAGS_OF_WHITE[0]):
            return stated
    bits = int(_first(image, _BITS_PER_SAMPLE))
    signed = _first(image, _SAMPLE_FORMAT) == _SIGNED
    return 2 ** (bits - signed) - 1 if 8 < bits - signed < 16 else None


def _usual_white(image: Image.Image) -> int:
    bits = _first(image, _BITS_PER_SAMPLE) if isinstance(image, TiffImageFile) else 16
    if image.mode == "F" or bits > 16:
        raise _Unusable("floating-point or 32-bit pixels have no defined white: set data.white, or export as JPEG")
    return _SIXTEEN_BITS


def _is_sixteen_bit_colour(image: Image.Image) -> bool:
    return ";16" in str(getattr(image, "tile", "")) and not image.mode.startswith("I")


def _largest_of_sixteen_bits(content: bytes) -> int:
    """The largest value of a photo of 16 bits that doesn't state what is white; 0 for other photos."""
    with Image.open(io.BytesIO(content)) as image:
        colour = _is_sixteen_bit_colour(image)
        if not colour and (not image.mode.startswith("I") or _stated_white(image)):
            return 0
        largest = int(np.asarray(image).max(initial=0))
        return 256 * largest + 255 if colour else largest


def _holds_several(content: bytes) -> bool:
    with Image.open(io.BytesIO(content)) as image:
        return getattr(image, "n_frames", 1) > 1


def _white_is_zero(image: Image.Image) -> bool:
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0


def _first(image: TiffImageFile, tag: int) -> float:
    values = np.atleast_1d(image.tag_v2.get(tag, 0))
    return float(values[0])
