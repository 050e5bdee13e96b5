"""The parts of a reproduction: the results behind a paper, its figures and its claims.

A table lists every figure of the paper in order, with the results that the figure needs, the function that
draws it, and its claims. A figure or claim that cannot be reproduced stays in the table and says why.

Results lie in folders below one base, so finished results, such as those in `results`, can be used as they
are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ...tasks.errors import UserError
from ..running.sweep import SWEEPS
from ..running.table import read_table
from .findings import Finding


@dataclass(frozen=True)
class Source:
    """A command of the suite that makes results, and the folder of these results below the base.

    Attributes:
        folder: the result folder, below the base.
        arguments: the arguments of `graybench`, without --out; the name of a shipped sweep stands for its
            path.
        last: a file of the folder that exists once the results are complete.
        working: a file or folder from which the command resumes; results without it were made elsewhere and
            are used as they are.
    """

    folder: str
    arguments: tuple[str, ...]
    last: str
    working: str

    def command(self, base: Path, sweeps: Path = SWEEPS) -> list[str]:
        """Return the arguments of `graybench` that make the results below a base."""
        own = [str(sweeps / a) if a.endswith(".yaml") else a for a in self.arguments]
        return [*own, "--out", str(base / self.folder)]

    def is_given(self, base: Path) -> bool:
        """Return whether the results below a base are complete and were made elsewhere."""
        folder = base / self.folder
        return (folder / self.last).exists() and not (folder / self.working).exists()


class Results:
    """The tables below a base: `galton` is galton/table.parquet, `bridges/recovery` bridges/recovery.csv."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.read = cache(self._read)

    def path(self, name: str) -> Path:
        """Return the path of a table, whether it exists or not."""
        folder = self.base / name
        comma_separated = folder.with_suffix(".csv")
        return comma_separated if comma_separated.exists() or "/" in name else folder / "table.parquet"

    def missing(self, names: Iterable[str]) -> list[Path]:
        """Return the paths of the tables that do not exist."""
        return [path for path in map(self.path, names) if not path.exists()]

    def _read(self, name: str) -> pd.DataFrame:
        path = self.path(name)
        if path.suffix != ".csv":
            return read_table(path.parent)
        try:
            return pd.read_csv(path)
        except ValueError as error:  # the errors of pandas and of decoding are kinds of it
            raise UserError(f"{path}: this is not a table: {error}.") from error


@dataclass(frozen=True)
class Claim:
    """A claim of the paper in words, and its test against results.

    Attributes:
        text: the claim.
        needs: the names of the tables that the test needs.
        find: returns the findings from those tables; None if the claim cannot be tested here.
        reason: why it cannot be tested, or a remark about the test.
    """

    text: str
    needs: tuple[str, ...] = ()
    find: Callable[..., Iterable[Finding]] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing: its file name, the tables it needs, the function that draws it, and its caption."""

    name: str
    needs: tuple[str, ...]
    draw: Callable[..., Figure | None]
    caption: str


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper, or a result without one.

    Attributes:
        title: such as "Figure 1".
        shows: what it shows in the paper.
        pictures: the drawings that reproduce it.
        claims: the claims that it supports.
        reason: why it cannot be drawn, or how the drawing differs.
    """

    title: str
    shows: str
    pictures: tuple[Picture, ...] = ()
    claims: tuple[Claim, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Paper:
    """A paper, the results behind it, and its figures in their order."""

    name: str
    title: str
    reference: str
    note: str
    sources: tuple[Source, ...]
    figures: tuple[PaperFigure, ...]
