"""CSVs of photos as spreadsheets write them: their rows with the lines they stand in, and the files they name."""

import csv
import io
import os
import posixpath
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath, PureWindowsPath

from leafexp.data.spelling import as_seen, part_of, printable
from leafexp.errors import UserError
from leafexp.notes import note
from leafexp.wording import counted

COLUMNS = ("path", "label", "group", "split")
_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Listed:
    """What a CSV lists.

    Attributes:
        columns: values by column, blanks around them removed.
        lines: the line of the file in which each row begins, counted from 1.
    """

    columns: dict[str, list[str]]
    lines: list[int]


def read(source: Path) -> Listed:
    """The columns `path`, `label` and, where there, `group` (or `leaf_id`) and `split` of a CSV.

    Separated by commas, semicolons or tabs; UTF-8, UTF-16, or else Windows-1252; headers in any case.

    Raises:
        UserError: not a CSV, a column or a value is missing.
    """
    text = text_of(source)
    name = printable(str(source))
    rows = rows_of(text, name)
    if not rows:
        raise UserError(f"{name} can't be read as CSV: it is empty.")
    head = [re.sub(r"[\s_-]+", "_", value.strip().casefold()) for value in rows[0][1]]
    head = ["group" if value in ("leaf_id", "leafid") and "group" not in head else value for value in head]
    for column in COLUMNS:
        if column in ("path", "label") and column not in head:
            raise UserError(_no_column(name, column, head, rows))
        if head.count(column) > 1:
            raise UserError(f"{name} has {head.count(column)} columns {column!r}. Rename or remove one.")
    body = [(line, values) for line, values in rows[1:] if any(value.strip() for value in values)]
    _note_surplus(name, len(head), body)
    lines = [line for line, _ in body]
    every = {
        column: [values[place].strip() if place < len(values) else "" for _, values in body]
        for place, column in enumerate(head)
    }
    columns = {column: every.pop(column) for column in COLUMNS if column in every}
    _check_unread(name, columns, every)
    if not body:
        raise UserError(f"{name} lists no photos: it has a header only.")
    for column in ("path", "label", "split"):
        if empty := [line for line, value in zip(lines, columns.get(column, []), strict=False) if not value]:
            if len(empty) == len(lines) and (other := _delimiter(columns["path"][0])):
                raise UserError(f"{name}: the rows are separated by {other!r}, and the header is not. Use one of them.")
            numbers = ", ".join(map(str, empty[:5]))
            where = f"1 row (line {numbers})" if len(empty) == 1 else f"{len(empty)} rows (lines {numbers})"
            raise UserError(f"{name}: column {column!r} is empty in {where}.")
    for line, value in zip(lines, columns["path"], strict=True):
        if "\n" in value and not os.path.lexists(source.parent / value):
            raise UserError(f"{name}, line {line}: the path holds a line break. Is a quote missing its partner?")
        if re.match(r"[a-z]+://", value, re.IGNORECASE):
            raise UserError(
                f"{name}, line {line}: {value} is an address. Photos must be files on this machine: write their paths."
            )
    return Listed(columns, lines)


def _no_column(name: str, column: str, head: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> str:
    """What a CSV without a needed column has instead, and what to do."""
    first = rows[0][1]
    begin = f"{name} has no column {column!r}; its first line is {', '.join(map(repr, first[:6]))}."
    if near := get_close_matches(column, [value for value in head if value], n=1, cutoff=0.6):
        return f"{begin} Rename {near[0]!r} to {column!r}."
    if any(PurePosixPath(value).suffix for value in first):
        return f"{begin} If that is a photo, the header is missing: put path,label above it."
    values = {value.strip() for _, row in rows[1:] for value in row[1:]}
    if len(head) > 2 and values and values <= {"0", "1", "0.0", "1.0", ""}:
        return f"{begin} A column for each class is not read: write the class of each photo into one column, label."
    return f"{begin} Expected a header with path and label, separated by commas, semicolons or tabs."


def _check_unread(name: str, read: Container[str], others: Mapping[str, Sequence[str]]) -> None:
    """Say which columns are not read; raise UserError where one gives parts of the data under another name."""
    for column, values in others.items():
        parts = {part_of(value) for value in values}
        if "split" not in read and len(parts) > 1 and None not in parts:
            raise UserError(
                f"{name}: column {column!r} names parts of the data, but is not read. Call it split; or remove it, and "
                "the parts are drawn."
            )
    if unread := [column for column in others if column]:
        named = ", ".join(unread[:6]) + (f" and {len(unread) - 6} more" if len(unread) > 6 else "")
        hint = "" if "group" in read else " If one tells the leaf, call it group or leaf_id."
        note(f"{Path(name).name} has columns that are not read: {named}.{hint}")


def _delimiter(value: str) -> str:
    return next((sign for sign in _DELIMITERS if sign in value), "")


def find(folder: Path, paths: Sequence[str]) -> tuple[list[str], list[str]]:
    r"""The names and the files that `paths` of a CSV in `folder` mean, whether or not they are there.

    Paths with \ are read as with /. Where a file isn't there under the very name, one whose name looks alike is taken
    (composed and decomposed letters, capitals); and where absolute paths of another machine are not there, the CSV's
    folder stands for their beginning, if it then holds files of them.

    Where all paths are absolute, the names start at the deepest folder that holds all of them, so that photos keep
    their names wherever they lie.
    """
    directory = _Directory()
    paths = [os.path.expanduser(path) if path.startswith("~") else path for path in paths]
    # A backslash in a name that is there is no separator.
    given = [path if os.path.lexists(directory.find(folder, path)) else path.replace("\\", "/") for path in paths]
    absolute = [name for name in given if _is_absolute(name)]
    missing = [name for name in absolute if not os.path.exists(directory.find(folder, name))]
    # The most frequent first: by chance another end of a path may be there too.
    beginnings = Counter(name.removesuffix(tail) for name in missing if (tail := _tail(directory, folder, name)))
    moved: dict[str, str] = {}
    for name in missing:
        if beginning := next((one for one, _ in beginnings.most_common() if name.startswith(one)), ""):
            moved[name] = beginning
    found = [name.removeprefix(moved.get(name, "")) for name in given]
    files = [str(directory.find(folder, name).absolute()) for name in found]
    for beginning in dict.fromkeys(moved.values()):
        begin = [file for name, file in zip(given, files, strict=True) if moved.get(name) == beginning]
        there = sum(map(os.path.exists, begin))
        which = "the paths begin" if len(begin) == len(given) else f"{counted(len(begin), 'path')} begin"
        note(
            f"{beginning}, with which {which}, isn't here: of {counted(len(begin), 'file')}, {there:,} "
            f"{'is' if there == 1 else 'are'} found from the CSV's folder instead."
        )
    whole = len(absolute) == len(given) and len(set(moved.values())) < 2
    names = from_common_folder(given) if whole else found
    return [printable(name) for name in names], files


def _is_absolute(name: str) -> bool:
    return bool(PureWindowsPath(name).drive) or name.startswith("/")


def from_common_folder(names: Sequence[str]) -> list[str]:
    """The names from the deepest folder that holds all of them."""
    plain = [posixpath.normpath(name.lstrip("/")) for name in names]
    common = posixpath.commonpath([posixpath.dirname(name) for name in plain])
    return [name.removeprefix(common).lstrip("/") for name in plain]


class _Directory:
    """Files by names that look alike; each folder is listed once."""

    def __init__(self) -> None:
        self._entries: dict[Path, dict[str, list[str]]] = {}

    def find(self, folder: Path, name: str) -> Path:
        """The file called `name` in `folder`, or what looks alike; where there is none or several, `folder / name`."""
        file = folder / name
        if os.path.lexists(file):
            return file
        place = Path(file.anchor) if PurePosixPath(name).is_absolute() else folder
        for part in PurePosixPath(name).parts:
            if part == "/" or os.path.lexists(place / part):
                place = place / part
                continue
            alike = self._alike(place).get(as_seen(part), [])
            if len(alike) != 1:
                return file
            place = place / alike[0]
        return place

    def _alike(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._entries:
            entries: dict[str, list[str]] = {}
            for name in os.listdir(folder) if folder.is_dir() else []:
                # A name in bytes that are not UTF-8 may be spelt as Windows would, or with the escapes we print.
                for spelling in {printable(name), os.fsencode(name).decode("cp1252", "replace")}:
                    entries.setdefault(as_seen(spelling), []).append(name)
            self._entries[folder] = entries
        return self._entries[folder]


def _tail(directory: _Directory, folder: Path, name: str) -> str:
    """The longest end of an absolute path that is there in `folder`, a folder and a file at least; "" if none is."""
    parts = name.split("/")
    tails = ("/".join(parts[start:]) for start in range(1, len(parts) - 1))
    return next((tail for tail in tails if tail and directory.find(folder, tail).is_file()), "")


def text_of(source: Path) -> str:
    """The text of a file in any usual encoding.

    Raises:
        UserError: it can't be read, or is no text.
    """
    name = printable(str(source))
    try:
        content = source.read_bytes()
    except IsADirectoryError:
        raise UserError(f"data.path={name} is a folder. For a folder of photos use data=folder.") from None
    except OSError as error:
        raise UserError(f"data.path={name} can't be read as CSV: {error.strerror}.") from None
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UserError(f"{name} is a spreadsheet or an archive, not a CSV. Save it as CSV (UTF-8) and give that file.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in content[:2]:
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8-sig":
            raise UserError(f"{name} can't be read as CSV: its UTF-16 is broken. Save it as CSV (UTF-8).") from None
        text = content.decode("cp1252", "replace")
        odd = next((line for line in text.splitlines() if not line.isascii()), "")
        note(f"{source.name} is not UTF-8: read as Windows-1252 (for example {odd.strip()[:60]!r}).")
    if re.match(r"\s*(\[\s*)?\{", text):
        raise UserError(f"{name} is JSON, not a CSV. Save it as CSV with the columns path and label.")
    if "\0" in text:
        raise UserError(f"{name} is not a CSV: it holds zero bytes. Save it as CSV (UTF-8) and give that file.")
    return text


def rows_of(text: str, name: str) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line it begins in."""
    before = 0
    if declared := re.match(r"\s*\"?sep=(.)\"?[ \t]*(?:\r\n|\n|\r)", text, re.IGNORECASE):
        before = len(declared.group().splitlines())
        delimiter, text = declared.group(1), text[declared.end() :]
    else:
        head = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = max(_DELIMITERS, key=lambda sign: _known_columns(head, sign))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, line = [], before + 1
    try:
        for values in reader:
            if any(value.strip() for value in values):
                rows.append((line, values))
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{name} can't be read as CSV: {error}, in the row that begins in line {line}. "
            "Is a quote missing its partner?"
        ) from None
    return rows


def _known_columns(head: str, delimiter: str) -> int:
    """How many columns `delimiter` makes of the first line; those that are known count most."""
    names = [value.strip(' "').casefold() for value in head.split(delimiter)]
    return 100 * len({*COLUMNS, "leaf_id"} & set(names)) + len(names)


def _note_surplus(name: str, width: int, body: Sequence[tuple[int, list[str]]]) -> None:
    surplus = [(line, values[width:]) for line, values in body if any(value.strip() for value in values[width:])]
    if surplus:
        line, values = surplus[0]
        what = "1 row has" if len(surplus) == 1 else f"{len(surplus)} rows have"
        note(
            f"{what} more values than {Path(name).name} has columns; the rest is not read "
            f"(line {line}: {', '.join(value for value in values if value)!r})."
        )
