"""Names as a person sees them: of classes, of parts of the data, of files that a CSV spells otherwise."""

import re
import unicodedata

SPLITS = ("train", "validation", "test")
_PART = re.compile(
    r"(?:(train|training)|(validation|validate|valid|val|dev)|(test|testing))[\W_]*(?:set|images|photos|data|split)?[\W_]*\d*"
)

_EMPTY = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters and marks that show nothing


def part_of(name: str) -> str | None:
    """Which of train, validation and test `name` stands for, in its usual spellings; None for other names."""
    found = _PART.fullmatch(name.strip().casefold())
    return found and SPLITS[next(place for place, part in enumerate(found.groups()) if part)]


def hints_at_part(name: str) -> str | None:
    """The part that a word of the name stands for, as in plants_train, LeafTrain and trainA; None if none does."""
    words = re.split(r"[\W_\d]+|(?<=[^\W\d_])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", name)
    return next((part for word in words if (part := part_of(word) or part_of(word[:-1]))), None)


def printable(name: str) -> str:
    r"""The name with composed letters; bytes of a file's name that are not UTF-8 as escapes like \xe9."""
    valid = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", valid)


def as_seen(name: str) -> str:
    """Equal for names that look alike: whatever their case, blanks, invisible characters and kinds of dashes."""
    plain = unicodedata.normalize("NFKC", _visible(printable(name))).casefold()
    return " ".join(unicodedata.normalize("NFKC", re.sub(r"[\u2010-\u2015\u2212]", "-", plain)).split())


def difference(one: str, other: str) -> str:
    """In what two names that look alike differ."""
    if one.casefold() == other.casefold():
        return "case"
    if printable(one) == printable(other):
        return "composed and decomposed letters"
    if _visible(one) == _visible(other):
        return "invisible characters"
    if "".join(one.split()) == "".join(other.split()):
        return "blanks"
    return "characters that look alike"


def _visible(name: str) -> str:
    """Without zero-width blanks and joiners, soft hyphens, marks of direction and variants, and empty letters."""
    return "".join(
        char
        for char in name
        if char.isspace()
        or not (unicodedata.category(char) in ("Cf", "Cc") or char in _EMPTY or "\ufe00" <= char <= "\ufe0f")
    )
