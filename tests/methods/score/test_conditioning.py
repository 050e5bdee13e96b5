"""A model that was given x against the same model that is told x in every row."""

import pytest
import torch

from graybench.methods import get_method
from graybench.methods.nn.network import stack_replicates
from graybench.methods.score.conditioning import condition
from graybench.methods.score.posterior import MANY_DRAWS, WIDE_X
from graybench.tasks import get_task
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.seeding import generator


@pytest.mark.parametrize("recipe", ["plain", "preconditioned"])
def test_a_model_given_x_is_the_model(recipe):
    task, random = LinearGaussian(dim=3), generator(1)
    method = get_method("dsm", recipe=recipe, steps=20, width=8)
    posteriors = method.fit_replicates([task.simulate(200, seed=r) for r in range(2)], [1, 2])
    model = stack_replicates([posterior.model for posterior in posteriors]).double()
    before = [tensor.clone() for tensor in [*model.parameters(), *model.buffers()]]
    m, n = 4, 5
    x = torch.stack([task.observations().x[:m].double(), task.simulate(m, seed=7).x.double()])
    u_t = torch.randn(2, m * n, 3, generator=random, dtype=torch.float64)
    t = torch.full((2, m * n, 1), 0.2, dtype=torch.float64)
    expected = model(u_t, x.repeat_interleave(n, 1), t)
    rows = u_t.reshape(2 * m, n, 3)
    got = condition(model, x)(rows, rows[..., :0], t[:1, :1])
    torch.testing.assert_close(got.reshape(expected.shape), expected, rtol=0, atol=1e-12)
    after = [*model.parameters(), *model.buffers()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_many_draws_have_the_density_of_few():
    """With fewer than MANY_DRAWS draws, x of 100 columns is told in every row; the density is in float64."""
    task, random = get_task("ar1_noise"), generator(1)
    posterior = get_method("mix", steps=20, width=8).fit(task.simulate(200, seed=1), 2)
    x_o = task.observations().x[:2]
    assert x_o.shape[1] >= WIDE_X
    u = torch.randn(2, MANY_DRAWS, task.dim_theta, generator=random)
    few = torch.cat([posterior.log_prob(part, x_o) for part in u.split(MANY_DRAWS // 2, 1)], 1)
    torch.testing.assert_close(posterior.log_prob(u, x_o), few, rtol=0, atol=1e-9)
