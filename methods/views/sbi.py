"""A posterior as sbi's tools take it: a `NeuralPosterior`, in θ = T(u) and float32.

    log p(θ | x) = log p(u | x) − log |det ∂θ/∂u|

Each call that samples draws one seed from torch's global generator, so that `torch.manual_seed` rules here as
it does in sbi.
"""

from collections.abc import Callable

import torch
from sbi.inference.posteriors.base_posterior import NeuralPosterior
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.prior import Prior
from ...tasks.seeding import ambient_seed


class SbiPosterior(NeuralPosterior):
    """The view; `set_default_x`, `potential` and `map` are sbi's own, the potential being log p(θ | x).

    Args:
        sample, log_prob: those of a `Posterior`, in u.
        prior: the bijection θ = T(u).
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
        """Draw θ for one observation, x or the default one: (*sample_shape, d); there are no bars to show.

        Raises:
            UserError: x holds several observations.
        """
        return self.sample_batched(sample_shape, _one(self._x_else_default_x(x))).squeeze(-2)

    def sample_batched(
        self, sample_shape: tuple[int, ...], x: Tensor, show_progress_bars: bool = True
    ) -> Tensor:
        """Draw θ for each of B observations x, (B, dim_x): (*sample_shape, B, d)."""
        x_o = self._x_else_default_x(x)
        u = self._sample_u(torch.Size(sample_shape).numel(), x_o, ambient_seed()).detach()
        theta = self._prior.to_theta(u.double()).float().transpose(0, 1)
        return theta.reshape(*sample_shape, *theta.shape[1:])

    def log_prob(self, theta: Tensor, x: Tensor | None = None, track_gradients: bool = False) -> Tensor:
        """Give log p(θ | x), normalised, for θ (n, d) and one observation: (n,); −∞ outside the support.

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
        raise UserError(f"this call takes one observation, but x has {len(x_o)}; try sample_batched.")
    return x_o
