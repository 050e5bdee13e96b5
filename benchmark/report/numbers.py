"""Numbers and words as the pages write them."""

import math
from collections.abc import Sequence
from typing import Any

NOTHING, MINUS = "–", "−"


def number(value: float | None) -> str:
    """Return a number with three significant digits: 0.00123, 12.3, 1.5e6; a dash for none.

    The minus is a minus sign, at which no line breaks.
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
    """Return the ends of (value, low, high) after a space, the only place where a line may break."""
    _, low, high = interval
    return "" if _missing(low) or _missing(high) else f" [{number(low)},\xa0{number(high)}]"


def ends(point: dict[str, Any]) -> str:
    """Return the ends of a point's interval."""
    return span((point["value"], point["low"], point["high"])).strip()


def whole(value: int) -> str:
    """Return a whole number with separators of thousands."""
    return f"{value:,}"


def words(name: str) -> str:
    """Return a name such as `not_finite` as words."""
    return name.replace("_", " ")


def variant(settings: str) -> str:
    """Return settings as a list; the defaults by name."""
    return settings.replace(" ", ", ") or "defaults"


def in_words(settings: str) -> str:
    """Return settings inside a sentence."""
    return f"settings {variant(settings)}" if settings else "default settings"


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


FILTERS = {"number": number, "span": span, "ends": ends, "whole": whole, "words": words}
FILTERS |= {"variant": variant}
