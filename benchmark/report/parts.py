"""The common parts of charts, written once, so a site of hundreds of charts stays small."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

LEAST = 40  # characters of a part that is worth sharing


def as_json(value: Any) -> str:
    """Return a value as compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def shared(charts: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Replace each object or list that occurs more than once by {"$": k}; return the charts and the parts."""
    counts = Counter(text for chart in charts.values() for text in _texts(chart))
    index: dict[str, int] = {}

    def replaced(value: Any) -> Any:
        if not isinstance(value, dict | list):
            return value
        text = as_json(value)
        if counts[text] > 1:
            return {"$": index.setdefault(text, len(index))}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return {key: replaced(inner) for key, inner in value.items()}

    without = {name: replaced(chart) for name, chart in charts.items()}
    return without, [json.loads(text) for text in index]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        text = as_json(value)
        if len(text) >= LEAST:
            yield text
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
