"""The context of a posterior given the first observation: draws from the reference and from methods."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....tasks.errors import UserError
from ....tasks.simulations import Observations
from ....tasks.task import Task
from ..corner import Drawn, Window, beyond, corner
from ..kept_numbers import by_cell, of_kind
from ..numbers import in_words, number
from ..report import Report

Context = dict[str, Any]
Array = NDArray[np.float64]
DRAWS, SEED = 200, 1  # most draws in the picture
PARAMETERS = 4  # most parameters in the picture
CHOSEN = 2  # methods that are shown at first


def posterior(
    report: Report, label: str, task: Task | None, observations: Observations | None
) -> Context | None:
    """Return the corner plot and the moments of the draws; None without any draws."""
    kept = of_kind(report.kept, label, "draw")
    cells = {key: _table(own) for key, own in by_cell(kept)}
    reference = _reference(report, label, task, observations)
    truth = observations.theta[0].numpy() if observations else None
    given = [*cells.values(), *([] if reference is None else [reference])]
    if not given:
        return None
    n, dim = min(DRAWS, *map(len, given)), given[0].shape[1]
    every = Drawn(reference, cells, truth)
    shown, budget = every.first(n, PARAMETERS), max((b for _, b in cells), default=0)
    caption = _caption(every, n, dim, *kept["variant"].unique()[:1])
    return {
        "spec": corner(shown, report.looks, _chosen(report, label, cells, budget), caption),
        "caption": caption,
        "columns": [f"θ{k + 1}" for k in range(dim)],
        "budget": budget,
        "lines": _lines(every, budget, shown.window, n),
    }


def _table(rows: pd.DataFrame) -> Array:
    """Return kept draws as a table, (n, d)."""
    return rows.pivot(index="index", columns="parameter", values="value").to_numpy(np.float64)


def _reference(
    report: Report, label: str, task: Task | None, observations: Observations | None
) -> Array | None:
    """Return draws from the reference: those that were kept, or new ones where the task is installed."""
    kept = of_kind(report.kept, label, "reference")
    if len(kept):
        return _table(kept)
    if task is None or observations is None or "reference" not in task.capabilities:
        return None
    try:
        u = task.reference(observations.x[0]).sample(DRAWS, SEED)
    except UserError:  # its data are not installed
        return None
    theta: Array = task.prior.to_theta(u).numpy()
    return theta


def _chosen(report: Report, label: str, cells: dict[tuple[str, int], Array], budget: int) -> list[str]:
    """Return the methods that are shown at first: the best of those with draws at a budget."""
    own = report.points[(report.points["task"] == label) & (report.points["budget"] == budget)]
    ranks = own.groupby("label")["rank"].mean()
    here = [method for method, at in cells if at == budget]
    return sorted(here, key=lambda method: ranks.get(method, np.inf))[:CHOSEN]


def _caption(drawn: Drawn, n: int, dim: int, settings: str = "") -> str:
    methods = f"methods, {in_words(settings)}, replicate 0"
    whose = ["the reference"] * (drawn.reference is not None) + [methods] * bool(drawn.cells)
    which = f"the first {PARAMETERS} of {dim} parameters" if dim > PARAMETERS else "θ"
    text = (
        f"{n} draws of {which} from the posterior of {' and of '.join(whose)}, given the first observation."
    )
    if drawn.reference is not None:
        text += " Grey: the reference."
    return text + (" Cross and line: the θ behind the observation." if drawn.truth is not None else "")


def _lines(drawn: Drawn, budget: int, window: Window, n: int) -> list[Context]:
    """Return means and standard deviations of all draws, and how many of the first n are beyond."""
    of = {} if drawn.reference is None else {"reference": drawn.reference}
    of |= {method: draws for (method, at), draws in drawn.cells.items() if at == budget}
    lines: list[Context] = []
    if drawn.truth is not None:
        lines = [{"label": "true θ", "texts": [number(x) for x in drawn.truth], "beyond": ""}]
    for method, draws in of.items():
        with np.errstate(all="ignore"):
            moments = zip(draws.mean(0), draws.std(0), strict=True)
            texts = [f"{number(mean)} ± {number(std)}" for mean, std in moments]
        out = beyond(draws[:n, : len(window.low)], window)
        lines.append({"label": method, "texts": texts, "beyond": f"{out} of {n}"})
    return lines
