"""The audit finds what was put there, and nothing where nothing is."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

import leafexp.audit
from leafexp.config import DataConfig
from leafexp.data import audit as audits
from leafexp.data.audit import audit, check
from leafexp.data.catalog import read_folder, read_table
from leafexp.data.dataset import prepare
from leafexp.data.duplicates import EXACT, MIRRORED, NEAR, TURNED, duplicates
from leafexp.errors import UserError
from leafexp.findings import leaks, remarks
from tests.conftest import REAL_PHOTOS, needs_real_photos, small_dataset


def scene(number: int, size: int = 96) -> Image.Image:
    """A smooth picture, another for each number."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 255, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 20 scenes each, no two alike."""
    for offset, label in ((0, "blight"), (100, "healthy")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(20):
            scene(offset + number).save(tmp_path / "photos" / label / f"{number:02}.jpg", quality=92)
    return tmp_path / "photos"


def test_different_photos_are_clean(folder: Path) -> None:
    found = audit(small_dataset(read_folder(str(folder))))
    assert (found["photos"], found["classes"]) == (40, {"blight": 20, "healthy": 20})
    assert found["exact_duplicates"] == found["near_duplicates"] == {"pairs": 0, "other_label": 0, "across_splits": 0}
    assert (found["groups_across_splits"], found["pairs"], found["rotated"]) == (0, [], 0)
    assert (found["sizes"], found["formats"], found["modes"]) == ({"96x96": 40}, {"JPEG": 40}, {"RGB": 40})
    for probe in (found["border_probe"], found["file_probe"], found["thumbnail_neighbour"]):
        assert probe["low"] <= probe["chance"] == 0.5 <= probe["high"]
    assert leaks(found) == remarks(found) == []
    check(found)


def test_copies_are_found_however_they_were_made(folder: Path) -> None:
    (folder / "healthy" / "copy.jpg").write_bytes((folder / "blight" / "00.jpg").read_bytes())
    scene(1).save(folder / "blight" / "saved_anew.jpg", quality=60)
    scene(2).resize((64, 64)).save(folder / "blight" / "smaller.png")
    scene(3).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "blight" / "mirrored.jpg")
    Image.eval(scene(4), lambda value: min(255, value + 25)).save(folder / "blight" / "brighter.jpg")
    scene(5).transpose(Image.Transpose.ROTATE_90).save(folder / "blight" / "turned.jpg")
    scene(6).transpose(Image.Transpose.ROTATE_270).resize((80, 80)).save(folder / "blight" / "turned_smaller.jpg")
    scene(7).transpose(Image.Transpose.TRANSVERSE).save(folder / "blight" / "turned_and_mirrored.jpg")
    dataset = small_dataset(read_folder(str(folder)))
    pairs = duplicates(dataset.pixels, dataset.table["sha256"])
    paths = dataset.table["path"]
    assert {(paths[pair.one], paths[pair.other], pair.kind) for pair in pairs.itertuples()} == {
        ("blight/00.jpg", "healthy/copy.jpg", EXACT),
        ("blight/01.jpg", "blight/saved_anew.jpg", NEAR),
        ("blight/02.jpg", "blight/smaller.png", NEAR),
        ("blight/03.jpg", "blight/mirrored.jpg", MIRRORED),
        ("blight/04.jpg", "blight/brighter.jpg", NEAR),
        ("blight/05.jpg", "blight/turned.jpg", TURNED),
        ("blight/06.jpg", "blight/turned_smaller.jpg", TURNED),
        ("blight/07.jpg", "blight/turned_and_mirrored.jpg", MIRRORED),
    }
    found = audit(dataset)
    assert (found["exact_duplicates"]["pairs"], found["exact_duplicates"]["other_label"]) == (1, 1)
    assert found["near_duplicates"]["pairs"] == 7
    assert "two different labels" in " ".join(remarks(found))


def with_copies(folder: Path) -> None:
    for number in range(12):
        scene(number).save(folder / "blight" / f"copy{number}.jpg", quality=70)


def test_copies_on_two_sides_stop_and_are_kept_together_on_demand(folder: Path) -> None:
    with_copies(folder)
    catalog = read_folder(str(folder))
    found = audit(small_dataset(catalog))
    across = found["near_duplicates"]["across_splits"]
    assert across > 0 and found["pairs"][0]["split"] != found["pairs"][0]["other_split"]
    with pytest.raises(UserError, match=f"{across} pair.s. of nearly equal photos are on two sides") as stopped:
        check(found)
    assert found["pairs"][0]["path"] in str(stopped.value) and "data.audit=warn" in str(stopped.value)
    together = audit(small_dataset(catalog, groups="near_duplicates"))
    assert together["near_duplicates"] == {**found["near_duplicates"], "across_splits": 0}
    check(together)


def test_a_leaf_on_two_sides_stops(folder: Path) -> None:
    catalog = read_folder(str(folder), r"(\d)\d")
    parts = ["train", "train", "validation", "test"] * 10
    found = audit(small_dataset(catalog.assign(split=parts)))
    assert found["groups_across_splits"] == 4
    with pytest.raises(UserError, match="photos of 4 leaf or leaves are on two sides"):
        check(found)


def test_a_border_that_gives_the_class_away_is_found(tmp_path: Path) -> None:
    for label, grey in (("blight", 60), ("healthy", 90)):
        (tmp_path / label).mkdir()
        for number in range(30):
            framed = Image.new("RGB", (96, 96), (grey, grey, grey))
            framed.paste(scene(number + 200 * grey, 72), (12, 12))
            framed.save(tmp_path / label / f"{number}.jpg", quality=92)
    probe = audit(small_dataset(read_folder(str(tmp_path))))["border_probe"]
    assert probe["accuracy"] == 1.0 and probe["low"] > 0.7


def test_classes_from_different_cameras_are_found(tmp_path: Path) -> None:
    for label, camera, size in (("blight", "old phone", (96, 72)), ("healthy", "new phone", (96, 72))):
        (tmp_path / label).mkdir()
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = camera
        for number in range(30):
            photo = scene(number + 100 * len(label)).resize(size)
            photo.save(tmp_path / label / f"{number}.jpg", quality=92, exif=exif if number else Image.Exif())
    found = audit(small_dataset(read_folder(str(tmp_path))))
    assert found["cameras"] == {"old phone": 29, "new phone": 29} and found["sizes"] == {"96x72": 60}
    assert found["file_probe"]["low"] > 0.6
    assert "Size, format and camera alone tell the class of" in " ".join(remarks(found))


def test_a_second_audit_is_read_from_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = small_dataset(read_folder(str(folder)))
    first = audit(dataset)
    monkeypatch.delattr(audits, "_audit")
    assert audit(dataset) == first
    with pytest.raises(NameError):
        audit(small_dataset(read_folder(str(folder)).iloc[:-1]))


def test_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["audit", *words])
        return leafexp.audit.main()

    monkeypatch.setattr(leafexp.audit, "ROOT", tmp_path / "root")
    words = ["data=folder", f"data.path={folder}", "data.image_size=32"]
    assert run(*words) == 0
    assert "near duplicates" in capsys.readouterr().out
    with_copies(folder)
    assert run(*words) == 1
    printed = capsys.readouterr()
    assert "The test would be too easy" in printed.err and "Traceback" not in printed.err
    assert run(*words, "data.audit=warn") == 0
    assert run(*words, "data.groups=near_duplicates") == 0
    assert run("data=folder", "data.path=nowhere") == 2
    pages = list((tmp_path / "root" / "reports" / "audit").glob("*/audit.html"))
    assert len(pages) == 2
    assert max(page.read_text().count("data:image/jpeg") for page in pages) == 24
    assert sorted(len(pd.read_csv(page.with_name("pairs.csv"))) for page in pages if "jpeg" in page.read_text()) == [12]


@pytest.mark.slow
@needs_real_photos
def test_real_photos_are_clean_and_their_background_is_not() -> None:
    dataset = prepare(read_table(str(REAL_PHOTOS)), DataConfig(), 10**10)
    found = audit(dataset)
    assert found["exact_duplicates"]["pairs"] == dataset.table["sha256"].duplicated().sum() == 0
    assert (found["near_duplicates"]["pairs"], found["groups_across_splits"]) == (0, 0)
    assert found["thumbnail_neighbour"]["accuracy"] == pytest.approx(0.67, abs=0.05)
    assert found["border_probe"]["low"] > found["border_probe"]["chance"]
