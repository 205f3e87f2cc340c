"""Numbers as the report's sentences and tables print them; a missing one reads `not logged`."""

import math

MISSING = "not logged"


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


def rate(value: float) -> str:
    """A learning rate."""
    return MISSING if math.isnan(value) else f"{value:.3g}"


def p_value(value: float) -> str:
    """A p value with its sign: `p = 0.031`."""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.3g}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
