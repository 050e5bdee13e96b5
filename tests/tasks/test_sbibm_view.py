"""Tasks with sbibm's interface: against exact laws, sbibm's tasks, its algorithms and its metrics."""

import importlib.util
import math
import subprocess
import sys

import pytest
import torch
from scipy import stats

from graybench.tasks import get_task
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tasks.sbibm.base import shipped_file
from graybench.tests.tasks.classic.test_linear_gaussian import likelihood
from graybench.tests.tasks.laws import largest_z_of_moments

TASK = LinearGaussian(2)


def sbibm_module(*path):
    """Load one file of sbibm, as its packages import old versions of sbi and other packages."""
    pytest.importorskip("sbibm")
    file = shipped_file().parent.joinpath(*path)
    spec = importlib.util.spec_from_file_location(f"sbibm_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_draws_have_the_moments_of_the_exact_posterior():
    """|z| < 4.5 at five moments of six sets of draws: 1 correct implementation in 5,000 fails."""
    view = TASK.as_sbibm()
    for k in (1, 2, 10):
        law = TASK.reference(TASK.observations().x[k - 1])
        torch.manual_seed(k)
        for draws in (view.get_reference_posterior_samples(k), view._sample_reference_posterior(5000, k)):
            assert largest_z_of_moments(draws.double(), law.mean, law.covariance) < 4.5
    assert torch.equal(view.get_reference_posterior_samples(1), view.get_reference_posterior_samples(1))
    assert view.num_reference_posterior_samples == 10_000


def test_stored_draws_are_given_as_they_are():
    task = get_task("schloegl")
    view, reference = task.as_sbibm(), task.reference(task.observations().x[2])
    assert view.num_reference_posterior_samples == len(reference.draws) == 4000
    expected = task.prior.to_theta(reference.draws).float()
    assert torch.equal(view.get_reference_posterior_samples(3), expected)


def test_observations_are_the_tasks_own_from_one_on():
    view, own = TASK.as_sbibm(), TASK.observations()
    for k in range(1, view.num_observations + 1):
        assert torch.equal(view.get_observation(k), own.x[k - 1 : k].float())
        assert torch.equal(view.get_true_parameters(k), own.theta[k - 1 : k].float())


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("linear_gaussian", stats.norm()),
        ("hierarchical_normal", stats.norm()),
        ("lotka_volterra", None),
    ],
)
def test_the_prior_has_its_quantiles_and_its_density(name, law):
    """Kolmogorov-Smirnov at 1e-4 three times: 1 seed in 3,300 fails a correct implementation."""
    task = get_task(name)
    if law is None:
        low, high = task.prior.low[0], task.prior.high[0]
        law = stats.uniform(low, high - low)
    torch.manual_seed(1)
    view = task.as_sbibm()
    theta = view.get_prior()(num_samples=4000)
    assert theta.shape == (4000, task.dim_theta)
    assert theta.dtype == torch.float32
    assert stats.kstest(theta[:, 0].numpy(), law.cdf).pvalue > 1e-4
    distribution = view.get_prior_dist()
    others = theta[:100].clone()
    others[:, 1:] = theta[:1, 1:]  # then log p(θ) varies with the first parameter alone
    difference = distribution.log_prob(others) - torch.from_numpy(law.logpdf(others[:, 0])).float()
    torch.testing.assert_close(difference, difference[:1].expand(100), rtol=0, atol=1e-4)
    assert distribution.sample().shape == distribution.event_shape == (task.dim_theta,)


def test_the_density_of_a_bounded_prior_ends_with_its_support():
    task = get_task("lotka_volterra")
    distribution, high = task.as_sbibm().get_prior_dist(), torch.tensor(task.prior.high)
    assert float(distribution.log_prob(high - 1)) == pytest.approx(-4 * math.log(2), abs=1e-5)
    assert float(distribution.log_prob(high + 0.1)) == -math.inf


def test_the_simulator_draws_from_the_task_at_theta():
    """|z| < 4.5 at five moments: 1 seed in 30,000 fails."""
    torch.manual_seed(2)
    theta = torch.tensor([[0.7, -1.2]])
    x = TASK.as_sbibm().get_simulator()(theta.expand(20_000, -1))
    law = likelihood(TASK, theta.double())
    assert largest_z_of_moments(x.double(), law.mean[0], law.covariance_matrix[0]) < 4.5
    assert x.dtype == torch.float32


def test_the_global_seed_rules_parameters_and_data():
    view = TASK.as_sbibm()

    def draw(seed):
        torch.manual_seed(seed)
        theta, simulator = view.get_prior()(3), view.get_simulator()
        return torch.stack([theta, simulator(theta), simulator(theta)])

    first = draw(3)
    assert torch.equal(first, draw(3))
    assert not torch.equal(first, draw(4))
    assert not torch.equal(first[1], first[2])


def test_max_calls_counts_rows_and_leaves_the_rest_to_be_used():
    simulator = TASK.as_sbibm().get_simulator(max_calls=10)
    simulator(torch.zeros(7, 2))
    with pytest.raises(UserError, match="11 simulations are more than max_calls, 10"):
        simulator(torch.zeros(4, 2))
    assert simulator.num_simulations == 7
    assert simulator(torch.zeros(2)).shape == (1, 2)
    simulator(torch.zeros(2, 2))
    assert simulator.num_simulations == 10


def test_mistakes_are_answered():
    view = TASK.as_sbibm()
    for number in (0, 11):
        with pytest.raises(UserError, match=f"numbered 1 to 10, but {number} was"):
            view.get_observation(number)
    with pytest.raises(UserError, match=r"must have shape \(n, 2\), not \(5, 3\)"):
        view.get_simulator()(torch.zeros(5, 3))


def test_the_view_of_a_task_of_sbibm_agrees_with_sbibm():
    """Two-sample KS at 1e-4 for two components: 1 seed in 5,000 fails."""
    theirs, ours = pytest.importorskip("sbibm").get_task("two_moons"), get_task("sbibm_two_moons").as_sbibm()
    assert (ours.dim_data, ours.dim_parameters) == (theirs.dim_data, theirs.dim_parameters)
    assert ours.num_observations == theirs.num_observations
    assert ours.get_labels_parameters() == theirs.get_labels_parameters()
    assert ours.get_labels_data() == theirs.get_labels_data()
    for field in ("observation", "true_parameters", "reference_posterior_samples"):
        own, expected = (getattr(view, f"get_{field}")(4) for view in (ours, theirs))
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-6)
    torch.manual_seed(5)
    theta = ours.get_prior()(100)
    expected = theirs.get_prior_dist().log_prob(theta)
    torch.testing.assert_close(ours.get_prior_dist().log_prob(theta), expected)
    x, x_theirs = (view.get_simulator()(theta[:1].repeat(2000, 1)) for view in (ours, theirs))
    for i in range(2):
        assert stats.ks_2samp(x[:, i].numpy(), x_theirs[:, i].numpy()).pvalue > 1e-4


def test_rejection_abc_of_sbibm_finds_the_posterior():
    """100 of 20,000 draws: means within 0.5 and scales within a factor of 1.5 of the exact ones.

    The mean of 100 exact draws has an error of a tenth of their deviation, and the deviation one of 7%.
    """
    pytest.importorskip("sbi")
    algorithm = sbibm_module("algorithms", "sbi", "mcabc.py")
    torch.manual_seed(6)
    law = TASK.reference(TASK.observations().x[0])
    samples, simulations, _ = algorithm.run(
        TASK.as_sbibm(),
        num_samples=100,
        num_simulations=20_000,
        num_observation=1,
        num_top_samples=100,
        kde_bandwidth=None,
    )
    assert simulations == 20_000
    scale = law.covariance.diagonal().sqrt()
    assert ((samples.mean(0) - law.mean) / scale).abs().max() < 0.5
    assert (samples.std(0) / scale).log().abs().max() < math.log(1.5)


def test_sbibms_own_baselines_and_c2st_tell_prior_from_posterior():
    """With 500 of each, C2ST between equal laws has the standard deviation 0.016: 0.58 is 5 of them."""
    view, options = TASK.as_sbibm(), {"num_samples": 500, "num_observation": 1}
    torch.manual_seed(7)
    posterior = sbibm_module("algorithms", "pytorch", "baseline_posterior.py").run(view, **options)
    prior = sbibm_module("algorithms", "pytorch", "baseline_prior.py").run(view, num_samples=500)
    reference = view.get_reference_posterior_samples(1)[:500]
    c2st = sbibm_module("metrics", "c2st.py").c2st
    assert float(c2st(reference, posterior)) < 0.58
    assert float(c2st(reference, prior)) > 0.8


def test_no_optional_package_is_imported_until_it_is_asked_for():
    script = (
        "import sys; from graybench import get_method, get_task;"
        "task = get_task('linear_gaussian'); view = task.as_sbibm();"
        "view.get_simulator()(view.get_prior()(3));"
        "get_method('prior').fit(task.simulate(5, seed=1), 1);"
        "sys.exit(any(name in sys.modules for name in ('sbibm', 'sbi', 'arviz', 'pyro')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
