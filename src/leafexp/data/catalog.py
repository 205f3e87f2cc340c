"""Where the photos are: a folder, a CSV or synthetic leaves become one table of images. Reads no image."""

import os
import re
import shutil
from pathlib import Path

import pandas as pd

from leafexp.data import leafsim
from leafexp.errors import UserError, did_you_mean
from leafexp.locks import file_lock

SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev"), "validation"
)
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}


def read_folder(path: str, group_pattern: str | None = None) -> pd.DataFrame:
    """The images in a folder that has one folder per class, or train/validation/test folders of such folders.

    Returns:
        One row an image, sorted by path: `path` (relative, with /), `file` (absolute), `label`, `group` (photos of one
        leaf share it), and `split` where the folders give one.

    Raises:
        UserError: not a folder, a class without files, fewer than two classes, class names that differ only by case.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"data.path={path} is not a folder. For a CSV use data=table.")
    folders = _subfolders(root)
    if folders and all(folder.name.lower() in _SPLIT_NAMES for folder in folders):
        classes: list[tuple[str | None, Path]]
        classes = [(folder.name.lower(), child) for folder in folders for child in _subfolders(folder)]
    else:
        classes = [(None, folder) for folder in folders]
    if not classes:
        raise UserError(
            f"data.path={path} has no folders inside. Expected one folder per class, with its photos in it."
        )
    rows = []
    for split, folder in classes:
        files = sorted(file for file in folder.rglob("*") if _is_candidate(file, folder))
        if not files:
            raise UserError(f"The class folder {folder} has no files. Put photos into it or remove it.")
        rows += [(file.relative_to(root).as_posix(), str(file.absolute()), folder.name, split) for file in files]
    table = pd.DataFrame(rows, columns=["path", "file", "label", "split"]).sort_values("path", ignore_index=True)
    return _finish(table.drop(columns="split") if table["split"].isna().all() else table, group_pattern)


def read_table(path: str, group_pattern: str | None = None) -> pd.DataFrame:
    """The images that a CSV lists; the same columns as `read_folder`.

    The CSV has `path` (absolute, or from the CSV's folder) and `label`, optionally `group` (or `leaf_id`) and `split`.

    Raises:
        UserError: not a CSV, a column or a value is missing, an image is listed twice.
    """
    source = Path(path).expanduser()
    try:
        listed = pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"data.path={path} can't be read as CSV: {error}") from None
    for column in ("path", "label"):
        if column not in listed:
            raise UserError(f"{path} has no column {column!r}. {did_you_mean(column, listed.columns)}")
    listed = listed.rename(columns={"leaf_id": "group"}) if "group" not in listed else listed
    columns = [column for column in ("path", "label", "group", "split") if column in listed]
    table = listed[columns].apply(lambda values: values.str.strip())
    for column in ("path", "label", "split"):
        if column in table and (empty := table.index[table[column] == ""]).size:
            lines = ", ".join(str(row + 2) for row in empty[:5])
            raise UserError(f"{path}: column {column!r} is empty in {len(empty)} rows (lines {lines}).")
    if (twice := table.loc[table["path"].duplicated(), "path"]).size:
        raise UserError(f"{path} lists {len(twice)} images twice, the first is {twice.iloc[0]}.")
    table["file"] = [str((source.parent / name).absolute()) for name in table["path"]]
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
    for label in classes:
        if label not in present:
            raise UserError(f"data.classes: there is no class {label!r}. {did_you_mean(label, present)}")
    if len(set(classes)) < 2:
        raise UserError(f"data.classes must name at least two classes; got {classes}.")
    return table[table["label"].isin(classes)].reset_index(drop=True)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _is_candidate(file: Path, folder: Path) -> bool:
    """Whether `file` may be meant as a photo: all but folders, hidden files and what systems leave behind."""
    parts = file.relative_to(folder).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and file.name.lower() not in _SYSTEM_FILES and not file.is_dir()


def _finish(table: pd.DataFrame, group_pattern: str | None) -> pd.DataFrame:
    """Check the classes and normalise `split` and `group`."""
    classes = sorted(table["label"].unique())
    by_case: dict[str, str] = {}
    for label in classes:
        twin = by_case.setdefault(label.casefold(), label)
        if twin != label:
            raise UserError(f"The classes {twin!r} and {label!r} differ only by case. Merge or rename one of them.")
    if len(classes) < 2:
        raise UserError(f"There is one class only, {classes[0]!r}. Telling classes apart needs at least two.")
    if "split" in table:
        names = table["split"].str.lower()
        if (unknown := sorted(set(names) - set(_SPLIT_NAMES))) != []:
            raise UserError(f"There is no split {unknown[0]!r}. {did_you_mean(unknown[0], SPLITS)}")
        table["split"] = names.map(_SPLIT_NAMES)
    if group_pattern is not None:
        matches = [re.search(group_pattern, Path(path).name) for path in table["path"]]
        if not any(matches):
            raise UserError(
                f"data.group_pattern={group_pattern!r} matches no file name, as {Path(table['path'][0]).name!r}."
            )
        named = [match and (match.group(1) if match.re.groups else match.group(0)) for match in matches]
        # The same number in two classes is two leaves.
        groups = [f"{label}/{name}" if name else None for label, name in zip(table["label"], named, strict=True)]
        table["group"] = pd.Series(groups, dtype="str")
    elif "group" not in table:
        table["group"] = None
    unknown_group = table["group"].isna() | (table["group"] == "")
    table["group"] = table["group"].astype("object").where(~unknown_group, table["path"])
    return table
