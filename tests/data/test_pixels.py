import errno
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from leafexp.data import dataset, pixels
from leafexp.data.catalog import read_folder, read_table
from leafexp.data.dataset import prepare
from leafexp.errors import UserError
from leafexp.settings.schema import DataConfig
from leafexp.settings.values import FITS
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


def upright_photo() -> bytes:
    """493 x 1040 pixels: light, with a dark square of 400 in the middle."""
    photo = Image.new("RGB", (493, 1040), (200, 180, 160))
    photo.paste((10, 20, 30), (46, 320, 446, 720))
    return saved(photo, "PNG")


def extent(dark: np.ndarray) -> tuple[int, int]:
    """Height and width of what is dark."""
    return int(dark.any(axis=1).sum()), int(dark.any(axis=0).sum())


def test_a_photo_that_is_not_square_is_squeezed_padded_or_cropped_as_wanted() -> None:
    squeezed, padded, cropped = (pixels.decode(upright_photo(), 128, fit=fit) for fit in ("squeeze", "pad", "crop"))
    for decoded in (squeezed, padded, cropped):
        assert (decoded.shape, decoded.dtype) == ((128, 128, 3), np.uint8)
    dark = [extent(decoded[:, :, 0] < 105) for decoded in (squeezed, padded, cropped)]
    sizes = [(400 / 1040, 400 / 493), (400 / 1040, 400 / 1040), (400 / 493, 400 / 493)]
    np.testing.assert_allclose(dark, 128 * np.array(sizes), atol=1)
    # The photo is 61 of 128 pixels wide; beside it lies the colour of its edge, and nothing shows where it ends.
    assert (padded[:, :33] == (200, 180, 160)).all() and (padded[:, -33:] == (200, 180, 160)).all()
    ring = pixels.decode(saved(ImageOps.expand(Image.new("RGB", (491, 1038), "red"), 1, "blue"), "PNG"), 128, fit="pad")
    assert (ring[:, :33] == (0, 0, 255)).all() and (ring[64, 60] == (255, 0, 0)).all()


def test_a_square_photo_is_the_same_in_each_way() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    content = saved(Image.fromarray(photo), "PNG")
    for fit in ("pad", "crop"):
        np.testing.assert_array_equal(pixels.decode(content, 32, fit=fit), pixels.decode(content, 32))


def test_each_way_to_a_square_has_its_own_array(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "photo.png").write_bytes(upright_photo())
    catalog = read_folder(str(tmp_path))
    stored = {fit: pixels.load(catalog, 32, 10**9, fit=fit)[0] for fit in FITS}
    assert len({array.key for array in stored.values()}) == len(FITS) == len(pixels.FITS)
    for fit, array in stored.items():
        np.testing.assert_array_equal(array.array[0], pixels.decode(upright_photo(), 32, fit=fit))


def tiff(values: np.ndarray, **tags: object) -> bytes:
    return saved(Image.fromarray(values), "TIFF", **tags)


def twelve_bits(values: np.ndarray) -> bytes:
    """A TIFF of one row of 12-bit values, packed."""
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values.reshape(-1, 2).tolist())
    entries = [
        (256, values.size),
        (257, 1),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, len(packed)),
    ]
    start = 8 + len(packed) + len(packed) % 2
    folder = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return (
        struct.pack("<2sHI", b"II", 42, start)
        + packed.ljust(start - 8, b"\0")
        + struct.pack("<H", 9)
        + folder
        + bytes(4)
    )


def test_sixteen_bits_are_scaled_by_what_the_file_says_and_not_by_its_largest_value() -> None:
    values = np.tile(np.array([[0, 100, 1000, 4080]], np.uint16), (4, 1))
    by_full_range, by_twelve_bits = [0, 0, 3, 15], [0, 6, 62, 254]
    cases = {
        "PNG": (saved(Image.fromarray(values), "PNG"), by_full_range),
        "TIFF": (tiff(values), by_full_range),
        "big-endian TIFF": (tiff(values.astype(">u2")), by_full_range),
        "TIFF that states its range": (tiff(values, tiffinfo={281: 4095}), by_twelve_bits),
        "TIFF that states its largest value": (tiff(values, tiffinfo={281: 4080}), by_full_range),
        "TIFF of 12 bits": (twelve_bits(np.tile(values[0], 2)), by_twelve_bits * 2),
        "TIFF in which zero is white": (tiff(values, tiffinfo={262: 0}), [255 - value for value in by_full_range]),
        "PGM up to 4095": (b"P5 4 1 4095\n" + values[0].astype(">u2").tobytes(), by_twelve_bits),
    }
    for kind, (content, expected) in cases.items():
        width = len(expected)
        assert pixels.decode(content, width)[0, :, 0].tolist() == pytest.approx(expected, abs=1), kind
    assert pixels.decode(cases["PNG"][0], 4, white=4095)[0, :, 0].tolist() == by_twelve_bits
    assert pixels.decode(cases["PNG"][0], 4, white=1)[0, :, 0].tolist() == [0, 255, 255, 255]
    fractions = saved(Image.fromarray(np.array([[0, 0.1, 0.5, 1]] * 4, np.float32)), "TIFF")
    assert pixels.decode(fractions, 4, white=1)[0, :, 0].tolist() == [0, 25, 127, 255]
    with pytest.raises(ValueError, match="Pillow keeps the upper 8"):
        pixels.decode(sixteen_bit_colour(), 4, white=4095)


def sixteen_bit_colour() -> bytes:
    """A PNG of one pixel of 16-bit colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes([0, 7, 0, 7, 0, 7, 0]))) + chunk(b"IEND", b"")
    )


def test_a_set_that_uses_the_lowest_bits_only_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("blight", "healthy"):
        (tmp_path / label).mkdir()
        for number in range(5):
            grey = np.random.default_rng([number, len(label)]).integers(0, 4000, (40, 40)).astype(np.uint16)
            (tmp_path / label / f"{number}.tif").write_bytes(tiff(grey))
    catalog = read_folder(str(tmp_path))
    dark = small_dataset(catalog).pixels
    assert "the 10 photos of 16 bits use the lowest 12 bits only" in capsys.readouterr().out
    settings = DataConfig(image_size=32, validation_share=0.2, test_share=0.2, white=4095)
    bright = prepare(catalog, settings, 10**9).pixels
    assert dark.max() <= 15 and bright.mean() > 100 and capsys.readouterr().out == ""


def bad_files(folder: Path) -> dict[str, str]:
    """A dozen unusable files, with a word of the reason for each."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8))
    jpeg, png, tif = saved(noise, "JPEG"), saved(noise, "PNG"), saved(noise, "TIFF")
    contents = {
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"not a photo", "not an image"),
        "zeros.jpg": (bytes(5000), "zero bytes"),
        "page.png": (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        "phone.jpg": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100), "HEIC"),
        "archive.jpg": (b"PK\x03\x04" + bytes(100), "not an image"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "ends too early"),
        "header_only.jpg": (jpeg[:20], "not an image"),
        "truncated.png": (png[: len(png) // 2], "broken image"),
        "corrupt.png": (png[:200] + bytes(50) + png[250:], "broken image"),
        "truncated.tif": (tif[:1000], "image"),
        "float.tif": (saved(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"), "floating-point"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    return {name: reason for name, (_, reason) in contents.items()} | {"dangling.jpg": "a link to a file"}


def test_ten_bad_images_are_named_and_all_are_in_a_file_or_skipped_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    write_photos(photos, {"blight": 10, "healthy": 10})
    reasons = bad_files(photos / "blight")
    (photos / "blight" / "leaf0_0.xml").write_text("<annotation/>")
    monkeypatch.setattr(dataset, "ROOT", tmp_path)
    catalog = read_folder(str(photos))
    with pytest.raises(UserError) as raised:
        small_dataset(catalog)
    message = str(raised.value)
    assert f"{len(reasons)} of {20 + len(reasons)} images can't be used" in message
    assert "data.on_bad_image=skip" in message
    named = [line for line in message.splitlines() if line.startswith("  blight/")]
    assert len(named) == 10 and f"and {len(reasons) - 10} more" in message
    assert "left out, as they are no photos: 1 .xml." in capsys.readouterr().out
    listed = pd.read_csv(tmp_path / "reports" / "unusable_photos.csv").set_index("path")["reason"]
    assert set(listed.index) == {f"blight/{name}" for name in reasons}
    for name, reason in reasons.items():
        assert reason in listed[f"blight/{name}"], name

    skipping = small_dataset(catalog, "skip")
    assert f"{len(reasons)} of {20 + len(reasons)} images can't be used and are left out" in capsys.readouterr().out
    assert skipping.pixels.shape == (20, 32, 32, 3)
    assert set(skipping.skipped["path"]) == {f"blight/{name}" for name in reasons}
    assert not skipping.table["path"].isin(skipping.skipped["path"]).any()
    good = pd.Series([path for path in catalog["path"] if Path(path).name not in reasons])
    np.testing.assert_array_equal(skipping.table["path"], good)
    assert (skipping.pixels.reshape(20, -1).std(axis=1) > 0).all()


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_no_usable_photo_at_all_or_of_a_class_is_one_line(
    tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "ROOT", tmp_path / "root")
    (tmp_path / "root").mkdir()
    listed = tmp_path / "root" / "reports" / "unusable_photos.csv"
    write_photos(tmp_path, {"blight": 3, "healthy": 3})
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    for file in tmp_path.glob("blight/*.jpg"):
        file.write_bytes(pointer)
    with pytest.raises(
        UserError,
        match=r"'blight' has no usable image of 3: a Git LFS pointer.*git lfs pull.*\(3\).*csv",
    ):
        small_dataset(read_folder(str(tmp_path)), policy)
    assert len(pd.read_csv(listed)) == 3
    for number, file in enumerate(tmp_path.glob("healthy/*.jpg")):
        file.write_bytes(pointer + bytes([number]))
    with pytest.raises(UserError, match=r"None of the 6 photos can be used: a Git LFS pointer.* \(6\).*csv"):
        small_dataset(read_folder(str(tmp_path)), policy)
    assert len(pd.read_csv(listed)) == 6
    (tmp_path / "all.csv").write_text("path,label\nwrong/1.jpg,a\nwrong/2.jpg,b\n")
    with pytest.raises(UserError, match=r"no such file \(2\). The first is .*/wrong/1.jpg. In a CSV, paths start at"):
        small_dataset(read_table(str(tmp_path / "all.csv")), policy)
    assert list(pd.read_csv(listed)["path"]) == ["wrong/1.jpg", "wrong/2.jpg"]


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_one_unusable_photo_takes_the_place_of_those_listed_before(
    tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataset, "ROOT", tmp_path)
    listed = tmp_path / "reports" / "unusable_photos.csv"
    listed.parent.mkdir()
    listed.write_text("path,reason\nelsewhere/1.jpg,empty file\n")
    write_photos(tmp_path / "photos", {"blight": 5, "healthy": 5})
    (tmp_path / "photos" / "blight" / "empty.jpg").touch()
    said = ""
    try:
        small_dataset(read_folder(str(tmp_path / "photos")), policy)
    except UserError as error:
        said = str(error)
    said += capsys.readouterr().out
    assert list(pd.read_csv(listed)["path"]) == ["blight/empty.jpg"]
    assert f"Listed in {listed}." in said


def test_a_lack_of_memory_is_no_broken_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_photos(tmp_path / "photos", {"blight": 5, "healthy": 5}, size=42)
    catalog = read_folder(str(tmp_path / "photos"))
    for error in (MemoryError(), OSError("out of memory when reading image file"), OSError(errno.EMFILE, "Too many")):
        with monkeypatch.context() as patch:
            patch.setattr(ImageOps, "exif_transpose", lambda _, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(UserError, match="Out of memory while decoding|can't be read now: Too many"):
                small_dataset(catalog, "skip")
    assert len(small_dataset(catalog, "skip").table) == 10


def test_photos_are_decoded_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_photos(tmp_path / "photos", {"blight": 5, "healthy": 5})
    catalog = read_folder(str(tmp_path / "photos"))
    decoded: list[int] = []

    def counted(content: bytes, image_size: int, white: int | None, fit: str) -> np.ndarray:
        decoded.append(image_size)
        return decode(content, image_size, white, fit)

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
    # Photos that the cache has are not read again, and another test may have put these there.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_photos(tmp_path / "photos", {"blight": 5, "healthy": 5}, size=44)
    catalog = read_folder(str(tmp_path / "photos"))
    checksum = pixels._sha256

    def then_changed(file: str, *status: int) -> str:
        value = checksum(file, *status)
        if file.endswith("leaf1_0.jpg"):
            Path(file).write_bytes(b"another photo")
        return value

    monkeypatch.setattr(pixels, "_sha256", then_changed)
    with pytest.raises(UserError, match=r"leaf1_0.jpg changed while the photos were read"):
        small_dataset(catalog, "skip")
