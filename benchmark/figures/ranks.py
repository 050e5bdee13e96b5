"""The critical-difference diagram: average ranks, and which methods they do not tell apart."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman
from scipy.stats import friedmanchisquare, studentized_range

from ..analysis.ranking import ranks_by_place
from ..analysis.statistics import LEVEL
from .style import GREY, PAGE, Looks, looks_of, panels_of, styled

METRICS = ("mmd", "score_error", "c2st_mlp")
LEAST_METHODS, LEAST_PLACES = 3, 5


class RankTest(NamedTuple):
    """Tests of the ranks of k methods at N places of one budget.

    Attributes:
        ranks: the average rank of each method, (k,).
        places: N.
        friedman: the p-value of Friedman's test that all methods are alike.
        nemenyi: the p-value of Nemenyi's test for each pair, (k, k).
        critical_difference: the difference of average ranks beyond which two methods differ.
    """

    ranks: "pd.Series[float]"
    places: int
    friedman: float
    nemenyi: pd.DataFrame
    critical_difference: float


def rank_test(blocks: pd.DataFrame) -> RankTest:
    """Test the ranks of k methods at N places with SciPy and scikit-posthocs.

        CD = q √(k(k + 1)/(6N))

    CD is the critical difference; q is the 95 % point of the studentized range of k means with infinite
    degrees of freedom, divided by √2. If all methods are alike, no pair differs by more than CD in 95 % of
    tables.

    Args:
        blocks: ranks, one row for each place and one column for each of k ≥ 3 methods; not all may be ties.

    Source: Demšar, Statistical comparisons of classifiers over multiple data sets, 2006.
    """
    n, k = blocks.shape
    q = studentized_range.ppf(LEVEL, k, np.inf) / np.sqrt(2)
    return RankTest(
        blocks.mean(),
        n,
        float(friedmanchisquare(*blocks.to_numpy().T).pvalue),
        posthoc_nemenyi_friedman(blocks.reset_index(drop=True)),
        float(q * np.sqrt(k * (k + 1) / (6 * n))),
    )


def rank_tests(rows: pd.DataFrame, metric: str) -> dict[Any, RankTest]:
    """Return the test of each budget with enough methods and places.

    Places count where all methods were ranked. Each budget is tested alone: budgets of one task share
    simulations, and as blocks of one test they would show differences too often.

    Args:
        rows: rows of one variant.
        metric: name of the metric; its values resolved in diffusion time are left out.
    """
    plain = rows["time"].isna() & (rows["status"] == "ok")
    if metric not in rows.loc[plain, "metric"].unique():
        return {}
    ranks = ranks_by_place(rows, metric)
    if len(ranks.columns) < LEAST_METHODS:
        return {}
    common = ranks.dropna()
    return {
        budget: rank_test(blocks)
        for budget, blocks in common.groupby(common.index.get_level_values("budget").astype(int))
        if len(blocks) >= LEAST_PLACES and (blocks.nunique(axis=1) > 1).any()
    }


@styled
def critical_difference(rows: pd.DataFrame, metric: str) -> Figure | None:
    """Draw a diagram for each budget of one variant; None without enough methods and places.

    Bars join methods that do not differ. The title shows the p-value of Friedman's test.
    """
    tests = rank_tests(rows, metric)
    if not tests:
        return None
    looks = looks_of(rows["label"].unique())
    columns = min(2, len(tests))
    lines = -(-len(tests) // columns)
    k = max(len(test.ranks) for test in tests.values())
    figure = Figure(figsize=(PAGE, lines * (0.85 + 0.2 * k)), layout="constrained")
    for axis, (budget, test) in zip(panels_of(figure, len(tests), columns), tests.items(), strict=True):
        _draw(axis, test, looks)
        p = "p < 0.001" if test.friedman < 0.001 else f"p = {test.friedman:.3f}"
        axis.set_title(f"{metric.replace('_', ' ')}, $N$ = {budget:,}: {test.places} places, Friedman {p}")
    figure.supxlabel("average rank, 1 is best; bars join methods that do not differ (Nemenyi, 5 %)")
    return figure


def _draw(axis: Axes, test: RankTest, looks: Looks) -> None:
    names = {label: looks[str(label)].name for label in test.ranks.index}
    artists = critical_difference_diagram(
        test.ranks.rename(names),
        test.nemenyi.rename(index=names, columns=names),
        alpha=1 - LEVEL,
        ax=axis,
        label_fmt_left="{label}  {rank:.2f} ",
        label_fmt_right=" {rank:.2f}  {label}",
        color_palette={looks[str(label)].name: looks[str(label)].colour for label in test.ranks.index},
        marker_props={"s": 12},
        crossbar_props={"linewidth": 1.8},
        text_h_margin=0.12,
    )
    for text in artists["labels"]:
        text.set_color("black")  # legible whatever the colour of the line
    axis.spines["top"].set_visible(True)
    axis.set_xlim(1, len(names))
    axis.xaxis.set_major_locator(MultipleLocator(1))
    axis.plot([1, 1 + test.critical_difference], [2, 2], color=GREY, marker="|", clip_on=False)
    axis.text(1.1 + test.critical_difference, 2, f"CD = {test.critical_difference:.2f}", va="center")
    axis.set_ylim(top=2.4)
