"""The prior against its closed forms, and rejection ABC against enumeration."""

import pytest
import torch
from scipy import stats

from graybench.methods import get_method
from graybench.tasks.classic.galton import Galton
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator
from graybench.tasks.simulations import Simulations


def test_the_prior_is_a_standard_normal_for_every_observation():
    """Kolmogorov-Smirnov at 1e-4 twice: 1 seed in 5,000 fails a correct implementation."""
    task = LinearGaussian(2)
    posterior = get_method("prior").fit(task.simulate(10, 1), 1)
    samples = posterior.sample(5000, task.observations().x[:1], 3)[0]
    for i in range(2):
        assert stats.kstest(samples[:, i].numpy(), "norm").pvalue > 1e-4
    u = torch.randn(1, 7, 2, generator=generator(4), dtype=torch.float64).requires_grad_(True)
    log_prob = posterior.log_prob(u, task.observations().x[:1])
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(-1)
    torch.testing.assert_close(log_prob, expected)
    (score,) = torch.autograd.grad(log_prob.sum(), u)
    torch.testing.assert_close(posterior.score(u, task.observations().x[:1], 0.3), score)


def test_exact_matches_of_discrete_data_are_the_exact_posterior():
    """With as many accepted as match, ABC on the Galton board draws from p(u | x): KS at 1e-4."""
    task, x_o = Galton(), Galton().observations().x[:1]
    simulations = task.simulate(40_000, 5)
    matching = int((simulations.x == x_o).all(1).sum())
    assert matching > 500
    posterior = get_method("rejection_abc", least=matching, share=1e-9).fit(simulations, 1)
    accepted = posterior.nearest(x_o)[0, :, 0]
    exact = task.reference(x_o[0]).sample(20_000, 6)[:, 0]
    assert stats.ks_2samp(accepted.numpy(), exact.numpy()).pvalue > 1e-4
    drawn = posterior.sample(2000, x_o, 7)[0, :, 0]
    assert torch.isin(drawn, accepted).all()
    assert stats.ks_2samp(drawn.numpy(), accepted.numpy()).pvalue > 1e-4


def test_components_are_scaled_and_constant_ones_do_not_matter():
    """By hand: the first component varies by thousands, the second by units, the third not at all."""
    x = torch.tensor([[0.0, 0.0, 5.0], [3000.0, 0.2, 5.0], [1000.0, 9.0, 5.0], [-2000.0, 1.0, 5.0]])
    u = torch.arange(4.0).unsqueeze(1)
    posterior = get_method("rejection_abc", least=2).fit(Simulations(u, u, x), 1)
    # deviations from the median: scales are 1000 and 0.2 or more, so that row 2 is far in the second
    assert sorted(posterior.nearest(torch.tensor([[500.0, 0.0, 5.0]]))[0, :, 0].tolist()) == [0, 1]


@pytest.mark.parametrize(("n", "expected"), [(30, 30), (1000, 50), (20_000, 200)])
def test_the_number_accepted_follows_the_budget(n, expected):
    u = torch.zeros(n, 1)
    assert get_method("rejection_abc").fit(Simulations(u, u, u), 1).accepted == expected


@pytest.mark.parametrize(
    ("options", "message"), [({"share": 0.0}, "share must be above 0"), ({"least": 0}, "least must be")]
)
def test_mistakes_are_answered_with_what_to_do(options, message):
    with pytest.raises(UserError, match=message):
        get_method("rejection_abc", **options)
