"""Everything that the pages of a report are made from, computed once."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.report.leaderboard import board_of
from benchmark.report.points import costs_of, points_of, with_ranks
from benchmark.report.sources import read_sources
from benchmark.style import looks_of


class Report:
    """The numbers of result folders, and where each page is.

    Attributes:
        rows, sources: of `read_sources`; points: of `points_of`, ranked; costs: of `costs_of`.
        looks: of the methods. command: that made the report.
    """

    def __init__(self, folders: Sequence[Path], command: str) -> None:
        self.rows, self.sources = read_sources(folders)
        self.points = with_ranks(points_of(self.rows))
        self.costs = costs_of(self.rows)
        self.command = command
        self.looks = looks_of(self.rows["label"].unique())
        self.slugs = slugs([*self.rows["label"].unique(), *self.rows["task"].unique()])

    @cached_property
    def board(self) -> dict[str, Any]:
        """The leaderboard, see `benchmark.report.leaderboard`."""
        return board_of(self.rows, self.points, self.costs)

    @cached_property
    def task_pages(self) -> dict[str, str]:
        """The page of each task."""
        return {task: f"tasks/{self.slugs[task]}.html" for task in self.rows["task"].unique()}

    @cached_property
    def method_pages(self) -> dict[str, str]:
        """The page of each method."""
        return {label: f"methods/{self.slugs[label]}.html" for label in self.rows["label"].unique()}

    def figure_page(self, metric: str, task: str) -> str:
        """The page of the figure of a metric on a task."""
        return f"figures/{metric}-{self.slugs[task]}.html"

    def rank_page(self, metric: str) -> str:
        """The page of the mean ranks by a metric."""
        return f"figures/ranks-{metric}.html"

    def figures(self) -> pd.DataFrame:
        """Give metric and task of each figure."""
        return self.points[["metric", "task"]].drop_duplicates(ignore_index=True)


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Give each name a distinct form for addresses: `mix(gate=learned)` is `mix-gate-learned`."""
    found: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-") or "x"
        used, slug, k = {s.lower() for s in found.values()}, stem, 2
        while slug.lower() in used and name not in found:
            slug, k = f"{stem}-{k}", k + 1
        found.setdefault(name, slug)
    return found
