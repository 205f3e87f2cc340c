"""Sentences that know which rows they speak of, and numbers as one would say them."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leafexp.report.rows.row import Row
from leafexp.wording import MISSING, count, one_line


@dataclass(frozen=True)
class Code:
    """What is to be typed or is a setting's name, shown as code."""

    text: str


Part = str | Row | Code


@dataclass(frozen=True)
class Sentence:
    """A sentence of texts, rows and code, in their order; a row stands where its name is said."""

    parts: tuple[Part, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that it names."""
        return tuple(part for part in self.parts if isinstance(part, Row))

    def __str__(self) -> str:
        return "".join(text_of(part) for part in self.parts)


def say(*parts: Part | Iterable[Part]) -> Sentence:
    """A sentence of parts, or of lists of parts; its first letter is made a capital."""
    flat: list[Part] = []
    for part in parts:
        flat += [part] if isinstance(part, str | Row | Code) else part
    return Sentence(tuple(part for part in flat if part != ""))


def text_of(part: Part) -> str:
    """A part as plain text."""
    return part if isinstance(part, str) else called(part) if isinstance(part, Row) else part.text


def called(row: Row) -> str:
    """What a row is called within a sentence: `fine-tuned whole`, `the CNN from scratch`."""
    return row.name if row.pretrained or len(row.name) < 3 else f"the {row.name}"


def capital(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def plain(sentence: Sentence) -> str:
    """A sentence as one line for a terminal."""
    return one_line(capital(str(sentence)))


def markdown(sentence: Sentence) -> str:
    """A sentence as one line of Markdown that shows as it reads, whatever the names in it."""
    parts = [code(part.text) if isinstance(part, Code) else in_markdown(text_of(part)) for part in sentence.parts]
    line = capital("".join(parts).strip())
    return re.sub(r"^(\d*)([-+#=.)])(?=[\s#=-]|$)", r"\1\\\2", line)


def listed(items: Sequence[Part | Sequence[Part]], last: str = " and ") -> list[Part]:
    """`a`, `a and b`, `a, b and c`, each of a part or of several."""
    found: list[Part] = []
    for place, item in enumerate(items):
        if place:
            found.append(last if place == len(items) - 1 else ", ")
        found += [item] if isinstance(item, str | Row | Code) else item
    return found


def percent(value: float) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    return MISSING if math.isnan(value) else f"{100 * value:.1f} %"


def in_hundred(*values: float) -> list[str]:
    """Shares as whole numbers of 100, `95`; with a decimal where two would read alike or one would read 100 or 0."""
    whole = [f"{100 * value:.0f}" for value in values]
    alike = len(set(whole)) < len(set(values))
    edge = any(text in ("0", "100") and value not in (0, 1) for text, value in zip(whole, values, strict=True))
    return [f"{100 * value:.1f}" for value in values] if alike or edge else whole


def points(value: float, low: float, high: float) -> str:
    """A difference of shares in points with its interval, `11 points (7 to 15)`, in the digits that the interval bears.

    Both are of the same sign as given; a difference is said as how much the first is ahead.
    """
    decimals = apart(low, high, digits(high - low))
    said = rounded(100 * value, decimals)
    unit = "point" if said == "1" else "points"
    return f"{said} {unit} ({rounded(100 * low, decimals)} to {rounded(100 * high, decimals)})"


def apart(low: float, high: float, decimals: int) -> int:
    """At least so many decimals, and more where an interval that excludes 0 would else read as if it ended there."""
    nearest = low if low > 0 else high
    while (low > 0 or high < 0) and decimals < 4 and float(f"{100 * nearest:.{decimals}f}") == 0:
        decimals += 1
    return decimals


def digits(width: float) -> int:
    """How many decimals of a percentage an interval of this width, a share, bears."""
    return 0 if width >= 0.04 else 1 if width >= 0.004 else 2


def rounded(value: float, decimals: int) -> str:
    """A number with so many decimals, without a negative zero, with a proper minus."""
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def few(value: int) -> str:
    """A small count in words."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[value] if 0 <= value < len(words) else count(value)


def times(ratio: float) -> str:
    """How many times as much: `a quarter of`, `1.5 times`, `30 times`; never a third digit."""
    if ratio < 0.95:
        parts = {2: "half", 3: "a third of", 4: "a quarter of", 5: "a fifth of", 6: "a sixth of", 8: "an eighth of"}
        parts |= {7: "a seventh of", 9: "a ninth of", 10: "a tenth of"}
        share = 1 / ratio
        if share < 1.8:
            return f"{100 * float(f'{ratio:.1g}' if ratio < 0.1 else f'{ratio:.2g}'):.0f} % of"
        whole = round(share) if share < 10.5 else round(float(f"{share:.1g}" if share > 100 else f"{share:.2g}"))
        return parts.get(whole, f"1/{whole:,} of")
    if ratio < 1.05:
        return "as much as"
    number = float(f"{ratio:.2g}")
    return f"{number:,.0f} times" if number >= 10 or number == round(number) else f"{number:.1f} times"


def as_long(ratio: float) -> str:
    """How one time is to another: `as long as`, `a quarter of the time of`."""
    said = times(ratio)
    return "as long as" if said == "as much as" else f"{said} the time of"


def rate(value: float) -> str:
    """A learning rate."""
    return MISSING if math.isnan(value) else f"{value:.2g}"


def code(text: str) -> str:
    """A text as Markdown's code, between as many backticks as it takes."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{one_line(text)}{space}{fence}"


def in_markdown(text: str) -> str:
    """A text in Markdown, also in a cell of a table: no table, HTML, link, emphasis, code or formula begins in it."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word is one.
    return re.sub(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)
