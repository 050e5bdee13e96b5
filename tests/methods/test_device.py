"""Score matching on another device than the CPU, and what names a device.

Where torch has no CUDA, its fake tensors stand in: they have a device but no numbers, and an operation on
tensors of two devices raises. The fake device is called "meta", as a torch built for the CPU alone lacks what
indexing on a fake "cuda" needs.
"""

import sys

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from graybench.methods import device, get_method, load_posterior
from graybench.methods.nn import network
from graybench.methods.score import posterior as score_posterior
from graybench.methods.score.gates import of_state
from graybench.tasks.classic.galton import Galton
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError

FAKE, FOUND = "meta", torch.cuda.device_count()
METHODS = [
    ("dsm", {}),
    ("dsm", {"sampler": "sde", "sampling_steps": 5}),
    ("ltsm", {"recipe": "plain", "early_stopping": False}),
    ("tsm", {"sampler": "exponential"}),
    ("mix", {}),
    ("mix", {"recipe": "plain"}),
    ("mix", {"gate": "diagonal", "weighting": "sigma_squared"}),
    ("mix", {"gate": "matrix"}),
    ("mix", {"gate": "learned"}),
    ("mix", {"gate": "learned_from_optimal", "recipe": "plain"}),
    ("mix", {"gate": "conditional_scalar"}),
    ("mix", {"gate": "conditional_matrix"}),
    ("mix", {"gate": "state"}),
]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in METHODS]


@pytest.fixture(scope="module")
def task():
    return LinearGaussian()


@pytest.fixture(scope="module")
def simulations(task):
    return [task.simulate(60, seed=r, marginal_score=True) for r in range(2)]


@pytest.fixture(scope="module")
def x_o(task):
    return task.observations().x[:2]


@pytest.fixture
def fake_device(monkeypatch):
    """Make "meta" a device of fake tensors, and give the types of device that networks are evaluated on."""

    def moved(module, place):  # torch refuses to swap a module's fake parameters
        for part in module.modules():
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        there = tensor.detach().to(place)
                        learned = isinstance(tensor, nn.Parameter)
                        tensors[name] = nn.Parameter(there, tensor.requires_grad) if learned else there
        return module

    def copied(tensor, memo):  # torch's own copies bytes that fake tensors do not have
        twin = tensor.detach().clone()
        return nn.Parameter(twin, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else twin

    met, fused = set(), "_get_fused_kernels_supported_devices"

    def noting(through):
        def noted(first, second, *others):
            met.add(first.device.type)
            return through(first, second, *others)

        return noted

    monkeypatch.setattr(network, "_through", noting(network._through))
    monkeypatch.setattr(nn.Module, "to", moved)
    monkeypatch.setattr(nn.Module, "cpu", lambda module: moved(module, "cpu"))
    monkeypatch.setattr(nn.Module, "double", lambda module: moved(module, torch.float64))
    monkeypatch.setattr(FakeTensor, "__deepcopy__", copied, raising=False)
    monkeypatch.setattr(FakeTensor, "__bool__", lambda tensor: True, raising=False)  # "is all finite?"
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], fused, lambda: [FAKE])
    monkeypatch.setattr(device, "require", lambda name: None)
    monkeypatch.setattr(of_state, "STEPS", of_state.LOOKS)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    mode.allow_meta = True
    with mode, device.on(FAKE):
        yield met


def test_the_fake_device_keeps_tensors_apart(fake_device):
    with pytest.raises(RuntimeError, match="device"):
        torch.zeros(2) + torch.zeros(2, device=FAKE)


@pytest.mark.parametrize(("name", "options"), METHODS, ids=IDS)
def test_a_fit_and_its_samples_run_on_one_device_and_come_back(name, options, simulations, x_o, fake_device):
    method = get_method(name, steps=2, width=4, **{"sampling_steps": 2, **options})
    posteriors = method.fit_replicates(simulations, [1, 2])
    drawn = [method.sample_replicates(posteriors, n, x_o, [3, 4]) for n in (5, 100)]
    first = posteriors[0]
    scored = first.score(torch.zeros(2, 5, 2), x_o, 0.5)
    assert fake_device == {FAKE}
    assert {posterior.device for posterior in posteriors} == {FAKE}
    kept = [*first.model.state_dict().values(), *first.gate.state_dict().values()]
    assert {tensor.device.type for tensor in [*drawn, scored, *kept]} == {"cpu"}


def test_a_density_is_computed_on_the_device(simulations, x_o, fake_device, monkeypatch):
    monkeypatch.setattr(score_posterior, "LOG_PROB_STEPS", 1)
    posterior = get_method("dsm", steps=2, width=4).fit(simulations[0], 1)
    fake_device.clear()
    assert posterior.log_prob(torch.zeros(2, 3, 2), x_o).device.type == "cpu"
    assert fake_device == {FAKE}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none here")
@pytest.mark.parametrize(("name", "options"), METHODS, ids=IDS)
def test_cuda_and_cpu_agree(name, options, simulations, x_o):
    method = get_method(name, steps=60, width=16, **options)
    found = []
    for where in ("cpu", "cuda"):
        with device.on(where):
            posteriors = method.fit_replicates(simulations, [1, 2])
        samples = method.sample_replicates(posteriors, 100, x_o, [3, 4])
        log_prob = posteriors[0].log_prob(samples[0, :, :5], x_o)
        found.append((samples, log_prob, posteriors[0].score(samples[0], x_o, 0.3)))
        assert posteriors[0].device == where
    for on_cpu, on_cuda in zip(*found, strict=True):
        torch.testing.assert_close(on_cuda, on_cpu, rtol=1e-3, atol=1e-3)


def test_a_loaded_posterior_is_on_the_cpu(tmp_path):
    posterior = get_method("dsm", steps=2, width=4).fit(Galton().simulate(20, seed=1), 1)
    posterior.device = "cuda"
    posterior.save(tmp_path)
    assert load_posterior(tmp_path).device == "cpu"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpu", "there is no device 'gpu': it can be cpu, cuda, or cuda:0 and so on."),
        ("cuda:x", "there is no device 'cuda:x': it can be cpu, cuda, or cuda:0 and so on."),
        (
            "cuda:99",
            f"device cuda:99: torch finds {FOUND} CUDA devices here; use another, or cpu.",
        ),
    ],
)
def test_a_device_that_is_not_there_is_a_mistake(name, sentence):
    with pytest.raises(UserError) as caught, device.on(name):
        pass
    assert str(caught.value) == sentence
    assert device.current() == "cpu"


def test_a_device_lasts_as_long_as_its_block(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with device.on("cuda:1"):
        assert device.current() == "cuda:1"
    assert device.current() == "cpu"
    with pytest.raises(UserError), device.on("cuda:2"):
        pass
