"""Tasks with one deliberate mistake each, and the correct tasks that they derive from.

z ~ N(θ, 1), w ~ N(θ, 1), x = z + w + noise with noise ~ N(0, 1): the joint score is (z − θ) + (w − θ), the
marginal score 2 (x − 2θ)/3, the posterior of u = θ N(2x/7, 3/7).
"""

from typing import ClassVar

import torch
from torch import Tensor

from graybench.tasks.prior import LogNormal, Normal
from graybench.tasks.reference import GaussianReference, GridReference
from graybench.tasks.sde.diffusion_task import DiffusionTask
from graybench.tasks.sde.sde import SDE, DiagonalCoefficients, TimeGrid
from graybench.tasks.seeding import generator
from graybench.tasks.simulations import Observations
from graybench.tasks.task import Outcome, Task


class Right(Task):
    name: ClassVar[str] = "right"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "nothing wrong"
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "marginal_score", "reference"})

    prior = Normal()
    dim_theta = 1
    dim_x = 1

    def simulator(self, theta, generator):
        z, w, noise = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(3))
        return Outcome(2 * theta + z + w + noise, self.score(z, w), latents=theta + torch.cat([z, w], 1))

    def score(self, z, w):
        return z + w

    def log_joint(self, theta, x, latents):
        return -(latents - theta).square().sum(1) / 2

    def marginal_score(self, theta, x):
        return 2 * (x - 2 * theta) / 3

    def reference(self, x_o):
        return GaussianReference(2 * x_o / 7, torch.tensor([[3 / 7]]))


class Hidden(Right):
    """w is hidden from the score."""

    def score(self, z, w):
        return z


class Twice(Right):
    """w is counted twice."""

    def score(self, z, w):
        return z + 2 * w


class Zero(Right):
    def score(self, z, w):
        return torch.zeros_like(z)


class WrongMarginal(Right):
    """The marginal score of data with half the noise."""

    def marginal_score(self, theta, x):
        return 2 * (x - 2 * theta) / 2.5


class MarginalInU(Right):
    """The marginal score is a gradient in u = θ/2; the suite multiplies it by dθ/du = 2 again."""

    capabilities = frozenset({"joint_score", "marginal_score"})
    prior = Normal(0.0, 2.0)

    def marginal_score(self, theta, x):
        return 2 * super().marginal_score(theta, x)


class WrongDensity(Right):
    """`log_joint` has the latents' variance wrong."""

    def log_joint(self, theta, x, latents):
        return super().log_joint(theta, x, latents) / 2


class WrongLatents(Right):
    """z and w have a variance of 2, their score and density one of 1."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        stretched = theta + 2**0.5 * (outcome.latents - theta)
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        score = (stretched - theta).sum(1, keepdim=True)
        return Outcome(stretched.sum(1, keepdim=True) + noise, score, latents=stretched)


class NarrowReference(Right):
    def reference(self, x_o):
        return GaussianReference(2 * x_o / 7, torch.tensor([[0.6 * 3 / 7]]))


class ShiftedReference(Right):
    def reference(self, x_o):
        return GaussianReference(2 * x_o / 7 + 0.2, torch.tensor([[3 / 7]]))


class PriorAsReference(Right):
    """The reference ignores x; its ranks are uniform like the posterior's."""

    capabilities = frozenset({"joint_score", "reference"})

    def reference(self, x_o):
        return GaussianReference(torch.zeros(1), torch.ones(1, 1))


class StretchedReference(Right):
    """The reference's variance has a factor, and no marginal score shows it."""

    factor: float = 1.5

    capabilities = frozenset({"joint_score", "reference"})

    def reference(self, x_o):
        return GaussianReference(2 * x_o / 7, torch.tensor([[self.factor * 3 / 7]]))


class WrongDiffused(Right):
    """The diffused score of the reference is 30 % too large where σ is between two bounds."""

    least: float = 0.0
    largest: float = 1.0

    class Steep(GaussianReference):
        bounds = (0.0, 1.0)

        def diffused_score(self, u_t, alpha, sigma):
            factor = 1.3 if self.bounds[0] <= sigma <= self.bounds[1] else 1.0
            return factor * super().diffused_score(u_t, alpha, sigma)

    def reference(self, x_o):
        steep = self.Steep(2 * x_o / 7, torch.tensor([[3 / 7]]))
        steep.bounds = (self.least, self.largest)
        return steep


class WrongLogProb(Right):
    """The reference's draws and scores are correct, but its density is flat."""

    class Flat(GaussianReference):
        def log_prob(self, u):
            return torch.zeros_like(u[..., 0])

    def reference(self, x_o):
        return self.Flat(2 * x_o / 7, torch.tensor([[3 / 7]]))


class Restless(Right):
    """Its observations change with every call."""

    def observations(self):
        drawn = self.simulate(10, int(torch.randint(1000, ())))
        return Observations(drawn.x, drawn.theta, drawn.u)


class Unnumbered(Right):
    """Its marginal score is not a number."""

    def marginal_score(self, theta, x):
        return theta * torch.nan


class SharedNoise(Right):
    """Half of the noise in x is the same in all rows of a batch; a single row is correct."""

    def simulator(self, theta, generator):
        z, w = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        noise = torch.randn(1, 1, generator=generator, dtype=theta.dtype)
        return Outcome(2 * theta + z + w + noise, self.score(z, w))

    log_joint = Task.log_joint


class Neighbours(Right):
    """A run uses the parameters of the previous row."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        return Outcome(outcome.x + 0.6 * theta.roll(1, 0), outcome.joint_score)

    log_joint = Task.log_joint


class CentredTheta(Right):
    """Half of the batch's mean parameter is subtracted."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        return Outcome(outcome.x - theta.mean() / 2, outcome.joint_score)

    log_joint = Task.log_joint


class CentredNoise(Right):
    """The noise of a batch is centred by its mean, so a single run has none."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        noise = outcome.x - 2 * theta
        return Outcome(2 * theta + noise - noise.mean(), outcome.joint_score)

    log_joint = Task.log_joint


class GlobalNumbers(Right):
    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        return Outcome(outcome.x + 0.01 * torch.randn(theta.shape), outcome.joint_score)

    log_joint = Task.log_joint


class Retried(Right):
    """Runs with a negative z are repeated at the same θ."""

    def simulator(self, theta, generator):
        w, noise = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        z = torch.full_like(theta, -torch.inf)
        while (again := theta + z < 0).any():
            z = torch.where(again, torch.randn(theta.shape, generator=generator, dtype=theta.dtype), z)
        return Outcome(2 * theta + z + w + noise, self.score(z, w))

    prior = Normal(0.0, 0.5)
    log_joint = Task.log_joint


class Undetached(Right):
    """z = θ + e^θ ε is differentiated too: the total derivative of log N(z; θ, e^2θ) is −1."""

    def simulator(self, theta, generator):
        eps, noise = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        with torch.enable_grad():
            leaf = theta.detach().requires_grad_()
            z = leaf + leaf.exp() * eps
            density = torch.distributions.Normal(leaf, leaf.exp()).log_prob(z)
            (score,) = torch.autograd.grad(density.sum(), leaf)
        return Outcome(z.detach() + noise, score)

    log_joint = Task.log_joint
    capabilities = frozenset({"joint_score"})


class MovingSupport(Right):
    """z ~ U(0, θ) has the score −1/θ inside its support; the score ignores the moving edge."""

    def simulator(self, theta: Tensor, generator):
        z = theta * torch.rand(theta.shape, generator=generator, dtype=theta.dtype)
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        return Outcome(z + noise, -1 / theta)

    prior = LogNormal()
    log_joint = Task.log_joint
    capabilities = frozenset({"joint_score"})


class WrongPrior(Right):
    """A prior whose chain rule forgets the factor σ."""

    class Forgetful(Normal):
        def pull_back(self, u, score):
            return score

    prior = Forgetful(0.0, 2.0)


class NotFinite(Right):
    """One run in a thousand divides by zero."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        unlucky = torch.rand(theta.shape, generator=generator) < 1e-3
        return Outcome(torch.where(unlucky, torch.inf, outcome.x), outcome.joint_score)


class Raises(Right):
    def marginal_score(self, theta, x):
        raise ArithmeticError("no luck today")


class RareDecisions(Right):
    """Nothing is wrong: but for |θ| near 0 every z ~ Bernoulli(sigmoid(10 θ)) is the same."""

    capabilities = frozenset({"joint_score"})
    log_joint = Task.log_joint

    def simulator(self, theta, generator):
        chance = torch.sigmoid(10 * theta)
        z = (torch.rand(theta.shape, generator=generator, dtype=theta.dtype) < chance).to(theta.dtype)
        return Outcome(z, 10 * (z - chance))


class HeavyTails(Right):
    """Nothing is wrong: z ~ N(θ, 1) in Cauchy noise."""

    capabilities = frozenset({"joint_score"})
    log_joint = Task.log_joint

    def simulator(self, theta, generator):
        z, a, b = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(3))
        return Outcome(theta + z + a / b, z)


class NumpyDensity(Right):
    """Nothing is wrong, but `log_joint` cannot be differentiated by autograd."""

    def log_joint(self, theta, x, latents):
        return super().log_joint(theta, x, latents).detach()


class NanData(Right):
    """One run in a hundred returns NaN."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        unlucky = torch.rand(theta.shape, generator=generator) < 0.01
        return Outcome(torch.where(unlucky, torch.nan, outcome.x), outcome.joint_score)

    log_joint = Task.log_joint


class Valley(Task):
    """x = z + noise and z = θ_1 + θ_2 + ε: the posterior's correlation is −0.86. There is no marginal score.

    Options are mistakes of the reference: factors of its variance and of its covariance, the same factor of
    the variance to the power of the sign of x, a factor of log_prob and a constant in it.
    """

    variance: float = 1.0
    dependence: float = 1.0
    by_sign: float = 1.0
    power: float = 1.0
    constant: float = 0.0

    name: ClassVar[str] = "valley"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "two parameters of which the data show the sum"
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "reference"})

    prior = Normal()
    dim_theta = 2
    dim_x = 1
    of_latent, of_noise = 0.1, 0.063  # variances

    class Density(GaussianReference):
        power, constant = 1.0, 0.0

        def log_prob(self, u):
            return self.power * super().log_prob(u) + self.constant

    def simulator(self, theta, generator):
        eps, noise = (torch.randn(len(theta), 1, generator=generator, dtype=theta.dtype) for _ in range(2))
        eps = self.of_latent**0.5 * eps
        x = theta.sum(1, keepdim=True) + eps + self.of_noise**0.5 * noise
        return Outcome(x, (eps / self.of_latent).expand(-1, 2).clone())

    def reference(self, x_o):
        precision = 1 / (self.of_latent + self.of_noise)
        covariance = torch.linalg.inv(torch.eye(2).double() + precision)
        mean = precision * covariance.sum(1) * x_o.double()
        wrong = self.variance * self.by_sign ** float(x_o.sign()) * covariance
        wrong = self.dependence * wrong + (1 - self.dependence) * wrong.diag().diag()
        reference = self.Density(mean, wrong)
        reference.power, reference.constant = self.power, self.constant
        return reference


class Modes(Valley):
    """x = θ² + noise has two modes; an option is the share of the negative mode."""

    share: float = 0.5

    capabilities = frozenset({"reference"})
    dim_theta = 1

    def simulator(self, theta, generator):
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        return Outcome(theta.square() + 0.3 * noise)

    def reference(self, x_o):
        u = torch.linspace(-6, 6, 4001, dtype=torch.float64)
        share = torch.where(u < 0, self.share, 1 - self.share)
        return GridReference(u, share.log() - u.square() / 2 - ((x_o - u.square()) / 0.3).square() / 2)


class Mixed(Task):
    """z = B θ + ε and x = z + noise, with as many latents and data as parameters.

    Options are the share of one latent that is missing in component 3 of the score, and a factor of the
    reference's variance.
    """

    dim: int = 10
    missing: float = 0.0
    variance: float = 1.0

    name: ClassVar[str] = "mixed"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "many parameters"
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "reference"})

    prior = Normal()

    @property
    def dim_theta(self):
        return self.dim

    @property
    def dim_x(self):
        return self.dim

    @property
    def into_z(self):
        """B, (d, d)."""
        size = (self.dim, self.dim)
        return torch.randn(size, generator=generator(3), dtype=torch.float64) / self.dim**0.5

    def simulator(self, theta, generator):
        eps, noise = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        into_z, score = self.into_z, eps @ self.into_z
        latent = into_z[:, 3].abs().argmax()
        score[:, 3] -= self.missing * eps[:, latent] * into_z[latent, 3]
        return Outcome(theta @ into_z.T + eps + 0.5 * noise, score)

    def reference(self, x_o):
        into_x = self.into_z.T / 1.25
        covariance = torch.linalg.inv(torch.eye(self.dim).double() + into_x @ self.into_z)
        return GaussianReference(covariance @ into_x @ x_o.double(), self.variance * covariance)


class OneOfThirty(Mixed):
    """One latent is missing in one of 30 components."""

    dim: int = 30
    missing: float = 1.0

    capabilities = frozenset({"joint_score"})


MISTAKES = {
    "none": lambda z, theta, u, slope: z,
    "in u": lambda z, theta, u, slope: z * slope,
    "without Jacobian": lambda z, theta, u, slope: z / slope,
    "in log θ": lambda z, theta, u, slope: z * theta,
    "wrong sign": lambda z, theta, u, slope: -z,
    "clipped at 1": lambda z, theta, u, slope: z.clamp(-1, 1),
    "with the prior's share in u": lambda z, theta, u, slope: z - u / slope,
    "with the prior's score in θ": lambda z, theta, u, slope: z - u / slope - 1 / theta,
    "without the prior's share": lambda z, theta, u, slope: z + u / slope,
    "halved": lambda z, theta, u, slope: z / 2,
}


class Positive(Task):
    """z ~ N(θ, 1) and x = z + noise, with a log-normal θ. An option names a mistake of the score."""

    mistake: str = "none"

    name: ClassVar[str] = "positive"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a positive parameter"
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score"})

    prior = LogNormal(0.5, 0.6)
    dim_theta = 1
    dim_x = 1

    def simulator(self, theta, generator):
        z, noise = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        u, slope = self.prior.to_u(theta), 0.6 * theta  # slope: dθ/du
        return Outcome(theta + z + 0.5 * noise, MISTAKES[self.mistake](z, theta, u, slope))


class Curved(DiffusionTask):
    """dX = −k X dt + s √(1 + X²) dW in two dimensions, with θ = (log k, log s).

    Options are the name of a coefficient and the factor that it is multiplied by, and a claim that Σ is
    constant.
    """

    wrong: str = ""
    factor: float = 1.1
    constant: bool = False

    name: ClassVar[str] = "curved"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a diffusion that is faster far out"
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "sde_path"})

    prior = Normal(0.0, 0.3)
    dim_theta = 2
    start = torch.tensor([0.5, -0.3], dtype=torch.float64)
    grid = TimeGrid(1.0, 5)

    def sde(self, theta):
        return Curve(theta[..., 0].exp(), theta[..., 1].exp(), self)


class Curve(SDE):
    constant_covariance = False

    def __init__(self, k: Tensor, s: Tensor, mistake: Curved) -> None:
        self.k, self.s, self.mistake = k, s, mistake
        self.constant_covariance = mistake.constant

    def at(self, x):
        k, s = self.k.unsqueeze(-1), self.s.unsqueeze(-1)
        second_order = (s**2 + k).squeeze(-1) * x.shape[-1] + torch.zeros_like(x[..., 0])
        right = DiagonalCoefficients(-k * x, s * (1 + x**2).sqrt(), 2 * s**2 * x, second_order)
        return Scaled(right, self.mistake.wrong, self.mistake.factor)


class ByFunctions(DiffusionTask):
    """dX = −k X dt + s dW in two dimensions from two functions, with θ = (log k, log s)."""

    fault: str = "none"

    name: ClassVar[str] = "by_functions"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a diffusion without closed forms"

    prior = Normal(0.0, 0.3)
    dim_theta = 2
    start = torch.tensor([0.5, -0.3], dtype=torch.float64)
    grid = TimeGrid(1.0, 5)

    def drift(self, x, theta):
        return (x - 100).log() if self.fault == "nan drift" else -theta[..., :1].exp() * x

    def diffusion(self, x, theta):
        scale = theta[..., 1:].exp().expand(x.shape)
        return torch.stack([scale, scale], -2) if self.fault == "singular" else scale


class Scaled:
    """Coefficients of which the one named `wrong` has a factor."""

    def __init__(self, right: DiagonalCoefficients, wrong: str, factor: float) -> None:
        self.right, self.wrong, self.factor = right, wrong, factor

    def __getattr__(self, name):
        value = getattr(self.right, name)
        if name != self.wrong:
            return value
        return (lambda v: self.factor * value(v)) if callable(value) else self.factor * value


# kind of fault, size, task: the rows of the table that `power` makes
FAULTS: list[tuple[str, str, Task]] = [
    ("none", "one parameter", Right()),
    ("none", "two dependent parameters", Valley()),
    ("none", "10 parameters", Mixed()),
    ("none", "two modes", Modes()),
    ("none", "log-normal prior", Positive()),
    ("none", "heavy tails", HeavyTails()),
    ("none", "rare decisions", RareDecisions()),
    ("none", "diffusion", Curved()),
    ("latents", "one of two hidden", Hidden()),
    ("latents", "one of two counted twice", Twice()),
    ("latents", "one hidden in one of 30 components", OneOfThirty()),
    ("reference", "variance 10 % too small, 1 parameter", StretchedReference(factor=0.9)),
    ("reference", "variance 10 % too large, 1 parameter", StretchedReference(factor=1.1)),
    ("reference", "variance 10 % too small, 2 parameters", Valley(variance=0.9)),
    ("reference", "variance 5 % too small, 10 parameters", Mixed(variance=0.95)),
    ("reference", "correlation of −0.86 removed", Valley(dependence=0.0)),
    ("reference", "covariance 10 % too small", Valley(dependence=0.9)),
    ("reference", "variance 15 % too small or too large, by the sign of x", Valley(by_sign=1.15)),
    ("reference", "a mode has 40 % instead of 50 %", Modes(share=0.4)),
    ("diffused score", "30 % too large", WrongDiffused()),
    ("diffused score", "30 % too large where σ < 0.1", WrongDiffused(largest=0.1)),
    ("diffused score", "30 % too large where σ > 0.999", WrongDiffused(least=0.999)),
    ("log_prob", "shifted by 3", Valley(constant=3.0)),
    ("log_prob", "shifted by 0.1", Valley(constant=0.1)),
    ("log_prob", "halved", Valley(power=0.5)),
    ("SDE", "div Σ missing", Curved(wrong="divergence", factor=0.0)),
    ("SDE", "div Σ 10 % too large", Curved(wrong="divergence")),
    ("SDE", "second-order term 10 % too large", Curved(wrong="second_order")),
    ("SDE", "log det Σ 10 % too large", Curved(wrong="half_log_det")),
    ("SDE", "factor of Σ 10 % too large", Curved(wrong="colour")),
    ("SDE", "Σ⁻¹ 10 % too large", Curved(wrong="solve")),
    ("SDE", "Σ said to be constant", Curved(constant=True)),
    *(("score", mistake, Positive(mistake=mistake)) for mistake in MISTAKES if mistake != "none"),
    ("data", "one run in 100 is NaN", NanData()),
]
