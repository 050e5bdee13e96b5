"""Exponential integrators with exact scores against closed forms, quantiles and corrected steps."""

import math
from itertools import pairwise

import pytest
import torch

from graybench.methods import get_method
from graybench.methods.score.samplers import exponential_step, sample_exponential, sample_ode
from graybench.tasks.classic.galton import Galton
from graybench.tasks.reference import GaussianReference, MixtureReference
from graybench.tasks.seeding import generator
from graybench.tests.methods.exact_flows import GAUSSIAN, exact_map, quantile_gap, score_of

NOISE = torch.randn(200, 2, generator=generator(2), dtype=torch.float64)
CLOSE_MODES = MixtureReference(
    torch.tensor([0.5, 0.5]),
    [GaussianReference(torch.tensor([m]), torch.tensor([[v]])) for m, v in ((0.2, 0.01), (-0.3, 0.04))],
)


def gaussian_error(made):
    return float((made - exact_map(GAUSSIAN, NOISE)).abs().max())


def counted(score):
    calls = []
    return lambda u, t: calls.append(t) or score(u, t), calls


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_order_of_convergence_is_the_order(order):
    """Twice the steps divide the error by 2^order, or by 2⁴: order 3's leading errors cancel along this flow.

    The first steps are of lower order, but D stands still there.
    """
    score = score_of(GAUSSIAN)
    errors = [gaussian_error(sample_exponential(score, NOISE, steps, order)) for steps in (80, 160, 320)]
    for coarse, fine in pairwise(errors):
        assert order - 0.3 < math.log2(coarse / fine) < (order if order < 3 else 4) + 0.3


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_step_is_exact_for_polynomials(order):
    """Through unequal steps: if D = p(λ) is of less degree than the order, v = p + p′ + p″ + C e^λ."""
    p = torch.tensor([[0.3, -1.2, 0.7]], dtype=torch.float64)[:, :order]
    powers = torch.arange(order).double()

    def exact(level, constant):
        first = powers * level ** (powers - 1).clamp_min(0)
        second = powers * (powers - 1)
        return (p * (level**powers + first + second)).sum(1) + constant * math.exp(level)

    known = [(level, (p * level**powers).sum(1)) for level in (1.7, 1.1, 0.8)[3 - order :]]
    got = exponential_step(exact(0.8, 1.3), known, -0.45)
    torch.testing.assert_close(got, exact(0.35, 1.3), rtol=0, atol=1e-14)


@pytest.mark.parametrize("which", ["galton", "close modes"])
def test_quantiles_are_kept_and_correction_keeps_them_better(which):
    noise = torch.linspace(-2.5, 2.5, 60, dtype=torch.float64).unsqueeze(1)
    if which == "galton":
        task = Galton()
        law = task.reference(task.observations().x[4])
        grid, mass = law.grid, torch.softmax(law.log_density, 0)
    else:
        law, grid = CLOSE_MODES, torch.linspace(-2, 2, 4001, dtype=torch.float64)
        mass = torch.softmax(law.log_prob(grid.unsqueeze(1)), 0)
    score, calls = counted(score_of(law))
    gaps = [
        float(quantile_gap(grid, mass, noise[:, 0], made[:, 0]).max())
        for made in (sample_exponential(score, noise, 40), sample_ode(score, noise, 40))
    ]
    assert len(calls) == 40 + 3 + 80 + 3  # the last step takes three
    assert 2 * gaps[1] < gaps[0] < 5e-4


def test_methods_offer_it():
    """The same noise ends where a fine solve with corrected steps ends."""
    task = Galton()
    simulations, x_o = [task.simulate(300, seed=1)], task.observations().x
    options = {"steps": 100, "width": 16}
    samples = []
    for sampler, steps in (("exponential", None), ("ode", 300)):
        method = get_method("mix", sampler=sampler, sampling_steps=steps, **options)
        posterior = method.fit_replicates(simulations, [2])[0]
        samples.append(posterior.sample(100, x_o, 3))
    assert (
        get_method("mix", sampler="exponential", **options).fit(simulations[0], 2).network_evaluations == 33
    )
    assert (samples[0] - samples[1]).abs().max() < 0.01
