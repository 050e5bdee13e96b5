"""What a reproduction of a paper is made of: the results behind it, its figures, its claims.

A table names every figure of the paper in its order, with the results that it needs, the function that draws
it, and the claims that go with it. A figure or claim that cannot be had says why, and stays in the table.

Results lie in folders below one base, so that finished ones, such as those in `results`, can be taken as is.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ...tasks.errors import UserError
from ..running.store import read_table
from .findings import Finding

SWEEPS = Path(__file__).parents[1] / "sweeps"


@dataclass(frozen=True)
class Source:
    """A command of the suite that makes results, and where below the base they go.

    Attributes:
        folder: the result folder, below the base.
        arguments: of `graybench`, without --out; the name of a shipped sweep stands for its path.
        last: a file of the folder that is there once the results are complete.
        working: what is there as well where they were made, and lets the command do only what is missing;
            results without it were made elsewhere, and count as they are.
    """

    folder: str
    arguments: tuple[str, ...]
    last: str
    working: str

    def command(self, base: Path, sweeps: Path = SWEEPS) -> list[str]:
        """Give the arguments of `graybench` that make the results below a base."""
        own = [str(sweeps / a) if a.endswith(".yaml") else a for a in self.arguments]
        return [*own, "--out", str(base / self.folder)]

    def is_given(self, base: Path) -> bool:
        """Say whether the results below a base are complete and came from elsewhere."""
        folder = base / self.folder
        return (folder / self.last).exists() and not (folder / self.working).exists()


class Results:
    """The tables below a base: `galton` is galton/table.parquet, `bridges/recovery` bridges/recovery.csv."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.read = cache(self._read)

    def path(self, name: str) -> Path:
        """Give the file of a table, whether it is there or not."""
        folder = self.base / name
        comma_separated = folder.with_suffix(".csv")
        return comma_separated if comma_separated.exists() or "/" in name else folder / "table.parquet"

    def missing(self, names: Iterable[str]) -> list[Path]:
        """Give the files of those tables that are not there."""
        return [path for path in map(self.path, names) if not path.exists()]

    def _read(self, name: str) -> pd.DataFrame:
        path = self.path(name)
        if path.suffix != ".csv":
            return read_table(path.parent)
        try:
            return pd.read_csv(path)
        except ValueError as error:  # pandas' own and that of what is no text are kinds of it
            raise UserError(f"{path}: this is no table: {error}.") from error


@dataclass(frozen=True)
class Claim:
    """A claim of the paper in words, and how it is held against results.

    Attributes:
        text: the claim.
        needs: names of tables.
        find: gives the findings from those tables; None if it cannot be tested here.
        reason: why not, or what to know about the test.
    """

    text: str
    needs: tuple[str, ...] = ()
    find: Callable[..., Iterable[Finding]] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing: its file name, the tables it needs, what draws it from them, and its caption."""

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
        pictures: in which it is drawn again; none if it cannot be.
        claims: that it stands for.
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
