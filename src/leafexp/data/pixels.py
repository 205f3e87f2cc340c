"""Photos become pixels: every file is read once, checked, decoded and resized."""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from tqdm import tqdm


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


def load(table: pd.DataFrame, image_size: int) -> tuple[np.ndarray, list[str], dict[int, str]]:
    """Every image of `table` (column `file`), read once.

    Returns:
        Pixels, uint8 in [0, 255], shape (images, image_size, image_size, 3); the SHA-256 of each file; and why each
        unusable image is so, by row. An unusable image's pixels are 0 and its SHA-256 is "".
    """
    pixels = np.zeros((len(table), image_size, image_size, 3), np.uint8)
    checksums = [""] * len(table)
    problems: dict[int, str] = {}

    def read(row: int) -> None:
        try:
            with open(table["file"].iloc[row], "rb") as file:
                content = file.read()
            pixels[row] = decode(content, image_size)
            checksums[row] = hashlib.sha256(content).hexdigest()
        except FileNotFoundError:
            problems[row] = "no such file"
        except OSError as error:
            problems[row] = f"can't be read ({error.strerror})"
        except ValueError as error:
            problems[row] = str(error)

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(
            tqdm(workers.map(read, range(len(table))), "Reading photos", len(table), unit="", leave=False, disable=None)
        )
    return pixels, checksums, dict(sorted(problems.items()))


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
