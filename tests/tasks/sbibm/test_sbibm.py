"""The tasks of sbibm: their files, priors and densities, and Stein's identity for their draws."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from graybench.tasks.errors import UserError
from graybench.tasks.sbibm.slcp import Slcp, SlcpDistractors
from graybench.tasks.sbibm.static import (
    BernoulliGlm,
    BernoulliGlmRaw,
    GaussianLinear,
    GaussianLinearUniform,
    GaussianMixture,
    TwoMoons,
)
from graybench.tasks.seeding import generator

sbibm = pytest.importorskip("sbibm")

SCORED = [GaussianLinear, GaussianLinearUniform, GaussianMixture, Slcp, SlcpDistractors, BernoulliGlm]
SCORED.append(BernoulliGlmRaw)
EVERY = [*SCORED, TwoMoons]


def stein_z(reference):
    """z of E[g_i h + ∂_i h] = 0 over the draws, for bounded h of the standardised u, for each i.

    h is 1, tanh(v_i), cos(v_i), and tanh(v_{i−1}), which does not depend on u_i.
    """
    scale = reference.draws.std(0)
    v, g = (reference.draws - reference.draws.mean(0)) / scale, reference.scores
    pairs = [
        (torch.ones_like(v), torch.zeros_like(v)),
        (v.tanh(), (1 - v.tanh() ** 2) / scale),
        (v.cos(), -v.sin() / scale),
        (v.roll(1, 1).tanh(), torch.zeros_like(v)),
    ]
    terms = torch.stack([g * h + slope for h, slope in pairs])
    return terms.mean(1) / (terms.std(1) / math.sqrt(len(v)))


@pytest.mark.parametrize("kind", SCORED, ids=lambda kind: kind.name)
def test_shipped_draws_satisfy_steins_identity_under_our_score(kind):
    """400 z for d = 10: |z| < 4.5 fails one set of correct draws in 360; they are fixed."""
    task = kind()
    for x in task.observations().x:
        assert stein_z(task.reference(x)).abs().max() < 4.5


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
def test_observations_and_draws_are_those_of_sbibm(kind):
    task, theirs = kind(), sbibm.get_task(kind.name.removeprefix("sbibm_"))
    observations = task.observations()
    assert len(observations.x) == theirs.num_observations
    for number in (1, 10):
        x_o = observations.x[number - 1]
        assert torch.equal(x_o.float(), theirs.get_observation(number)[0])
        assert torch.equal(observations.theta[number - 1].float(), theirs.get_true_parameters(number)[0])
        draws = theirs.get_reference_posterior_samples(number)
        reference = task.reference(x_o.float())
        # Φ⁻¹ and Φ lose at most some units of the sixteenth digit
        torch.testing.assert_close(
            task.prior.to_theta(reference.draws), draws.double(), rtol=1e-9, atol=1e-12
        )
        assert reference.effective_size == 10_000
        assert (reference.scores is None) == (kind is TwoMoons)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
def test_priors_have_sbibms_density(kind):
    """log p(θ) = log N(u; 0, I) − log |det ∂θ/∂u|; sbibm computes in float32."""
    task, theirs = kind(), sbibm.get_task(kind.name.removeprefix("sbibm_")).get_prior_dist()
    u = torch.randn(20, task.dim_theta, generator=generator(1), dtype=torch.float64)
    for row in u:
        jacobian = torch.autograd.functional.jacobian(task.prior.to_theta, row)
        ours = -0.5 * row.square().sum() - task.dim_theta / 2 * math.log(2 * math.pi)
        ours = ours - torch.linalg.slogdet(jacobian).logabsdet
        assert float(ours) == pytest.approx(
            float(theirs.log_prob(task.prior.to_theta(row).float())), rel=1e-4
        )


@pytest.mark.parametrize(
    "kind", [GaussianLinear, GaussianLinearUniform, GaussianMixture, Slcp], ids=lambda kind: kind.name
)
def test_likelihood_is_sbibms(kind):
    """At 30 draws of the posterior of three observations; sbibm computes in float32."""
    task, theirs = kind(), sbibm.get_task(kind.name.removeprefix("sbibm_"))
    for number in (1, 4, 9):
        x_o = task.observations().x[number - 1]
        theta = task.prior.to_theta(task.reference(x_o).draws[:30])
        if kind is GaussianMixture:  # sbibm has the density of x and the component alone
            parts = [torch.distributions.Normal(theta, s).log_prob(x_o).sum(1) for s in (1.0, 0.1)]
            expected = torch.logaddexp(*parts) - math.log(2)
        else:
            expected = theirs._get_log_prob_fn(num_observation=number, posterior=False)(theta.float())
        got = task.log_likelihood(theta, x_o.unsqueeze(0))
        torch.testing.assert_close(got, expected.double(), rtol=1e-4, atol=1e-3)


def neighbours(task):
    """Pairs of θ, about half a standard deviation of the posterior apart."""
    for number in (0, 5):
        draws = task.reference(task.observations().x[number]).draws
        u = draws[:1]
        yield task.prior.to_theta(u), task.prior.to_theta(u + 0.3 * draws.std(0) / math.sqrt(task.dim_theta))


@pytest.mark.parametrize("kind", SCORED, ids=lambda kind: kind.name)
def test_simulator_draws_from_the_likelihood(kind):
    """E[p(x | θ')/p(x | θ) | θ] = 1 and E[S | θ] = 0 over 20,000 x: 22 z, a false alarm in 6,000 seeds."""
    task, n = kind(), 20_000
    for theta, other in neighbours(task):
        outcome = task.simulator(theta.expand(n, -1), generator(3))
        ratio = task.log_likelihood(other.expand(n, -1), outcome.x)
        ratio = (ratio - task.log_likelihood(theta.expand(n, -1), outcome.x)).exp()
        for terms, mean in ((ratio.unsqueeze(1), 1.0), (outcome.joint_score, 0.0)):
            z = (terms.mean(0) - mean) / (terms.std(0) / math.sqrt(n))
            assert z.abs().max() < 4.5


@pytest.mark.parametrize("kind", SCORED, ids=lambda kind: kind.name)
def test_joint_score_is_the_gradient_of_the_log_joint(kind):
    """By central differences along one random direction for each of 200 rows."""
    task = kind()
    theta = task.simulate(200, seed=2).theta
    outcome = task.simulator(theta, generator(4))
    direction = torch.randn(theta.shape, generator=generator(5), dtype=torch.float64)
    step = 1e-6
    ends = [task.log_joint(theta + s * step * direction, outcome.x, outcome.latents) for s in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    got = (outcome.joint_score * direction).sum(1)
    # SLCP's density bends within 1e-3 of θ₃ = 0 or θ₄ = 0, and differences fail there
    smooth = (theta[:, 2:4].abs().amin(1) > 0.1) if isinstance(task, Slcp) else theta[:, 0] > -math.inf
    torch.testing.assert_close(got[smooth], expected[smooth], rtol=1e-5, atol=1e-5)


def test_unknown_observations_are_answered():
    task = Slcp()
    with pytest.raises(UserError, match="references for its own 10 observations only"):
        task.reference(task.observations().x[0] + 1)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
def test_without_sbibm_the_command_is_named(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "sbibm", None)
    with pytest.raises(UserError, match=r"pip install --no-deps sbibm==1\.1\.0"):
        kind()


def test_sbibm_itself_is_never_imported():
    """sbibm's package needs pyro and old versions of other packages; its files suffice."""
    script = (
        "import sys; from graybench.tasks.sbibm.ode_tasks import Sir;"
        "from graybench.tasks.sbibm.slcp import SlcpDistractors;"
        "task = SlcpDistractors(); task.simulate(5, seed=1); task.reference(task.observations().x[0]);"
        "Sir().observations(); sys.exit('sbibm' in sys.modules or 'pyro' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_two_moons_has_the_geometry_of_sbibm():
    """x minus the shift is r (cos a, sin a) + (¼, 0): 18 Kolmogorov-Smirnov tests, an alarm in 500 seeds."""
    task, theirs = TwoMoons(), sbibm.get_task("two_moons")
    assert task.capabilities == {"reference"}
    simulated = task.simulate(10_000, seed=6)
    cases = [(simulated.theta, simulated.x)]
    observations = task.observations()
    for number in (0, 1, 2, 3, 5, 6, 7, 8):  # the prior's edge cuts the moons of the others
        x_o = observations.x[number]
        theta = task.prior.to_theta(task.reference(x_o).draws)
        cases.append((theta, x_o.expand(len(theta), -1)))
    for theta, x in cases:
        point = theirs._map_fun_inv(theta, x) - torch.tensor([0.25, 0.0])
        radius, angle = point.norm(dim=1), torch.atan2(point[:, 1], point[:, 0])
        assert stats.kstest(radius.numpy(), stats.norm(0.1, 0.01).cdf).pvalue > 1e-4
        assert stats.kstest(angle.numpy(), stats.uniform(-np.pi / 2, np.pi).cdf).pvalue > 1e-4


def test_two_moons_offers_no_score():
    task = TwoMoons()
    assert task.simulate(10, seed=1).joint_score is None
    with pytest.raises(UserError, match="no marginal score"):
        task.simulate(10, seed=1, marginal_score=True)
