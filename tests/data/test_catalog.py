from pathlib import Path

import pandas as pd
import pytest

from leafexp.data.catalog import of_classes, read_folder, read_table
from leafexp.errors import UserError
from tests.conftest import small_dataset, write_photos


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
        ("path,lable\n1.jpg,x\n", "Rename 'lable' to 'label'"),
        ("path,label\n1.jpg,x\n2.jpg,\n", "'label' is empty in 1 row (line 3)"),
        ("path,label\n1.jpg,x\n\n./1.jpg,y\n", "lists 1 image more than once, the first is 1.jpg (lines 2 and 4)"),
        ("path,label\n1.jpg,x\na/../1.jpg,y\n2.jpg,y\n2.jpg,y\n", "lists 2 images more than once, the first is 1.jpg"),
        ("path,label\n1.jpg,x\n2.jpg,x\n", "one class only, 'x'"),
        ("path,label\n1.jpg,Rust\n2.jpg,rust\n", "'Rust' and 'rust' differ only by case"),
        ("path,label,split\n1.jpg,x,train\n2.jpg,y,tset\n", "no split 'tset'. Did you mean test?"),
        ("", "can't be read as CSV"),
        ("path,label\n", "lists no photos"),
        ('path,label\n"a\nb",x\n\n2.jpg,\n', "'label' is empty in 1 row (line 5)"),
        ('path,label\n1.jpg,x\n"2.jpg,y\n3.jpg,y\n', "in the row that begins in line 3"),
        ("path,label,label\n1.jpg,x,y\n", "2 columns 'label'"),
        ("PK\x03\x04...", "is a spreadsheet or an archive, not a CSV"),
        ("path,label\n1.jpg,ok\n2.jpg,ok\u200b\n", "differ only by invisible characters"),
        ("path,rust,ok\n1.jpg,0,1\n2.jpg,1,0\n", "A column for each class is not read"),
        ("rust/1.jpg,rust\nok/2.jpg,ok\n", "put path,label above it"),
        ('[{"path": "1.jpg",\n"label": "x"}]', "is JSON, not a CSV"),
        ("path label\n1.jpg x\n", "separated by commas, semicolons or tabs"),
        ("path;label\n1.jpg,x\n2.jpg,y\n", "the rows are separated by ',', and the header is not"),
        ("path,label,set\n1.jpg,x,train\n2.jpg,y,val\n", "column 'set' names parts of the data"),
        ("path,label\nhttps://x.org/1.jpg,x\n2.jpg,y\n", "line 2: https://x.org/1.jpg is an address"),
        ("path,label,group\n1.jpg,x,a\n2.jpg,y,a\n", "says 'a' for all 2 photos"),
    ],
)
def test_a_table_that_can_not_be_used(tmp_path: Path, content: str, says: str) -> None:
    csv = tmp_path / "photos.csv"
    csv.write_text(content)
    with pytest.raises(UserError) as raised:
        read_table(str(csv))
    assert says in str(raised.value)


def place(root: Path, *files: str) -> None:
    """Empty files: what a folder means does not depend on what is in its photos."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def read(root: Path) -> dict[str, tuple[str, ...]]:
    """Label and part of each photo of a folder, by path."""
    table = read_folder(str(root))
    return {row["path"]: (row["label"], row["split"]) if "split" in table else (row["label"],) for row in by_row(table)}


def by_row(table: pd.DataFrame) -> list[dict[str, str]]:
    return table.to_dict("records")


PARTS = ["train/rust/1.jpg", "train/healthy/2.jpg", "valid/rust/3.jpg", "valid/healthy/4.jpg"]
IN_PARTS = {path: (path.split("/")[1], {"t": "train", "v": "validation"}[path[0]]) for path in PARTS}
TWO = ["rust/1.jpg", "healthy/2.jpg"]


def in_both(*forms: str) -> list[str]:
    return [form.format(label) for label in ("rust", "ok") for form in forms]


@pytest.mark.parametrize(
    ("files", "expected", "says"),
    [
        ([*PARTS, "annotations/list.txt", "__MACOSX/train/._1.jpg"], IN_PARTS, "1 __MACOSX, 1 .txt, 1 folder without"),
        ([*PARTS, "train/overview.jpg", "readme.md"], IN_PARTS, "1 photo lies in no class folder"),
        (["zip/data/rust/1.jpg", "zip/data/healthy/2.JPG"], {"rust", "healthy"}, ""),
        ([f"train/{path}" for path in PARTS[:2]] + PARTS[2:], {"rust", "healthy"}, ""),
        (["train/images/rust/1.jpg", "train/images/ok/2.jpg", "Test/images/rust/3.jpg"], {"rust", "ok"}, ""),
        (["training_set/rust/1.jpg", "training_set/ok/1.jpg", "Test Set/ok/1.jpg"], {"rust", "ok"}, ""),
        (["rust/train/1.jpg", "rust/test/2.jpg", "ok/train/1.jpg", "ok/TEST/2.jpg"], {"rust", "ok"}, ""),
        (["rust/2023/1.jpg", "rust/2024/leaf 7/1.jpg", "ok/1.jpg"], {"rust", "ok"}, "2 photos lie in folders inside a"),
        (["rust/leaf1/1.jpg", "ok/leaf1/1.jpg", "ok/season2/1.jpg"], {"rust", "ok"}, "3 photos lie in folders inside"),
        (["rust/images/1.jpg", "ok/Images/1.jpg"], {"rust", "ok"}, "2 photos lie in folders inside a"),
        (["rust/field/1.jpg", "rust/2.jpg", "ok/field/1.jpg"], {"rust", "ok"}, "2 photos lie in folders inside a"),
        (["rust/train/a1/1.jpg", "rust/test/a2/1.jpg", "ok/train/a1/1.jpg", "ok/test/1.jpg"], {"rust", "ok"}, ""),
        ([*TWO, "loose.png", "healthy/2.xml", "healthy/.2.jpg", "empty/a.csv"], {"rust", "healthy"}, "(loose.png)"),
    ],
)
def test_folders_as_people_have_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: list[str], expected: object, says: str
) -> None:
    place(tmp_path, *files)
    found = read(tmp_path)
    printed = capsys.readouterr().out
    assert says in printed
    if isinstance(expected, dict):
        assert found == expected
    else:
        assert {label for label, *_ in found.values()} == expected
        # Every file that is called a photo is used, but for the one that is said.
        photos = {name for name in files if Path(name).suffix.lower() == ".jpg" and "/." not in name}
        assert {path.removeprefix("zip/data/") for path in photos} == set(found)
        for path, meant in found.items():
            if meant[1:]:
                word = next(word for word in ("train", "test", "val") if word in path.lower())
                assert meant[1].startswith(word)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "has no photos"),
        (["rust/1.cr2", "ok/notes.txt"], "1 .cr2; camera raw files must be exported"),
        (["1.jpg", "2.jpg"], "has 2 photos, but no folders inside"),
        (["rust/1.jpg"], "one class only, 'rust'"),
        (["rust/a/1.jpg", "rust/2.jpg"], "If the classes are the folders inside it, say data.path="),
        ([*PARTS, "runs/chart.png"], "(train/ and valid/) lie beside other folders with photos (runs/ (1 photo))"),
        ([*PARTS, "test/1.jpg", "test/2.jpg"], "test/ has 2 photos, but no class folders"),
        ([*PARTS, "val/rust/1.jpg"], "val/ and valid/ both stand for the validation part"),
        (["rust/train/1.jpg", "rust/test/1.jpg", "ok/1.jpg"], "rust/ is divided into parts, ok/ is not"),
        (["rust/train/1.jpg", "ok/train/1.jpg", "ok/2.jpg"], "ok/ also has 1 photo outside of them"),
        (["seg_train/rust/1.jpg", "seg_test/rust/1.jpg", "x/1.jpg"], "Are seg_test/ and seg_train/ classes, or parts"),
        (["train1/rust/1.jpg", "train2/rust/1.jpg"], "train1/ and train2/ both stand for the train part"),
        ([*PARTS, "train/test/1.jpg"], "train/test/ is a part inside the part train/"),
        ([*PARTS, "train/rust/test/1.jpg"], "train/rust/test/ is a part inside the part train/"),
        ([*PARTS, "train/rust/sub/test/1.jpg"], "train/rust/sub/test/ is a part inside the part train/"),
        (in_both("{}/images/train/1.jpg", "{}/images/test/2.jpg"), "ok/images/test/ is called like a part of the data"),
        (in_both("{}/x/y/train/1.jpg", "{}/x/2.jpg", "{}/3.jpg"), "ok/x/y/train/ is called like a part of the data"),
        (in_both("{}/train/x/test/1.jpg"), "ok/train/x/test/ is called like a part of the data"),
        (["tomato/rust/train/1.jpg", "tomato/rust/test/1.jpg", "potato/ok/1.jpg"], "tomato/rust/test/ is called like"),
        (in_both("{}/my_train/1.jpg", "{}/my_test/1.jpg"), "Are ok/my_test/ and ok/my_train/ classes, or parts"),
        (
            ["color/rust/1.jpg", "color/ok/1.jpg", "grey/ok/1.jpg"],
            "and grey/ classes, or do the classes (ok, rust) lie inside",
        ),
        (in_both("color/{}/1.jpg", "grey/{}/1.jpg", "cut/{}/1.jpg"), "Are color/, cut/ and grey/ classes, or do the"),
        (in_both("my_train/{}/1.jpg", "holdout/{}/1.jpg"), "classes (ok, rust) lie inside them? If inside, for one of"),
        (in_both("fold1/{}/1.jpg", "fold2/{}/1.jpg"), "Are fold1/ and fold2/ classes, or do the classes (ok, rust)"),
        (in_both("tomato/{}/1.jpg", "potato/x/{}/1.jpg"), "Are potato/ and tomato/ classes, or do the classes (ok, ru"),
        (in_both("rust/{}/1.jpg", "train/{}/2.jpg"), "Parts of the data (train/) lie beside"),
        (["setA/train/rust/1.jpg", "setA/test/rust/1.jpg", "setB/train/rust/1.jpg"], "Are setA/ and setB/ classes, or"),
        (in_both("train/a/{}/1.jpg", "train/b/{}/1.jpg"), "Are train/a/ and train/b/ classes, or do the classes (ok,"),
        (in_both("LeafTrain/{}/1.jpg", "LeafTest/{}/1.jpg"), "Are LeafTest/ and LeafTrain/ classes, or parts of the"),
        (["trainA/1.jpg", "testA/1.jpg", "trainB/1.jpg"], "Are testA/, trainA/ and trainB/ classes, or parts of the"),
        (["rust/1.jpg", "rust /1.jpg"], "'rust' and 'rust ' differ only by blanks"),
        (["o\u00efdium/1.jpg", "oi\u0308dium/1.jpg"], "'o\\xefdium' differ only by composed and decomposed letters"),
        (["early blight/1.jpg", "early\u00a0blight/1.jpg"], "'early\\xa0blight' differ only by blanks"),
        (["ok/1.jpg", "ok\u200b/1.jpg"], "'ok\\u200b' differ only by invisible characters"),
        (["Cedar\u2019s rust/1.jpg", "Cedar's rust/1.jpg"], "'Cedar\\u2019s rust' differ only by characters that look"),
        (["\u201cok\u201d/1.jpg", '"ok"/1.jpg'], "differ only by characters that look alike"),
        (["late\u2013blight/1.jpg", "late-blight/1.jpg"], "differ only by characters that look alike"),
        (["rust/1.jpg", "rust\u0430/1.jpg", "rusta/1.jpg"], "'rusta' and 'rust\\u0430' differ only by characters that"),
        (["RUS\u0422/1.jpg", "rust/1.jpg"], "differ only by characters that look alike"),
        (["rust/1.jpg", "ru\u0455\u03c4/1.jpg"], "differ only by characters that look alike"),
        (["caf\u00e9/1.jpg", "\u0441\u0430f\u0435\u0301/1.jpg"], "differ only by characters that look alike"),
        (["train/Rust/1.jpg", "train/ok/1.jpg", "test/rust/1.jpg"], "'Rust' and 'rust' differ only by case"),
        (in_both("{}/1.jpg", "Leaves/{}/1.jpg"), "is called like the class"),
        (in_both("train/{}/1.jpg", "train/more/{}/2.jpg"), "train/more/ok/ lies in the class folder train/more/"),
        ([*TWO, "rust/healthy/3.jpg"], "rust/healthy/ lies in the class folder rust/, but is called like the class h"),
        (["train/images/1.jpg", "train/labels/1.txt", "valid/images/2.jpg"], "train/images/ has 1 photo, but no class"),
    ],
)
def test_a_folder_that_can_not_be_used(tmp_path: Path, files: list[str], says: str) -> None:
    place(tmp_path, *files)
    with pytest.raises(UserError) as raised:
        read_folder(str(tmp_path))
    assert says in str(raised.value)


def test_one_class_spelt_on_two_systems(tmp_path: Path) -> None:
    place(tmp_path, "train/o\u00efdium/1.jpg", "train/ok/1.jpg", "test/oi\u0308dium/1.jpg", "test/ok/1.jpg")
    table = read_folder(str(tmp_path))
    assert set(table["label"]) == {"o\u00efdium", "ok"}
    assert all(Path(file).exists() for file in table["file"])


def test_names_in_other_alphabets_are_shown_as_typed(tmp_path: Path) -> None:
    names = ["ржавчина", "Мучнистая роса", "здоровый", "σκωρίαση", "Ωίδιο", "υγιές", "さび病"]
    place(tmp_path, *(f"{name}/1.jpg" for name in names))
    assert set(read_folder(str(tmp_path))["label"]) == set(names)


def test_links_are_followed_and_loops_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(tmp_path / "disk", *(f"rust/{n}.jpg" for n in range(3)), "mildew/1.jpg")
    photos = tmp_path / "photos"
    place(photos, "rust/a.jpg", "ok/b.jpg", "ok/folder.jpg/c.jpg")
    for link, target in (
        ("rust/season2", tmp_path / "disk" / "rust"),
        ("mildew", tmp_path / "disk" / "mildew"),
        ("rust/again", ".."),
        ("rust/here", "."),
        ("rust/self.jpg", "self.jpg"),
        ("rust/second name.jpg", "a.jpg"),
        ("ok/gone.jpg", "nowhere.jpg"),
    ):
        (photos / link).symlink_to(target)
    assert set(read(photos)) == {
        *(f"rust/season2/{n}.jpg" for n in range(3)),
        *("rust/a.jpg", "ok/b.jpg", "ok/folder.jpg/c.jpg", "mildew/1.jpg"),
        "ok/gone.jpg",  # a photo should be there: the check of the photos names it
    }
    printed = capsys.readouterr().out
    assert "2 link back to a folder above it" in printed and "1 link to itself" in printed


def test_names_that_are_not_utf8_are_escaped_but_for_opening(tmp_path: Path) -> None:
    place(tmp_path, "ok/1.jpg", "rust\udce9/for\udcea.jpg")
    table = read_folder(str(tmp_path))
    assert table["path"].str.encode("utf-8").tolist() == [b"ok/1.jpg", rb"rust\xe9/for\xea.jpg"]
    assert list(table["label"]) == ["ok", "rust\\xe9"]
    assert all(Path(file).exists() for file in table["file"])
    (tmp_path / "all.csv").write_text(table[["path", "label"]].to_csv(index=False))
    assert list(read_table(str(tmp_path / "all.csv"))["file"]) == list(table["file"])


def test_a_pattern_that_matches_few_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(tmp_path, *(f"{label}/leaf{n}_1.jpg" for label in ("ok", "rust") for n in range(3)), "ok/x.jpg")
    assert read_folder(str(tmp_path), r"(leaf\d+)_")["group"].nunique() == 7
    assert "matches 6 of 7 file names; each other one, as 'x.jpg'" in capsys.readouterr().out
    with pytest.raises(UserError, match="matches 1 of 7 file names"):
        read_folder(str(tmp_path), "x")
    for nothing in ("plant", r"(Leaf\d+)?", r"^(\d*)", r"leaf\d|(plant)"):
        with pytest.raises(UserError, match="matches no of 7 file names"):
            read_folder(str(tmp_path), nothing)
    # The bracket may be empty in some names.
    assert read_folder(str(tmp_path), r"^(leaf\d+)?_?")["group"].nunique() == 7
    assert "matches 6 of 7 file names; each other one, as 'x.jpg'" in capsys.readouterr().out


def test_a_pattern_that_finds_one_leaf_or_only_lone_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(tmp_path, *(f"{label}/leaf{n}_{label}.jpg" for label in ("ok", "rust") for n in range(3)))
    with pytest.raises(UserError, match="finds the same leaf, 'leaf', in all 6 file names"):
        read_folder(str(tmp_path), "leaf")
    assert read_folder(str(tmp_path), ".*")["group"].nunique() == 6
    assert "finds another leaf in each of the 6 file names" in capsys.readouterr().out


def test_leaves_are_one_however_a_table_spells_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = tmp_path / "photos.csv"
    ids = ("Leaf 3", "leaf 3 ", "4", "4.0", "4.5", "NA", "unknown", "")
    csv.write_text("path,label,Leaf-ID,camera\n" + "".join(f"{n}.jpg,{n % 2}x,{it},c\n" for n, it in enumerate(ids)))
    assert list(read_table(str(csv))["group"]) == ["Leaf 3", "Leaf 3", "4", "4", "4.5", "5.jpg", "6.jpg", "7.jpg"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 leaves are spelt in two ways and taken as one, such as 'Leaf 3' and 'leaf 3'" in printed
    assert "2 photos with 'NA' as leaf: each counts as of a leaf of its own" in printed
    assert "columns that are not read: camera" in printed


def test_names_that_are_nearly_alike_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(
        tmp_path,
        "Early_blight/1.jpg",
        "early blight/2.jpg",
        "rust/1.jpg",
        "rust - Copy/2.jpg",
        "ok/1.jpg",
        "okra/1.jpg",
    )
    assert read_folder(str(tmp_path))["label"].nunique() == 6
    printed = capsys.readouterr().out
    assert "'Early_blight' and 'early blight' are spelt nearly alike" in printed
    assert "'rust' and 'rust - Copy' are spelt nearly alike" in printed
    assert "okra" not in printed


def test_links_that_lead_nowhere_or_make_two_classes_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(tmp_path, "rust/1.jpg", "ok/2.jpg", "ok/photo.jpg?v=2")
    (tmp_path / "mildew").symlink_to("/nowhere/mildew")
    assert set(read(tmp_path)) == {"rust/1.jpg", "ok/2.jpg", "ok/photo.jpg?v=2"}
    assert "1 link leads nowhere (mildew)" in capsys.readouterr().out
    (tmp_path / "rust2").symlink_to("rust")
    with pytest.raises(UserError, match="are one file, by a link"):
        read_folder(str(tmp_path))


def test_a_name_with_a_line_break_is_read_where_its_file_is(tmp_path: Path) -> None:
    place(tmp_path, "a\nb.jpg", "2.jpg")
    (tmp_path / "photos.csv").write_text('path,label\n"a\nb.jpg",x\n2.jpg,y\n')
    assert all(Path(file).exists() for file in read_table(str(tmp_path / "photos.csv"))["file"])


ROWS = [(f"p/{label}/{n}.jpg", label) for label in ("ok", "rust") for n in range(3)]


ABSOLUTE = ("drive", "another machine")


def written(form: str) -> bytes:
    """A CSV of the same six photos, as `form` says."""
    head, line, end, encoding = "path,label", "{},{}", "\n", "utf-8"
    rows = ROWS
    match form:
        case "trailing commas":
            line = "{},{},"
        case "notes without a name":
            line = '{},{},"two\nlines"'
        case "blanks":
            head, line = " path , label ", "{} , {} "
        case "semicolons, capitals":
            head, line = "Path;LABEL", "{};{}"
        case "sep":
            head, line = "sep=;\npath;label", '"{}";"{}"'
        case "tabs, UTF-16":
            head, line, encoding = "path\tlabel", "{}\t{}", "utf-16"
        case "Windows-1252":
            rows, encoding = [*ROWS[:-1], ("p/rust/2.jpg", "rust")], "cp1252"
            head, line = "path,label,note", "{},{},séchée"
        case "backslashes":
            rows, end = [(path.replace("/", "\\"), label) for path, label in ROWS], "\r\n"
        case "drive":
            rows = [("C:\\field\\" + path.replace("/", "\\"), label) for path, label in ROWS]
        case "another machine":
            rows = [(f"/nowhere/at/all/{path}", label) for path, label in ROWS]
        case "blank lines":
            head = "path,label\n\n"
            end = "\n,,,\n\n"
    return end.join([head, *(line.format(*row) for row in rows), ""]).encode(encoding)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("trailing commas", ""),
        ("notes without a name", "6 rows have more values than all.csv has columns; the rest is not read (line 2"),
        ("blanks", ""),
        ("semicolons, capitals", ""),
        ("sep", ""),
        ("tabs, UTF-16", ""),
        ("Windows-1252", "all.csv is not UTF-8: read as Windows-1252 (for example 'p/ok/0.jpg,ok,séchée')"),
        ("backslashes", ""),
        ("drive", "C:/field/, with which the paths begin, isn't here: of 6 files, 6 are found"),
        ("another machine", "/nowhere/at/all/, with which the paths begin, isn't here"),
        ("blank lines", ""),
    ],
)
def test_tables_as_spreadsheets_write_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, says: str
) -> None:
    place(tmp_path, *(path for path, _ in ROWS))
    (tmp_path / "all.csv").write_bytes(written(form))
    table = read_table(str(tmp_path / "all.csv"))
    # Absolute paths are told from the deepest folder that holds them all.
    given = [(path.removeprefix("p/"), label) for path, label in ROWS] if form in ABSOLUTE else ROWS
    assert list(zip(table["path"], table["label"], strict=True)) == given
    assert list(table["file"]) == [str(tmp_path / path) for path, _ in ROWS]
    printed = capsys.readouterr().out
    assert says in printed and bool(says) == bool(printed)


def test_paths_of_another_machine_are_found_whichever_row_comes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place(tmp_path, *(path for path, _ in ROWS), "ok/9.jpg")
    for first in ("p/ok/0.jpg", "C:\\field\\p\\ok\\gone.jpg", "C:\\field\\p\\ok\\9.jpg", "/old/p/rust/0.jpg"):
        rows = [("C:\\field\\" + path.replace("/", "\\"), label) for path, label in ROWS[1:]]
        rows.insert(0, (first, "ok"))
        (tmp_path / "all.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
        if first.startswith("/old"):
            with pytest.raises(UserError, match=r"1 image more than once, .* /old/p/rust/0.jpg \(lines 2 and 5\)"):
                read_table(str(tmp_path / "all.csv"))
            continue
        table = read_table(str(tmp_path / "all.csv"))
        assert {str(tmp_path / path) for path, _ in ROWS[1:]} < set(table["file"])
        there = [Path(file).exists() for file in table["file"]]
        assert there.count(False) == (0 if first.startswith("p/") else 1)
    assert "C:/field/, with which 5 paths begin, isn't here: of 5 files, 5 are found" in capsys.readouterr().out


def test_one_file_in_two_spellings_is_listed_twice(tmp_path: Path) -> None:
    place(tmp_path, "p/ok/1.jpg", "disk/rust/2.jpg")
    (tmp_path / "p" / "link").symlink_to(tmp_path / "disk" / "rust")
    listed = tmp_path / "all.csv"
    for other in ("p/../p/ok/1.jpg", f"{tmp_path}/p/ok/1.jpg", "P/ok/1.JPG", ".\\p\\ok\\1.jpg"):
        listed.write_text(f"path,label\np/ok/1.jpg,a\n\np/link/2.jpg,b\n{other},a\n")
        with pytest.raises(UserError, match=r"1 image more than once, the first is p/ok/1.jpg \(lines 2 and 5\)"):
            read_table(str(listed))
    listed.write_text("path,label\np/link/2.jpg,a\np/ok/1.jpg,b\np/link/../ok/1.jpg,b\n")
    assert len(read_table(str(listed))) == 3  # the folder above the linked one is another


@pytest.mark.parametrize("top", ["photos", "photos/archive/train"])
def test_photos_keep_their_names_wherever_they_lie(tmp_path: Path, top: str) -> None:
    write_photos(tmp_path / "here" / top, {"blight": 5, "healthy": 5}, size=44)
    folder = read_folder(str(tmp_path / "here" / "photos"))
    assert folder["path"][0] == "blight/leaf0_0.jpg"
    absolute = folder.drop(columns=["path", "group"]).rename(columns={"file": "path"})
    absolute.to_csv(tmp_path / "all.csv", index=False)
    by_name = small_dataset(folder)
    by_table = small_dataset(read_table(str(tmp_path / "all.csv")))
    # Moved, with the paths of before and with those of now.
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "all.csv").rename(tmp_path / "there" / "all.csv")
    by_old_paths = small_dataset(read_table(str(tmp_path / "there" / "all.csv")))
    now = absolute.assign(path=absolute["path"].str.replace("/here/", "/there/"))
    now.to_csv(tmp_path / "now.csv", index=False)
    by_new_paths = small_dataset(read_table(str(tmp_path / "now.csv")))
    for other in (by_table, by_old_paths, by_new_paths):
        assert list(other.table["path"]) == list(folder["path"])
        assert all(Path(file).is_absolute() for file in other.table["file"])
        for kind in ("data_hash", "split_hash", "test_hash"):
            assert getattr(other, kind) == getattr(by_name, kind)


def test_a_table_names_files_in_another_normal_form(tmp_path: Path) -> None:
    place(tmp_path, "p/oi\u0308dium/1.JPG", "p/ok/1.jpg")
    (tmp_path / "all.csv").write_text("path,label\np/o\u00efdium/1.jpg,a\np/ok/1.jpg,b\n")
    assert all(Path(file).is_file() for file in read_table(str(tmp_path / "all.csv"))["file"])


def test_some_classes_only() -> None:
    table = pd.DataFrame({"path": ["1", "2", "3"], "label": ["a", "b", "c"]})
    assert list(of_classes(table, ["c", "a"])["label"]) == ["a", "c"]
    with pytest.raises(UserError, match="no class 'bb': Did you mean b .*; 'd'"):
        of_classes(table, ["a", "d", "bb"])
    with pytest.raises(UserError, match="at least two"):
        of_classes(table, ["a"])
