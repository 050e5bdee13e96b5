"""Observations of a wrong shape or with NaN are refused by every posterior, before anything is computed."""

from contextlib import suppress

import pytest
import torch

from graybench.methods import get_method
from graybench.methods.rivals.sbi_trainers import DensityPosterior
from graybench.methods.rivals.scandal import LikelihoodPosterior
from graybench.tasks import get_task
from graybench.tasks.errors import UserError

DIM = 10
LINEAR, BROWNIAN = get_task("linear_gaussian", dim=DIM), get_task("brownian", dim=DIM, steps=2)
# 10 observations of one component would broadcast to the data's 10.
WRONG = (
    (torch.zeros(DIM, 1), r"x_o must have shape \(m, 10\), but has shape \(10, 1\)\."),
    (torch.zeros(DIM), r"x_o must have shape .* \(10,\); give one observation as x_o\.unsqueeze\(0\)"),
    (torch.zeros(2, 3, DIM), r"x_o must have shape"),
    (torch.tensor([[0.0] * DIM, [torch.inf] * DIM]), r"x_o must be finite, but observation 1 is not\."),
    ([[0.0] * DIM], r"x_o must be a tensor of shape \(m, 10\), but is a list\."),
)


def fitted(name, task=LINEAR, **options):
    return get_method(name, **options).fit(task.simulate(40, 1), 1)


def unfitted(posterior):
    """A posterior of a method whose fit takes long, with the dimensions that `fit` sets."""
    posterior.dims = (2, DIM)
    return posterior


POSTERIORS = {
    "prior": lambda: fitted("prior"),
    "rejection_abc": lambda: fitted("rejection_abc"),
    "dsm": lambda: fitted("dsm", steps=1),
    "sbi": lambda: unfitted(DensityPosterior(None)),
    "scandal": lambda: unfitted(LikelihoodPosterior(None, 2)),
    "bridge_is": lambda: fitted("bridge_is", BROWNIAN),
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_wrong_observations_are_refused(name):
    posterior, u = POSTERIORS[name](), torch.zeros(1, 3, DIM)
    for x_o, sentence in WRONG:
        with pytest.raises(UserError, match=sentence):
            posterior.sample(3, x_o, 1)
        for call in (lambda x: posterior.score(u, x, 0.5), lambda x: posterior.log_prob(u, x)):
            with suppress(NotImplementedError), pytest.raises(UserError, match=sentence):
                call(x_o)


@pytest.mark.parametrize(
    ("t", "sentence"),
    [
        (torch.tensor(0.5), r"the diffusion time t must be a number, but is a Tensor: use float\(t\)\."),
        (1.5, r"the diffusion time t must be from 0 to 1, but is 1\.5\."),
    ],
)
@pytest.mark.parametrize("name", ["prior", "dsm"])
def test_a_wrong_diffusion_time_is_refused(name, t, sentence):
    with pytest.raises(UserError, match=sentence):
        POSTERIORS[name]().score(torch.zeros(1, 3, DIM), torch.zeros(1, DIM), t)


@pytest.mark.parametrize("t", [0, 0.0009])
def test_a_learned_score_ends_at_the_least_time_of_its_training(t):
    posterior, u, x_o = POSTERIORS["dsm"](), torch.zeros(1, 3, DIM), torch.zeros(1, DIM)
    with pytest.raises(UserError, match=rf"for t from 0\.001 to 1, but t is {t}: use 0\.001 or more\."):
        posterior.score(u, x_o, t)
    assert posterior.score(u, x_o, 0.001).isfinite().all()


def test_whole_numbers_are_observations():
    """A task's data may be whole numbers; the samples are those of the same numbers as floats."""
    posterior, x_o = fitted("dsm", steps=1), torch.arange(2 * DIM).view(2, DIM)
    assert posterior.sample(3, x_o, 1).equal(posterior.sample(3, x_o.float(), 1))
