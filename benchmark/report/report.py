"""The numbers behind all pages of a report, computed once."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from ..analysis.ranking import places_of
from ..figures.style import looks_of
from ..metrics.catalogue import record_of, reported
from ..papers.commits import source_commit
from .kept_numbers import kept_of
from .leaderboard import board_of
from .points import costs_of, points_of, with_ranks
from .sources import in_common, read_sources


class Report:
    """The numbers of result folders, and the paths of the pages.

    Attributes:
        every, sources: the rows and the sources of `read_sources`.
        rows: the rows that are not resolved in diffusion time.
        paired: the rows that all methods of a place have in common.
        places: the places where methods are ranked, by metric.
        board: the records of `benchmark.report.leaderboard`.
        kept: the draws and ranks of `kept_of`.
        points, costs: the results of `points_of`, ranked, and of `costs_of`.
        looks: the look of each method.
        command, commit: the command that made the report, and the commit of the suite.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.every, self.sources = read_sources(folders)
        self.kept = kept_of(folders, self.every)
        self.rows = self.every[self.every["time"].isna()]
        self.paired = in_common(self.rows)
        known = reported(set(self.rows.loc[self.rows["status"] == "ok", "metric"]))
        self.places = {m: places_of(self.paired, m) for m in known if record_of(m).ranked}
        self.points = with_ranks(points_of(self.rows), self.places)
        self.costs = costs_of(self.rows)
        self.board = board_of(self.every, self.costs, self.places)
        self.command = f"graybench report {' '.join(map(str, folders))} --out SITE"
        self.commit = source_commit()
        self.looks = looks_of(self.rows["label"].unique())
        self.slugs = slugs([x for column in ("label", "task", "metric") for x in self.every[column].unique()])

    @cached_property
    def task_pages(self) -> dict[str, str]:
        """The page of each task."""
        return {task: f"tasks/{self.slugs[task]}.html" for task in self.rows["task"].unique()}

    @cached_property
    def method_pages(self) -> dict[str, str]:
        """The page of each method."""
        return {label: f"methods/{self.slugs[label]}.html" for label in self.rows["label"].unique()}

    @cached_property
    def main_metric(self) -> str:
        """The metric that most methods have at most places; of several, the first of the catalogue."""
        ranked = self.points[self.points["metric"].isin(self.places) & self.points["value"].notna()]
        counts = ranked.groupby("metric", sort=False).size()
        return str(counts.idxmax()) if len(counts) else ""

    def figure(self, metric: str, task: str) -> str:
        """The chart of a metric on a task, which is on the task's page, and its rows, without an ending."""
        return f"figures/{self.slugs[metric]}-{self.slugs[task]}"

    def figure_place(self, metric: str, task: str) -> str:
        """The place of this chart on the task's page."""
        return f"{self.task_pages[task]}#{self.slugs[metric]}"

    def time_page(self, metric: str, task: str) -> str:
        """The page of the figure of a metric on a task over diffusion time."""
        return f"figures/{self.slugs[metric]}-over-time-{self.slugs[task]}.html"

    def task_chart(self, task: str) -> str:
        """The charts of a task itself, which have no page of their own."""
        return f"figures/task-{self.slugs[task]}"

    def rank_page(self, metric: str) -> str:
        """The page of the mean ranks by a metric."""
        return f"figures/ranks-{self.slugs[metric]}.html"

    def figures(self) -> pd.DataFrame:
        """Metric and task of each figure."""
        return self.points[["metric", "task"]].drop_duplicates(ignore_index=True)


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Return a distinct form of each name for addresses: `mix(gate=learned)` is `mix-gate-learned`."""
    found: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "x"
        used, slug, k = {s.lower() for s in found.values()}, stem, 2
        while slug.lower() in used and name not in found:
            slug, k = f"{stem}-{k}", k + 1
        found.setdefault(name, slug)
    return found
