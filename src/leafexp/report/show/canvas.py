"""What all figures are drawn with: sheets measured in pixels, the palette, texts that are measured before they stand.

Matplotlib draws the page's figures (inline SVG) and those of Markdown and papers (PNG). A figure is drawn at the width
at which it is shown. Its label (`Figure.get_label`) says in words what it shows, for who can't see it.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from leafexp.report.rows.row import Row
from leafexp.report.say.answer import by_validation
from leafexp.wording import one_line

WIDE, NARROW = 520, 300  # px, on a laptop and on a phone
MOST = 12  # rows in a figure; the table has all
LINE = 16  # px from one line of text to the next
TEXT, SMALL = 12, 11  # px
DOTS = 96
# They stand for the page's colours, which follow its light or dark mode.
INK, MUTED, GRID, CARD = "#1b1d1c", "#5f6763", "#dfe3e0", "#fffffe"
PRETRAINED, SCRATCH, CONTROL, UNDECIDED = "#1f7a4d", "#a06000", "#4a6fa5", "#7d8681"
VARIABLES = {
    **{INK: "ink", MUTED: "muted", GRID: "grid", CARD: "card"},
    **{PRETRAINED: "pretrained", SCRATCH: "scratch", CONTROL: "control", UNDECIDED: "undecided"},
}
_MARKERS = "osD^vPX*phd8"
_DASHES: tuple[object, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))


@dataclass(frozen=True)
class Look:
    """How a row looks in every figure: its colour says what kind it is, its marker and dashes which one."""

    colour: str
    marker: str
    dash: object


def looks(rows: Sequence[Row]) -> dict[Row, Look]:
    """The look of each row; rows of one kind have other markers and dashes."""
    found: dict[Row, Look] = {}
    for row in rows:
        alike = sum(look.colour == colour(row) for look in found.values())
        found[row] = Look(colour(row), _MARKERS[len(found) % len(_MARKERS)], _DASHES[alike % len(_DASHES)])
    return found


def colour(row: Row) -> str:
    """The colour of pretrained rows, of those from scratch, of controls."""
    return CONTROL if row.control else PRETRAINED if row.pretrained else SCRATCH


def lettered(row: Row) -> bool:
    """Whether the row is called by a letter, as its name with its settings would be too long."""
    return len(row.name) <= 3 and row.name[:1].isupper()


def shown(rows: Iterable[Row]) -> tuple[list[Row], int]:
    """At most twelve of the rows, in their order, and how many are left out; controls are not among them.

    The best of those from scratch and then the best of all are kept, by validation accuracy.
    """
    rows = list(rows)
    rows = [row for row in rows if not row.control] or rows
    order = by_validation(rows)
    order = [*[row for row in order if row.scratch][:1], *order]
    kept = {*list(dict.fromkeys(order))[:MOST]}
    return [row for row in rows if row in kept], len(rows) - len(kept)


def sheet(width: int, height: float) -> Figure:
    """An empty figure of so many pixels."""
    return Figure(figsize=(width / DOTS, height / DOTS), dpi=DOTS, frameon=False)


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without spines at a place in pixels from the upper left corner."""
    wide, high = (size * DOTS for size in figure.get_size_inches())
    axes = figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))
    axes.patch.set_visible(False)
    axes.grid(color=GRID, linewidth=0.75)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=points(SMALL), colors=MUTED, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def write(
    figure: Figure, x: float, y: float, text: str, shade: str = INK, *, align: str = "left", bold: bool = False,
    size: float = TEXT,
) -> None:  # fmt: skip
    """One line of text, its middle at `y`, in pixels from the upper left corner."""
    if not text:
        return
    wide, high = (side * DOTS for side in figure.get_size_inches())
    figure.text(
        x / wide, 1 - y / high, one_line(text), color=shade, ha=align, va="center_baseline", fontsize=points(size),
        fontweight="bold" if bold else "normal", parse_math=False,
    )  # fmt: skip


def points(pixels: float) -> float:
    """A length in points, as Matplotlib has them."""
    return pixels * 72 / DOTS


def text_width(text: str, size: float = TEXT, bold: bool = False) -> float:
    """The width of a text in pixels, at least: a page's font is hardly wider than Matplotlib's."""
    return 1.03 * size * sum(_advance(letter, bold) for letter in one_line(text))  # hinting adds a little


def wrapped(text: str, room: float, bold: bool = False) -> list[str]:
    """The text in lines that are no wider than `room`; a word that is too long is broken."""
    lines = [""]
    for word in one_line(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, bold=bold) <= room:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter, bold=bold) > room:
                lines.append("")
            lines[-1] += letter
    return lines


def shortened(text: str, room: float, size: float = TEXT, bold: bool = False) -> str:
    """The text, or as much of it as there is room for."""
    text = one_line(text)
    if text_width(text, size, bold) <= room:
        return text
    while text and text_width(f"{text}…", size, bold) > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


def spread(places: Sequence[float], sizes: Sequence[float], low: float, high: float) -> list[float]:
    """The places moved until what stands there, of these sizes, does not overlap, between `low` and `high`.

    The order is kept. Where there is not enough room, what is too much stands out below `low`.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    placed = list(places)
    end = low
    for index in order:
        placed[index] = max(places[index], end + sizes[index] / 2)
        end = placed[index] + sizes[index] / 2
    end = high
    for index in reversed(order):
        placed[index] = min(placed[index], end - sizes[index] / 2)
        end = placed[index] - sizes[index] / 2
    return placed


def svg(draw: Callable[[int], Figure | None], name: str) -> str:
    """A figure for the page as inline SVG, wide and narrow; empty where there is nothing to draw.

    Args:
        draw: draws it at a width in px.
        name: begins its ids, so that no two on a page are alike.
    """
    drawn = [(size, draw(width)) for size, width in (("wide", WIDE), ("narrow", NARROW))]
    return "".join(_inline(figure, size, f"{name}-{size}") for size, figure in drawn if figure is not None)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG on white, for paper and Markdown."""
    figure.set_frameon(True)
    figure.set_facecolor("white")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # a letter that the font lacks
        FigureCanvasAgg(figure).print_figure(str(path), dpi=2 * DOTS)


def _inline(figure: Figure, size: str, name: str) -> str:
    written = io.StringIO()
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "leafexp"}),
        warnings.catch_warnings(action="ignore", category=UserWarning),
    ):
        FigureCanvasSVG(figure).print_svg(written)
    drawn = ElementTree.fromstring(written.getvalue())
    width, height = (round(float(side) * DOTS) for side in figure.get_size_inches())
    whole = ElementTree.Element("svg", {"class": size, "role": "img", "aria-labelledby": f"{name}-title"})
    whole.attrib |= {"width": str(width), "height": str(height), "viewBox": drawn.attrib["viewBox"]}
    ElementTree.SubElement(whole, "title", {"id": f"{name}-title"}).text = one_line(str(figure.get_label()))
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', written.getvalue()))
    for part in drawn:
        whole.extend(_slim(part, name, used))
    return ElementTree.tostring(whole, "unicode")


def _slim(part: ElementTree.Element, name: str, used: Container[str]) -> list[ElementTree.Element]:
    """What of an element of Matplotlib's SVG belongs into the page, with its colours and font, and ids of its own."""
    tag = part.tag.rpartition("}")[2]
    if tag in ("metadata", "style"):
        return []
    inside = [kept for child in part for kept in _slim(child, name, used)]
    attributes = {key.rpartition("}")[2]: " ".join(value.split()) for key, value in part.attrib.items()}
    if attributes.get("id") not in used:
        attributes.pop("id", None)
    if tag in ("g", "defs") and not (inside and attributes):
        return inside if tag == "g" else [_element(tag, {}, inside)] if inside else []
    if "rotate(-0" in attributes.get("transform", ""):
        del attributes["transform"]
    for key, value in attributes.items():
        value = re.sub(r"(?<=\d\.\d\d)\d+", "", value)
        value = re.sub(r"^#|(?<=url\(#)", lambda found: f"{found[0]}{name}-", value) if key != "style" else value
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        for shade, variable in VARIABLES.items():
            value = value.replace(shade, f"var(--{variable})")
        attributes[key] = f"{name}-{value}" if key == "id" else value
    kept = _element(tag, attributes, inside)
    kept.text = part.text if tag == "text" else None
    return [kept]


def _element(tag: str, attributes: dict[str, str], inside: list[ElementTree.Element]) -> ElementTree.Element:
    found = ElementTree.Element(tag, attributes)
    found.extend(inside)
    return found


@cache
def _advance(letter: str, bold: bool) -> float:
    """The width of a letter as a share of the font's size."""
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0.0
    font = get_font(findfont(FontProperties(weight="bold" if bold else "normal")))
    if not font.get_char_index(ord(letter)):  # the page's font may have it
        return 1.2
    font.set_size(100, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance) / 65536 / 100
