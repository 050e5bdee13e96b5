"""sbi's methods: exact posteriors recovered, global generators untouched, NPSE against the suite's DSM."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from graybench.benchmark.checks import methods as method_checks
from graybench.benchmark.checks.bench import Bench
from graybench.benchmark.checks.score_fields import score_errors
from graybench.methods import get_method, load_posterior
from graybench.methods.rivals.private_randomness import private_randomness, quiet
from graybench.methods.rivals.sbi_trainers import ItemsPosterior
from graybench.methods.score.schedule import T_MIN, alpha_sigma
from graybench.methods.score.score_matching import DSM
from graybench.methods.score.training_data import TrainingData
from graybench.tasks.classic.galton import Galton
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator
from graybench.tests.methods.exact import assert_nearer_than_the_prior

pytest.importorskip("sbi", reason="sbi is not installed")

TASK = LinearGaussian(2)
NAMES = ("sbi_npe", "sbi_nle", "sbi_nre", "sbi_fmpe", "sbi_npse")


@pytest.mark.parametrize("name", NAMES)
def test_posteriors_are_near_the_exact_ones_and_follow_the_seed_alone(name):
    """At 1,000 simulations a posterior is nearer to the exact one than to the prior. Fits and samples
    leave the global generators alone.
    """
    untouched = method_checks._global_states()
    posterior, x_o = get_method(name).fit(TASK.simulate(1000, 1), 2), TASK.observations().x[:1]
    assert method_checks._global_states() == untouched
    samples = []
    for start in (1, 2):
        torch.manual_seed(start)
        before = method_checks._global_states()
        samples.append(posterior.sample(200, x_o, 3).double()[0])
        assert method_checks._global_states() == before
    assert torch.equal(*samples)
    exact = TASK.reference(x_o[0]).sample(20_000, 4)
    assert_nearer_than_the_prior(samples[0], exact)


def test_nle_takes_whole_numbers():
    """A task whose data are of an integer dtype: the fit is that of the same numbers in float64."""
    simulations = TASK.simulate(20, 1)
    fits = []
    for x in (simulations.x.round().long(), simulations.x.round()):
        posterior = get_method("sbi_nle").fit(replace(simulations, x=x), 2)
        fits.append(posterior.posterior.potential_fn.likelihood_estimator.state_dict())
    assert all(torch.equal(value, fits[1][key]) for key, value in fits[0].items())


@pytest.mark.parametrize("name", ["sbi_npe", "sbi_npse"])
def test_fits_follow_the_seed_alone(name, capfd):
    """The fit is silent as well, and reports through the suite's own progress alone."""
    simulations, x_o = TASK.simulate(60, 1), TASK.observations().x[:1]
    method, samples = get_method(name), []
    for start, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(start)
        np.random.seed(start)
        samples.append(method.fit(simulations, seed).sample(10, x_o, 3))
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["sbi_npe", "sbi_fmpe", "sbi_npse"])
def test_a_density_integrates_to_one_and_is_that_of_the_samples(name):
    """Its mean and mean square are those of 4,000 samples for two observations, which four correct means
    fail once in 30,000 times. sbi draws from a score by an SDE: here by the ODE, whose density it gives.
    """
    posterior = get_method(name).fit(LinearGaussian(1).simulate(400, 1), 2)
    x_o = LinearGaussian(1).observations().x[:2]
    grid = torch.linspace(-6, 6, 1001).view(1, -1, 1).expand(2, -1, -1)
    density = posterior.log_prob(grid, x_o).double().exp()
    assert density.shape == (2, 1001)
    np.testing.assert_allclose(torch.trapezoid(density, dx=12 / 1000).numpy(), 1, atol=0.001)
    alone = posterior.log_prob(grid[1:], x_o[1:])[0].double().exp()
    torch.testing.assert_close(alone, density[1], rtol=1e-3, atol=1e-5)  # as far as the ODE is solved
    if name == "sbi_npse":
        with private_randomness(3), quiet():
            drawn = [posterior.posterior.sample((4000,), x=x, sample_with="ode")[:, 0] for x in x_o.float()]
        samples = torch.stack(drawn).double()
    else:
        samples = posterior.sample(4000, x_o, 3)[..., 0].double()
    for power in (1, 2):
        mean = torch.trapezoid(density * grid[..., 0] ** power, dx=12 / 1000)
        powers = samples**power
        assert ((powers.mean(1) - mean).abs() < 4.5 * powers.std(1) / math.sqrt(4000)).all()


def test_nle_learns_a_density_of_spread_out_data():
    """Only `sbi_nle` models x, and the Galton board's x are whole numbers."""
    x = Galton().simulate(50, 1).x
    spread = get_method("sbi_nle")._data(x, 1)
    assert torch.equal(spread.round(), x)
    assert (spread - x).abs().min() > 0
    assert torch.equal(get_method("sbi_npe")._data(x, 1), x)


@pytest.mark.parametrize("iid_method", ["fnpe", "gauss"])  # auto_gauss and jac_gauss take longer
def test_items_are_composed_by_sbi(iid_method, one_item):
    """The posterior of four items is N(−0.72, 0.21²), of one N(−0.72, 0.39²). Measured: means −0.54
    and −0.61, widths 0.18 and 0.20. One item is as without composition.
    """
    posterior = ItemsPosterior(one_item.posterior, iid_method)
    posterior._describe((1, 1), True)
    task = LinearGaussian(1, draws=4)
    x_o = task.observations().x[:1]
    (drawn,) = posterior.sample(100, x_o, 3).double()
    assert abs(float(drawn.mean() - task.reference(x_o[0]).mean)) < 0.3
    assert 0.1 < drawn.std() < 0.3
    single = one_item.sample(5, x_o[:, :1], 3)
    assert torch.equal(posterior.sample(5, x_o[:, :1], 3), single)


@pytest.fixture(scope="module")
def one_item():
    return get_method("sbi_npse").fit(LinearGaussian(1).simulate(1000, 1), 2)


def test_sbi_composes_items_that_are_independent_alone():
    method = get_method("sbi_npse", iid_method="gauss")
    assert method.composes
    simulations = replace(TASK.simulate(20, 1), structure=None)
    with pytest.raises(UserError, match="iid_method=gauss needs x of items that are independent given θ"):
        method.fit(simulations, 1)
    with pytest.raises(UserError, match="there is no iid_method 'jac': did you mean jac_gauss"):
        get_method("sbi_npse", iid_method="jac")
    posterior = method.fit(TASK.simulate(20, 1), 1)
    assert posterior.sample(3, torch.zeros(1, 6), 1).shape == (1, 3, 2)
    with pytest.raises(UserError, match=r"x_o must have shape \(m, k · 2\)"):
        posterior.sample(3, torch.zeros(1, 5), 1)


class TestOfTheSuitesNetwork:
    """`sbi_npse_suite` is `dsm` but for the trainer."""

    simulations = TASK.simulate(600, 1)

    def model(self):
        data = TrainingData(self.simulations.u.float()[None], self.simulations.x.float()[None], None)
        return DSM()._build(data, [3])[0], data

    def test_the_estimator_has_the_suites_diffusion_and_score(self):
        from graybench.methods.rivals.sbi import estimator_class

        model, data = self.model()
        estimator = estimator_class()(model, data.u[0], data.x[0])
        t = torch.linspace(T_MIN, 1, 40)
        alpha, sigma = alpha_sigma(t)
        torch.testing.assert_close(estimator.mean_t_fn(t)[:, 0], alpha, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(estimator.std_fn(t)[:, 0], sigma, rtol=1e-3, atol=1e-6)
        u, x = data.u[0, :40], data.x[0, :40]
        expected = model(u[None], x[None], t.view(1, -1, 1))[0]
        torch.testing.assert_close(estimator(u, x, t), expected)
        torch.testing.assert_close(estimator(u[None], x, t)[0], expected)

    def test_its_loss_is_that_of_dsm(self):
        """E of σ² ‖s + ε/σ‖² at fixed times, by a loop over fresh noise; the control variate changes no mean.

        |z| < 4.5 for the difference of two averages over 4,000 draws.
        """
        from graybench.methods.rivals.sbi import estimator_class

        model, data = self.model()
        estimator = estimator_class()(model, data.u[0], data.x[0])
        t = torch.tensor([0.05, 0.3, 0.7]).repeat(4000)
        rows = torch.randint(600, (len(t),), generator=generator(1))
        u, x = data.u[0, rows], data.x[0, rows]
        with private_randomness(1), torch.no_grad():
            losses = estimator.loss(u, x, t)
        eps, (alpha, sigma) = torch.randn(u.shape, generator=generator(2)), alpha_sigma(t.unsqueeze(1))
        with torch.no_grad():
            score = model((alpha * u + sigma * eps)[None], x[None], t.view(1, -1, 1))[0]
        own = ((sigma * score + eps) ** 2).sum(1)
        assert losses.shape == own.shape
        for time in (0.05, 0.3, 0.7):
            first, second = losses[t == time], own[t == time]
            z = (first.mean() - second.mean()) / math.hypot(first.std(), second.std()) * math.sqrt(4000)
            assert abs(z) < 4.5

    def test_it_takes_the_suites_number_of_steps_along_a_cosine(self, monkeypatch):
        rates = []
        step = torch.optim.Adam.step
        monkeypatch.setattr(
            torch.optim.Adam, "step", lambda own, *_: (rates.append(own.param_groups[0]["lr"]), step(own))
        )
        get_method("sbi_npse_suite", steps=40, rate=2e-3).fit(self.simulations, 1)
        epochs, per_epoch = 10, 4  # of 540 simulations, batches of 128
        assert len(rates) == epochs * per_epoch
        expected = [1e-3 * (1 + math.cos(math.pi * k / epochs)) for k in range(epochs)]
        np.testing.assert_allclose(rates, np.repeat(expected, per_epoch))

    def test_it_is_as_good_as_dsm(self):
        """Score errors at the task's 10 observations after 1,000 steps of the plain network, which starts at
        a score of 0: they are within a factor of 2, and a tenth of the untrained network's at most.
        """
        errors = {}
        for name, steps in (("sbi_npse_suite", 1000), ("dsm", 1000), ("untrained", 1)):
            method = get_method("dsm" if name == "untrained" else name, steps=steps, recipe="plain")
            bench = Bench(method, 600, 1)
            errors[name] = np.mean(score_errors(bench, method.fit(self.simulations, 1)))
        assert 0.5 < errors["sbi_npse_suite"] / errors["dsm"] < 2
        assert errors["untrained"] > 10 * errors["dsm"]

    def test_it_is_saved_and_loaded(self, tmp_path):
        posterior = get_method("sbi_npse_suite", steps=4, width=8).fit(self.simulations, 1)
        posterior.save(tmp_path)
        x_o = TASK.observations().x[:1]
        assert torch.equal(load_posterior(tmp_path).sample(5, x_o, 1), posterior.sample(5, x_o, 1))

    def test_options_that_sbi_decides_are_refused(self):
        with pytest.raises(UserError, match="always stops early: leave average and early_stopping out"):
            get_method("sbi_npse_suite", early_stopping=False)
        with pytest.raises(UserError, match="steps must be a whole number from 1 up, but is None"):
            get_method("sbi_npse_suite", steps=None)


@pytest.mark.parametrize("name", ["sbi_npe", "sbi_nre", "sbi_fmpe", "sbi_npse"])
def test_embedding_is_true_or_false(name):
    with pytest.raises(UserError, match=f"method {name}: embedding must be true or false, but is 'false'"):
        get_method(name, embedding="false")


def test_quiet_puts_everything_back():
    import logging
    import sys

    out, level = sys.stdout, logging.root.manager.disable
    with quiet():
        print("nothing")
    assert (sys.stdout, logging.root.manager.disable) == (out, level)
