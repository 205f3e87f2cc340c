from pathlib import Path

import pandas as pd
import pytest

from leafexp.data.catalog import of_classes, read_folder, read_table
from leafexp.errors import UserError
from tests.conftest import write_photos


def test_a_folder_per_class_with_leaves_told_by_file_name(tmp_path: Path) -> None:
    write_photos(tmp_path, {"blight": 4, "healthy": 2})
    (tmp_path / ".git").mkdir()
    (tmp_path / "blight" / ".DS_Store").touch()
    (tmp_path / "blight" / "Thumbs.db").touch()
    table = read_folder(str(tmp_path), r"(leaf\d+)_")
    assert list(table["path"]) == [f"blight/leaf{n}_{m}.jpg" for n in (0, 1) for m in (0, 1)] + [
        "healthy/leaf0_0.jpg",
        "healthy/leaf0_1.jpg",
    ]
    # leaf0 of one class is another leaf than leaf0 of the other.
    assert list(table["group"]) == ["blight/leaf0"] * 2 + ["blight/leaf1"] * 2 + ["healthy/leaf0"] * 2
    assert "split" not in table


def test_photos_without_a_known_leaf_are_leaves_of_their_own(tmp_path: Path) -> None:
    write_photos(tmp_path, {"blight": 2, "healthy": 2})
    assert read_folder(str(tmp_path))["group"].nunique() == 4


def test_a_folder_that_is_split_already(tmp_path: Path) -> None:
    for part in ("train", "Valid", "test"):
        write_photos(tmp_path / part, {"blight": 2, "healthy": 2})
    table = read_folder(str(tmp_path))
    assert dict(table["split"].value_counts()) == {"train": 4, "validation": 4, "test": 4}
    assert set(table["label"]) == {"blight", "healthy"}


def test_a_table_with_relative_paths_groups_and_splits(tmp_path: Path) -> None:
    csv = tmp_path / "photos.csv"
    csv.write_text("path,label,leaf_id,split\na/1.jpg,x,7,train\na/2.jpg,y,,val\n", encoding="utf-8-sig")
    table = read_table(str(csv))
    assert list(table["file"]) == [str(tmp_path / "a/1.jpg"), str(tmp_path / "a/2.jpg")]
    assert list(table["group"]) == ["7", "a/2.jpg"]
    assert list(table["split"]) == ["train", "validation"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,label\n1.jpg,x\n", "no column 'path'"),
        ("path,lable\n1.jpg,x\n", "Did you mean lable"),
        ("path,label\n1.jpg,x\n2.jpg,\n", "'label' is empty in 1 rows (lines 3)"),
        ("path,label\n1.jpg,x\n1.jpg,y\n", "lists 1 images twice, the first is 1.jpg"),
        ("path,label\n1.jpg,x\n2.jpg,x\n", "one class only, 'x'"),
        ("path,label\n1.jpg,Rust\n2.jpg,rust\n", "'Rust' and 'rust' differ only by case"),
        ("path,label,split\n1.jpg,x,train\n2.jpg,y,tset\n", "no split 'tset'. Did you mean test?"),
        ("", "can't be read as CSV"),
    ],
)
def test_a_table_that_can_not_be_used(tmp_path: Path, content: str, says: str) -> None:
    csv = tmp_path / "photos.csv"
    csv.write_text(content)
    with pytest.raises(UserError) as raised:
        read_table(str(csv))
    assert says in str(raised.value)


def test_a_folder_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no folders inside"):
        read_folder(str(tmp_path))
    write_photos(tmp_path, {"blight": 2})
    with pytest.raises(UserError, match="one class only, 'blight'"):
        read_folder(str(tmp_path))
    (tmp_path / "healthy").mkdir()
    with pytest.raises(UserError, match="healthy has no files"):
        read_folder(str(tmp_path))
    with pytest.raises(UserError, match="matches no file name"):
        (tmp_path / "healthy" / "1.jpg").touch()
        read_folder(str(tmp_path), "plant")
    with pytest.raises(UserError, match="is not a folder. For a CSV use data=table"):
        read_folder(str(tmp_path / "healthy" / "1.jpg"))


def test_some_classes_only() -> None:
    table = pd.DataFrame({"path": ["1", "2", "3"], "label": ["a", "b", "c"]})
    assert list(of_classes(table, ["c", "a"])["label"]) == ["a", "c"]
    with pytest.raises(UserError, match="no class 'd'"):
        of_classes(table, ["a", "d"])
    with pytest.raises(UserError, match="at least two"):
        of_classes(table, ["a"])
