"""Hessians of simulations: exact on a Gaussian, equal in the mean to second moments of scores."""

import math
from typing import ClassVar

import pytest
import torch

from graybench.tasks import get_task
from graybench.tasks.classic.galton import Galton
from graybench.tasks.classic.gaussian_mixture import NARROW, WIDE, GaussianMixture
from graybench.tasks.classic.linear_gaussian import NOISE, LinearGaussian, _model
from graybench.tasks.curvature import curvature
from graybench.tasks.errors import UserError
from graybench.tasks.prior import Normal
from graybench.tasks.task import Outcome, Task

TASK = LinearGaussian(3, spread=8.0, rotated=True)
BOTH = frozenset({"joint_score", "joint_hessian"})


def test_a_quadratic_density_has_its_own_matrix_and_a_quartic_one_its_second_derivative():
    u = torch.tensor([[0.3, -1.0], [2.0, 0.1]], dtype=torch.float64)
    matrix = torch.tensor([[2.0, 0.7], [0.7, 1.0]], dtype=torch.float64)
    found = curvature(lambda point: -0.5 * ((point @ matrix) * point).sum(1), u)
    torch.testing.assert_close(found, matrix.expand(2, 2, 2), rtol=1e-9, atol=1e-9)
    found = curvature(lambda point: -point.pow(4).sum(1) / 12 - point.prod(1), u)
    exact = torch.diag_embed(u.square()) + torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)


def test_the_hessian_of_a_linear_gaussian_is_that_of_its_closed_form():
    """H = I + Aᵀ A/τ² for every simulation, with the prior's I."""
    into_z = _model(TASK).into_z
    exact = torch.eye(3, dtype=torch.float64) + into_z.T @ into_z / NOISE**2
    found = TASK.simulate(200, 1, joint_hessian=True).joint_hessian
    torch.testing.assert_close(found, exact.expand(200, 3, 3), rtol=1e-8, atol=1e-8)


def test_hessians_equal_second_moments_of_scores_in_the_mean():
    """E[H] = E[g gᵀ] = (1 + (1/s_1² + 1/s_2²)/2) I for a wide or narrow Gaussian; six means with |z| < 4.5.

    A correct implementation fails in 1 of 24,000 seeds.
    """
    n = 20_000
    simulations = GaussianMixture().simulate(n, 2, joint_hessian=True)
    g, H = simulations.joint_score, simulations.joint_hessian
    exact = (1 + 0.5 * (WIDE**-2 + NARROW**-2)) * torch.eye(2, dtype=torch.float64)
    for found in (g.unsqueeze(2) * g.unsqueeze(1), H):
        for i, j in ((0, 0), (1, 1), (0, 1)):
            values = found[:, i, j]
            stderr = max(float(values.std()) / math.sqrt(n), 1e-9)
            assert abs(float(values.mean() - exact[i, j])) < 4.5 * stderr
    assert H[:, 0, 0].std() < (g[:, 0] ** 2).std()  # the Hessian is the less noisy of the two


def test_a_prior_that_is_not_normal_enters_by_the_chain_rule():
    """In u, H is −∂g/∂u: compared with differences of the joint score at the same latents, by `log_joint`."""
    task = get_task("sbibm_sir")
    simulations = task.simulate(20, 3, joint_hessian=True)
    step = 1e-5
    for i in range(task.dim_theta):
        moved = [simulations.u.clone(), simulations.u.clone()]
        moved[0][:, i] += step
        moved[1][:, i] -= step
        scores = [
            task.prior.score_in_u(u, task.marginal_score(task.prior.to_theta(u), simulations.x))
            for u in moved
        ]
        expected = (scores[1] - scores[0]) / (2 * step)
        torch.testing.assert_close(simulations.joint_hessian[:, i], expected, rtol=1e-3, atol=1e-3)


def test_simulations_are_the_same_with_and_without_hessians_and_budgets_are_prefixes():
    many, few = TASK.simulate(300, 4, joint_hessian=True), TASK.simulate(130, 4, joint_hessian=True)
    for name, tensor in few.tensors():
        assert torch.equal(tensor, getattr(many, name)[:130])
    plain = TASK.simulate(130, 4)
    assert plain.joint_hessian is None
    assert torch.equal(plain.joint_score, few.joint_score)
    assert few.only(BOTH).joint_hessian is few.joint_hessian
    assert few.only(frozenset({"joint_score"})).joint_hessian is None


class Unlatent(Task):
    name: ClassVar[str] = "unlatent"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Has a joint density, but keeps its latents."
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score"})

    keeps: bool = True

    prior = Normal()
    dim_theta = dim_x = 1

    def simulator(self, theta, generator):
        x = theta + torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        return Outcome(x, x - theta, latents=None if self.keeps else x)

    def log_joint(self, theta, x, latents):
        return -0.5 * (x - theta.detach()).square().sum(1)


def test_a_task_with_a_joint_density_and_scores_has_hessians_and_no_other():
    assert "joint_hessian" in TASK.capabilities
    assert "joint_hessian" not in Galton().capabilities
    assert "joint_hessian" not in get_task("sbibm_two_moons").capabilities
    assert Unlatent.capabilities == BOTH
    with pytest.raises(
        UserError, match="task galton has no Hessians: they need joint scores and `log_joint`"
    ):
        Galton().simulate(3, 1, joint_hessian=True)


def test_what_a_task_lacks_is_told():
    with pytest.raises(UserError, match="must return latents for `joint_hessian`"):
        Unlatent().simulate(3, 1, joint_hessian=True)


def test_a_density_that_autograd_cannot_differentiate_is_refused():
    with pytest.raises(UserError, match="the log-density is not differentiable by autograd: compute it by"):
        curvature(lambda u: u.detach().sum(1), torch.zeros(2, 1, dtype=torch.float64))
    # it was taken for the prior alone, which is added to it
    with pytest.raises(UserError, match=r"unlatent\(keeps=false\): `log_joint` is not differentiable by"):
        Unlatent(keeps=False).simulate(3, 1, joint_hessian=True)


@pytest.mark.parametrize("shape", [(130, 3), (130, 3, 2), (129, 3, 3)])
def test_a_hessian_of_a_wrong_shape_is_refused(shape):
    simulations = TASK.simulate(130, 4)
    object.__setattr__(simulations, "joint_hessian", torch.zeros(shape))
    with pytest.raises(UserError, match=r"joint_hessian of the simulations must have shape \(130, 3, 3\)"):
        simulations.check_tensors()
