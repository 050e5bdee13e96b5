"""A method: polynomial regression of u on x."""

from typing import ClassVar

import torch
from torch import Tensor

from graybench import Method, Posterior, PosteriorState, Simulations, UserError, alpha_sigma_at, generator


class PolynomialRegression(Method):
    """Polynomial regression with a Gaussian residual.

        p(u | x) = N(m(x), C),  m(x) = Bᵀ f(x),  f(x) = (1, z, z², …, z^degree) of the standardised data z

    Least squares gives B. C is the sum of squared residuals over the degrees of freedom that are left.
    With u_t = α u_0 + σ ε the diffused posterior is N(α m, α² C + σ² I), and its score is

        ∇ log p_t(u_t | x) = −(α² C + σ² I)⁻¹ (u_t − α m(x)).

    Args:
        degree: the highest power of each component of the data, at least 1.
    """

    name: ClassVar[str] = "polynomial_regression"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Polynomial regression with a Gaussian residual."

    degree: int = 1

    def __post_init__(self) -> None:
        if self.degree not in range(1, 10):
            raise UserError(f"method {self.name}: degree must be from 1 to 9, but is {self.degree}.")

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        """Fit B and C; nothing is random, so that `seed` is not used."""
        u, x = simulations.u.double(), simulations.x.double()
        standard = {"center": x.mean(0), "scale": x.std(0).clamp_min(1e-12)}
        design = self.features(x, standard)
        (n, k), d = design.shape, u.shape[1]
        if n < k + d:
            raise UserError(f"method {self.label} needs a budget of {k + d} here, but has {n}.")
        coefficients = torch.linalg.pinv(design) @ u
        residual = u - design @ coefficients
        covariance = residual.T @ residual / (n - k)
        return RegressionPosterior(self, {**standard, "coefficients": coefficients, "covariance": covariance})

    def features(self, x: Tensor, standard: dict[str, Tensor]) -> Tensor:
        """Return f(x) for x (n, dim_x), with the center and scale of z: (n, 1 + degree · dim_x)."""
        z = (x.double() - standard["center"]) / standard["scale"]
        return torch.cat([torch.ones_like(z[:, :1]), *(z**power for power in range(1, self.degree + 1))], 1)

    def restore(self, state: PosteriorState, dims: tuple[int, int]) -> Posterior:
        d, dim_x = dims
        shapes = {"center": (dim_x,), "scale": (dim_x,), "covariance": (d, d)}
        shapes["coefficients"] = (1 + self.degree * dim_x, d)
        fitted = {name: state.tensor(name, *shape, dtype=torch.float64) for name, shape in shapes.items()}
        return RegressionPosterior(self, fitted)


class RegressionPosterior(Posterior):
    """N(Bᵀ f(x), C); `fitted` holds `center` and `scale` of x, `coefficients` B and `covariance` C."""

    def __init__(self, method: PolynomialRegression, fitted: dict[str, Tensor]) -> None:
        self.method, self.fitted, self.covariance = method, fitted, fitted["covariance"]

    def mean(self, x_o: Tensor) -> Tensor:
        """Return m(x) for x (m, dim_x): (m, 1, d)."""
        return (self.method.features(x_o, self.fitted) @ self.fitted["coefficients"]).unsqueeze(1)

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        factor = torch.linalg.cholesky(self.covariance)
        noise = torch.randn(len(x_o), n, len(factor), generator=generator(seed), dtype=factor.dtype)
        return self.mean(x_o) + noise @ factor.T

    def score(self, u_t: Tensor, x_o: Tensor, t: float) -> Tensor:
        alpha, sigma = alpha_sigma_at(t)
        diffused = alpha**2 * self.covariance + sigma**2 * torch.eye(len(self.covariance))
        return torch.linalg.solve(diffused, alpha * self.mean(x_o) - u_t, left=False)

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        return torch.distributions.MultivariateNormal(self.mean(x_o), self.covariance).log_prob(u)

    def state(self) -> PosteriorState:
        return PosteriorState(self.method, self.fitted)
