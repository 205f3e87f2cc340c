"""A second test set: photos from elsewhere, sorted into the classes that the networks know."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from leafexp.data import splits, tables
from leafexp.data.catalog import folder_of_any, table_of_any
from leafexp.data.dataset import Dataset, Settings, read_usable
from leafexp.data.pixels import checksums
from leafexp.data.spelling import as_word, printable
from leafexp.errors import UserError, did_you_mean, first_line
from leafexp.notes import note
from leafexp.wording import counted

_HEADER = ["theirs", "ours"]
_LISTED = 10
_UNUSABLE_FILE = Path("reports") / "unusable_photos_external.csv"


@dataclass(frozen=True)
class External:
    """Photos from elsewhere.

    Attributes:
        name: of their folder or CSV.
        photos: one row an image, sorted by path: path, file, label (one of our classes), group, sha256.
        labels: one row a class of theirs: theirs, ours (empty where its photos are left out), photos.
    """

    name: str
    photos: pd.DataFrame
    labels: pd.DataFrame


def read(path: str, labels: str | None, ours: Sequence[str]) -> External:
    """The photos in a folder or CSV, by the rules for those that are trained on; one class is enough. Reads no pixels.

    What has no counterpart among our classes, and which of ours are not there, is said.

    Args:
        path: the folder or the CSV.
        labels: a YAML (`their label: our label`) or a CSV (columns theirs, ours); classes that it does not name, or all
            without it, are matched by name. An empty label of ours leaves a class of theirs out.
        ours: the classes that are trained on.

    Raises:
        UserError: the photos or the labels can't be read, name a class that is not there, or no class of theirs has a
            counterpart.
    """
    place = Path(path).expanduser()
    note(f"the second test set is data.external={printable(path)}.")
    with _naming("data.external"):
        catalog = folder_of_any(path) if place.is_dir() else table_of_any(path)
    if "split" in catalog:
        note(f"all parts of data.external are tested: {', '.join(sorted(set(catalog['split'])))}.")
        catalog = catalog.drop(columns="split")
    theirs = sorted(set(catalog["label"]))
    found = counterparts(theirs, ours, _given(Path(labels).expanduser()) if labels else [])
    numbers = catalog["label"].value_counts()
    table = pd.DataFrame(
        {"theirs": theirs, "ours": [found.get(label, "") for label in theirs], "photos": [*numbers[theirs]]}
    )
    _say(table, ours)
    photos = catalog[catalog["label"].isin(found)].reset_index(drop=True)
    photos = photos.assign(label=photos["label"].map(found), sha256=checksums(list(photos["file"]))[0])
    return External(printable(place.stem), photos, table)


def prepare(external: External, dataset: Dataset, settings: Settings, cache_bytes: int) -> Dataset:
    """The photos from elsewhere as pixels of the same size, all of them to be tested, with the classes of `dataset`.

    Raises:
        UserError: unusable images, as for the photos that are trained on.
    """
    with _naming("data.external"):
        stored, table, skipped = read_usable(external.photos, settings, cache_bytes, _UNUSABLE_FILE)
    places = {label: place for place, label in enumerate(dataset.classes)}
    table = table.assign(split="test", class_index=table["label"].map(places))
    hashes = (splits.data_hash(table), splits.split_hash(table), splits.hash_of_test(table))
    return Dataset(stored.array, stored.key, table, dataset.classes, skipped, *hashes, test_views=dataset.test_views)


def counterparts(
    theirs: Sequence[str], ours: Sequence[str], given: Sequence[tuple[str, str | None]] = ()
) -> dict[str, str]:
    """Our class for each class of theirs that has one: as given, else by name (case, blanks and dashes don't count).

    Raises:
        UserError: a given class is not there, a class of theirs is given two of ours or could mean two, or none has a
            counterpart.
    """
    found: dict[str, str | None] = {}
    for name, target in given:
        alike = _alike(name, theirs)
        if not alike:
            raise UserError(
                f"data.external_labels: there is no class {name!r} among the photos from elsewhere. "
                f"{did_you_mean(name, theirs)}"
            )
        our = None if target is None else _one(target, ours)
        if target is not None and our is None:
            raise UserError(
                f"data.external_labels: there is no class {target!r} among the photos that are trained on. "
                f"{did_you_mean(target, ours)}"
            )
        for label in alike:
            if found.setdefault(label, our) != our:
                raise UserError(f"data.external_labels says both {found[label]!r} and {our!r} for {label!r}. Keep one.")
    for label in theirs:
        found.setdefault(label, _one(label, ours))
    known = {label: our for label, our in found.items() if our is not None}
    if not known:
        raise UserError(
            f"No class of data.external ({_some(theirs)}) is one of those that are trained on ({_some(ours)}). Say in "
            "data.external_labels which is which: a YAML with lines of `their label: our label`."
        )
    return known


def _alike(name: str, labels: Sequence[str]) -> list[str]:
    """The class of that very name, else those that are spelt nearly alike."""
    return [name] if name in labels else [label for label in labels if as_word(label) == as_word(name)]


def _one(name: str, ours: Sequence[str]) -> str | None:
    alike = _alike(name, ours)
    if len(alike) > 1:
        raise UserError(f"{name!r} could mean {' or '.join(map(repr, alike))}. Say which in data.external_labels.")
    return alike[0] if alike else None


def _given(source: Path) -> list[tuple[str, str | None]]:
    """The pairs of labels in a YAML or CSV, None where a class of theirs is to be left out."""
    with _naming("data.external_labels"):
        pairs = _of_yaml(source) if source.suffix.lower() in (".yaml", ".yml") else _of_csv(source)
    if not pairs:
        raise UserError(f"data.external_labels={printable(str(source))} names no class.")
    return [(printable(theirs).strip(), printable(ours).strip() if ours else None) for theirs, ours in pairs]


def _of_yaml(source: Path) -> list[tuple[str, str | None]]:
    # By nodes: loaded, `no: healthy` would name a class False, and the first of two equal keys would vanish.
    try:
        node = yaml.compose(source.read_bytes(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"{printable(str(source))} can't be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"this is no YAML ({first_line(error)}). Write lines of `their label: our label`.") from None
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    if not pairs or not all(isinstance(item, yaml.ScalarNode) for pair in pairs for item in pair):
        raise UserError("expected lines of `their label: our label`, and nothing inside of them.")
    null = "tag:yaml.org,2002:null"
    return [(theirs.value, None if ours.tag == null else ours.value) for theirs, ours in pairs]


def _of_csv(source: Path) -> list[tuple[str, str | None]]:
    name = printable(source.name)
    rows = tables.rows_of(tables.text_of(source), name)
    head = [value.strip().casefold() for value in rows[0][1]] if rows else []
    if head != _HEADER:
        raise UserError(f"expected the header theirs,ours in {name}; got {','.join(head)!r}. Or write a .yaml file.")
    if odd := next((line for line, values in rows[1:] if len(values) != 2), None):
        raise UserError(f"expected two columns in {name}, line {odd}.")
    return [(values[0].strip(), values[1].strip() or None) for _, values in rows[1:]]


def _say(table: pd.DataFrame, ours: Sequence[str]) -> None:
    """Say which classes are counted as which, which are left out, and which are not there."""
    used, left_out = table[table["ours"] != ""], table[table["ours"] == ""]
    renamed = used[used["theirs"] != used["ours"]]
    if len(renamed):
        pairs = [f"{theirs!r} as {our!r}" for theirs, our in zip(renamed["theirs"], renamed["ours"], strict=True)]
        note(f"of data.external, these classes count as ours: {_some(pairs)}.")
    if len(left_out):
        named = [
            f"{label!r} ({counted(number, 'photo')})"
            for label, number in zip(left_out["theirs"], left_out["photos"], strict=True)
        ]
        note(f"classes of data.external without a counterpart are left out: {_some(named)}.")
    if absent := sorted(set(ours) - set(used["ours"])):
        note(f"data.external has no photos of {_some(list(map(repr, absent)))}: it says nothing of them.")


def _some(items: Sequence[str]) -> str:
    more = [f"{len(items) - _LISTED} more"] if len(items) > _LISTED else []
    return ", ".join([*items[:_LISTED], *more])


@contextlib.contextmanager
def _naming(key: str) -> Iterator[None]:
    """Errors of readers name the key whose value they read."""
    try:
        yield
    except UserError as error:
        said = str(error).replace("data.path=", f"{key}=")
        raise UserError(said if said.startswith(f"{key}=") else f"{key}: {said}") from None
