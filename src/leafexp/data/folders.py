"""Folders of photos as people have them: which are parts, which are classes, and what is left out. Reads no photo.

The rules are those of the README: a photo either gets the label that a person would expect, or is named and counted, or
the reading stops and says what can be meant in two ways.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from leafexp.data.spelling import as_seen, hints_at_part, part_of, printable
from leafexp.data.tree import Tree
from leafexp.errors import UserError
from leafexp.wording import counted

# Folders called so are no classes where each class has just one of them.
_CONTAINERS = re.compile(r"(?:images?|imgs?|photos?|pictures?|pics?|jpe?gs?|pngs?|files?|data)")
_LISTED = 3
_KINDS = 8  # of entries that are no photos


def labelled(tree: Tree) -> list[tuple[str | None, Path, Path]]:
    """The photos of `tree` as (the part it is in, or None; the folder that names its class; its file).

    Raises:
        UserError: no photos, photos without class folders, or folders that can be meant in two ways.
    """
    top = _unwrapped(tree, tree.root)
    inside = tree.filled(top)
    parts = [folder for folder in inside if part_of(folder.name)]
    others = [folder for folder in inside if not part_of(folder.name)]
    if not inside:
        raise UserError(_nothing(tree, top))
    if parts and others:
        raise UserError(
            f"Parts of the data ({_names(tree, parts)}) lie beside other folders with photos "
            f"({_names(tree, others, sizes=True)}). Are these classes, or no part of the data? "
            "Move them into the parts, or out of this folder, or list the photos in a CSV."
        )
    if parts:
        return _in_parts(tree, parts)
    _refuse_hints(tree, inside)
    _refuse_classes_inside(tree, inside)
    if len(inside) == 1 and tree.filled(inside[0]):
        raise UserError(
            f"There is one class only, {tree.name(inside[0])!r}. Telling classes apart needs at least two. If the "
            f"classes are the folders inside it, say data.path={printable(str(inside[0]))}."
        )
    with_parts = [folder for folder in inside if any(part_of(child.name) for child in tree.filled(folder))]
    if with_parts:
        return _parts_in_classes(tree, inside, with_parts[0])
    for folder in inside:
        _refuse_parts_below(tree, folder)
    _refuse_two_levels(tree, inside, [[_unwrapped(tree, folder)] for folder in inside])
    return [(None, folder, file) for folder in inside for file in tree.photos(folder)]


def left_out(tree: Tree, used: Sequence[Path]) -> list[str]:
    """What is in `tree` besides the photos `used`, a line for each kind; empty if nothing is."""
    kinds = tree.left_out.most_common()
    said = [f"{number} {kind}" for kind, number in kinds[:_KINDS]]
    if kinds[_KINDS:]:
        said.append(f"{sum(number for _, number in kinds[_KINDS:])} of {len(kinds) - _KINDS} other kinds")
    if tree.empty:
        more = f" and {len(tree.empty) - _LISTED} more" if len(tree.empty) > _LISTED else ""
        named = ", ".join(f"{tree.name(folder)}/" for folder in tree.empty[:_LISTED]) + more
        said.append(f"{len(tree.empty)} {'folder' if len(tree.empty) == 1 else 'folders'} without photos ({named})")
    lines = [f"left out, as they are no photos: {', '.join(said)}."] if said else []
    if tree.dangling:
        lead = "1 link leads" if len(tree.dangling) == 1 else f"{len(tree.dangling)} links lead"
        named = ", ".join(map(tree.name, tree.dangling[:_LISTED])) + (", ..." if len(tree.dangling) > _LISTED else "")
        lines.append(f"left out: {lead} nowhere ({named}). Is the disk with the photos there?")
    taken = set(used)
    if without := sorted(file for _, photos in tree._listed.values() for file in photos if file not in taken):
        real = {os.path.realpath(file) for file in taken}
        without = [file for file in without if os.path.realpath(file) not in real]
    if without:
        named = ", ".join(tree.name(file) for file in without[:_LISTED])
        more = ", ..." if len(without) > _LISTED else ""
        lines.append(
            f"left out: {len(without)} {'photo lies' if len(without) == 1 else 'photos lie'} in no class folder, so "
            f"no label can be read ({named}{more})."
        )
    return lines


def _in_parts(tree: Tree, parts: Sequence[Path]) -> list[tuple[str | None, Path, Path]]:
    _one_of_each(tree, parts)
    tops = [_unwrapped_part(tree, folder) for folder in parts]
    only = [tree.filled(top) for top in tops]
    wrapper = {children[0].name if len(children) == 1 else None for children in only}
    if len(tops) > 1 and len(wrapper) == 1 and None not in wrapper and all(tree.filled(one[0]) for one in only):
        tops = [one[0] for one in only]  # train/images/rust, test/images/rust
    elif all(len(one) == 1 and _CONTAINERS.fullmatch(one[0].name.casefold()) for one in only):
        first = only[0][0]
        raise UserError(
            f"{tree.name(first)}/ has {counted(len(tree.photos(first)), 'photo')}, but no class folders, so no label "
            "can be read. Text files of labels, as for detectors, are not read: sort the photos into class folders, or "
            "list them in a CSV."
        )
    rows: list[tuple[str | None, Path, Path]] = []
    for folder, top in zip(parts, tops, strict=True):
        part = part_of(folder.name)
        classes = tree.filled(top)
        if not classes:
            raise UserError(
                f"{tree.name(folder)}/ has {counted(len(tree.loose(top)), 'photo')}, but no class folders, so no label "
                f"can be read. Sort them into class folders, or move {tree.name(folder)}/ elsewhere"
                + ("." if part == "train" else f": leafexp then draws the {part} photos from train.")
            )
        if nested := next((child for child in tree.below(top) if part_of(child.name)), None):
            raise UserError(
                f"{tree.name(nested)}/ is a part inside the part {tree.name(folder)}/. Which of them holds? "
                "Move its photos or rename it."
            )
        _refuse_hints(tree, classes)
        for label in classes:
            _refuse_parts_below(tree, label)
        _refuse_classes_inside(tree, classes)
        _refuse_two_levels(tree, classes, [[_unwrapped(tree, label)] for label in classes], in_part=True)
        for label in classes:
            rows += [(part, label, file) for file in tree.photos(label)]
    return rows


def _parts_in_classes(tree: Tree, classes: Sequence[Path], example: Path) -> list[tuple[str | None, Path, Path]]:
    """PHOTOS/rust/train/1.jpg: every class folder must be divided so, and whole."""
    rows: list[tuple[str | None, Path, Path]] = []
    divided = f"{tree.name(example)}/ is divided into parts"
    for label in classes:
        children = tree.filled(label)
        others = [child for child in children if not part_of(child.name)]
        if not children:
            raise UserError(f"{divided}, {tree.name(label)}/ is not. Divide every class, or none.")
        if others or tree.loose(label):
            beside = _names(tree, others, sizes=True) if others else counted(len(tree.loose(label)), "photo")
            raise UserError(
                f"{divided}, but {tree.name(label)}/ also has {beside} outside of them. Move them into a part."
            )
        _one_of_each(tree, children)
        for child in children:
            _refuse_parts_below(tree, child)
        rows += [(part_of(child.name), label, file) for child in children for file in tree.photos(child)]
    _refuse_two_levels(tree, classes, [[_unwrapped(tree, child) for child in tree.filled(label)] for label in classes])
    return rows


def _refuse_parts_below(tree: Tree, folder: Path) -> None:
    """Raise UserError where a folder in `folder` is called like a part: its photos would lose their part."""
    for inner in [folder, *tree.below(folder)]:
        children = tree.filled(inner)
        if part := next((child for child in children if part_of(child.name)), None):
            raise UserError(
                f"{tree.name(part)}/ is called like a part of the data, but lies too deep to be one. Parts lie above "
                "the classes, or directly inside each of them: move it there, or rename it."
            )
        _refuse_hints(tree, children)


def _refuse_hints(tree: Tree, folders: Sequence[Path]) -> None:
    """Raise UserError where the names of folders beside each other only hint at parts."""
    alike = [folder for folder in folders if hints_at_part(folder.name)]
    if len({hints_at_part(folder.name) for folder in alike}) > 1:
        raise UserError(
            f"Are {_names(tree, alike)} classes, or parts of the data? "
            "Parts must be called train, validation and test: rename them."
        )


def _refuse_classes_inside(tree: Tree, classes: Sequence[Path]) -> None:
    """Raise UserError where a folder in one class is called like another class: numbers are units inside a class."""
    by_look = {as_seen(folder.name): folder for folder in classes if not folder.name.strip().isdigit()}
    for folder in classes:
        for inner in tree.below(folder):
            other = by_look.get(as_seen(inner.name), folder)
            if other != folder:
                raise UserError(
                    f"{tree.name(inner)}/ lies in the class folder {tree.name(folder)}/, but is called like the class "
                    f"{tree.name(other)}/. Which class are its {counted(len(tree.photos(inner)), 'photo')} of? Move "
                    "the folder to where it belongs, or rename it."
                )


def _refuse_two_levels(
    tree: Tree, outer: Sequence[Path], tops: Sequence[Sequence[Path]], in_part: bool = False
) -> None:
    """Raise UserError where the folders in `outer` may be the classes, or else those inside them.

    That is so where several of `outer` have sub-folders of the same name, and none has photos of its own. Numbered
    sub-folders (leaf1, 2023) are units inside a class. `tops` are, for each of `outer`, the folders whose sub-folders
    may be classes; with `in_part` the `outer` lie in a part, so that none of them can be read alone.
    """
    if any(tree.loose(top) for inner in tops for top in inner):
        return
    names = [{as_seen(child.name): child.name for top in inner for child in tree.filled(top)} for inner in tops]
    holders = Counter(name for inner in names for name in inner)
    shared = [name for name, number in holders.items() if number > 1 and not any(map(str.isdigit, name))]
    if not shared or (len(holders) == 1 and _CONTAINERS.fullmatch(shared[0])):
        return
    sharing = [folder for folder, inner in zip(outer, names, strict=True) if not inner.keys().isdisjoint(shared)]
    spelt = {name: printable(child) for inner in names for name, child in inner.items()}
    inside = [spelt[name] for name in [*shared, *(name for name in holders if name not in shared)]]
    classes = ", ".join([*inside[:_LISTED], *["..."] * (len(inside) > _LISTED)])
    one = "" if in_part else f"for one of them say data.path={printable(str(sharing[0]))}, or "
    raise UserError(
        f"Are {_names(tree, sharing)} classes, or do the classes ({classes}) lie inside them? If inside, {one}move the "
        "classes up; or list the photos in a CSV."
    )


def _one_of_each(tree: Tree, parts: Sequence[Path]) -> None:
    by_part: dict[str | None, Path] = {}
    for folder in parts:
        twin = by_part.setdefault(part_of(folder.name), folder)
        if twin != folder:
            both = f"{tree.name(twin)}/ and {tree.name(folder)}/"
            raise UserError(f"{both} both stand for the {part_of(folder.name)} part. Merge or rename one of them.")


def _unwrapped(tree: Tree, folder: Path) -> Path:
    """The folder inside which the photos are divided: an archive's single top folder is passed through."""
    inside = tree.filled(folder)
    if len(inside) != 1 or tree.loose(folder) or tree.loose(inside[0]) or part_of(inside[0].name):
        return folder
    return _unwrapped(tree, inside[0]) if tree.filled(inside[0]) else folder


def _unwrapped_part(tree: Tree, folder: Path) -> Path:
    """train/train/rust: a part's folder inside its own folder is passed through."""
    inside = tree.filled(folder)
    same = len(inside) == 1 and part_of(inside[0].name) == part_of(folder.name)
    return _unwrapped_part(tree, inside[0]) if same and not tree.loose(folder) else folder


def _nothing(tree: Tree, top: Path) -> str:
    where = printable(str(top))
    if loose := tree.loose(top):
        return f"{where} has {counted(len(loose), 'photo')}, but no folders inside. Expected one folder per class."
    found = ", ".join(f"{number} {kind}" for kind, number in tree.left_out.most_common())
    found = f" It has {found}; camera raw files must be exported as JPEG first." if found else ""
    return f"{where} has no photos, and no folders inside that have some. Expected one folder per class.{found}"


def _names(tree: Tree, folders: Sequence[Path], sizes: bool = False) -> str:
    named = [
        f"{tree.name(folder)}/" + (f" ({counted(len(tree.photos(folder)), 'photo')})" if sizes else "")
        for folder in folders
    ]
    if len(named) > 2 * _LISTED:
        named = [*named[:_LISTED], f"{len(named) - _LISTED} more"]
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
