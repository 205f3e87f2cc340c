"""Numbers as the report's sentences and tables print them; a missing one reads `not logged`."""

import math
import re

MISSING = "not logged"
# What is code in a sentence: a command or a setting's name between backticks. Other backticks belong to a name.
CODE = re.compile(r"(?<!`)(`+)(?!`) ?(python -m .+?|[\w.]+|mlflow ui) ?(?<!`)\1(?!`)", re.DOTALL)


def share(value: float) -> str:
    """A share in [0, 1] with four decimals."""
    return MISSING if math.isnan(value) else f"{value:.4f}"


def percent(value: float) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    return MISSING if math.isnan(value) else f"{100 * value:.1f} %"


def points(value: float, unit: str = " points") -> str:
    """A difference of shares in percentage points with two decimals."""
    return MISSING if math.isnan(value) else f"{100 * value:.2f}{unit}"


def four_digits(value: float) -> str:
    """A positive number with four significant digits, never in scientific notation below a million."""
    if math.isnan(value):
        return MISSING
    decimals = 3 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, decimals)}f}" if decimals < 8 else f"{value:.4g}"


def count(value: float) -> str:
    """A count with thousands separators; a mean of counts with one decimal."""
    if math.isnan(value):
        return MISSING
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def counted(value: float, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 photo`, `2 photos`, `1.5 epochs`; `plural` where an s does not make it."""
    return f"{count(value)} {noun if value == 1 else plural or f'{noun}s'}"


def rate(value: float) -> str:
    """A learning rate."""
    return MISSING if math.isnan(value) else f"{value:.3g}"


def p_value(value: float) -> str:
    """A p value with its sign: `p = 0.031`."""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.3g}"


def one_line(text: str) -> str:
    """The text without what would break a line or turn a terminal's colours or direction."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def code(text: str) -> str:
    """A text as Markdown's code, between as many backticks as it takes."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"


def in_markdown(sentence: str) -> str:
    """A sentence as one line of Markdown that shows as it reads, whatever the names in it; its code is kept."""
    parts, end = [], 0
    for match in CODE.finditer(sentence):
        parts += [plain_in_markdown(sentence[end : match.start()]), match[0]]
        end = match.end()
    line = "".join([*parts, plain_in_markdown(sentence[end:])]).strip()
    return re.sub(r"^(\d*)([-+#=.)])(?=[\s#=-]|$)", r"\1\\\2", line)


def plain_in_markdown(text: str) -> str:
    """A text in Markdown, also in a cell of a table: no table, HTML, link, emphasis, code or formula begins in it."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word is one.
    return re.sub(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
