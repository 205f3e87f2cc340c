"""Where the photos are: a folder, a CSV or synthetic leaves become one table of images. Reads no pixels."""

import functools
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from leafexp.data import folders, leafsim, tables
from leafexp.data.spelling import SPLITS, as_seen, as_word, difference, part_of, printable
from leafexp.errors import UserError, did_you_mean
from leafexp.locks import file_lock
from leafexp.notes import note
from leafexp.wording import counted

# What tables write where a leaf is not known.
_NO_LEAF = {"na", "n/a", "n.a.", "#n/a", "nan", "none", "null", "unknown", "unk", "-", "--", "?", "."}


def read_folder(path: str, group_pattern: str | None = None) -> pd.DataFrame:
    """As `folder_of_any`; raises UserError too where there are fewer than two classes."""
    return _of_several_classes(folder_of_any(path, group_pattern))


def read_table(path: str, group_pattern: str | None = None) -> pd.DataFrame:
    """As `table_of_any`; raises UserError too where there are fewer than two classes."""
    return _of_several_classes(table_of_any(path, group_pattern))


def folder_of_any(path: str, group_pattern: str | None = None) -> pd.DataFrame:
    """The photos in a folder that has one folder per class, or train/validation/test folders of such folders.

    What is no photo, or has no label, is left out and said; the README tells the rules, `folders` has them.

    Returns:
        One row an image, sorted by path: `path` (from the deepest folder that holds all of them, with /), `file`
        (absolute), `label`, `group` (photos of one leaf share it), and `split` where the folders give one. Bytes in
        names that are not UTF-8 are escaped, except in `file`.

    Raises:
        UserError: not a folder, no photos, folders that can be meant in two ways, class names that look alike.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"data.path={path} is not a folder. For a CSV use data=table.")
    tree = folders.Tree(root)
    found = folders.labelled(tree)
    for line in folders.left_out(tree, [file for _, _, file in found]):
        note(line)
    if deeper := [file for _, folder, file in found if file.parent != folder and not part_of(file.parent.name)]:
        number = "1 photo lies" if len(deeper) == 1 else f"{len(deeper)} photos lie"
        note(f"{number} in folders inside a class folder, as {tree.name(deeper[0])}; the outer folder is the class.")
    _refuse_one_file_twice(tree, found)
    for part in {part for part, _, _ in found}:
        _refuse_twins({folder.name for within, folder, _ in found if within == part})
    rows = [(tree.name(file), printable(folder.name).strip(), part) for part, folder, file in found]
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    # As in a CSV of the same photos: an archive's top folder is no part of their names.
    table["path"] = tables.from_common_folder(list(table["path"]))
    table["file"] = _files([str(file.absolute()) for _, _, file in found])
    table = table.drop(columns="split") if table["split"].isna().all() else table
    return _finish(table.sort_values("path", ignore_index=True), group_pattern)


def table_of_any(path: str, group_pattern: str | None = None) -> pd.DataFrame:
    """The images that a CSV lists; the same columns as `folder_of_any`.

    The CSV has `path` (from the CSV's folder, or absolute: the column then starts at the deepest folder that holds all
    of them, as `folder_of_any`'s does) and `label`, optionally `group` (or `leaf_id`) and `split`;
    it may be as a spreadsheet writes it, see `tables`.

    Raises:
        UserError: not a CSV, a column or a value is missing, an image is listed twice, class names that look alike.
    """
    source = Path(path).expanduser()
    listed = tables.read(source)
    table = pd.DataFrame(listed.columns, dtype="str")
    table["path"], files = tables.find(source.parent, listed.columns["path"])
    table["file"] = _files(files)
    real = functools.cache(os.path.realpath)
    place = _files([os.path.join(real(os.path.dirname(file)), os.path.basename(file)) for file in files])
    if (twice := place[place.duplicated()]).size:
        rows = table.index[place == twice.iloc[0]]
        lines = " and ".join(str(listed.lines[row]) for row in rows)
        raise UserError(
            f"{path} lists {counted(twice.nunique(), 'image')} more than once, the first is "
            f"{listed.columns['path'][rows[0]]} (lines {lines})."
        )
    _refuse_twins(set(table["label"]))
    table["label"] = table["label"].map(printable)
    return _finish(table.sort_values("path", ignore_index=True), group_pattern)


def simulated(
    folder: str, images: int, seed: int, path: str | None = None, group_pattern: str | None = None
) -> pd.DataFrame:
    """The synthetic leaves of `leafsim`, made in `folder` on first use; the same columns as `read_folder`.

    Raises:
        UserError: too few images, or a path was given.
    """
    if path is not None:
        raise UserError(f"data=leafsim makes its own photos; for those in data.path={path} use data=folder.")
    made = Path(folder) / f"leafsim_{images}_seed{seed}"
    made.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(f"{made}.lock"):
        if not (made / "manifest.csv").is_file():
            unfinished = Path(f"{made}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                leafsim.generate(unfinished, images=images, seed=seed)
            except ValueError as error:
                raise UserError(f"data.source.images={images}: {error}") from None
            os.replace(unfinished, made)
    return read_table(str(made / "manifest.csv"), group_pattern)


def of_classes(table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The images of the named classes.

    Raises:
        UserError: a class has no image, or fewer than two classes are named.
    """
    present = set(table["label"])
    named = {printable(label) for label in classes}
    if unknown := sorted(named - present):
        hints = "; ".join(f"{label!r}: {did_you_mean(label, present)}" for label in unknown)
        raise UserError(f"data.classes: there is no class {hints}")
    if len(named) < 2:
        raise UserError(f"data.classes must name at least two classes; got {classes}.")
    return table[table["label"].isin(named)].reset_index(drop=True)


def _files(names: list[str]) -> pd.Series:
    """A column for names of files: a column of strings can't hold bytes that are not UTF-8."""
    return pd.Series(names, dtype="object")


def _refuse_twins(labels: set[str]) -> None:
    """Raise UserError where two names of classes look alike."""
    by_look: dict[str, str] = {}
    for label in sorted(labels):
        twin = by_look.setdefault(as_seen(label), label)
        if twin != label:
            differs = difference(twin, label)
            shown = (repr(twin), repr(label)) if differs == "case" else (ascii(twin), ascii(label))
            raise UserError(
                f"The classes {shown[0]} and {shown[1]} differ only by {differs}. Merge or rename one of them."
            )


def _whole(name: str) -> str:
    """A whole number as one writes it, without the `.0` that tables add; another name as it is."""
    return re.sub(r"^(\d+)\.0+$", r"\1", name)


def _note_near_twins(classes: Sequence[str]) -> None:
    """Say where two names of classes differ by blanks and dashes only, or by what a copy of a folder is called."""
    by_word: dict[str, str] = {}
    for label in classes:
        word = as_word(_whole(label)).removesuffix("copy")
        twin = by_word.setdefault(word, label)
        if twin != label:
            note(f"{twin!r} and {label!r} are spelt nearly alike, and count as two classes. Are they one?")


def _refuse_one_file_twice(tree: folders.Tree, found: Sequence[tuple[str | None, Path, Path]]) -> None:
    """Raise UserError where links make one file a photo of two classes or parts."""
    places: dict[str, Path] = {}
    for _, _, file in found:
        other = places.setdefault(tree.place(file), file)
        if other != file:
            raise UserError(
                f"{tree.name(other)} and {tree.name(file)} are one file, by a link. A photo has one class and is in "
                "one part of the data: remove the link."
            )


def _of_several_classes(table: pd.DataFrame) -> pd.DataFrame:
    classes = list(table["label"].unique())
    if len(classes) < 2:
        raise UserError(f"There is one class only, {classes[0]!r}. Telling classes apart needs at least two.")
    return table


def _finish(table: pd.DataFrame, group_pattern: str | None) -> pd.DataFrame:
    """Check the classes and normalise `split` and `group`."""
    classes = sorted(table["label"].unique())
    _refuse_twins(set(classes))
    _note_near_twins(classes)
    if "split" in table:
        parts = table["split"].map(lambda name: part_of(name) or "")
        if unknown := sorted(set(table["split"][parts == ""])):
            raise UserError(f"There is no split {unknown[0]!r}. {did_you_mean(unknown[0], SPLITS)}")
        table["split"] = parts.astype("str")
    if group_pattern is not None:
        matches = [re.search(group_pattern, Path(path).name) for path in table["path"]]
        if "group" in table:
            note("data.group_pattern is used in place of the CSV's column of leaves.")
        # A bracket that may be left out matches nothing everywhere: no leaf is told by that.
        named = [match and (match.group(1) if match.re.groups else match.group(0)) for match in matches]
        _check_matched(group_pattern, table["path"], [bool(name) for name in named])
        _check_leaves(group_pattern, named)
        # The same number in two classes is two leaves.
        groups = [f"{label}/{name}" if name else None for label, name in zip(table["label"], named, strict=True)]
        table["group"] = pd.Series(groups, dtype="str")
    elif "group" in table:
        table["group"] = _leaves(table["group"])
    else:
        table["group"] = None
    unknown_group = table["group"].isna() | (table["group"] == "")
    table["group"] = table["group"].astype("object").where(~unknown_group, table["path"])
    return table


def _check_leaves(group_pattern: str, named: Sequence[str | None]) -> None:
    """Raise UserError where the pattern finds one leaf in all names, and say where it finds another in each."""
    leaves = set(named)
    if len(leaves) == 1 and len(named) > 1:
        raise UserError(
            f"data.group_pattern={group_pattern!r} finds the same leaf, {named[0]!r}, in all {len(named)} file names. "
            "It must find what differs from leaf to leaf: mend it."
        )
    if len(leaves) == len(named) and None not in leaves:
        note(
            f"data.group_pattern={group_pattern!r} finds another leaf in each of the {len(named)} file names, so it "
            "keeps no photos together."
        )


def _leaves(names: pd.Series) -> pd.Series:
    """Names of leaves: one for all spellings that look alike or are one number, "" where a word says none is known.

    Raises:
        UserError: all photos are of one leaf.
    """
    names = names.fillna("")
    unknown = names.str.casefold().isin(_NO_LEAF)
    if unknown.any():
        said = f"{counted(int(unknown.sum()), 'photo')} with {names[unknown].iloc[0]!r} as leaf"
        note(f"{said}: each counts as of a leaf of its own.")
    known = names[~unknown & (names != "")]
    if len(known) == len(names) > 1 and (known == known.iloc[0]).all():
        raise UserError(
            f"The column of leaves says {known.iloc[0]!r} for all {len(known)} photos, so that they can't be parted. "
            "Mend or remove it."
        )
    looks = known.map(lambda name: as_seen(_whole(name)))
    first = known.groupby(looks).first()
    if twins := known.nunique() - len(first):
        one, other = next((a, b) for a, b in zip(looks.map(first), known, strict=True) if a != b)
        leaves = "1 leaf is" if twins == 1 else f"{twins} leaves are"
        note(f"in the column of leaves {leaves} spelt in two ways and taken as one, such as {one!r} and {other!r}.")
    return looks.map(first).reindex(names.index, fill_value="").astype("str")


def _check_matched(group_pattern: str, paths: pd.Series, matched: list[bool]) -> None:
    """Say in how many names the pattern finds a leaf; raise UserError where it is under half."""
    if all(matched):
        return
    other = Path(paths[matched.index(False)]).name
    said = f"data.group_pattern={group_pattern!r} matches {sum(matched) or 'no'} of {len(matched)} file names"
    if sum(matched) < len(matched) / 2:
        raise UserError(f"{said}: not {other!r}. Photos it doesn't match count as of a leaf each; mend it.")
    note(f"{said}; each other one, as {other!r}, counts as of a leaf of its own.")
