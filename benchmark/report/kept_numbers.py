"""The posterior draws and ranks that cells kept, for the cells that a report shows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pandas as pd

from ..running.kept import belonging, kept_in
from ..running.rows import with_variants


def kept_of(folders: Sequence[Path], shown: pd.DataFrame) -> pd.DataFrame:
    """Return what the cells of a report kept.

    A cell that several folders hold counts once, and so do the reference draws of a task.

    Args:
        folders: the result folders; those without a file of kept numbers keep nothing.
        shown: the rows that the report shows.

    Returns:
        The columns of `running.kept`, `label` and `variant`.

    Raises:
        StoreError: a file of kept numbers is damaged.
    """
    found = [kept_in(folder).assign(source=k) for k, folder in enumerate(folders)]
    every = belonging(pd.concat(found, ignore_index=True), shown)
    owner = every["cell"].where(every["kind"] != "reference", every["task"])
    first = every.groupby(["kind", owner])["source"].transform("min")
    return with_variants(every[every["source"] == first].drop(columns="source"))


def by_cell(kept: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    """Yield the label and the budget of each cell, and its rows, of kept numbers of one task and variant."""
    for key, own in kept.groupby(["label", "budget"], sort=False):
        label, budget = cast(tuple[str, int], key)
        yield (str(label), int(budget)), own


def of_kind(kept: pd.DataFrame, task: str, kind: str) -> pd.DataFrame:
    """Return the numbers of a kind kept on a task: those of the defaults, or else of the first settings."""
    own = kept[(kept["task"] == task) & (kept["kind"] == kind)]
    chosen = min(own["variant"].unique(), key=lambda settings: settings != "", default="")
    return own[own["variant"] == chosen]
