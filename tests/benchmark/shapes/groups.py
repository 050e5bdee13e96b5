"""Files of groups of shapes."""

from pathlib import Path

import pandas as pd
from torch import Tensor


def write_groups(path: Path, groups: dict[str, Tensor]) -> Path:
    """Write a table of landmarks with a row a landmark and coordinate columns, and return its path."""
    rows = [
        {"specimen": f"{name}{i}", "sort": name, "landmark": k + 1, "x": float(x), "y": float(y)}
        for name, coordinates in groups.items()
        for i, shape in enumerate(coordinates)
        for k, (x, y) in enumerate(shape)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path
