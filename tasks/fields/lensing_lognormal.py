"""Weak lensing: two parameters of the spectrum of a log-normal field, observed in noise."""

import math
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..frozen import StoredTask
from ..plugin import require_choice, require_positive, require_whole
from ..prior import Normal
from ..structure import Field
from ..task import Outcome

READINGS = ("field", "whitened")
COARSE = 16  # points along a side to which `noise` refers
ROWS_AT_ONCE = 1_024


class LensingLognormal(StoredTask):
    """A convergence map of weak lensing: a Gaussian field z, made log-normal, in noise.

        w_k ~ N(0, 1)                       for each frequency k of an N × N grid
        z   = H(√P ∘ w),                    P_k = N² σ² |k|⁻ⁿ / Σ_j |j|⁻ⁿ,   P_0 = 0
        κ   = λ (exp(z/λ − σ²/(2λ²)) − 1)
        x   = κ + N(0, s²),                 s = noise · N/16,   θ = (log σ, n)

        prior           log σ ~ N(log ½, 0.25²),   n ~ N(1.5, 0.5²)
        reference       4,000 frozen draws of a long Hamiltonian Monte Carlo run, see `freeze_lensing`

    H is the Hartley transform, orthonormal and its own inverse. So z is stationary with the power spectrum P
    and variance σ² at each point, and E[κ] = 0; σ is to the map what σ₈ is to the density of matter. λ, the
    shift, is the least convergence, −λ, of an empty line of sight; for λ → ∞ the map is Gaussian. A finer
    grid shows the same patch of sky; its points hold fewer galaxies each, so their noise is larger.

    **Two readings** have the same data and the same posterior. They differ in what the latents are, and so in
    the joint score. With r = (x − κ)/s²:

        field       ∇_θ log p(z | θ) + ∇_θ log p(x | z, θ)
                    log σ:  Σ_{k≠0} (w_k² − 1) − σ²/λ² Σ r (κ + λ)
                    n:      ½ Σ_{k≠0} (w_k² − 1) D_k,   D_k = Σ_j P_j log |j|/Σ_j P_j − log |k|
        whitened    ∇_θ log p(x | f(θ, w)) with x = f(θ, w) + noise
                    log σ:  Σ r (κ + λ) (z/λ − σ²/λ²)
                    n:      Σ r (κ + λ) H(½ D ∘ √P ∘ w)/λ

    The last sum of the first row is there because the mean −σ²/(2λ²) of log(1 + κ/λ) depends on θ when z is
    held fixed. κ itself could not be the latent: with P_0 = 0, the mean of log(1 + κ/λ) over the grid is
    −σ²/(2λ²) exactly, so that the support of κ depends on θ.

    The variance of the field's first part grows with the number of modes, whether the data see them or not.
    That of its second part, and of the whitened score, grows like 1/s²: the whitened score has the
    information of x on θ for known w.

    Source: Zeghal et al., Simulation-based inference benchmark for weak lensing cosmology, arXiv 2409.17975,
    and Lanzieri et al., Optimal neural summarisation for full-field weak lensing cosmological implicit
    inference, arXiv 2407.10877, whose simulator sbi_lens has a spectrum from cosmology and five redshifts.

    Args:
        reading: "field" or "whitened".
        grid: N, 4 or more.
        noise: the standard deviation of the noise of a point of the grid of 16 × 16.
        shift: λ.
    """

    name: ClassVar[str] = "lensing_lognormal"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "A log-normal field in noise, as in weak lensing: two parameters of its spectrum."
    )
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "reference"})
    same_posterior: ClassVar[frozenset[str]] = frozenset({"reading"})
    prior = Normal((math.log(0.5), 1.5), (0.25, 0.5))
    dim_theta = 2

    reading: str = "field"
    grid: int = 16
    noise: float = 0.4
    shift: float = 1.0

    def __post_init__(self) -> None:
        require_choice(f"task {self.name}", "reading", self.reading, READINGS)
        require_whole(f"task {self.name}: grid", self.grid, 4)
        for option in ("noise", "shift"):
            require_positive(f"task {self.name}: {option}", getattr(self, option))
        super().__post_init__()

    @property
    def dim_x(self) -> int:
        """The number of points of the grid."""
        return self.grid**2

    @property
    def structure(self) -> Field:
        """One map."""
        return Field((self.grid, self.grid))

    @property
    def noise_std(self) -> float:
        """The standard deviation s of the noise of a point."""
        return self.noise * self.grid / COARSE

    def log_spectrum(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return log P and its derivative D by n, (n, N, N) each, for θ (n, 2); unused at k = 0."""
        log_k, log_present = _frequencies(self.grid)
        log_sigma, slope = theta[:, :, None, None].unbind(1)
        unnormalised = log_present - slope * log_k
        total = torch.logsumexp(unnormalised, (1, 2), keepdim=True)
        mean = ((unnormalised - total).exp() * log_k).sum((1, 2), keepdim=True)
        return 2 * (log_sigma + math.log(self.grid)) - slope * log_k - total, mean - log_k

    def convergence(self, theta: Tensor, z: Tensor) -> Tensor:
        """Return κ, (n, N, N), for θ (n, 2) and z (n, N, N)."""
        half_variance = (2 * theta[:, 0, None, None]).exp() / 2
        return self.shift * torch.expm1(z / self.shift - half_variance / self.shift**2)

    def field(self, theta: Tensor, white: Tensor) -> Tensor:
        """Return z, (n, N, N), for θ (n, 2) and w (n, N, N)."""
        root = (self.log_spectrum(theta)[0] / 2).exp() * _present(self.grid)
        return hartley(root * white)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw a field and its noise for each θ, (n, 2)."""
        parts = [self._simulate(rows, generator) for rows in theta.split(ROWS_AT_ONCE)]
        x, score, latents = (torch.cat(part) for part in zip(*parts, strict=True))
        return Outcome(x, score, latents=latents)

    def _simulate(self, theta: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, joint score and latents of a few rows."""
        shape = (len(theta), self.grid, self.grid)
        white = torch.randn(shape, generator=generator, dtype=theta.dtype) * _present(self.grid)
        noise = torch.randn(shape, generator=generator, dtype=theta.dtype)
        log_power, tilt = self.log_spectrum(theta)
        scaled = (log_power / 2).exp() * white
        z = hartley(scaled)
        kappa = self.convergence(theta, z)
        x = kappa + self.noise_std * noise
        pull = noise / self.noise_std * (1 + kappa / self.shift)  # the gradient of log p(x | κ) by z
        of_mean = -(2 * theta[:, 0]).exp() / self.shift * pull.sum((1, 2))
        if self.reading == "field":
            excess = (white.square() - 1) * _present(self.grid)
            of_sigma, of_slope = excess.sum((1, 2)), (excess * tilt).sum((1, 2)) / 2
        else:
            of_sigma, of_slope = (pull * z).sum((1, 2)), (pull * hartley(tilt * scaled)).sum((1, 2)) / 2
        latents = z if self.reading == "field" else white
        return x.flatten(1), torch.stack([of_sigma + of_mean, of_slope], 1), latents

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(x, z | θ), or log p(x | w, θ) of the reading "whitened", up to a constant, (n,).

        The latents are z or w, (n, N, N).
        """
        whitened = self.reading == "whitened"
        z = self.field(theta, latents) if whitened else latents
        residual = x.view_as(z) - self.convergence(theta, z)
        of_data = -residual.square().sum((1, 2)) / (2 * self.noise_std**2)
        return of_data if whitened else of_data + self.log_field(theta, z)

    def log_field(self, theta: Tensor, z: Tensor) -> Tensor:
        """Return log p(z | θ) up to a constant, (n,), for θ (n, 2) and z (n, N, N)."""
        log_power = self.log_spectrum(theta)[0]
        terms = hartley(z).square() * (-log_power).exp() + log_power
        return -(terms * _present(self.grid)).sum((1, 2)) / 2


def hartley(a: Tensor) -> Tensor:
    """Return the orthonormal Hartley transform over the last two axes, Σ_r a_r cas(2π k·r/N)/N.

    cas is cos + sin.
    """
    transformed = torch.fft.fft2(a, norm="ortho")
    return transformed.real - transformed.imag


@lru_cache(maxsize=8)
def _frequencies(grid: int) -> tuple[Tensor, Tensor]:
    """Return log |k|, with 0 at k = 0, and the logarithm of `_present`, (N, N) each."""
    axis = torch.fft.fftfreq(grid, 1 / grid, dtype=torch.float64)
    squares = axis[:, None].square() + axis.square()
    log_k = squares.where(squares > 0, torch.ones_like(squares)).log() / 2
    return log_k, (squares > 0).to(torch.float64).log()


def _present(grid: int) -> Tensor:
    """Return 0 for k = 0 and 1 for the other frequencies, (N, N)."""
    return _frequencies(grid)[1].exp()
