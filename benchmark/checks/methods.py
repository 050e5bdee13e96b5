"""Conformance checks of a method, which find a leak, a bias or overconfidence.

The method is fitted to a task with a known posterior: `linear_gaussian`, or `brownian` for methods that need
the SDE. Some checks test rules, which hold or not. The others return statistics that are standard normal for
a perfect method; their variance includes an allowance for the error of a good method, so a perfect method
exceeds 4.5 in less than one of 150,000 statistics.
"""

import math
import pickle
import random
import tempfile
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ...methods import load_posterior
from ...methods.method import Method, Posterior
from ...methods.score.schedule import alpha_sigma_at
from ...tasks import get_task
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Simulations, Task
from ..analysis.statistics import Array, ratio_interval
from .evidence import Evidence, NotApplicableError, Statistic

TASKS = ("linear_gaussian", "brownian")
DRAWS = 400  # samples for each observation
PAIRS, PAIR_DRAWS = 600, 50  # of the calibration
IN_BATCH = 3  # number of observations
# The allowed error of the mean square of r: the posterior's standard deviation may be 7 % too small.
OVERCONFIDENCE = 0.15
# The allowed error of the mean of r, and half the allowed error of a posterior mean. The unit is one standard
# deviation of the posterior.
BIAS = 0.1
TIMES = (0.05, 0.2, 0.5)
REPLICATES, FACTOR, GROWTH = 3, 8, 1.5
ROUNDING = 1e-5


class Bench:
    """A method, a task with everything the method requires, and results that several checks share.

    Args:
        method: the method, with its options.
        n: the number of simulations of most fits.
        seed: names the random streams.

    Raises:
        NotApplicableError: no task provides what the method requires.
    """

    def __init__(self, method: Method, n: int, seed: int) -> None:
        self.method, self.n, self.seed = method, n, seed
        able = [task for task in map(get_task, TASKS) if method.requires <= task.capabilities]
        if not able:
            raise NotApplicableError(
                f"none of {' and '.join(TASKS)} has {', '.join(sorted(method.requires))}"
            )
        self.task: Task = able[0]
        self.x_o = self.task.observations().x

    def simulations(self, name: str, n: int | None = None) -> Simulations:
        """Draw the training simulations called `name`, with only the fields that the method requires."""
        exact = "marginal_score" in self.method.requires
        drawn = self.task.simulate(n or self.n, self.seed_of(name), marginal_score=exact)
        return drawn.only(self.method.requires)

    def seed_of(self, *name: int | str) -> int:
        """Return the seed of a named stream."""
        return derive_seed(self.seed, "method check", *name)

    def fit(self, name: str, n: int | None = None) -> Posterior:
        """Fit the method to the simulations called `name`, with the same seed in every call."""
        return self.method.fit(self.simulations(name, n), self.seed_of("fit", name))

    def draw(self, posterior: Posterior, *name: int | str) -> Tensor:
        """Sample the posteriors of the task's m observations, (m, DRAWS, d), in float64."""
        return posterior.sample(DRAWS, self.x_o, self.seed_of("sample", *name)).double()

    @cached_property
    def posterior(self) -> Posterior:
        """The method fitted to the first simulations."""
        return self.fit("first")


def seeds(bench: Bench) -> Evidence:
    """Check that equal seeds give equal samples, and different seeds different samples."""
    first = bench.draw(bench.posterior, 1)
    again = bench.draw(bench.fit("first"), 1)
    other = bench.draw(bench.posterior, 2)
    return Evidence(
        [
            _rule("same seed, same samples", _same(first, again)),
            _rule("another seed, other samples", not _same(first, other)),
        ],
        "Fits and samples must use their own seed only: derive every generator from it.",
        bench.n,
    )


def state(bench: Bench) -> Evidence:
    """Check that a fit changes neither its simulations, nor its method, nor other fits."""
    simulations, options = bench.simulations("second"), bench.method.options()
    kept = {name: tensor.clone() for name, tensor in simulations.tensors()}
    before = bench.draw(bench.posterior, 1)
    bench.method.fit(simulations, bench.seed_of("fit", "second"))
    unchanged = all(torch.equal(tensor, kept[name]) for name, tensor in simulations.tensors())
    return Evidence(
        [
            _rule("the simulations are unchanged", unchanged),
            _rule("the options are unchanged", bench.method.options() == options),
            _rule("an earlier posterior is unchanged", _same(before, bench.draw(bench.posterior, 1))),
            _rule("a later fit is unchanged", _same(before, bench.draw(bench.fit("first"), 1))),
        ],
        "A fit must not change anything else: keep what it learns in the posterior, and copy before writing.",
        bench.n,
    )


def global_randomness(bench: Bench) -> Evidence:
    """Check that no global generator of torch, numpy or Python is set or read."""
    found, samples = [], []
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        for start in (1, 2):
            torch.manual_seed(start)
            np.random.seed(start)
            random.seed(start)
            before = _global_states()
            samples.append(bench.draw(bench.fit("first"), 1))
            after = _global_states()
            found += [
                _rule(f"the generator of {name} is not set", before[name] == after[name]) for name in before
            ]
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
    found.append(_rule("global generators are not read", _same(*samples)))
    return Evidence(found, "Random numbers must come from the method's own generators.", bench.n)


def _global_states() -> dict[str, bytes]:
    torch_state = torch.get_rng_state().numpy()
    states = {"torch": torch_state, "numpy": np.random.get_state(), "Python": random.getstate()}
    return {name: pickle.dumps(state) for name, state in states.items()}


def batches(bench: Bench) -> Evidence:
    """Check that observations in a batch do not affect each other.

    Scores and densities of a batch equal those of single observations; samples agree in distribution.
    """
    posterior, x_o = bench.posterior, bench.x_o[:IN_BATCH]
    together = posterior.sample(DRAWS, x_o, bench.seed_of("together")).double()
    u_t = together[:, :50].to(x_o.dtype)
    found = []
    for o in range(len(x_o)):
        one = slice(o, o + 1)
        alone = posterior.sample(DRAWS, x_o[one], bench.seed_of("alone", o))[0].double()
        found += _same_moments(f"observation {o}", together[o], alone)
        for name, evaluate in _functions(posterior):
            pair = evaluate(u_t, x_o)[one], evaluate(u_t[one], x_o[one])
            found.append(_rule(f"{name} of observation {o}", torch.allclose(*pair, rtol=1e-3, atol=1e-3)))
    return Evidence(found, "Observations in a batch must not affect each other.", DRAWS)


def _functions(posterior: Posterior) -> list[tuple[str, Callable[[Tensor, Tensor], Tensor]]]:
    kind, found = type(posterior), []
    if kind.score is not Posterior.score:
        found.append(("score", lambda u, x: posterior.score(u, x, 0.2).double()))
    if kind.log_prob is not Posterior.log_prob:
        found.append(("log_prob", lambda u, x: posterior.log_prob(u, x).double()))
    return found


def _same_moments(name: str, first: Tensor, second: Tensor) -> list[Statistic]:
    """Compare means and mean squares of two independent samples, (n, d)."""
    found = []
    for power in (1, 2):
        a, b = first**power, second**power
        z = (a.mean(0) - b.mean(0)) / ((a.var(0) + b.var(0)) / len(a)).sqrt().clamp_min(1e-12)
        found += [Statistic(f"{name}, u_{i}^{power}", float(z[i])) for i in range(len(z))]
    return found


def saving(bench: Bench) -> Evidence:
    """Check that a posterior gives the same samples after saving and loading."""
    with tempfile.TemporaryDirectory() as folder:
        bench.posterior.save(folder, allow_pickle=True)
        loaded = load_posterior(folder, method=bench.method, allow_pickle=True)
    same = _same(bench.draw(bench.posterior, 1), bench.draw(loaded, 1))
    return Evidence([_rule("same samples", same)], "Save everything that samples depend on.", bench.n)


def calibration(bench: Bench) -> Evidence:
    """Check the calibration on fresh pairs (u, x) from the prior predictive.

    With the mean m and the standard deviation s of L posterior draws at x, r = (u − m)/s has the mean 0 and,
    for a Gaussian posterior, the mean square (1 + 1/L)(L − 1)/(L − 3).
    """
    pairs = bench.task.simulate(PAIRS, bench.seed_of("pairs"))
    samples = bench.posterior.sample(PAIR_DRAWS, pairs.x, bench.seed_of("calibration")).double()
    r = (pairs.u - samples.mean(1)) / samples.std(1).clamp_min(1e-12)
    square = (1 + 1 / PAIR_DRAWS) * (PAIR_DRAWS - 1) / (PAIR_DRAWS - 3)
    found = []
    for i in range(r.shape[1]):
        for name, terms, allowance in (
            ("mean", r[:, i], BIAS),
            ("mean square", r[:, i] ** 2 - square, OVERCONFIDENCE),
        ):
            spread = math.hypot(float(terms.std()) / PAIRS**0.5, allowance)
            found.append(Statistic(f"{name} of r_{i}", float(terms.mean()) / spread))
    return Evidence(
        found,
        "A mean square that is too large means overconfidence; one that is too small, underconfidence.",
        bench.n,
    )


def moments(bench: Bench) -> Evidence:
    """Check means and standard deviations of each posterior against the reference."""
    samples = bench.draw(bench.posterior, 1)
    found = []
    for o, x in enumerate(bench.x_o):
        exact = bench.task.reference(x).sample(10_000, bench.seed_of("reference", o))
        scale = exact.std(0)
        shift = (samples[o].mean(0) - exact.mean(0)) / scale
        ratio = torch.log(samples[o].std(0) / scale)
        for i in range(len(scale)):
            by_mean = math.hypot(DRAWS**-0.5, 2 * BIAS)
            by_spread = math.hypot((2 * DRAWS) ** -0.5, OVERCONFIDENCE / 2)
            found.append(Statistic(f"observation {o}, mean of u_{i}", float(shift[i]) / by_mean))
            found.append(Statistic(f"observation {o}, spread of u_{i}", float(ratio[i]) / by_spread))
    return Evidence(found, "Mean or spread differ from the exact posterior: does the method use x?", bench.n)


def budget(bench: Bench) -> Evidence:
    """Check that the score error does not grow by the factor `GROWTH` with `FACTOR` times the simulations.

    An error that is equal at both budgets fails in less than 1 of 1,000 runs, if it varies by 20 % between
    replicates and by a third between observations. An error that triples fails in most runs.
    """
    if type(bench.posterior).score is Posterior.score:
        raise NotApplicableError("the method's posteriors have no score")
    errors = [
        np.array([_score_errors(bench, bench.fit(f"replicate {r}", n)) for r in range(REPLICATES)])
        for n in (bench.n, FACTOR * bench.n)
    ]
    before, after = errors
    name = f"score error {before.mean():.2g}, and {after.mean():.2g} with {FACTOR} times the budget"
    rule = _rule(name, not grows(before, after))
    return Evidence(
        [rule], "The method gets worse with more data: it memorises, or stops too early.", bench.n
    )


def grows(before: Array, after: Array) -> bool:
    """Return whether errors (replicates, observations) grow by more than `GROWTH`, or are not finite."""
    if not np.isfinite([before, after]).all():
        return True
    return bool(ratio_interval(after, before).low > GROWTH)  # NaN, from 0/0, is not larger


def _score_errors(bench: Bench, posterior: Posterior) -> list[float]:
    """Return σ² E‖ŝ − s‖²/d of each observation, averaged over `TIMES`."""
    found = []
    for o, x in enumerate(bench.x_o):
        reference, total = bench.task.reference(x), 0.0
        for t in TIMES:
            alpha, sigma = alpha_sigma_at(t)
            u_0 = reference.sample(DRAWS, bench.seed_of("score", o, str(t)))
            noise = torch.randn(u_0.shape, generator=generator(bench.seed_of("noise", o, str(t))))
            u_t = alpha * u_0 + sigma * noise.double()
            estimate = posterior.score(u_t.unsqueeze(0), x.unsqueeze(0), t)[0].double()
            error = (estimate - reference.diffused_score(u_t, alpha, sigma)).square().mean()
            total += sigma**2 * float(error) / len(TIMES)
        found.append(total)
    return found


def _same(first: Tensor, second: Tensor) -> bool:
    """Return whether two samples are equal up to LAPACK's rounding, which depends on memory alignment."""
    return torch.allclose(first, second, rtol=ROUNDING, atol=ROUNDING)


def _rule(name: str, kept: bool) -> Statistic:
    return Statistic(name, 0.0 if kept else math.inf)


CHECKS: dict[str, Callable[[Bench], Evidence]] = {
    "seeds": seeds,
    "state": state,
    "global randomness": global_randomness,
    "batches": batches,
    "saving": saving,
    "calibration": calibration,
    "moments": moments,
    "budget": budget,
}
