"""Numbers, times and names as one would say them."""

import math
import time

MISSING = "not logged"
GB = 10**9


def count(value: float) -> str:
    """A count with thousands separators; a mean of counts with one decimal."""
    if math.isnan(value):
        return MISSING
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def counted(value: float, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 photo`, `2 photos`; `plural` where an s does not make it."""
    return f"{count(value)} {noun if value == 1 else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Seconds in natural units: `0.4 s`, `14 s`, `3 min 37 s`, `1 h 5 min`."""
    if math.isnan(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.095 else f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def day(moment: float) -> str:
    """A moment, in seconds since 1970: `2026-02-01 17:05`."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def gigabytes(size: float) -> str:
    """Bytes in words: `1.25 GB`."""
    return f"{size / GB:.2f} GB"


def one_line(text: str) -> str:
    """The text without what would break a line or turn a terminal's colours or direction."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)
