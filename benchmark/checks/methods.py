"""Conformance checks of a method: rules, samples, densities and scores.

The method is fitted to tasks with known posteriors: `linear_gaussian`, or `brownian` for methods that need
the SDE. This module has the rules, which hold or not. The other checks return statistics that measure how far
a method is beyond a tolerance, in standard deviations, see `bench.beyond`. A method within the tolerance
exceeds 4.5 in less than one of 150,000 statistics. A method that fails one of the checks in `ACCURACY` is
fitted again to `bench.MORE` times the simulations, because the error of a right method shrinks.
"""

import pickle
import random
import tempfile
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...methods import load_posterior
from ...methods.method import Posterior
from ..metrics.fitted import offers
from .bench import DRAWS, Bench, rule
from .evidence import Evidence, Statistic
from .posteriors import calibration, density, dependence, memory, moments, order
from .score_fields import budget, score

IN_BATCH = 3  # number of observations
ROUNDING = 1e-5


def seeds(bench: Bench) -> Evidence:
    """Check that equal seeds give equal samples, and different seeds different samples."""
    small = bench.smaller
    other = small.draw(small.posterior, 2)
    return Evidence(
        [
            rule("same seed, same samples", _same(small.draws, small.draw(small.fit("first"), 1))),
            rule("another seed, other samples", not _same(small.draws, other)),
        ],
        "Fits and samples must use their own seed only: derive every generator from it.",
        small.n,
    )


def state(bench: Bench) -> Evidence:
    """Check that a fit changes neither its simulations, nor its method, nor other fits."""
    bench = bench.smaller
    before, simulations, options = bench.draws, bench.simulations("second"), bench.method.options()
    kept = {name: tensor.clone() for name, tensor in simulations.tensors()}
    bench.method.fit(simulations, bench.seed_of("fit", "second"))
    unchanged = all(torch.equal(tensor, kept[name]) for name, tensor in simulations.tensors())
    return Evidence(
        [
            rule("the simulations are unchanged", unchanged),
            rule("the options are unchanged", bench.method.options() == options),
            rule("an earlier posterior is unchanged", _same(before, bench.draw(bench.posterior, 1))),
            rule("a later fit is unchanged", _same(before, bench.draw(bench.fit("first"), 1))),
        ],
        "A fit must not change anything else: keep what it learns in the posterior, and copy before writing.",
        bench.n,
    )


def global_randomness(bench: Bench) -> Evidence:
    """Check that no global generator of torch, numpy or Python is set or read."""
    bench = bench.smaller
    samples = [bench.draws]
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        before = _global_states()
        samples.append(bench.draw(bench.fit("first"), 1))
        after = _global_states()
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
    found = [rule(f"the generator of {name} is not set", before[name] == after[name]) for name in before]
    found.append(rule("global generators are not read", _same(*samples)))
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
            found.append(rule(f"{name} of observation {o}", torch.allclose(*pair, rtol=1e-3, atol=1e-3)))
    return Evidence(found, "Observations in a batch must not affect each other.", DRAWS)


def _functions(posterior: Posterior) -> list[tuple[str, Callable[[Tensor, Tensor], Tensor]]]:
    found = []
    if offers(posterior, "score"):
        found.append(("score", lambda u, x: posterior.score(u, x, 0.2).double()))
    if offers(posterior, "log_prob"):
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
    same = _same(bench.draws, bench.draw(loaded, 1))
    return Evidence([rule("same samples", same)], "Save everything that samples depend on.", bench.n)


def _same(first: Tensor, second: Tensor) -> bool:
    """Return whether two samples are equal up to LAPACK's rounding, which depends on memory alignment."""
    return torch.allclose(first, second, rtol=ROUNDING, atol=ROUNDING)


CHECKS: dict[str, Callable[[Bench], Evidence]] = {
    "seeds": seeds,
    "state": state,
    "global randomness": global_randomness,
    "batches": batches,
    "saving": saving,
    "calibration": calibration,
    "moments": moments,
    "dependence": dependence,
    "order": order,
    "memory": memory,
    "density": density,
    "score": score,
    "budget": budget,
}
ACCURACY = ("calibration", "moments", "dependence", "density", "score")
