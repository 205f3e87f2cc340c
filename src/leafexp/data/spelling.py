"""Names as a person sees them: of classes, of parts of the data, of files that a CSV spells otherwise."""

import re
import unicodedata

SPLITS = ("train", "validation", "test")
_PART = re.compile(
    r"(?:(train|training)|(validation|validate|valid|val|dev)|(test|testing))[\W_]*(?:set|images|photos|data|split)?[\W_]*\d*"
)

# Small letters of other alphabets that look like Latin ones, or whose capitals do: Cyrillic, then Greek.
_LIKE_LATIN = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u0501\u051b\u051d"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "abekmhopctyxsijdqwabezhikmvoptux",
)
_QUOTES = str.maketrans(dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02b9\u02bb\u02bc\u00b4`", "'"))
_DOUBLE_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u02ba", '"'))
_DASHES = re.compile(r"[\u2010-\u2015\u2212\u2043\u02d7\ufe58\ufe63]")

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
    """Equal for names that look alike, to be compared and not shown.

    Case, blanks, invisible characters, kinds of dashes and quotes don't count, nor whether a letter is Latin or a
    Cyrillic or Greek one of the same look.
    """
    quoted = _visible(printable(name)).translate(_QUOTES).translate(_DOUBLE_QUOTES)
    # Taken apart, so that letters under accents are compared too.
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", quoted).casefold()).translate(_LIKE_LATIN)
    return " ".join(unicodedata.normalize("NFKC", _DASHES.sub("-", letters)).split())


def as_word(name: str) -> str:
    """Equal for names that are spelt nearly alike: as `as_seen`, but blanks, dashes, dots, underscores don't count."""
    return re.sub(r"[\s_.-]+", "", as_seen(name))


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
