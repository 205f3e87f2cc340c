"""A second test set: which of its classes count as which, and which of its photos were learned from."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leafexp.audit.overlap import overlap
from leafexp.data.catalog import read_folder
from leafexp.data.external import counterparts, prepare, read
from leafexp.data.leafsim import generate
from leafexp.errors import UserError
from leafexp.settings.compose import check
from leafexp.settings.schema import DataConfig
from tests.conftest import small_dataset, write_photos

OURS = ["early_blight", "healthy", "rust"]


def test_classes_are_matched_by_name_and_by_what_is_given() -> None:
    theirs = ["Early Blight", "Healthy leaf", "healthy", "Brown rust", "leaf rust", "mildew", "RUST"]
    by_name = {"Early Blight": "early_blight", "healthy": "healthy", "RUST": "rust"}
    assert counterparts(theirs, OURS) == by_name
    merged = [("Brown-Rust", "rust"), ("leaf rust", "Rust"), ("Healthy leaf", "healthy")]
    assert counterparts(theirs, OURS, merged) == by_name | {
        "Brown rust": "rust",
        "leaf rust": "rust",
        "Healthy leaf": "healthy",
    }
    assert counterparts(theirs, OURS, [("healthy", None), ("RUST", "early_blight")]) == {
        "Early Blight": "early_blight",
        "RUST": "early_blight",
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([("mildw", "rust")], "no class 'mildw' among the photos from elsewhere. Did you mean mildew?"),
        ([("mildew", "rusty")], "no class 'rusty' among the photos that are trained on. Did you mean rust?"),
        ([("mildew", "rust"), ("Mildew", "healthy")], "says both 'rust' and 'healthy' for 'mildew'"),
        ([], "No class of data.external (mildew, scab) is one of those that are trained on (early_blight, healthy"),
    ],
)
def test_labels_that_lead_nowhere_are_refused(given: list[tuple[str, str | None]], says: str) -> None:
    with pytest.raises(UserError) as refused:
        counterparts(["mildew", "scab"], OURS, given)
    assert says in str(refused.value)


def test_a_name_that_could_mean_two_classes_is_asked_for() -> None:
    with pytest.raises(UserError, match="'Leaf Rust' could mean 'leaf-rust' or 'leaf_rust'"):
        counterparts(["Leaf Rust"], ["leaf-rust", "leaf_rust"])


def test_what_is_left_out_and_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "test"):
        write_photos(tmp_path / "field" / part, {"Early Blight": 4, "brown": 2, "leaf rust": 2, "no": 4})
    (tmp_path / "labels.yaml").write_text("brown: rust\nleaf rust: rust\nno:\n")
    (tmp_path / "labels.csv").write_text("theirs;ours\nbrown;rust\nleaf rust;rust\nno;\n", encoding="utf-16")
    found = read(str(tmp_path / "field"), str(tmp_path / "labels.yaml"), OURS)
    said = " ".join(capsys.readouterr().out.split())
    for line in (
        "all parts of data.external are tested: test, train.",
        "these classes count as ours: 'Early Blight' as 'early_blight', 'brown' as 'rust', 'leaf rust' as 'rust'.",
        "without a counterpart are left out: 'no' (8 photos).",
        "data.external has no photos of 'healthy'",
    ):
        assert line in said
    assert found.name == "field"
    assert dict(found.photos["label"].value_counts()) == {"early_blight": 8, "rust": 8}
    assert found.labels["photos"].sum() == 24
    same = read(str(tmp_path / "field"), str(tmp_path / "labels.csv"), OURS)
    pd.testing.assert_frame_equal(same.photos, found.photos)


def test_photos_of_one_class_are_enough(tmp_path: Path) -> None:
    write_photos(tmp_path, {"Rust": 4})
    assert set(read(str(tmp_path), None, OURS).photos["label"]) == {"rust"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("l.yaml", "- brown\n", "expected lines of `their label: our label`"),
        ("l.yaml", "brown: {rust: 1}\n", "expected lines of `their label: our label`"),
        ("l.yaml", "brown: 'rust\n", "this is no YAML"),
        ("l.yaml", "brown: rust\nbrown: healthy\n", "says both 'rust' and 'healthy' for 'brown'"),
        ("l.csv", "brown,rust\n", "expected the header theirs,ours in l.csv; got 'brown,rust'"),
        ("l.csv", "theirs,ours\nbrown,rust,1\n", "expected two columns in l.csv, line 2"),
        ("l.csv", "theirs,ours\n", "names no class"),
    ],
)
def test_labels_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    write_photos(tmp_path / "field", {"rust": 2, "brown": 2})
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as refused:
        read(str(tmp_path / "field"), str(tmp_path / name), OURS)
    assert str(refused.value).startswith("data.external_labels") and says in str(refused.value)


def test_photos_that_cannot_be_read_are_those_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "field").mkdir()
    with pytest.raises(UserError, match=r"^data\.external: .*field has no photos"):
        read(str(tmp_path / "field"), None, OURS)
    (tmp_path / "photos.csv").write_text("path,lable\n1.jpg,rust\n")
    with pytest.raises(UserError, match=r"^data\.external: .*Rename 'lable' to 'label'"):
        read(str(tmp_path / "photos.csv"), None, OURS)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.external=nowhere"], "data.external=nowhere does not exist"),
        (["data.external=.", "data.external_labels=no.yaml"], "data.external_labels=no.yaml does not exist"),
        (["data.external_labels=."], "data.external must be set with data.external_labels"),
        (["data.external=.,.."], "One command tests on one data.external"),
    ],
)
def test_keys_are_checked_before_anything_is_trained(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError) as refused:
        check(overrides)
    assert says in str(refused.value)


def test_photos_that_were_learned_from_are_found_however_they_are_laid(tmp_path: Path) -> None:
    generate(tmp_path / "own", images=72, image_size=64, seed=0)
    generate(tmp_path / "field", images=24, image_size=64, seed=1)
    dataset = small_dataset(read_folder(str(tmp_path / "own"), r"(.*)_\d\.jpg"))
    parts = {part: list(dataset.table["path"][dataset.rows(part)]) for part in ("train", "validation", "test")}
    field = tmp_path / "field" / "healthy"
    shutil.copy(tmp_path / "own" / parts["train"][0], field / "copy.jpg")
    with Image.open(tmp_path / "own" / parts["validation"][0]) as photo:
        photo.rotate(90).save(field / "turned.jpg", quality=70)
    shutil.copy(tmp_path / "own" / parts["test"][0], field / "only_tested.jpg")
    external = prepare(read(str(tmp_path / "field"), None, dataset.classes), dataset, DataConfig(image_size=32), 10**9)
    found = overlap(dataset, external)
    assert found[["kind", "path", "other_path", "other_split"]].to_numpy().tolist() == [
        ["exact", "healthy/copy.jpg", parts["train"][0], "train"],
        ["near, turned", "healthy/turned.jpg", parts["validation"][0], "validation"],
    ]
    assert len(external.table) == 27 and set(external.table["split"]) == {"test"}
    labels = np.array(dataset.classes)[external.table["class_index"]]
    assert (labels == external.table["label"]).all()
