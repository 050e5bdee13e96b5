"""The quality of the samples of each solver of the flow, over the number of network evaluations.

    gap    root mean square distance between the samples and the samples of a fine solve from the same noise,
           over their standard deviation; it has no sampling noise
    mmd    between the samples and the reference posterior: the root of the mean MMD² over observations

The same last step, from t_min to 0, follows every solver. Its evaluations are not counted.
Scores are exact (a mixture with close modes, a Galton posterior) or come from a network that `mix` trained.
The default sampler is order 3 with 30 evaluations; the sampler `ode` corrects every step and takes 80.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from ...methods import get_method
from ...methods.method import Posterior
from ...methods.score import last_step
from ...methods.score.samplers import (
    ORDER,
    SAMPLERS,
    Denoised,
    Score,
    alpha_at,
    denoised,
    exponential_step,
    finish,
    noise_levels,
    sample_exponential,
    sample_ode,
)
from ...methods.score.schedule import alpha_sigma_at
from ...tasks import get_task
from ...tasks.classic.galton import Galton
from ...tasks.reference import GaussianReference, MixtureReference, Reference
from ...tasks.seeding import generator
from ..figures.style import GREY, PAGE, PLAIN, Look, handle, panels_of, save, styled
from ..metrics.mmd import median_distance, mmd_squared
from ..running.writing import make_folder

FIRST_STEPS, GROWTH, SHORTEST = 30, 2.0, 1e-3  # of adaptive steps, the last in λ
EVALUATIONS = (10, 14, 20, 30, 40, 50, 80)
TOLERANCES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
DRAWS, FINE = 500, 400
BUDGET, STEPS = 10_000, 3000
CORRECTED = "exponential, order 3, corrected"
SOLVERS: dict[str, Callable[[Score, Tensor, int], Tensor]] = {
    CORRECTED: lambda score, noise, n: sample_ode(score, noise, n // SAMPLERS["ode"].evaluations),
    "exponential, order 1": lambda score, noise, n: sample_exponential(score, noise, n, 1),
    "exponential, order 2": lambda score, noise, n: sample_exponential(score, noise, n, 2),
    "exponential, order 3": lambda score, noise, n: sample_exponential(score, noise, n, 3),
}
ADAPTIVE = "exponential, adaptive"
LOOKS = {
    look.name: look
    for look in (
        Look(CORRECTED, "#0072B2", "o", "-"),
        Look("exponential, order 1", "#999999", "s", (0, (1, 1))),
        Look("exponential, order 2", "#E69F00", "^", (0, (4, 1.5))),
        Look("exponential, order 3", "#D55E00", "D", "-"),
        Look(ADAPTIVE, "#000000", "X", (0, (5, 1, 1, 1))),
    )
}

Target = tuple[str, Score, Sequence[Reference]]


def store(quick: bool, folder: Path) -> list[Path]:
    """Write `errors` to solver_errors.csv and draw them."""
    make_folder(folder)
    found = errors(quick)
    found.to_csv(folder / "solver_errors.csv", index=False)
    return draw(found, folder)


def errors(quick: bool) -> pd.DataFrame:
    """Return `target`, `solver`, `evaluations`, `gap` and `mmd` of every solve; none is the fine solve."""
    found = []
    for name, score, references in targets(STEPS // 10 if quick else STEPS):
        found += [{"target": name, **row} for row in _of_target(score, references)]
    return pd.DataFrame(found)


def targets(steps: int) -> Iterator[Target]:
    """Yield the name of a target, its score of u_t (m, n, d), and the references of the m observations."""
    laws = [(m, v) for m, v in ((0.2, 0.01), (-0.3, 0.04))]
    modes = [GaussianReference(torch.tensor([m]), torch.tensor([[v]])) for m, v in laws]
    galton = Galton().reference(Galton().observations().x[4])
    yield "close modes, exact", *_exact(MixtureReference(torch.ones(2), modes))
    yield "Galton, exact", *_exact(galton)
    for name, title in (("galton", "Galton"), ("gaussian_mixture", "mixture")):
        task = get_task(name)
        x_o = task.observations().x
        posterior = get_method("mix", steps=steps).fit(task.simulate(BUDGET, seed=1), seed=1)
        yield f"{title}, trained", _learned(posterior, x_o), [task.reference(x) for x in x_o]


def _learned(posterior: Posterior, x_o: Tensor) -> Score:
    def score(u_t: Tensor, t: float) -> Tensor:
        return posterior.score(u_t.float(), x_o, t).double()

    return score


def _exact(law: Reference) -> tuple[Score, list[Reference]]:
    def score(u_t: Tensor, t: float) -> Tensor:
        return law.diffused_score(u_t[0], *alpha_sigma_at(t)).unsqueeze(0)

    return score, [law]


def _of_target(score: Score, references: Sequence[Reference]) -> Iterator[dict[str, object]]:
    exact = torch.stack([law.sample(DRAWS, seed=o) for o, law in enumerate(references)])
    noise = torch.randn(exact.shape, generator=generator(1), dtype=torch.float64)
    calls, last = 0, last_step.evaluations(exact.shape[-1])

    def counted(u_t: Tensor, t: float) -> Tensor:
        nonlocal calls
        calls += 1
        return score(u_t, t)

    fine = sample_exponential(score, noise, FINE)
    spread = float(fine.std(1).mean())

    def row(solver: str, made: Tensor) -> dict[str, object]:
        gap = float((made - fine).square().mean().sqrt()) / spread
        pairs = zip(made, exact, strict=True)
        squared = [mmd_squared(a, b, median_distance(b)).value for a, b in pairs]
        mmd = math.sqrt(max(0.0, sum(squared) / len(squared)))
        return {"solver": solver, "evaluations": max(0, calls - last), "gap": gap, "mmd": mmd}

    yield row("fine", fine)
    for name, solve in SOLVERS.items():
        for evaluations in EVALUATIONS:
            calls = 0
            yield row(name, solve(counted, noise, evaluations))
    for tolerance in TOLERANCES:
        calls = 0
        yield row(ADAPTIVE, sample_adaptive(counted, noise, tolerance))


def sample_adaptive(score: Score, noise: Tensor, tolerance: float) -> Tensor:
    """Carry standard normal `noise` (..., d) along the flow, on steps as long as the tolerance allows.

    A step of the exponential integrator is the longest, among twice the last one and its halves, at which
    orders 3 and 2 differ by at most `tolerance`: root mean square of u over the whole batch. Both rest on the
    same evaluations, so that a step tried in vain costs none. The first is a thirtieth of the way. Where the
    posterior is N(0, I), u = α v stands still, and an early error in u is as large at the end: hence errors
    are measured in u. The steps depend on the batch, and a batch of observations gives the samples of a loop
    up to the tolerance alone: so no method offers this.
    """
    level, last = noise_levels(1)
    v, known, step = noise / alpha_at(level), list[tuple[float, Tensor]](), (last - level) / FIRST_STEPS
    while level > last:
        known = [*known, (level, denoised(score, v, level))][-ORDER:]
        step = max(step if len(known) == 1 else GROWTH * step, last - level)
        while step < -SHORTEST and _error(v, known, step) > tolerance:
            step = step / 2
        v, level = exponential_step(v, known, step), last if step == last - level else level + step
    return finish(score, v)


def _error(v: Tensor, known: Denoised, h: float) -> float:
    """Return the root mean square, in u, of the difference to a step of one order less; 0 for order 1."""
    if len(known) == 1:
        return 0.0
    gap = (exponential_step(v, known, h) - exponential_step(v, known[1:], h)).square().mean().sqrt()
    return float(gap) * alpha_at(known[-1][0] + h)


@styled
def draw(found: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw gap and MMD over evaluations, with a column for each target, as PDF and PNG of `solver_errors`."""
    names = list(found["target"].unique())
    figure = Figure(figsize=(PAGE, 3.6), layout="constrained")
    axes = panels_of(figure, 2 * len(names), len(names))
    for k, name in enumerate(names):
        own = found[found["target"] == name]
        for axis, metric in ((axes[k], "gap"), (axes[k + len(names)], "mmd")):
            for solver, look in LOOKS.items():
                line = own[own["solver"] == solver]
                sns.lineplot(line, x="evaluations", y=metric, ax=axis, **PLAIN | look.line)
            axis.set(xlabel="", ylabel="")
            axis.set_xscale("log")
            axis.set_xticks([10, 20, 40, 80], ["10", "20", "40", "80"])
            axis.xaxis.set_minor_locator(NullLocator())
        axes[k].set_yscale("log")
        axes[k].set_title(name)
        fine = float(own.loc[own["solver"] == "fine", "mmd"].iloc[0])
        axes[k + len(names)].axhline(fine, color=GREY, linestyle="--")
    axes[0].set_ylabel("distance from a fine solve\n(posterior std)")
    axes[len(names)].set_ylabel("MMD (dashed: fine solve)")
    figure.supxlabel("network evaluations, without those of the last step")
    figure.legend(handles=[handle(look) for look in LOOKS.values()], loc="outside upper center", ncols=3)
    make_folder(folder)
    return save(figure, folder, "solver_errors")
