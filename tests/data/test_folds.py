"""Every photo is tested once by a network that never saw its leaf, whatever the photos are like."""

import numpy as np
import pandas as pd
import pytest

from leafexp.data.catalog import read_table
from leafexp.data.folds import fold_split, partition
from leafexp.data.splits import UNUSED, limit_training
from leafexp.errors import UserError
from tests.conftest import REAL_PHOTOS, needs_real_photos
from tests.data.test_splits import photos


def catalog(rows: list[tuple[str, str]]) -> pd.DataFrame:
    """A photo for each label and group."""
    table = pd.DataFrame(rows, columns=["label", "group"])
    return table.assign(path=[f"{number:04d}.jpg" for number in range(len(table))])


RANDOM = np.random.default_rng(0)
PLANTS = [("abcd"[RANDOM.integers(4)], f"plant{RANDOM.integers(25)}") for _ in range(400)]
LARGE = [("a", f"a{min(number // 2, 9)}") for number in range(218)]
AWKWARD = {
    "equal leaves": photos({"a": 40, "b": 25}),
    "no leaf is known": photos({"a": 60, "b": 31}, photos_per_leaf=1),
    "one leaf of 200 photos": catalog([*LARGE, *(("b", f"b{leaf}") for leaf in range(9))]),
    "a tiny class": photos({"big": 80, "tiny": 5}),
    "leaves of many sizes": catalog([(c, f"{c}{leaf}") for c in "abc" for leaf in range(20) for _ in range(leaf + 1)]),
    "plants of several classes": catalog(PLANTS),
    "a rare class on large plants": catalog(
        [("healthy", f"plant{n % 20}") for n in range(600)] + [("rust", f"plant{n}") for n in range(7)]
    ),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("folds", [3, 5])
def test_every_photo_is_tested_once_and_no_leaf_is_on_two_sides(name: str, folds: int) -> None:
    table = AWKWARD[name]
    for seed in range(2):
        parts = pd.DataFrame({fold: fold_split(table, folds, fold, seed) for fold in range(folds)})
        assert (parts == "test").sum(axis=1).eq(1).all()
        assert (parts == "validation").sum(axis=1).eq(1).all()
        assert (parts == "train").sum(axis=1).eq(folds - 2).all()
        for fold in range(folds):
            assert parts[fold].groupby(table["group"]).nunique().max() == 1
            there = pd.crosstab(table["label"], parts[fold])
            assert there.shape == (table["label"].nunique(), 3)
            assert (there > 0).all(axis=None)
        shuffled = table.sample(frac=1, random_state=seed)
        pd.testing.assert_series_equal(partition(shuffled, folds, seed).sort_index(), partition(table, folds, seed))


@pytest.mark.parametrize(
    "name", ["equal leaves", "no leaf is known", "leaves of many sizes", "plants of several classes"]
)
def test_another_seed_makes_another_partition(name: str) -> None:
    table = AWKWARD[name]
    first = partition(table, 5, 0)
    again = [pd.crosstab(first, partition(table, 5, seed)).max(axis=1).sum() / len(table) for seed in range(1, 5)]
    assert np.mean(again) < 0.6, "else it is the same one by other numbers"


def test_folds_are_as_large_as_whole_leaves_allow() -> None:
    sizes = pd.crosstab(AWKWARD["equal leaves"]["label"], partition(AWKWARD["equal leaves"], 5, 0))
    assert sizes.loc["a"].eq(32).all() and sizes.loc["b"].eq(20).all()
    sizes = pd.crosstab(AWKWARD["leaves of many sizes"]["label"], partition(AWKWARD["leaves of many sizes"], 5, 0))
    assert (sizes - 42).abs().max(axis=None) <= 12


def test_a_fold_that_a_large_leaf_fills_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    table = AWKWARD["one leaf of 200 photos"]
    fold = int(partition(table, 5, 0)[table["group"] == "a9"].iloc[0])
    capsys.readouterr()
    fold_split(table, 5, fold, 0)
    assert "the test part has 200 of the 218 photos of 'a' (91.7%) where 20% were asked" in capsys.readouterr().out


def test_what_makes_no_folds_is_said() -> None:
    table = photos({"big": 50, "tiny": 4})
    with pytest.raises(UserError, match="Class 'tiny' has 4 leaves; data.folds=5 needs at least 5 of each class"):
        fold_split(table, 5, 0, 0)
    assert set(fold_split(table, 4, 0, 0)) == {"train", "validation", "test"}
    with pytest.raises(UserError, match=r"have a split of their own, and data.folds=4 would draw another.\n?.*null"):
        fold_split(table.assign(split="train"), 4, 0, 0)
    with pytest.raises(UserError, match="data.folds=4 needs data.fold: which of the folds 0 to 3"):
        fold_split(table, 4, None, 0)


def test_a_class_that_the_draw_leaves_out_of_a_fold_is_brought_there() -> None:
    random = np.random.default_rng(1849)
    plants = int(random.integers(7, 14))
    table = catalog([("abc"[random.choice(3, p=[0.5, 0.4, 0.1])], f"g{random.integers(plants)}") for _ in range(60)])
    assert (pd.crosstab(table["label"], partition(table, 3, 0)) > 0).all(axis=None)


def test_few_training_photos_of_a_fold_are_tested_on_all_of_it() -> None:
    table = photos({"a": 40, "b": 15})
    whole = fold_split(table, 5, 2, 0)
    few = limit_training(table.assign(split=whole), 8, 0)
    assert few[few == "train"].groupby(table["label"]).size().tolist() == [8, 8]
    assert ((whole == "test") == (few == "test")).all()
    assert set(few[(whole == "train") & (few != "train")]) == {UNUSED}


@needs_real_photos
def test_real_photos_make_equal_folds() -> None:
    table = read_table(str(REAL_PHOTOS))
    for seed in range(3):
        sizes = pd.crosstab(table["label"], partition(table, 5, seed), normalize="index")
        np.testing.assert_allclose(sizes, 0.2, atol=0.02)
