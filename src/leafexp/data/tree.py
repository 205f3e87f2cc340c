"""A folder with its sub-folders, and which of their files are photos; opens one only where its name tells nothing."""

import errno
import functools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from leafexp.data.spelling import printable
from leafexp.errors import UserError

# Pillow recognises these, but doesn't decode them by itself.
_ONLY_RECOGNISED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Named when they can't be read: they are meant as photos.
_ALSO_PHOTOS = {".mpo", ".heic", ".heif", ".hif"}
_NOWHERE = "link that leads nowhere"
# What systems leave behind; some hold thumbnails.
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}


class Tree:
    """The photos in a folder and its sub-folders, linked ones too.

    Attributes:
        left_out: how many entries are no photos, by kind.
        empty: folders without a photo.
        dangling: links that lead nowhere and whose names are not those of photos.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: Counter[str] = Counter()
        self.empty: list[Path] = []
        self.dangling: list[Path] = []
        self._real = functools.cache(os.path.realpath)  # of folders
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
        found: dict[str, Path] = {}
        for file in self._walk(folder, self._above(folder)):
            found.setdefault(self.place(file), file)
        return sorted(found.values())

    def place(self, file: Path) -> str:
        """Where the file really lies, whatever links lead to it."""
        return os.path.realpath(file) if file.is_symlink() else os.path.join(self._real(file.parent), file.name)

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
                if (reason := _no_photo(entry)) == _NOWHERE:
                    self.dangling.append(Path(entry.path))
                elif reason:
                    self.left_out[reason] += 1
                else:
                    (subfolders if entry.is_dir() else photos).append(Path(entry.path))
            self._listed[folder] = subfolders, photos
        return self._listed[folder]


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
    suffix = os.path.splitext(name.partition("?")[0].rstrip())[1]  # what wget writes has a ?
    if suffix in _suffixes():
        return "" if entry.is_file() or entry.is_symlink() else "not a file"
    if not os.path.exists(entry.path):
        return _NOWHERE
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
