"""The ancestors of bridges that resample, and the standard error of their mean that follows from them."""

from dataclasses import dataclass

import torch
from torch import Tensor

LAG = 1 / 3  # see `Genealogy`


@dataclass
class Generation:
    """The particles between two resampling steps.

    Attributes:
        left: the time that was left when the generation was drawn.
        ancestors: for each current particle, the index of its ancestor in this generation (..., N).
        noise: E_g (...) so far, see `Genealogy`.
    """

    left: float
    ancestors: Tensor
    noise: Tensor


class Genealogy:
    """The ancestors of N particles, and the part of the variance of log p̂ that is known.

    Let W be the normalised weights w h of the particles, where h predicts the weight of the remaining steps.
    For a generation g, the particles between two resampling steps, let

        S_g = Σ_o (Σ_{i from o} W_i)² − E_g,    o over the particles of generation g,
        v_g = S_g − S_{g+1},                    v of the last generation = S − 1/N.

    v_g is what generation g adds to the variance of log p̂: the squares of what descendants of one particle
    have in common. E_g is due to their numbers. If F_o = frac(N Σ_{i from o} W_i) before a resampling step,
    systematic resampling draws ⌊N Σ W⌋ or ⌈N Σ W⌉ descendants of o, as they lie next to each other. This adds
    F_o (1 − F_o)/N² to the square in expectation, but hardly anything to the variance of log p̂, as the
    numbers of descendants sum to N. E_g is the sum of these terms.

    The v_g at the end of the bridges, without E_g, sum to the estimate of Chan and Lai (2013), 1/ESS − 1/N of
    the origins. It is too large, and fails where all particles descend from a few. v_g is instead computed a
    *lag* after the generation was resampled, when the weights no longer depend on which ancestor was drawn.
    With the time s of s₀ left, a Brownian bridge keeps the share s/s₀ of a deviation. The lag ends when this
    share is 1/3, and that of the variance 1/9. Without resampling, the variance is 1/ESS − 1/N.

    Source: Olsson and Douc, Numerically stable online estimation of variance in particle filters, 2019, for
    the mean of a filter. The sum over generations for the normalising constant, the lag that shrinks with the
    time left, and E_g are additions.

    Args:
        shape: (..., N).
        left: the time at the start, in any unit.

    Attributes:
        origins: the ancestors in the first generation (..., N).
        settled: sum (...) of the v_g of the generations whose lag has ended.
    """

    def __init__(self, shape: torch.Size, left: float) -> None:
        self.origins = torch.arange(shape[-1]).expand(shape)
        self.settled = torch.zeros(shape[:-1], dtype=torch.float64)
        self.open = [Generation(left, self.origins, torch.zeros_like(self.settled))]

    @property
    def recent(self) -> Tensor:
        """The ancestors (..., N) in the oldest generation whose lag has not ended."""
        return self.open[0].ancestors

    def settle(self, share: Tensor, left: float, lag: float) -> None:
        """Add the v_g of generations whose lag ends now.

        Args:
            share: normalised weights w h (..., N), before resampling.
            left: the time that is left.
            lag: the share of the time left at which a lag ends.
        """
        while len(self.open) > 1 and left <= lag * self.open[1].left:
            older, newer = (sum_of_squares(share, g.ancestors) - g.noise for g in self.open[:2])
            self.settled = self.settled + older - newer
            del self.open[0]

    def resample(self, share: Tensor, chosen: Tensor, low: Tensor, left: float) -> None:
        """Follow a resampling step.

        Args:
            share: normalised weights w h (..., N), before resampling.
            chosen: the indices of the particles that were drawn (..., N).
            low: which pairs resample (..., 1); the others keep their particles.
            left: the time that is left.
        """
        n = share.shape[-1]
        self.origins = self.origins.gather(-1, chosen)
        for generation in self.open:
            fraction = (n * _shared(share, generation.ancestors)).frac()
            added = (fraction * (1 - fraction)).sum(-1) / n**2
            generation.noise = generation.noise + torch.where(low.squeeze(-1), added, 0.0)
            generation.ancestors = generation.ancestors.gather(-1, chosen)
        self.open.append(Generation(left, torch.arange(n).expand_as(chosen), torch.zeros_like(self.settled)))


def sum_of_squares(share: Tensor, ancestors: Tensor) -> Tensor:
    """Return Σ_o (Σ_{i from o} W_i)² (...) for weights W (..., N) and ancestors o (..., N)."""
    return _shared(share, ancestors).square().sum(-1)


def _shared(share: Tensor, ancestors: Tensor) -> Tensor:
    return torch.zeros_like(share).scatter_add_(-1, ancestors, share)
