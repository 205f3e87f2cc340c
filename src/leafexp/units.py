"""Times and sizes as one would say them."""

import math
import time

GB = 10**9


def duration(seconds: float) -> str:
    """Seconds in natural units: `0.4 s`, `14 s`, `3 min 37 s`, `1 h 5 min`; `not logged` where unknown."""
    if math.isnan(seconds):
        return "not logged"
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
