"""Folders of photos as people have them: which are parts, which are classes, and what is left out. Reads no photo.

The rules are those of the README: a photo either gets the label that a person would expect, or is named and counted, or
the reading stops and says what can be meant in two ways.
"""

import errno
import functools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from leafexp.data.spelling import as_seen, hints_at_part, part_of, printable
from leafexp.errors import UserError

# Pillow recognises these, but doesn't decode them by itself.
_ONLY_RECOGNISED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Named when they can't be read: they are meant as photos.
_ALSO_PHOTOS = {".mpo", ".heic", ".heif", ".hif"}
# What systems leave behind; some hold thumbnails.
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
# Folders called so are no classes where each class has just one of them.
_CONTAINERS = re.compile(r"(?:images?|imgs?|photos?|pictures?|pics?|jpe?gs?|pngs?|files?|data)")
_LISTED = 3


class Tree:
    """The photos in a folder and its sub-folders, linked ones too.

    Attributes:
        left_out: how many entries are no photos, by kind.
        empty: folders without a photo.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: Counter[str] = Counter()
        self.empty: list[Path] = []
        self._listed: dict[Path, tuple[list[Path], list[Path]]] = {}
        self._filled: dict[Path, list[Path]] = {}

    def loose(self, folder: Path) -> list[Path]:
        """The photos that lie in `folder` itself."""
        return self._listing(folder)[1]

    def filled(self, folder: Path) -> list[Path]:
        """The sub-folders of `folder` that have photos, at any depth."""
        if folder not in self._filled:
            self._filled[folder] = []
            for child in self._listing(folder)[0]:
                if self.photos(child):
                    self._filled[folder].append(child)
                elif child.is_symlink() and _identity(child) in self._above(child):
                    self.left_out["link back to a folder above it"] += 1
                else:
                    self.empty.append(child)
        return self._filled[folder]

    def below(self, folder: Path) -> Iterator[Path]:
        """The folders below `folder` that have photos, at any depth."""
        for child in self.filled(folder):
            yield child
            yield from self.below(child)

    def photos(self, folder: Path) -> list[Path]:
        """The photos in `folder` and below, each file once however many links lead to it; a loop of links ends."""
        real = functools.cache(os.path.realpath)
        found: dict[str, Path] = {}
        for file in self._walk(folder, self._above(folder)):
            place = os.path.realpath(file) if file.is_symlink() else os.path.join(real(file.parent), file.name)
            found.setdefault(place, file)
        return sorted(found.values())

    def name(self, folder: Path) -> str:
        """How the folder or file is called in messages: from the root."""
        return printable(folder.relative_to(self.root).as_posix())

    def _above(self, folder: Path) -> set[tuple[int, int]]:
        """The folders above, those through which a link was taken too."""
        linked = [parent for parent in folder.parents if parent.is_relative_to(self.root)]
        return {_identity(parent) for parent in [*folder.resolve().parents, *linked]}

    def _walk(self, folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
        if (identity := _identity(folder)) in seen:
            return
        seen.add(identity)
        subfolders, photos = self._listing(folder)
        yield from sorted(photos, key=Path.is_symlink)
        for child in sorted(subfolders, key=Path.is_symlink):
            yield from self._walk(child, seen)

    def _listing(self, folder: Path) -> tuple[list[Path], list[Path]]:
        if folder not in self._listed:
            subfolders: list[Path] = []
            photos: list[Path] = []
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                name = printable(str(folder))
                raise UserError(f"The folder {name} can't be read: {error.strerror}.") from None
            for entry in entries:
                if reason := _no_photo(entry):
                    self.left_out[reason] += 1
                else:
                    (subfolders if entry.is_dir() else photos).append(Path(entry.path))
            self._listed[folder] = subfolders, photos
        return self._listed[folder]


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
            f"({_names(tree, others, counted=True)}). Are these classes, or no part of the data? "
            "Move them into the parts, or out of this folder, or list the photos in a CSV."
        )
    if parts:
        return _in_parts(tree, parts)
    _refuse_hints(tree, inside)
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
    said = [f"{number} {kind}" for kind, number in tree.left_out.most_common()]
    if tree.empty:
        more = f" and {len(tree.empty) - _LISTED} more" if len(tree.empty) > _LISTED else ""
        named = ", ".join(f"{tree.name(folder)}/" for folder in tree.empty[:_LISTED]) + more
        said.append(f"{len(tree.empty)} {'folder' if len(tree.empty) == 1 else 'folders'} without photos ({named})")
    lines = [f"left out, as they are no photos: {', '.join(said)}."] if said else []
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
    rows: list[tuple[str | None, Path, Path]] = []
    for folder, top in zip(parts, tops, strict=True):
        part = part_of(folder.name)
        classes = tree.filled(top)
        if not classes:
            raise UserError(
                f"{tree.name(folder)}/ has {_photos(len(tree.loose(top)))}, but no class folders, so no label can be "
                f"read. Sort them into class folders, or move {tree.name(folder)}/ elsewhere"
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
            beside = _names(tree, others, counted=True) if others else _photos(len(tree.loose(label)))
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
        return f"{where} has {_photos(len(loose))}, but no folders inside. Expected one folder per class."
    found = ", ".join(f"{number} {kind}" for kind, number in tree.left_out.most_common())
    found = f" It has {found}; camera raw files must be exported as JPEG first." if found else ""
    return f"{where} has no photos, and no folders inside that have some. Expected one folder per class.{found}"


def _names(tree: Tree, folders: Sequence[Path], counted: bool = False) -> str:
    named = [
        f"{tree.name(folder)}/" + (f" ({_photos(len(tree.photos(folder)))})" if counted else "") for folder in folders
    ]
    if len(named) > 2 * _LISTED:
        named = [*named[:_LISTED], f"{len(named) - _LISTED} more"]
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


def _photos(number: int) -> str:
    return "1 photo" if number == 1 else f"{number} photos"


def _no_photo(entry: os.DirEntry[str]) -> str:
    """Why an entry of a folder is neither a photo nor a folder to look into, as it is counted; "" if it is one."""
    name = entry.name.lower()
    if name.startswith("."):
        return "hidden"
    if name in _SYSTEM_FOLDERS:
        return entry.name
    if entry.is_symlink() and _leads_to_itself(entry.path):
        return "link to itself"
    if entry.is_dir():
        return ""
    suffix = os.path.splitext(name)[1]
    if suffix in _suffixes():
        return "" if entry.is_file() or entry.is_symlink() else "not a file"
    if suffix == "" or suffix[1:].isdigit():
        return "" if _opens(entry.path) else "without a suffix"
    return printable(suffix)


@functools.cache
def _suffixes() -> frozenset[str]:
    """By which a file is meant as a photo."""
    readable = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    only_recognised = {suffix for suffix, kind in Image.registered_extensions().items() if kind in _ONLY_RECOGNISED}
    return frozenset(readable - only_recognised | _ALSO_PHOTOS)


def _opens(file: str) -> bool:
    if not os.path.isfile(file):
        return False
    try:
        with Image.open(file):
            return True
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return False


def _leads_to_itself(link: str) -> bool:
    try:
        os.stat(link)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
