import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leafexp.data import pixels
from leafexp.data.catalog import read_folder
from leafexp.errors import UserError
from tests.conftest import small_dataset, write_photos

GREEN = (40, 160, 60)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def half_transparent() -> Image.Image:
    image = Image.new("RGBA", (64, 64), (*GREEN, 255))
    image.paste((0, 0, 0, 0), (0, 0, 64, 32))
    return image


def test_every_kind_of_image_becomes_the_same_rgb() -> None:
    flat = Image.new("RGB", (64, 48), GREEN)
    grey = Image.new("L", (64, 48), 128)
    sixteen = Image.fromarray(np.full((48, 64), 128 * 257, np.uint16))
    cases = {
        "RGB": (saved(flat, "PNG"), GREEN),
        "palette": (saved(flat.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), GREEN),
        "RGBA": (saved(flat.convert("RGBA"), "PNG"), GREEN),
        "CMYK": (saved(flat.convert("CMYK"), "JPEG", quality=95), GREEN),
        "grey": (saved(grey, "JPEG"), (128,) * 3),
        "grey with alpha": (saved(grey.convert("LA"), "PNG"), (128,) * 3),
        "one bit": (saved(Image.new("1", (64, 48), 1), "PNG"), (255,) * 3),
        "16-bit PNG": (saved(sixteen, "PNG"), (128,) * 3),
        "16-bit TIFF": (saved(sixteen, "TIFF"), (128,) * 3),
        "WebP": (saved(flat, "WEBP", lossless=True), GREEN),
        "BMP": (saved(flat, "BMP"), GREEN),
        "GIF": (saved(flat, "GIF"), GREEN),
    }
    for kind, (content, colour) in cases.items():
        decoded = pixels.decode(content, 32)
        assert (decoded.shape, decoded.dtype) == ((32, 32, 3), np.uint8), kind
        np.testing.assert_allclose(decoded.reshape(-1, 3), np.broadcast_to(colour, (1024, 3)), atol=4, err_msg=kind)


def test_transparent_parts_become_white() -> None:
    decoded = pixels.decode(saved(half_transparent(), "PNG"), 64)
    assert (decoded[:31] == 255).all()
    assert (decoded[33:] == GREEN).all()


def test_exif_orientation_is_honoured() -> None:
    upright = Image.new("RGB", (64, 64), "black")
    upright.paste("white", (0, 0, 64, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned a quarter anticlockwise
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    expected = pixels.decode(saved(upright, "PNG"), 64)
    np.testing.assert_array_equal(pixels.decode(saved(turned, "PNG", exif=exif), 64), expected)


def bad_files(folder: Path) -> dict[str, str]:
    """A dozen unusable files, with a word of the reason for each."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8))
    jpeg, png, tiff = saved(noise, "JPEG"), saved(noise, "PNG"), saved(noise, "TIFF")
    contents = {
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"not a photo", "not an image"),
        "zeros.jpg": (bytes(5000), "not an image"),
        "page.png": (b"<html><body>404</body></html>", "not an image"),
        "video.mp4": (b"\x00\x00\x00\x18ftypmp42" + bytes(100), "not an image"),
        "archive.zip": (b"PK\x03\x04" + bytes(100), "not an image"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "broken image"),
        "header_only.jpg": (jpeg[:20], "not an image"),
        "truncated.png": (png[: len(png) // 2], "broken image"),
        "corrupt.png": (png[:200] + bytes(50) + png[250:], "broken image"),
        "truncated.tif": (tiff[:1000], "image"),
        "float.tif": (saved(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"), "floating-point"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    return {name: reason for name, (_, reason) in contents.items()} | {"dangling.jpg": "no such file"}


def test_all_bad_images_are_named_at_once_or_skipped_and_recorded(tmp_path: Path) -> None:
    write_photos(tmp_path, {"blight": 10, "healthy": 10})
    reasons = bad_files(tmp_path / "blight")
    catalog = read_folder(str(tmp_path))
    with pytest.raises(UserError) as raised:
        small_dataset(catalog)
    message = str(raised.value)
    assert f"{len(reasons)} of {20 + len(reasons)} images can't be used" in message
    assert "data.on_bad_image=skip" in message
    lines = dict(line.strip().split(": ", 1) for line in message.splitlines() if line.startswith("  "))
    assert lines.keys() == {f"blight/{name}" for name in reasons}
    for name, reason in reasons.items():
        assert reason in lines[f"blight/{name}"], name

    dataset = small_dataset(catalog, "skip")
    assert dataset.pixels.shape == (20, 32, 32, 3)
    assert set(dataset.skipped["path"]) == {f"blight/{name}" for name in reasons}
    assert not dataset.table["path"].isin(dataset.skipped["path"]).any()
    good = pd.Series([path for path in catalog["path"] if Path(path).name not in reasons])
    np.testing.assert_array_equal(dataset.table["path"], good)
    assert (dataset.pixels.reshape(20, -1).std(axis=1) > 0).all()


def test_photos_are_decoded_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path, {"blight": 5, "healthy": 5})
    catalog = read_folder(str(tmp_path))
    decoded: list[int] = []

    def counted(content: bytes, image_size: int) -> np.ndarray:
        decoded.append(image_size)
        return decode(content, image_size)

    decode = pixels.decode
    monkeypatch.setattr(pixels, "decode", counted)

    def load(size: int = 32) -> np.ndarray:
        decoded.clear()
        return pixels.load(catalog, size, 10**9)[0].array

    first = load()
    assert len(decoded) == 10
    np.testing.assert_array_equal(load(), first)
    assert decoded == []
    assert load(40).shape == (10, 40, 40, 3)
    assert len(decoded) == 10
    moved = catalog["file"].iloc[[1, 0, *range(2, 10)]].to_numpy()
    Path(moved[0]).rename(tmp_path / "spare")
    Path(moved[1]).rename(moved[0])
    (tmp_path / "spare").rename(moved[1])
    np.testing.assert_array_equal(load()[:2], first[[1, 0]])
    assert len(decoded) == 10


def test_a_photo_that_changes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path, {"blight": 5, "healthy": 5}, size=44)
    catalog = read_folder(str(tmp_path))
    checksum = pixels._sha256

    def then_changed(file: str, *status: int) -> str:
        value = checksum(file, *status)
        if file.endswith("leaf1_0.jpg"):
            Path(file).write_bytes(b"another photo")
        return value

    monkeypatch.setattr(pixels, "_sha256", then_changed)
    with pytest.raises(UserError, match=r"leaf1_0.jpg changed while the photos were read"):
        small_dataset(catalog, "skip")
