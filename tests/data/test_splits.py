import numpy as np
import pandas as pd
import pytest

from leafexp.data.catalog import read_table
from leafexp.data.splits import UNUSED, data_hash, hash_of_test, limit_training, split, split_hash
from leafexp.errors import UserError
from tests.conftest import REAL_PHOTOS, needs_real_photos


def photos(leaves_per_class: dict[str, int], photos_per_leaf: int = 4) -> pd.DataFrame:
    rows = [
        (f"{label}/{leaf}_{photo}.jpg", label, f"{label}/{leaf}")
        for label, leaves in leaves_per_class.items()
        for leaf in range(leaves)
        for photo in range(photos_per_leaf)
    ]
    return pd.DataFrame(rows, columns=["path", "label", "group"])


def test_shares_hold_in_each_class_and_no_leaf_is_on_two_sides() -> None:
    table = photos({"a": 100, "b": 60, "c": 20})
    table["split"] = split(table, 0.15, 0.15, seed=0)
    assert table.groupby("group")["split"].nunique().max() == 1
    shares = pd.crosstab(table["label"], table["split"], normalize="index")
    np.testing.assert_allclose(shares[["test", "validation"]], 0.15, atol=0.001)


def test_the_seed_decides_the_split_and_the_order_of_rows_does_not() -> None:
    table = photos({"a": 20, "b": 20})
    first = split(table, 0.2, 0.2, seed=0)
    pd.testing.assert_series_equal(first, split(table, 0.2, 0.2, seed=0))
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(first, split(shuffled, 0.2, 0.2, seed=0).sort_index())
    assert not first.equals(split(table, 0.2, 0.2, seed=1))


def test_the_smallest_class_is_in_all_parts_and_a_smaller_one_is_named() -> None:
    table = photos({"big": 50, "tiny": 3})
    table["split"] = split(table, 0.15, 0.15, seed=0)
    assert set(table.loc[table["label"] == "tiny", "split"]) == {"train", "validation", "test"}
    with pytest.raises(UserError, match="'tiny' is too small to be split: 8 images of 2 leaves; it needs at least 3"):
        split(photos({"big": 50, "tiny": 2}), 0.15, 0.15, seed=0)
    with pytest.raises(UserError, match="'tiny' is too small to be split: 1 image of 1 leaf; it needs"):
        split(photos({"big": 50, "tiny": 1}).iloc[:201], 0.15, 0.15, seed=0)


def test_a_split_column_wins_and_missing_parts_come_from_train() -> None:
    table = photos({"a": 10, "b": 10})
    table["split"] = ["test" if int(group[2:]) < 5 else "train" for group in table["group"]]
    parts = split(table, 0.2, 0.2, seed=0)
    assert ((parts == "test") == (table["split"] == "test")).all()
    assert (parts == "validation").sum() == 8
    given = table.assign(split=["train", "validation", "test", "train"] * 20)
    pd.testing.assert_series_equal(split(given, 0.9, 0.05, seed=3), given["split"], check_names=False)
    with pytest.raises(UserError, match="no validation images of class 'b'"):
        split(given.assign(split=given["split"].where(given["label"] == "a", "train")), 0.1, 0.1, seed=0)


def test_parts_that_lack_a_class_name_all_of_them() -> None:
    table = photos({"Powdery Mildew": 4, "Leaf Rust": 4, "healthy": 4})
    table["split"] = ["train", "train", "validation", "test"] * 12
    named = {"Powdery Mildew": "Powdary Mildew", "Leaf Rust": "Leef Rust"}
    table["label"] = table["label"].mask(table["split"] == "test", table["label"].replace(named))
    with pytest.raises(UserError) as raised:
        split(table, 0.1, 0.1, 0)
    assert str(raised.value) == (
        "The test part has 2 classes that the train part lacks. 'Leef Rust': Did you mean Leaf Rust? "
        "'Powdary Mildew': Did you mean Powdery Mildew?"
    )
    with pytest.raises(UserError, match="no train part, only test and validation"):
        split(table[table["split"] != "train"], 0.1, 0.1, 0)


def test_a_leaf_with_most_of_the_photos_trains(capsys: pytest.CaptureFixture[str]) -> None:
    leaves = [f"{label}/{leaf}" for label in ("a", "b") for leaf in ["big"] * 150 + [f"leaf{n}" for n in range(20)]]
    table = pd.DataFrame({"path": [str(n) for n in range(340)], "group": leaves})
    table["label"] = table["group"].str[0]
    for seed in range(12):
        table["split"] = split(table.drop(columns="split", errors="ignore"), 0.15, 0.15, seed)
        assert table.groupby("group")["split"].nunique().max() == 1
        sizes = pd.crosstab(table["label"], table["split"])
        assert (sizes["train"] >= 155).all() and (sizes[["test", "validation"]] >= 6).all(axis=None)
    assert "where 15% were asked, as leaves stay whole and the largest has 150" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["{leaf}", "plant{plant}"])
def test_leaves_of_several_classes_are_on_one_side_and_each_class_in_each_part(name: str) -> None:
    rows = [
        (f"{label}/{leaf}_{shot}.jpg", label, name.format(leaf=leaf, plant=(leaf + shot) % 8))
        for label, leaves in (("blight", 10), ("healthy", 10), ("rust", 4))
        for leaf in range(1, leaves + 1)
        for shot in range(3)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "group"])
    for seed in range(12):
        table["split"] = split(table.drop(columns="split", errors="ignore"), 0.15, 0.15, seed)
        assert table.groupby("group")["split"].nunique().max() == 1
        assert table["split"].eq("test").sum() <= 0.4 * len(table)


def test_hashes_follow_content_and_split_not_order() -> None:
    table = photos({"a": 5, "b": 5}).assign(sha256="0")
    table["split"] = split(table, 0.2, 0.2, seed=0)
    shuffled = table.sample(frac=1, random_state=1)
    assert data_hash(table) == data_hash(shuffled)
    assert split_hash(table) == split_hash(shuffled)
    changed = table.assign(sha256=["1", *table["sha256"][1:]])
    assert data_hash(changed) != data_hash(table)
    assert split_hash(changed) == split_hash(table)


def test_few_training_photos_are_among_more_and_the_rest_stays() -> None:
    table = photos({"a": 40, "b": 12}).assign(sha256="0")
    table["split"] = split(table, 0.2, 0.2, seed=0)
    chosen: set[str] = set()
    for per_class in (1, 5, 40):
        limited = table.assign(split=limit_training(table, per_class, seed=0))
        training = limited[limited["split"] == "train"]
        assert training["label"].value_counts().to_dict() == {"a": per_class, "b": min(per_class, 32)}
        assert chosen < set(training["path"]) <= set(table.loc[table["split"] == "train", "path"])
        chosen = set(training["path"])
        assert (limited["split"] == UNUSED).sum() == (table["split"] == "train").sum() - len(training)
        assert hash_of_test(limited) == hash_of_test(table)
        assert split_hash(limited) != split_hash(table)
    pd.testing.assert_series_equal(limit_training(table, 96, seed=0), table["split"])


@needs_real_photos
def test_real_photos_are_split_by_leaf() -> None:
    table = read_table(str(REAL_PHOTOS))
    table["split"] = split(table, 0.15, 0.15, seed=0)
    assert table.groupby("group")["split"].nunique().max() == 1
    shares = pd.crosstab(table["label"], table["split"], normalize="index")
    np.testing.assert_allclose(shares[["test", "validation"]], 0.15, atol=0.02)
