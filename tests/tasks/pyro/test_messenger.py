"""Models that the pyro adapter accepts and refuses: supports, sites without a density, masks, plates."""

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from torch.distributions import transforms

from graybench.tasks.errors import UserError
from graybench.tests.tasks.pyro.test_model import difference_quotient, draw, make


def site(fn):
    """A model with x only, from a distribution made of θ."""
    return lambda self, theta: pyro.sample("x", fn(theta[0], torch.exp(theta[1])))


FIXED_SUPPORTS = {
    "log-normal": dist.LogNormal,
    "weibull": lambda a, b: dist.Weibull(b, torch.exp(a)),
    "gumbel": dist.Gumbel,
    "kumaraswamy": lambda a, b: dist.Kumaraswamy(torch.exp(a), b),
    "half-normal": lambda a, b: dist.HalfNormal(b),
    "student": lambda a, b: dist.StudentT(4.0, a, b),
    "beta": lambda a, b: dist.Beta(torch.exp(a), b),
    "negative binomial": lambda a, b: dist.NegativeBinomial(b, logits=a),
    "affine, then exp": lambda a, b: dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), [transforms.AffineTransform(a, b), transforms.ExpTransform()]
    ),
    "mixture": lambda a, b: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(torch.stack([a, -a], -1), b.unsqueeze(-1))
    ),
}


@pytest.mark.parametrize("fn", FIXED_SUPPORTS.values(), ids=FIXED_SUPPORTS)
def test_fixed_supports_are_accepted_and_scored(fn):
    task = make(site(fn))
    theta, outcome = draw(task, 50)
    assert outcome.joint_score.abs().max() > 0.1
    expected = difference_quotient(task, theta, outcome)
    torch.testing.assert_close(outcome.joint_score, expected, rtol=1e-6, atol=1e-6)


def exp_then_shift(a):
    return [transforms.ExpTransform(), transforms.AffineTransform(a, 1.0)]


MOVING_SUPPORTS = {
    "uniform": lambda a, b: dist.Uniform(0.0, b),
    "pareto": lambda a, b: dist.Pareto(b, 1.0),
    "affine beta": lambda a, b: dist.AffineBeta(torch.ones_like(a), 1.0, a, b),
    "event": lambda a, b: dist.Uniform(a.unsqueeze(-1), a.unsqueeze(-1) + 1).to_event(1),
    "expanded": lambda a, b: dist.ExpandedDistribution(dist.Uniform(0.0, b), b.shape),
    "mixture": lambda a, b: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Uniform(torch.stack([-b, -2 * b], -1), b.unsqueeze(-1))
    ),
    "base": lambda a, b: dist.TransformedDistribution(dist.Uniform(0.0, b), transforms.ExpTransform()),
    "shifted uniform": lambda a, b: dist.TransformedDistribution(
        dist.Uniform(0.0, 1.0), transforms.AffineTransform(a, 1.0)
    ),
    "shifted log-normal": lambda a, b: dist.TransformedDistribution(dist.Normal(0.0, b), exp_then_shift(a)),
    "composed": lambda a, b: dist.TransformedDistribution(
        dist.Normal(0.0, b), transforms.ComposeTransform(exp_then_shift(a))
    ),
    "shifted twice": lambda a, b: dist.TransformedDistribution(
        dist.TransformedDistribution(dist.Uniform(0.0, 1.0), transforms.AffineTransform(1.0, 2.0)),
        transforms.AffineTransform(a, 1.0),
    ),
}


@pytest.mark.parametrize("fn", MOVING_SUPPORTS.values(), ids=MOVING_SUPPORTS)
def test_supports_that_depend_on_theta_are_refused(fn):
    with pytest.raises(UserError, match=r"task mine: site 'x' has a support that depends on θ.*transform"):
        draw(make(site(fn)), 5)


class Nowhere(dist.TorchDistribution):
    """A distribution without a support."""

    def __init__(self, shape):
        super().__init__(shape, validate_args=False)


class Short(dist.Normal):
    """A distribution whose log-density has lost a dimension."""

    def log_prob(self, value):
        return super().log_prob(value).sum(-1)


def x(theta):
    pyro.sample("x", dist.Normal(theta[0], 1.0))


def twice(self, theta):
    x(theta)
    x(theta)


def masked(self, theta):
    with poutine.mask(mask=torch.tensor(False)):
        pyro.sample("z", dist.Normal(theta[0], 1.0))
    x(theta)


def scaled(self, theta):
    with poutine.scale(scale=2.0):
        x(theta)


def subsampled(self, theta):
    with pyro.plate("points", 100, subsample_size=10):
        x(theta)


def selected(self, theta):
    with pyro.plate("points", 100, subsample=torch.arange(20)):
        x(theta)


def parameter(self, theta):
    pyro.param("weight", torch.tensor(1.0))


def observed(self, theta):
    pyro.sample("y", dist.Normal(theta[0], 1.0), obs=torch.tensor(0.3))


def conditioned(self, theta):
    poutine.condition(lambda: x(theta), data={"x": torch.tensor(0.0)})()


def crowded(self, theta):
    pyro.sample("z", dist.Normal(torch.stack(list(theta), -1), 1.0))


def unnamed(self, theta):
    pyro.sample("z", dist.Normal(theta[0], 1.0))
    pyro.sample("data", dist.Normal(theta[0], 1.0))


def wide(self, theta):
    with pyro.plate("points", 7):
        x(theta)


REFUSED = {
    "twice": (twice, "site 'x' occurs twice; name every site differently"),
    "foreign": (
        site(torch.distributions.Normal),
        "site 'x' draws from torch.distributions.*use a distribution of pyro",
    ),
    "factor": (lambda self, t: pyro.factor("f", t[0]), "site 'f' is a pyro.factor.*write it as pyro.sample"),
    "delta": (site(lambda a, b: dist.Delta(a)), "site 'x' is a Delta.*use its value without pyro.sample"),
    "vector delta": (
        lambda self, t: pyro.sample("z", dist.Delta(t.movedim(0, -1)).to_event(1)),
        "site 'z' is a Delta",
    ),
    "deterministic": (
        lambda self, t: pyro.deterministic("x", t[0]),
        "site 'x' is deterministic and has no density; draw it",
    ),
    "masked": (masked, "site 'z' is masked: it is drawn but missing from the density; remove the mask"),
    "mask method": (site(lambda a, b: dist.Normal(a, b).mask(torch.tensor(True))), "site 'x' is masked"),
    "scaled": (scaled, "site 'x' has a scaled density.*remove the scale"),
    "subsampled": (subsampled, "plate 'points' has 10 of 100 rows; use them all"),
    "selected": (selected, "plate 'points' has 20 of 100 rows"),
    "parameter": (parameter, "site 'weight' is a pyro.param; make it a constant or a component of θ"),
    "observed": (observed, "site 'y' already has a value.*remove obs"),
    "conditioned": (conditioned, "site 'x' already has a value"),
    "crowded": (crowded, r"site 'z' has batch shape \(5, 5, 1, 1, 1, 2\), but at most 4 plates.*to_event"),
    "rows": (
        lambda self, t: pyro.sample("z", dist.Normal(t[:, 0], 1.0)),
        r"a site does not have one row per simulation; unpack θ .*: .*at site z dim -5, 5 vs 2",
    ),
    "no support": (
        site(lambda a, b: Nowhere(a.shape)),
        "site 'x' draws from a distribution without a support",
    ),
    "shape": (
        site(Short),
        r"site 'x' has log-densities of shape \(5, 1, 1, 1\), not .*fix log_prob of .*Short",
    ),
    "no x": (unnamed, "the data must be drawn as site 'x'; sites: z, data"),
    "nothing": (lambda self, t: None, "the data must be drawn as site 'x'; sites: none"),
    "wide": (wide, "dim_x is 1, but site 'x' has 7"),
    "no θ": (site(lambda a, b: dist.Normal(0.0, 1.0)), "the density of the model does not depend on θ"),
}


@pytest.mark.parametrize(("model", "message"), REFUSED.values(), ids=REFUSED)
def test_models_without_a_joint_score_are_refused(model, message):
    with pytest.raises(UserError, match=f"^task mine: {message}"):
        draw(make(model), 5)
