"""The corner plot of a posterior: the reference against the methods and the budget that a reader chooses.

Densities are on the diagonal, draws of pairs of parameters below it. All draws of a task lie in one window
around the reference, so a method that diverged does not press the others together; its draws beyond the
window are left out of the picture and counted. Inside the window a draw is a number from 0 to 254, which a
page holds in one byte; 255 stands for a draw beyond.
"""

import base64
from typing import Any, NamedTuple

import altair as alt
import numpy as np
from numpy.typing import NDArray

from ..figures.style import Look
from .charts import CROSS, Chart, Spec, legend, name_of, scales_of, styled

LEVELS, BEYOND = 254, 255
MARGIN = 0.02  # of the window, around what is in it
REFERENCE = Look("reference", "#767676", "o", (0, (1, 0)))
INK = "#000000"  # the style sheet replaces it by the colour of text
EXTENT: dict[str, Any] = {
    "minExtent": 32,
    "maxExtent": 32,
}  # of the axes on the left, so that columns are aligned
Array = NDArray[np.float64]


class Window(NamedTuple):
    """The part of parameter space in the picture, (d,) each."""

    low: Array
    high: Array


class Drawn(NamedTuple):
    """Draws from the posterior of a task given one observation.

    Attributes:
        reference: draws from the reference, (n, d), or None.
        cells: draws of a method's label at a budget, (n, d).
        truth: the θ behind the observation, (d,), or None.
    """

    reference: Array | None
    cells: dict[tuple[str, int], Array]
    truth: Array | None

    def first(self, n: int, d: int) -> "Drawn":
        """Return the first n draws of the first d parameters."""
        return Drawn(
            None if self.reference is None else self.reference[:n, :d],
            {key: draws[:n, :d] for key, draws in self.cells.items()},
            None if self.truth is None else self.truth[:d],
        )

    @property
    def window(self) -> Window:
        """The range of all that is finite, cut to three times the range of the reference, with a margin.

        Without a reference the central 98 % of the draws take its place.
        """
        every = [*self.cells.values(), *([] if self.reference is None else [self.reference])]
        pooled = np.concatenate(every + ([] if self.truth is None else [self.truth[None]]))
        pooled = np.where(np.isfinite(pooled), pooled, np.nan)
        pooled[:, np.isnan(pooled).all(0)] = 0.0  # nothing to see of this parameter
        if self.reference is None:
            inner, outer = np.nanquantile(pooled, [0.01, 0.99], axis=0)
        else:
            inner, outer = self.reference.min(0), self.reference.max(0)
        width = np.where(outer > inner, outer - inner, 1.0)
        low = np.maximum(np.nanmin(pooled, 0), inner - width)
        high = np.minimum(np.nanmax(pooled, 0), outer + width)
        margin = np.where(high > low, MARGIN * (high - low), 0.5)
        return Window(low - margin, high + margin)


def packed(draws: Array, window: Window) -> str:
    """Return draws (n, d) in bytes, row by row, as base64."""
    with np.errstate(invalid="ignore"):
        place = np.rint((draws - window.low) / (window.high - window.low) * LEVELS)
        inside = (place >= 0) & (place <= LEVELS)
    return base64.b64encode(np.where(inside, place, BEYOND).astype(np.uint8).tobytes()).decode()


def beyond(draws: Array, window: Window) -> int:
    """Return how many draws, (n, d), are not finite or outside the window in a parameter."""
    inside = (draws >= window.low) & (draws <= window.high)
    return int((~inside).any(1).sum())


def corner(drawn: Drawn, looks: dict[str, Look], chosen: list[str], description: str) -> Spec:
    """Return the chart. The page's script unpacks its draws from `usermeta`.

    Args:
        drawn: the draws in the picture.
        looks: the looks of the methods.
        chosen: labels of the methods that are shown at first, at the largest budget.
        description: what the chart shows, for readers who do not see it.
    """
    window, reference, cells = drawn.window, drawn.reference, drawn.cells
    own = {label: look for label, look in looks.items() if any(label == at for at, _ in cells)}
    shown = ({"": REFERENCE} if reference is not None else {}) | own
    budgets = sorted({budget for _, budget in cells})
    of = ({} if reference is None else {("", 0): reference}) | cells
    place = {label: k for k, label in enumerate(shown)}
    groups = [[place[label], budget, packed(draws, window)] for (label, budget), draws in of.items()]
    chart = _panels(shown, window, _bandwidths(reference, window), drawn.truth)
    spec = styled(chart, description)
    spec["usermeta"] = {
        "columns": len(window.low),
        "names": [name_of(look) for look in shown.values()],
        "low": [_fine(x) for x in window.low],
        "step": [_fine(x) for x in (window.high - window.low) / LEVELS],
        "groups": groups,
    }
    spec["params"] = _choices(shown, budgets, chosen)
    return spec


def _fine(value: float) -> float:
    """Return a number to seven digits: a window may be narrow beside its distance from 0."""
    return float(f"{value:.7g}")


def _bandwidths(reference: Array | None, window: Window) -> Array:
    """Return Scott's rule for the reference, the same for all methods; a thirtieth of the window without."""
    widest = (window.high - window.low) / 30
    if reference is None:
        return widest
    scott = 1.06 * reference.std(0) * len(reference) ** -0.2
    return np.clip(scott, widest / 5, None)


def _choices(shown: dict[str, Look], budgets: list[int], chosen: list[str]) -> list[Spec]:
    """Return the parameters of the chart: a check box for each method, and the budget."""
    boxes = [
        {"name": f"m{k}", "value": label in chosen, "bind": {"input": "checkbox", "name": name_of(look)}}
        for k, (label, look) in enumerate(shown.items())
        if label
    ]
    select = {"input": "select", "options": budgets, "name": "budget"}
    budget = [{"name": "budget", "value": budgets[-1], "bind": select}] if budgets else []
    return [*budget, *boxes]


def _panels(
    shown: dict[str, Look], window: Window, bandwidths: Array, truth: Array | None
) -> alt.VConcatChart:
    d = len(window.low)
    on = ",".join(f"m{k}" if label else "true" for k, label in enumerate(shown))
    budget = "" if list(shown) == [""] else " && (datum.budget === 0 || datum.budget === budget)"
    draws = alt.Chart(alt.NamedData("draws")).transform_filter(f"[{on}][datum.m]{budget}")
    colour, shape, dash = scales_of(shown, legend(columns=4))

    def axis(title: str, **look: Any) -> alt.Axis:
        hidden: dict[str, Any] = {} if title else {"labels": False, "ticks": False}
        return alt.Axis(
            title=title or None, tickCount=3, labelFlush=True, grid=False, format="~g", **hidden, **look
        )

    def ends(k: int) -> list[float]:
        return [_fine(window.low[k]), _fine(window.high[k])]

    def scale(k: int) -> alt.Scale:
        return alt.Scale(domain=ends(k), nice=False, zero=False, clamp=False)

    def point(**at: float) -> alt.Chart:
        return alt.Chart(alt.Data(values=[{name: _fine(x) for name, x in at.items()}]))

    def panel(row: int, column: int) -> Chart:
        x = alt.X(f"p{column}:Q", scale=scale(column), axis=axis(f"θ{column + 1}" * (row == d - 1)))
        if row == column:
            density = draws.transform_filter(f"isValid(datum.p{row})").transform_density(
                f"p{row}",
                as_=[f"p{row}", "density"],
                groupby=["method"],
                extent=ends(row),
                bandwidth=_fine(bandwidths[row]),
                counts=True,
                steps=100,
            )
            left = alt.Axis(title=" ", labels=False, ticks=False, domain=False, grid=False, **EXTENT)
            y = alt.Y("density:Q", axis=None if row else left)
            lines = density.mark_line(strokeWidth=1.8, clip=True).encode(x, y, colour, dash)
            mark = (
                []
                if truth is None
                else [point(**{f"p{row}": truth[row]}).mark_rule(color=INK, clip=True).encode(x)]
            )
            return alt.layer(lines, *mark)
        y = alt.Y(
            f"p{row}:Q", scale=scale(row), axis=axis(f"θ{row + 1}", **EXTENT) if column == 0 else axis("")
        )
        dots = draws.mark_point(filled=True, size=12, opacity=0.6, clip=True).encode(x, y, colour, shape)
        if truth is None:
            return alt.layer(dots)
        there = point(**{f"p{column}": truth[column], f"p{row}": truth[row]})
        cross = there.mark_point(shape=CROSS, filled=True, size=90, color=INK, opacity=1, clip=True)
        return alt.layer(dots, cross.encode(x, y))

    rows = [alt.hconcat(*[panel(i, j) for j in range(i + 1)], spacing=8, bounds="flush") for i in range(d)]
    return alt.vconcat(*rows, spacing=8).resolve_scale(color="shared", shape="shared", strokeDash="shared")
