"""A posterior in the form that sbi's tools take: a `NeuralPosterior` in θ = T(u) and float32."""

from collections.abc import Callable

import torch
from sbi.inference.posteriors.base_posterior import NeuralPosterior
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.prior import Prior
from ...tasks.seeding import ambient_seed


class SbiPosterior(NeuralPosterior):
    """A posterior in θ = T(u).

        log p(θ | x) = log p(u | x) − log |det ∂θ/∂u|

    `set_default_x`, `potential` and `map` are sbi's own, with log p(θ | x) as the potential. Each call that
    samples draws one seed from torch's global generator, so `torch.manual_seed` determines the samples as in
    sbi.

    Args:
        sample, log_prob: `Posterior.sample` and `Posterior.log_prob`, in u.
        prior: the bijection T.
    """

    def __init__(
        self,
        sample: Callable[[int, Tensor, int], Tensor],
        log_prob: Callable[[Tensor, Tensor], Tensor],
        prior: Prior,
    ) -> None:
        super().__init__(self._density)
        self._sample_u, self._log_prob_u, self._prior = sample, log_prob, prior

    def sample(
        self,
        sample_shape: tuple[int, ...] = (),
        x: Tensor | None = None,
        show_progress_bars: bool = True,
    ) -> Tensor:
        """Draw θ (*sample_shape, d) for one observation.

        Args:
            sample_shape: shape of the samples.
            x: the observation (dim_x,) or (1, dim_x); None for the default x.
            show_progress_bars: ignored.

        Raises:
            UserError: x holds several observations.
        """
        return self.sample_batched(sample_shape, _one(self._x_else_default_x(x))).squeeze(-2)

    def sample_batched(
        self, sample_shape: tuple[int, ...], x: Tensor, show_progress_bars: bool = True
    ) -> Tensor:
        """Draw θ (*sample_shape, B, d) for each of B observations x (B, dim_x)."""
        x_o = self._x_else_default_x(x)
        u = self._sample_u(torch.Size(sample_shape).numel(), x_o, ambient_seed()).detach()
        theta = self._prior.to_theta(u.double()).float().transpose(0, 1)
        return theta.reshape(*sample_shape, *theta.shape[1:])

    def log_prob(self, theta: Tensor, x: Tensor | None = None, track_gradients: bool = False) -> Tensor:
        """Return the normalised log p(θ | x) (n,) for θ (n, d) and one observation; −∞ outside the support.

        Raises:
            UserError: x holds several observations.
            NotImplementedError: the posterior has no log_prob.
        """
        return self.potential(theta, x, track_gradients)

    def _density(self, theta: Tensor, x_o: Tensor) -> Tensor:
        def log_prob(u: Tensor) -> Tensor:
            return self._log_prob_u(u.unsqueeze(0), _one(x_o))[0]

        return self._prior.push_forward(log_prob, theta.double()).float()


def _one(x_o: Tensor) -> Tensor:
    if len(x_o) != 1:
        raise UserError(f"this call takes one observation, but x has {len(x_o)}: use sample_batched.")
    return x_o
