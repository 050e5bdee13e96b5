"""Conformance of a method: checks that find a leak, a bias or an overconfidence before it is compared.

A method is fitted to simulations of a task whose posterior is known: `linear_gaussian`, or `brownian` for
methods that need the SDE. Rules, such as that the same seed gives the same samples, are kept or broken.
Statistics are standard normal for a perfect method, but that their variance holds an allowance for the error
that a good method still makes; a perfect method fails by one of them less than once in 150,000 times. The
score error may grow by `GROWTH` with the budget: one that stays the same, but for a fifth of chance between
replicates and a third between observations, is taken for growing less than once in 1,000 times, and one that
triples is found in most.

    calibration    over pairs (u, x) from the prior predictive, with mean m and standard deviation s of L
                   posterior draws: r = (u − m)/s has mean 0 and, for a Gaussian posterior, the mean square
                   (1 + 1/L)(L − 1)/(L − 3)
    moments        m and s against the reference's, for each observation
"""

import math
import pickle
import random
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

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
IN_BATCH = 3  # observations
OVERCONFIDENCE = 0.15  # of the mean square of r that is allowed: a standard deviation 7 % too small
BIAS = 0.1  # of the mean of r, and of a mean, in standard deviations
TIMES = (0.05, 0.2, 0.5)
REPLICATES, FACTOR, GROWTH = 3, 8, 1.5
ROUNDING = 1e-5


class Bench:
    """A method with a task that has what it requires, and what several checks share.

    Args:
        method: with its options.
        n: the budget of most fits.
        seed: names the random streams.

    Raises:
        NotApplicableError: no task here has what the method requires.
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
        """Draw the training simulations called `name`, with the fields that the method requires."""
        exact = "marginal_score" in self.method.requires
        drawn = self.task.simulate(n or self.n, self.seed_of(name), marginal_score=exact)
        return drawn.only(self.method.requires)

    def seed_of(self, *name: int | str) -> int:
        """Derive the seed of what is named."""
        return derive_seed(self.seed, "method check", *name)

    def fit(self, name: str, n: int | None = None) -> Posterior:
        """Fit the method to the simulations called `name`, always with the same seed."""
        return self.method.fit(self.simulations(name, n), self.seed_of("fit", name))

    def draw(self, posterior: Posterior, *name: int | str) -> Tensor:
        """Sample the task's observations: (m, DRAWS, d), in float64."""
        return posterior.sample(DRAWS, self.x_o, self.seed_of("sample", *name)).double()

    @cached_property
    def posterior(self) -> Posterior:
        """The method fitted to the first simulations."""
        return self.fit("first")


def seeds(bench: Bench) -> Evidence:
    """The same seed gives the same samples, another seed others."""
    first = bench.draw(bench.posterior, 1)
    again = bench.draw(bench.fit("first"), 1)
    other = bench.draw(bench.posterior, 2)
    return Evidence(
        [
            _rule("same seed, same samples", _same(first, again)),
            _rule("another seed, other samples", not _same(first, other)),
        ],
        "A fit or a sample must draw from its own seed alone: derive every generator from it.",
        bench.n,
    )


def state(bench: Bench) -> Evidence:
    """A fit changes neither its simulations nor the method, nor what other fits give."""
    simulations, options = bench.simulations("first"), bench.method.options()
    kept = {name: tensor.clone() for name, tensor in simulations.tensors()}
    before = bench.draw(bench.posterior, 1)
    bench.method.fit(simulations, bench.seed_of("fit", "first"))
    unchanged = all(torch.equal(tensor, kept[name]) for name, tensor in simulations.tensors())
    bench.fit("second")
    return Evidence(
        [
            _rule("its simulations", unchanged),
            _rule("its options", bench.method.options() == options),
            _rule("an earlier posterior", _same(before, bench.draw(bench.posterior, 1))),
            _rule("a later fit", _same(before, bench.draw(bench.fit("first"), 1))),
        ],
        "A fit must leave nothing behind: keep what it learns in the posterior, and copy before writing.",
        bench.n,
    )


def global_randomness(bench: Bench) -> Evidence:
    """No global generator, of torch, numpy or Python, is set or read."""
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
            found += [_rule(f"{name}, left alone", before[name] == after[name]) for name in before]
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
    found.append(_rule("not read", _same(*samples)))
    return Evidence(found, "Random numbers must come from generators of the method's own.", bench.n)


def _global_states() -> dict[str, bytes]:
    torch_state = torch.get_rng_state().numpy()
    states = {"torch": torch_state, "numpy": np.random.get_state(), "Python": random.getstate()}
    return {name: pickle.dumps(state) for name, state in states.items()}


def batches(bench: Bench) -> Evidence:
    """A batch of observations gives what each by itself gives: scores and densities alike, samples in law."""
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
    return Evidence(found, "Observations of a batch must not see each other.", DRAWS)


def _functions(posterior: Posterior) -> list[tuple[str, Callable[[Tensor, Tensor], Tensor]]]:
    kind, found = type(posterior), []
    if kind.score is not Posterior.score:
        found.append(("score", lambda u, x: posterior.score(u, x, 0.2).double()))
    if kind.log_prob is not Posterior.log_prob:
        found.append(("log_prob", lambda u, x: posterior.log_prob(u, x).double()))
    return found


def _same_moments(name: str, first: Tensor, second: Tensor) -> list[Statistic]:
    """Compare means and mean squares of two independent samples (n, d)."""
    found = []
    for power in (1, 2):
        a, b = first**power, second**power
        z = (a.mean(0) - b.mean(0)) / ((a.var(0) + b.var(0)) / len(a)).sqrt().clamp_min(1e-12)
        found += [Statistic(f"{name}, u_{i}^{power}", float(z[i])) for i in range(len(z))]
    return found


def saving(bench: Bench) -> Evidence:
    """A posterior that is saved and loaded gives the same samples."""
    with tempfile.TemporaryDirectory() as folder:
        bench.posterior.save(Path(folder) / "posterior")
        loaded = load_posterior(Path(folder) / "posterior")
    same = _same(bench.draw(bench.posterior, 1), bench.draw(loaded, 1))
    return Evidence([_rule("same samples", same)], "Save all that samples depend on.", bench.n)


def calibration(bench: Bench) -> Evidence:
    """On fresh pairs (u, x), u is where the posterior says: neither too far out nor too near its mean."""
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
    return Evidence(found, "Mean squares above 1 are overconfidence, below 1 timidity.", bench.n)


def moments(bench: Bench) -> Evidence:
    """Means and standard deviations are the reference's, up to what a good method leaves."""
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
    return Evidence(found, "The posterior is not where the exact one is: does it use x?", bench.n)


def budget(bench: Bench) -> Evidence:
    """The score error is not `GROWTH` times as large with more simulations, beyond its interval."""
    if type(bench.posterior).score is Posterior.score:
        raise NotApplicableError("its posteriors have no score")
    errors = [
        np.array([_score_errors(bench, bench.fit(f"replicate {r}", n)) for r in range(REPLICATES)])
        for n in (bench.n, FACTOR * bench.n)
    ]
    before, after = errors
    name = f"score error {before.mean():.2g}, and {after.mean():.2g} with {FACTOR} times the budget"
    rule = _rule(name, not grows(before, after))
    return Evidence([rule], "A method that gets worse with more data memorises, or stops too early.", bench.n)


def grows(before: Array, after: Array) -> bool:
    """Say if errors (replicates, observations) grow by `GROWTH` beyond their interval, or have no value."""
    if not np.isfinite([before, after]).all():
        return True
    return bool(ratio_interval(after, before).low > GROWTH)  # NaN, for 0 over 0, is not above it


def _score_errors(bench: Bench, posterior: Posterior) -> list[float]:
    """Give σ² E‖ŝ − s‖²/d of each observation, averaged over `TIMES`."""
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
    """Say whether two samples are the same but for rounding, which LAPACK does as memory happens to lie."""
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
