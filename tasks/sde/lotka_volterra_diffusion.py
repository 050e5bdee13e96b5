"""Predators and prey as a diffusion, with correlated noise that depends on both."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..prior import Normal
from .stored_diffusion import StoredDiffusion

CENTRE = tuple(map(math.log, (0.5, 0.0025, 0.3)))


class LotkaVolterraDiffusion(StoredDiffusion):
    """The diffusion limit of prey X and predators Y, for the logarithms x = (log X, log Y) at m times.

        prey are born, a prey is eaten, predators die, with hazards c₁ X, c₂ X Y, c₃ Y,   θ = log c

        d log X = (c₁ − c₂ Y − ½ Σ₁₁) dt + √(c₁/X) dW₁ − √(c₂ Y/X) dW₂
        d log Y = (c₂ X − c₃ − ½ Σ₂₂) dt + √(c₂ X/Y) dW₂ − √(c₃/Y) dW₃

        prior           log c ~ N(log (0.5, 0.0025, 0.3), 0.15²),   X_0 = 71, Y_0 = 79
        data            log X and log Y at the times T, 2T, …, mT, without noise
        likelihood      not tractable
        reference       4,000 frozen draws of importance sampling squared, see `freeze_diffusions`, which
                        are worth 1,200 to 1,900 independent ones

    Being eaten changes both numbers at once, so the noises are correlated: Σ₁₂ = −c₂. In logarithms Σ is
    positive definite everywhere. A number below 1 counts as 1 in drift and noise; otherwise the noise would
    have no bound. With the default options 1 path in 300 comes so low. The Euler scheme for the logarithms is
    the model.

    Sources: Boys, Wilkinson and Kirkwood, Bayesian inference for a discretely observed stochastic kinetic
    model, 2008, for the parameters; Whitaker et al., Improved bridge constructs for stochastic differential
    equations, 2017, who draw bridges of this diffusion.

    Args:
        duration: T.
        steps: number of steps of the latent path in each interval.
        observed: m.
    """

    name: ClassVar[str] = "lotka_volterra_diffusion"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Predators and prey as a diffusion, with correlated noise that depends on both."

    duration: float = 1.0
    steps: int = 20
    observed: int = 10

    prior = Normal(CENTRE, 0.15)
    dim_theta = 3
    start = torch.tensor([71.0, 79.0], dtype=torch.float64).log()

    def drift(self, x: Tensor, theta: Tensor) -> Tensor:
        prey, predators = x.clamp_min(0).exp().unbind(-1)
        birth, eating, death = theta.exp().unbind(-1)
        of_prey = birth - eating * predators - 0.5 * (birth + eating * predators) / prey
        of_predators = eating * prey - death - 0.5 * (eating * prey + death) / predators
        return torch.stack([of_prey, of_predators], -1)

    def diffusion(self, x: Tensor, theta: Tensor) -> Tensor:
        prey, predators = x.clamp_min(0).exp().unbind(-1)
        birth, eating, death = theta.exp().unbind(-1)
        none = torch.zeros_like(prey)
        rows = [
            torch.stack([(birth / prey).sqrt(), -(eating * predators / prey).sqrt(), none], -1),
            torch.stack([none, (eating * prey / predators).sqrt(), -(death / predators).sqrt()], -1),
        ]
        return torch.stack(rows, -2)
