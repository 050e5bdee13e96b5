"""What diffusions on trees were found to be, on simulated trees and by held-out species.

Findings are from `tree_coverage` of `graybench bridges`, and from the tables of `graybench shapes --tree`.
Intervals are as in `claims`.
"""

import math
from collections.abc import Callable

import pandas as pd

from ...analysis.statistics import Interval, mean_interval, ratio_interval, share_interval
from ..findings import Finding
from .claims import Found, column
from .tree_figures import TARGETS

SYMBOLS = {"a": "a", "length": "ℓ"}
RIVALS = {"nearest_relative": "the nearest relative", "brownian_gaussian": "Brownian motion"}


def intervals_on_trees_cover(table: pd.DataFrame) -> Found:
    """Yield the coverage of a, ℓ and the root at each size; the range of the root has two ends."""
    for (tips, n), rows in table.groupby(["tips", "landmarks"]):
        setting = f"{tips} tips, {n} landmarks, {len(rows)} data sets"
        for name, symbol in SYMBOLS.items():
            covered = share_interval(int(rows[f"{name}_covered"].sum()), len(rows))
            claim = f"coverage of 95 % intervals of {symbol}"
            yield Finding(claim, setting, None, TARGETS[name][0], covered, at_least=True)
        root = mean_interval(column(rows, "root_covered"))
        least, most = TARGETS["root"]
        claim = "coverage of 95 % intervals of the root's coordinates"
        yield Finding(claim, setting, None, least, root, at_least=True)
        yield Finding(claim, setting, None, most, root)


def roots_are_nearer(table: pd.DataFrame) -> Found:
    """Yield the ratio of the roots' rms errors, of the diffusion to Brownian motion, at each amplitude."""
    for a, rows in table.groupby("a"):
        squares = (column(rows, f"{which}root_error") ** 2 for which in ("", "brownian_"))
        ratio = Interval(*(math.sqrt(value) for value in ratio_interval(*squares)))
        claim = f"rms error of the root / of Brownian motion's, a = {a:g}"
        yield Finding(claim, f"{len(rows)} data sets", None, 1.0, ratio)


def species_are_predicted(samples: tuple[str, ...], rival: str) -> Callable[..., Found]:
    """Return a function that finds by how much a rival's error is larger on held-out species of samples."""

    def find(*tables: pd.DataFrame) -> Found:
        for sample, table in zip(samples, tables, strict=True):
            known = table.set_index("method").loc[rival, ["species", "lower_by", "low", "high"]]
            count, *less = known.to_numpy(dtype=float)
            claim = f"rms error of {RIVALS[rival]} less the diffusion's, in rms radii"
            yield Finding(claim, f"{sample}, {count:g} species", None, 0.0, Interval(*less), at_least=True)

    return find
