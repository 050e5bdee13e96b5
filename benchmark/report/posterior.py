"""The context of a posterior given the first observation: draws from the reference and from methods."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...tasks.errors import UserError
from ...tasks.task import Observations, Task
from .corner import beyond, corner, window_around
from .kept_numbers import of_kind
from .numbers import number
from .report import Report

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
    cells = {
        (str(method), int(budget)): _table(own)
        for (method, budget), own in kept.groupby(["label", "budget"], sort=False)
    }
    reference = _reference(report, label, task, observations)
    given = [*cells.values(), *([] if reference is None else [reference])]
    if not given:
        return None
    n, d = min(DRAWS, *map(len, given)), min(PARAMETERS, given[0].shape[1])
    truth = observations.theta[0].numpy() if observations else None
    budget = max((b for _, b in cells), default=0)
    caption = _caption(n, d, given[0].shape[1], list(cells), reference is not None, truth is not None)
    shown = {key: draws[:n, :d] for key, draws in cells.items()}
    base = None if reference is None else reference[:n, :d]
    there = None if truth is None else truth[:d]
    return {
        "spec": corner(base, shown, report.looks, _chosen(report, label, shown, budget), there, caption),
        "caption": caption,
        "columns": [f"θ{k + 1}" for k in range(given[0].shape[1])],
        "budget": budget,
        "lines": _lines(cells, budget, reference, truth, n, d),
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


def _caption(n: int, d: int, dim: int, cells: list[tuple[str, int]], reference: bool, truth: bool) -> str:
    who = " and of ".join(["the reference"] * reference + ["methods, replicate 0"] * bool(cells))
    which = f"the first {d} of {dim} parameters" if d < dim else "θ"
    text = f"{n} draws of {which} from the posterior of {who}, given the first observation."
    if reference:
        text += " Grey: the reference."
    return text + (" Cross and line: the θ behind the observation." if truth else "")


def _lines(
    cells: dict[tuple[str, int], Array],
    budget: int,
    reference: Array | None,
    truth: Array | None,
    n: int,
    d: int,
) -> list[Context]:
    """Return means and standard deviations of all kept draws, and how many of the picture's are beyond it."""
    window = window_around(
        None if reference is None else reference[:n, :d], [draws[:n, :d] for draws in cells.values()]
    )
    of = {"reference": reference} if reference is not None else {}
    of |= {method: draws for (method, at), draws in cells.items() if at == budget}
    lines = [{"label": "true θ", "texts": map(number, truth), "beyond": ""}] if truth is not None else []
    for method, draws in of.items():
        with np.errstate(all="ignore"):
            moments = zip(draws.mean(0), draws.std(0), strict=True)
            texts = [f"{number(mean)} ± {number(std)}" for mean, std in moments]
        lines.append({"label": method, "texts": texts, "beyond": f"{beyond(draws[:n, :d], window)} of {n}"})
    return lines
