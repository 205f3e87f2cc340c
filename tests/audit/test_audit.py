"""The audit finds what was put there, and nothing where nothing is."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image, ImageDraw

import leafexp.audit.__main__
from leafexp.audit import probes
from leafexp.audit.findings import doubts, leaks, remarks
from leafexp.audit.probes import audit, check
from leafexp.data.catalog import read_folder, read_table
from leafexp.data.dataset import prepare
from leafexp.data.duplicates import EXACT, MIRRORED, NEAR, TURNED, duplicates, joined_groups
from leafexp.errors import UserError
from leafexp.settings.schema import DataConfig
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
    paths = dataset.table["path"]
    found_pairs = [
        (paths[one], paths[other], pairs.kind)
        for pairs in duplicates(dataset.pixels, dataset.table["sha256"])
        for one, other in zip(pairs.one, pairs.other, strict=True)
    ]
    assert len(found_pairs) == 8 and set(found_pairs) == {
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
    with pytest.raises(UserError, match=f"{across} pairs of nearly equal photos are on two sides") as stopped:
        check(found)
    assert found["pairs"][0]["path"] in str(stopped.value) and "data.audit=warn" in str(stopped.value)
    assert "`python -m leafexp.audit` with the same settings writes clean.csv" in str(stopped.value)
    together = audit(small_dataset(catalog, groups="near_duplicates"))
    assert together["near_duplicates"] == {**found["near_duplicates"], "across_splits": 0}
    check(together)


def test_a_leaf_on_two_sides_stops(folder: Path) -> None:
    catalog = read_folder(str(folder), r"(\d)\d")
    parts = ["train", "train", "validation", "test"] * 10
    found = audit(small_dataset(catalog.assign(split=parts)))
    assert found["groups_across_splits"] == 4
    with pytest.raises(UserError, match="photos of 4 leaves are on two sides"):
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
    monkeypatch.delattr(probes, "_audit")
    assert audit(dataset) == first
    with pytest.raises(NameError):
        audit(small_dataset(read_folder(str(folder)).iloc[:-1]))


def test_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["audit", *words])
        return leafexp.audit.__main__.main()

    monkeypatch.setattr(leafexp.audit.__main__, "ROOT", tmp_path / "root")
    words = ["data=folder", f"data.path={folder}", "data.image_size=32"]
    assert run(*words) == 0
    assert "near duplicates" in capsys.readouterr().out
    with_copies(folder)
    assert run(*words) == 1
    printed = capsys.readouterr()
    assert "The test would be too easy" in printed.err and "Traceback" not in printed.err
    # The command it names trains on a table that is clean, with the same test.
    [command] = [line.strip() for line in printed.out.splitlines() if "leafexp.train" in line]
    cleaned = shlex.split(command)[3:]
    assert cleaned[0] == "data=table" and "data.image_size=32" in cleaned
    table = read_table(cleaned[1].removeprefix("data.path="))
    before = prepare(read_folder(str(folder)), DataConfig(image_size=32), 10**9).table
    left_out = before[~before["file"].isin(table["file"])]
    assert 0 < len(left_out) <= 12 and "test" not in set(left_out["split"])
    kept = before[before["file"].isin(table["file"])].merge(table, on="file", validate="1:1")
    for column in ("label", "group", "split"):
        assert list(kept[f"{column}_x"]) == list(kept[f"{column}_y"])
    assert run(*cleaned) == 0
    assert "leafexp.train" not in capsys.readouterr().out
    assert run(*words, "data.audit=warn") == 0
    assert run(*words, "data.groups=near_duplicates") == 0
    assert run("data=folder", "data.path=nowhere") == 2
    pages = list((tmp_path / "root" / "reports" / "audit").glob("*/audit.html"))
    assert len(pages) == 3
    assert max(page.read_text().count("data:image/jpeg") for page in pages) == 24
    assert sorted(len(pd.read_csv(page.with_name("pairs.csv"))) for page in pages if "jpeg" in page.read_text()) == [
        6,
        12,
    ]


def test_one_copy_is_left_out_and_the_table_names_photos_as_the_folder_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    for place, (part, numbers) in enumerate({"train": range(6), "val": range(1), "test": range(2)}.items()):
        for offset, label in enumerate(("blight", "healthy")):
            (photos / part / label).mkdir(parents=True)
            for number in numbers:
                scene(1000 * place + 100 * offset + number).save(photos / part / label / f"{number}.jpg", quality=92)
    copy = photos / "train" / "blight" / "copy.jpg"
    copy.write_bytes((photos / "test" / "blight" / "0.jpg").read_bytes())
    monkeypatch.setattr(leafexp.audit.__main__, "ROOT", tmp_path / "root")
    words = ["data=folder", f"data.path={photos}", "data.image_size=32", "data.audit=warn"]
    monkeypatch.setattr(sys, "argv", ["audit", *words])
    assert leafexp.audit.__main__.main() == 0
    printed = capsys.readouterr().out
    assert "18 of the 19 photos, without 1 train photo: a copy of a tested one or of its leaf." in printed
    [clean] = (tmp_path / "root").glob("reports/audit/*/clean.csv")
    read_again = read_table(str(clean))
    copy.unlink()
    assert list(read_again["path"]) == list(read_folder(str(photos))["path"])
    assert small_dataset(read_again).data_hash == small_dataset(read_folder(str(photos))).data_hash


def test_unequal_classes_are_said() -> None:
    found = {"exact_duplicates": {"other_label": 0}, "near_duplicates": {"other_label": 0}}
    [said] = doubts({**found, "classes": {"rust": 20, "healthy": 720}})
    assert "healthy has 720 photos, rust 20: always saying healthy would be right for 97.3% of the photos." in said
    assert doubts({**found, "classes": {"rust": 80, "healthy": 720}}) == []


def tray(seed: int, spots: int) -> Image.Image:
    """A leaf on a tray under a colour card: all trays are alike, the leaves are not."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (128, 128), (20, 20, 24))
    draw = ImageDraw.Draw(image)
    for place, colour in enumerate([(240, 240, 240), (200, 30, 30), (30, 180, 40), (220, 210, 40), (30, 40, 200)]):
        draw.rectangle((4 + 12 * place, 4, 14 + 12 * place, 20), fill=colour)
    x, y, width, height = (int(value + random.integers(-5, 6)) for value in (64, 80, 30, 38))
    draw.ellipse((x - width, y - height, x + width, y + height), fill=(60, 140 + int(random.integers(-15, 16)), 60))
    for _ in range(spots):
        u, v = x + int(random.integers(8 - width, width - 8)), y + int(random.integers(8 - height, height - 8))
        draw.ellipse((u - 3, v - 3, u + 3, v + 3), fill=(120, 80, 30))
    return image


def test_different_leaves_on_one_tray_are_no_copies_and_their_copies_are(tmp_path: Path) -> None:
    for label, spots in (("healthy", 0), ("rust", 14)):
        (tmp_path / label).mkdir()
        for number in range(20):
            tray(number + 100 * spots, spots).save(tmp_path / label / f"{number:02}.jpg", quality=92)
    for number in (3, 4):
        tray(number + 1400, 14).resize((100, 100)).save(tmp_path / "rust" / f"copy{number}.jpg", quality=85)
    settings = DataConfig(image_size=96, validation_share=0.2, test_share=0.2)
    found = audit(prepare(read_folder(str(tmp_path)), settings, 10**9))
    pairs = {(pair["path"], pair["other_path"]) for pair in found["pairs"]}
    assert pairs == {("rust/03.jpg", "rust/copy3.jpg"), ("rust/04.jpg", "rust/copy4.jpg")}


def test_a_video_makes_many_pairs_in_bounded_parts() -> None:
    random = np.random.default_rng(0)
    still = np.asarray(scene(1, 32)).astype(int)
    frames = np.stack([still + random.integers(-4, 5, (32, 32, 1)) for _ in range(300)]).clip(0, 255).astype(np.uint8)
    sha256 = pd.Series([str(number) for number in range(300)])
    sizes = [len(pairs.one) for pairs in duplicates(frames, sha256)]
    assert sum(sizes) == 300 * 299 / 2 and max(sizes) <= 256 * 300
    table = pd.DataFrame({"group": sha256, "sha256": sha256})
    assert set(joined_groups(frames, "frames", table)) == {"0"}


@pytest.mark.slow
@needs_real_photos
def test_real_photos_are_clean_and_their_background_is_not() -> None:
    dataset = prepare(read_table(str(REAL_PHOTOS)), DataConfig(), 10**10)
    found = audit(dataset)
    assert found["exact_duplicates"]["pairs"] == dataset.table["sha256"].duplicated().sum() == 0
    assert (found["near_duplicates"]["pairs"], found["groups_across_splits"]) == (0, 0)
    assert found["thumbnail_neighbour"]["accuracy"] == pytest.approx(0.67, abs=0.05)
    assert found["border_probe"]["low"] > found["border_probe"]["chance"]
