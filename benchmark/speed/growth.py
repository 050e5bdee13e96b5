"""How the times of fitting and sampling grow, with exponents fitted on log-log axes.

    budget         MIX on the Galton board, 100 to 1,000,000 simulations, the same steps
    dimension      MIX on the linear Gaussian task of 1 to 100 parameters and as many data
    replicates     MIX on the Galton board, 1 to 30 of them in one batch
    evaluations    number of network evaluations along the flow; sampling alone

One quantity varies at a time. The others are 1,000 simulations, 5 replicates, 40 evaluations, 5 observations,
and 200 draws for each. `analysis.power_law` fits the exponents. Their intervals are wide if the points do not
lie on a line, for example if a fixed cost dominates small x.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ...methods import get_method
from ...tasks import get_task
from ...tasks.task import Task
from ..analysis.power_law import exponent
from ..figures.style import PAGE, PLAIN, handle, looks_of, panels_of, save, styled
from ..running.writing import make_folder
from .timing import Timing, take_turns

STEPS, QUICK_STEPS = 1000, 50
ROUNDS, QUICK_ROUNDS = 3, 1
BUDGET, REPLICATES, EVALUATIONS, DRAWS = 1000, 5, 40, 200
POINTS: dict[str, tuple[int, ...]] = {
    "budget": (100, 1000, 10_000, 100_000, 1_000_000),
    "dimension": (1, 3, 10, 30, 100),
    "replicates": (1, 3, 10, 30),
    "evaluations": (10, 20, 40, 80, 160),
}
QUICK_POINTS = 3
ROW = re.compile(r"(fit|sampling) over (\w+) = ([\d,]+)")

Seconds = Mapping[int, float]


def rows(quick: bool) -> list[Timing]:
    """Time every curve; ratios are to the first point of a curve, and its last row names the exponent."""
    table: list[Timing] = []
    for axis, points in POINTS.items():
        seconds = _measured(axis, points[:QUICK_POINTS] if quick else points, quick)
        for stage in ("fit", "sampling"):
            own = {int(name.split()[1]): s for name, s in seconds.items() if name.startswith(stage)}
            table += _as_rows(f"{stage} over {axis}", own)
    return table


@styled
def draw(table: Sequence[Timing], folder: Path) -> list[Path]:
    """Draw the curves of `rows`, with a panel for each quantity that varies, as PDF and PNG of `growth`."""
    curves = curves_of(table)
    looks = looks_of(["fit", "sampling"])
    figure = Figure(figsize=(PAGE, 2.2), layout="constrained")
    for axis, name in zip(panels_of(figure, len(POINTS), len(POINTS)), POINTS, strict=True):
        notes = []
        for stage, look in looks.items():
            seconds = curves.get((stage, name))
            if seconds:
                sns.lineplot(pd.Series(seconds), ax=axis, **PLAIN | look.line)
                notes.append(f"{stage}: $b$ = {exponent(seconds).value:.2f}")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(name)
        axis.set_title("\n".join(notes))
    figure.supylabel("seconds of processor time")
    figure.legend(handles=[handle(look) for look in looks.values()], loc="outside upper center", ncols=2)
    make_folder(folder)
    return save(figure, folder, "growth")


def curves_of(table: Sequence[Timing]) -> dict[tuple[str, str], dict[int, float]]:
    """Return the seconds at each point of every curve (stage, quantity), read from rows."""
    curves: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in table:
        found = ROW.match(row.what)
        if found:
            curves[found[1], found[2]][int(found[3].replace(",", ""))] = row.seconds
    return dict(curves)


def _as_rows(what: str, seconds: Seconds) -> Iterator[Timing]:
    first = next(iter(seconds.values()), 0.0)
    for k, (x, own) in enumerate(seconds.items()):
        note = ""
        if k == len(seconds) - 1:
            b = exponent(seconds)
            note = f"; exponent {b.value:.2f} [{b.low:.2f}, {b.high:.2f}]"
        yield Timing(f"{what} = {x:,}{note}", own, own / first)


def _measured(axis: str, points: Sequence[int], quick: bool) -> dict[str, float]:
    """Return seconds under the names 'fit x' and 'sampling x'; over evaluations, of sampling alone."""
    contestants: dict[str, Callable[[], object]] = {}
    for x in points:
        fit, sample = _stages(axis, x, QUICK_STEPS if quick else STEPS)
        if axis != "evaluations":
            contestants[f"fit {x}"] = fit
        contestants[f"sampling {x}"] = sample
    return take_turns(contestants, QUICK_ROUNDS if quick else ROUNDS)


def _stages(axis: str, x: int, steps: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a function that fits and one that samples, where the quantity `axis` has the value x."""
    task: Task = get_task("linear_gaussian", dim=x) if axis == "dimension" else get_task("galton")
    budget, count = (x if axis == name else usual for name, usual in _USUAL)
    simulations = [task.simulate(budget, seed=r) for r in range(count)]
    evaluations = x if axis == "evaluations" else EVALUATIONS
    method = get_method("mix", steps=steps, sampler="exponential", sampling_steps=evaluations)
    quickly = get_method("mix", steps=1, sampler="exponential", sampling_steps=evaluations)
    posteriors, x_o = quickly.fit_replicates(simulations, range(count)), task.observations().x[:5]
    return (
        lambda: method.fit_replicates(simulations, range(count)),
        lambda: method.sample_replicates(posteriors, DRAWS, x_o, range(count)),
    )


_USUAL = (("budget", BUDGET), ("replicates", REPLICATES))
