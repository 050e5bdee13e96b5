"""Calibration curves: how often central intervals hold the true parameter, over their nominal level.

A rank is the number of `DRAWS` posterior draws below the true u, of fresh pairs (u, x), see
`metrics.diagnostics.central`. If the posterior is exact, ranks are uniform on 0, …, DRAWS, and
the number of n independent pairs whose interval holds u is binomial. Parameters of a pair are not
independent, so n counts pairs: the share pooled over parameters varies at most as much as that of one.
"""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy.stats import binom

from ...analysis.statistics import LEVEL
from ...figures.style import Look
from ...metrics.diagnostics import DRAWS, central
from ..charts import DRAWN_FLOOR, Spec, finished, legend, name_of, scales_of
from ..kept_numbers import by_cell, of_kind
from ..numbers import in_words, number, whole
from ..report import Report

LEVELS = (0.05, *(k / 10 for k in range(1, 10)), 0.95)
SHOWN = (0.5, 0.8, 0.9, 0.95)  # levels of the table
MORE = ", or higher, as all parameters of a pair count as one"
Context = dict[str, Any]


def of_exact(level: float) -> float:
    """Return the coverage of an exact posterior's central interval of a level."""
    return float(central(np.arange(DRAWS + 1) / DRAWS, level).mean())


def band(level: float, pairs: int) -> tuple[float, float]:
    """Return the ends between which the coverage of an exact posterior is, with probability `LEVEL`."""
    tail = (1 - LEVEL) / 2
    low, high = binom.ppf([tail, 1 - tail], pairs, of_exact(level))
    return float(low / pairs), float(high / pairs)


def curves_of(ranks: pd.DataFrame) -> pd.DataFrame:
    """Return the calibration curve of each method at each budget.

    Args:
        ranks: kept numbers of the kind "rank", of one task and variant, with labels.

    Returns:
        Rows of label, budget, level, coverage and pairs. Coverage is pooled over parameters and replicates;
        pairs is the number of pairs (u, x) of all replicates.
    """
    records = []
    for (label, budget), own in by_cell(ranks):
        pairs = len(own[["replicate", "index"]].drop_duplicates())
        values = own["value"].to_numpy(np.float64)
        for level in LEVELS:
            records.append((label, budget, level, float(central(values, level).mean()), pairs))
    return pd.DataFrame(records, columns=["label", "budget", "level", "coverage", "pairs"])


def chart(curves: pd.DataFrame, looks: dict[str, Look], description: str) -> Spec:
    """Draw the curves, with a choice of the budget, over the band of an exact posterior."""
    own = {label: look for label, look in looks.items() if label in set(curves["label"])}
    names = {label: name_of(look) for label, look in own.items()}
    budgets = sorted(int(budget) for budget in curves["budget"].unique())
    pairs = {budget: int(curves.loc[curves["budget"] == budget, "pairs"].min()) for budget in budgets}
    bands = [
        {"budget": budget, "level": level, "low": low, "high": high, "exact": of_exact(level)}
        for budget, n in pairs.items()
        for level in LEVELS
        for low, high in [band(level, n)]
    ]
    drawn = curves.assign(method=curves["label"].map(names))[["method", "budget", "level", "coverage"]]
    bind = alt.binding_select(options=budgets, name="budget")
    budget = alt.param("budget", value=budgets[-1], bind=bind)
    here = "datum.budget === budget"
    x = alt.X("level:Q", title="level of the central interval", scale=alt.Scale(domain=[0, 1]))
    title = "share that holds the true parameter"
    y = alt.Y("coverage:Q", title=title, scale=alt.Scale(domain=[0, 1]))
    under = alt.Chart(alt.Data(values=pd.DataFrame(bands).round(4).to_dict("records"))).transform_filter(here)
    area = under.mark_area(color=DRAWN_FLOOR, opacity=0.3).encode(
        x, alt.Y("low:Q", title=title), alt.Y2("high:Q")
    )
    rule = under.mark_line(color=DRAWN_FLOOR, strokeDash=[5, 3]).encode(x, alt.Y("exact:Q"))
    csv = alt.InlineData(
        values=drawn.to_csv(index=False, float_format="%.4g"),
        format=alt.CsvDataFormat(
            type="csv", parse={"budget": "number", "level": "number", "coverage": "number"}
        ),
    )
    colour, shape, dash = scales_of(own, legend())
    lines = alt.Chart(csv).transform_filter(here)
    tooltip = [alt.Tooltip(f"{field}:N") for field in ("method", "level", "coverage")]
    line = lines.mark_line(strokeWidth=1.8).encode(x, y, colour, dash)
    dots = lines.mark_point(filled=True, size=36, opacity=1).encode(x, y, colour, shape, tooltip=tooltip)
    return finished(alt.layer(area, rule, line, dots).add_params(budget), description)


def calibration(report: Report, label: str) -> Context | None:
    """Return the calibration curves of the methods that kept ranks on a task; None without any."""
    ranks = of_kind(report.kept, label, "rank")
    if ranks.empty:
        return None
    curves = curves_of(ranks)
    budget, d = int(curves["budget"].max()), int(ranks["parameter"].nunique())
    here = curves[curves["budget"] == budget]
    n = int(here["pairs"].min())
    texts = {
        method: [number(c) for c in own.set_index("level").loc[list(SHOWN), "coverage"]]
        for method, own in here.groupby("label", sort=False)
    }
    ends = [band(level, n) for level in SHOWN]
    missing = sorted(set(_tried(report, label, budget)) - set(texts))
    settings = in_words(str(ranks["variant"].iloc[0]))
    parameters = f"{d} parameters and " if d > 1 else ""
    caption = (
        f"Share of true parameters inside central intervals, over their level, {settings}. Below the grey "
        f"band intervals hold them too rarely. Pooled over {parameters}replicates: "
        f"{_pairs(curves)} fresh pairs of parameters and data for each method. The band holds the share of "
        f"an exact posterior at each level with probability 95 %{MORE if d > 1 else ''}."
    )
    return {
        "spec": chart(curves, report.looks, caption),
        "caption": caption,
        "budget": budget,
        "levels": [f"{level:.0%}".replace("%", " %") for level in SHOWN],
        "exact": [f"{number(low)} to {number(high)}" for low, high in ends],
        "pairs": n,
        "lines": list(texts.items()),
        "missing": ", ".join(missing),
    }


def _pairs(curves: pd.DataFrame) -> str:
    least, most = int(curves["pairs"].min()), int(curves["pairs"].max())
    return whole(least) if least == most else f"{whole(least)} to {whole(most)}"


def _tried(report: Report, label: str, budget: int) -> list[str]:
    """Return the methods that were run on a task at a budget."""
    rows = report.rows
    own = rows[(rows["task"] == label) & (rows["budget"] == budget) & (rows["status"] != "skipped")]
    return list(own["label"].unique())
