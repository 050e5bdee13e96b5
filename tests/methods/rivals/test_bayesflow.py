"""BayesFlow's methods: exact posteriors recovered, the process left as it was, densities, embeddings."""

import logging
import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from graybench.benchmark.checks import methods as method_checks
from graybench.methods import get_method
from graybench.methods.progress import listening
from graybench.methods.rivals import bayesflow
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import NotFiniteError, UserError
from graybench.tasks.prior import Normal
from graybench.tasks.simulations import Simulations
from graybench.tasks.structure import Field, Items, Series
from graybench.tests.methods.exact import assert_nearer_than_the_prior

# An import here would choose the backend of Keras.
pytestmark = pytest.mark.skipif(find_spec("bayesflow") is None, reason="BayesFlow is not installed")

TASK = LinearGaussian(2)
NAMES = ("bayesflow_fm", "bayesflow_diffusion", "bayesflow_consistency")


def state_of_the_process():
    root = logging.getLogger()
    return torch.is_grad_enabled(), root.level, list(root.handlers), method_checks._global_states()


@pytest.mark.parametrize("name", NAMES)
def test_posteriors_are_near_the_exact_ones_and_leave_the_process_alone(name, capfd):
    """After 20 passes through 600 simulations a posterior is nearer to the exact one than to the prior."""
    x_o, before, heard = TASK.observations().x[:1], state_of_the_process(), []
    with listening(lambda *step: heard.append(step)):
        posterior = get_method(name, epochs=20).fit(TASK.simulate(600, 1), 2)
    assert heard == [("fit", epoch, 20) for epoch in range(1, 21)]
    samples = posterior.sample(200, x_o, 3)
    assert state_of_the_process() == before
    assert capfd.readouterr() == ("", "")
    assert not samples.requires_grad
    assert_nearer_than_the_prior(samples.double()[0], TASK.reference(x_o[0]).sample(20_000, 4))


@pytest.mark.parametrize("name", ["bayesflow_diffusion", "bayesflow_consistency"])
def test_fits_and_samples_follow_the_seed_alone(name):
    simulations, x_o, samples = TASK.simulate(64, 1), TASK.observations().x[:1], []
    largest = 2**63 - 1  # Keras takes seeds of 31 bits
    for start, seed in ((1, largest), (2, largest), (2, 6)):
        torch.manual_seed(start)
        posterior = get_method(name, epochs=5).fit(simulations, seed)
        samples += [posterior.sample(5, x_o, largest - 1), posterior.sample(5, x_o, largest - 1)]
    assert all(torch.equal(samples[0], same) for same in samples[1:4])
    assert not torch.equal(samples[0], samples[4])


@pytest.mark.parametrize("name", ["bayesflow_fm", "bayesflow_diffusion"])
def test_a_density_integrates_to_one_in_the_units_of_u(name):
    """By the trapezoid rule from −8 to 8; the ODE's tolerance and float32 leave less than 0.02."""
    task = LinearGaussian(1)
    posterior, x_o = get_method(name, epochs=10).fit(task.simulate(320, 1), 2), task.observations().x[:2]
    grid = torch.linspace(-8, 8, 401).view(1, -1, 1).expand(2, -1, 1)
    density = posterior.log_prob(grid, x_o).double().exp()
    assert torch.trapezoid(density, grid[..., 0].double()).sub(1).abs().max() < 0.02


def test_a_consistency_model_has_no_density():
    posterior = get_method("bayesflow_consistency", epochs=5).fit(TASK.simulate(64, 1), 2)
    with pytest.raises(NotImplementedError, match="has no log_prob"):
        posterior.log_prob(torch.zeros(1, 1, 2), torch.zeros(1, 2))


def test_a_consistency_model_needs_ten_steps():
    """Nine epochs of one minibatch are too few, and ten are enough."""
    simulations = TASK.simulate(32, 1)
    sentence = r"needs 10 training steps or more, but takes 9 with 32 simulations, .*: raise epochs or lower"
    with pytest.raises(UserError, match=sentence):
        get_method("bayesflow_consistency", epochs=9).fit(simulations, 2)
    get_method("bayesflow_consistency", epochs=10).fit(simulations, 2)


@pytest.mark.parametrize("name", NAMES)
def test_embedding_is_true_or_false(name):
    with pytest.raises(UserError, match=f"method {name}: embedding must be true or false, but is 'false'"):
        get_method(name, embedding="false")


def structured(structure, n=64):
    random = torch.Generator().manual_seed(1)
    u = torch.randn(n, 1, generator=random, dtype=torch.float64)
    x = u + torch.randn(n, structure.size, generator=random, dtype=torch.float64)
    return Simulations(u, Normal().to_theta(u), x, structure=structure)


def test_an_embedding_of_items_does_not_see_their_order():
    """The same noise gives the same samples for items in another order, and others for other items."""
    simulations = structured(Items(6))
    posterior = get_method("bayesflow_consistency", epochs=5, embedding=True).fit(simulations, 2)
    plain = get_method("bayesflow_consistency", epochs=5).fit(simulations, 2)
    x_o = simulations.x[:1]
    for fitted, same in ((posterior, True), (plain, False)):
        samples = [fitted.sample(4, x, 3) for x in (x_o, x_o.flip(1), x_o + 1)]
        assert torch.allclose(samples[0], samples[1], atol=1e-4) == same
        assert not torch.allclose(samples[0], samples[2], atol=1e-2)


@pytest.mark.parametrize(
    ("structure", "network"),
    [(Series(20, channels=2), "TimeSeriesNetwork"), (Field((8, 8)), "ConvolutionalNetwork")],
)
def test_series_and_fields_have_networks_of_their_own(structure, network):
    simulations = structured(structure)
    posterior = get_method("bayesflow_consistency", epochs=5, embedding=True).fit(simulations, 2)
    assert type(posterior.workflow.summary_network).__name__ == network
    first, second = posterior.sample(4, torch.stack([simulations.x[0], simulations.x[0] + 3]), 3)
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_field_in_three_directions_is_refused():
    with pytest.raises(UserError, match="no network for a field in 3 directions; set embedding to false"):
        get_method("bayesflow_fm", embedding=True).fit(structured(Field((2, 2, 2))), 1)


def test_keras_on_another_backend_is_refused(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="bayesflow_fm needs Keras on torch, but Keras runs on jax: set"):
        bayesflow.import_bayesflow("bayesflow_fm")


def test_the_extra_is_named_where_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "bayesflow", None)
    with pytest.raises(UserError, match=r"pip install 'graybench\[bayesflow\]'"):
        bayesflow.import_bayesflow("bayesflow_fm")


def test_an_option_out_of_range_is_refused():
    for options in ({"epochs": 0}, {"batch": 1.5}):
        with pytest.raises(UserError, match=f"method bayesflow_fm: {next(iter(options))}"):
            get_method("bayesflow_fm", **options)


def test_a_fit_that_diverges_is_not_finite():
    """Squares of these u overflow in float32."""
    drawn = TASK.simulate(64, 1)
    with pytest.raises(NotFiniteError, match="method bayesflow_fm: training diverged"):
        get_method("bayesflow_fm", epochs=2).fit(replace(drawn, u=1e30 * drawn.u), 1)
