"""How numbers and words are written on the pages."""

import math
from collections.abc import Sequence
from typing import Any

NOTHING, MINUS = "–", "−"


def number(value: float | None) -> str:
    """Write a number with three significant digits: 0.00123, 12.3, 1.5e6; a dash for none.

    The minus is a real one, at which no line breaks.
    """
    if _missing(value):
        return NOTHING
    assert value is not None
    rounded = float(f"{value:.3g}")
    if rounded == 0 or 1e-3 <= abs(rounded) < 1e4:
        return f"{rounded:g}".replace("-", MINUS)
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", MINUS)


def span(interval: Sequence[float | None]) -> str:
    """Write the ends of (value, low, high) with a space before them, at which alone lines break."""
    _, low, high = interval
    return "" if _missing(low) or _missing(high) else f" [{number(low)},\xa0{number(high)}]"


def ends(point: dict[str, Any]) -> str:
    """Write the ends of a point's interval."""
    return span((point["value"], point["low"], point["high"])).strip()


def whole(value: int) -> str:
    """Write a whole number with separators of thousands."""
    return f"{value:,}"


def words(name: str) -> str:
    """Write `not_finite` as words."""
    return name.replace("_", " ")


def variant(settings: str) -> str:
    """Write settings as a list; those of the defaults by name."""
    return settings.replace(" ", ", ") or "defaults"


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


FILTERS = {"number": number, "span": span, "ends": ends, "whole": whole, "words": words}
FILTERS |= {"variant": variant}
