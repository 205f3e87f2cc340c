"""What the audit of the photos found, in words: for the command, for a run's log and for the report."""

from collections.abc import Mapping
from typing import Any

from leafexp.wording import counted

_PROBES = {
    "border_probe": "class from borders alone",
    "file_probe": "class from size, format and camera",
    "thumbnail_neighbour": "class from 12 px thumbnails",
}

_UNEQUAL = 10  # times as many photos of one class as of another: an accuracy then needs a word


def facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All that was found, each with its figures.

    Args:
        found: what `data.audit.audit` returns, also as an earlier version wrote it.
    """
    said = [("photos", f"{found['photos']:,}"), ("classes", _counted(found["classes"]))]
    if "parts" in found:
        said.append(("parts", sizes(found)))
    for kind in ("exact", "near"):
        counts = found[f"{kind}_duplicates"]
        two = f"{counts['other_label']} with two labels, {counts['across_splits']} on two sides of the split"
        said.append((f"{kind} duplicates", f"{counted(counts['pairs'], 'pair')}, {two}"))
    said.append(("leaves on two sides of the split", str(found["groups_across_splits"])))
    said += [(what, _counted(found[what])) for what in ("sizes", "modes", "formats", "cameras") if found.get(what)]
    said.append(("turned by EXIF", str(found["rotated"])))
    for key, what in _PROBES.items():
        if probe := found.get(key):
            interval = f"95 % interval {probe['low']:.4f} to {probe['high']:.4f}, chance {probe['chance']:.4f}"
            said.append((what, f"test accuracy {probe['accuracy']:.4f} ({interval})"))
    return said


def sizes(found: Mapping[str, Any]) -> str:
    """The photos and leaves in each part."""
    return ", ".join(
        f"{part} {counted(size['photos'], 'photo')} of {counted(size['leaves'], 'leaf', 'leaves')}"
        for part, size in found["parts"].items()
    )


def leaks(found: Mapping[str, Any]) -> list[str]:
    """What of the findings makes a test too easy, a line each; empty if nothing does."""
    said = []
    for kind in ("exact", "near"):
        if number := found[f"{kind}_duplicates"]["across_splits"]:
            equal = "equal" if kind == "exact" else "nearly equal"
            said.append(f"{counted(number, 'pair')} of {equal} photos {_are(number)} on two sides of the split")
    if number := found["groups_across_splits"]:
        said.append(f"photos of {counted(number, 'leaf', 'leaves')} are on two sides of the split")
    return said


def remarks(found: Mapping[str, Any]) -> list[str]:
    """What a user should know, a sentence each; empty if nothing was found."""
    return [*warnings(found), *doubts(found)]


def warnings(found: Mapping[str, Any]) -> list[str]:
    """That the test is too easy, and why, a sentence each."""
    return [f"{line[0].upper()}{line[1:]}: the test is easier than it looks." for line in leaks(found)]


def doubts(found: Mapping[str, Any]) -> list[str]:
    """What else the photos make doubtful: their labels, and what a network may have learned, a sentence each."""
    said = []
    for kind, equal in (("exact", "equal"), ("near", "nearly equal")):
        if number := found[f"{kind}_duplicates"]["other_label"]:
            said.append(
                f"{counted(number, 'pair')} of {equal} photos {'has' if number == 1 else 'have'} two different labels."
            )
    said += _about_classes(found["classes"])
    said += _about_leaves(found.get("leaves"))
    for key, what, so in (
        ("border_probe", "The borders alone tell", "a network may learn the background"),
        ("file_probe", "Size, format and camera alone tell", "the classes come from different sources"),
    ):
        probe = found.get(key)
        if probe and probe["low"] > probe["chance"]:
            said.append(
                f"{what} the class of {probe['accuracy']:.1%} of the test photos (95 % interval "
                f"{probe['low']:.1%} to {probe['high']:.1%}, chance {probe['chance']:.1%}): {so}."
            )
    return said


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _about_classes(classes: Mapping[str, int]) -> list[str]:
    most, fewest = max(classes, key=classes.__getitem__), min(classes, key=classes.__getitem__)
    if classes[most] < _UNEQUAL * classes[fewest]:
        return []
    share = classes[most] / sum(classes.values())
    return [
        f"{most} has {classes[most]:,} photos, {fewest} {classes[fewest]:,}: always saying {most} would be right for "
        f"{share:.1%} of the photos. Read an accuracy against that, and look at macro F1."
    ]


def _about_leaves(leaves: Mapping[str, Any] | None) -> list[str]:
    said = []
    if leaves and leaves["largest_photos"] > max(10, 0.25 * leaves["label_photos"]):
        said.append(
            f"One leaf ({leaves['largest']}) has {leaves['largest_photos']} of the {leaves['label_photos']} photos of "
            f"{leaves['largest_label']}: they are on one side of the split, and say little about other leaves."
        )
    if leaves and leaves["of_several_classes"]:
        said.append(
            f"{leaves['of_several_classes']} of {leaves['leaves']} leaves have photos of several classes (for example "
            f"{leaves['example']}): each is on one side of the split as a whole. If the numbers begin again in each "
            "class, write class and number into the group column."
        )
    return said


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())
