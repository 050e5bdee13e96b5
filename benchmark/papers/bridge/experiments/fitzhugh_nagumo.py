"""An experiment with a user's own SDE whose drift is fast and strong: FitzHugh-Nagumo with noise."""

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from .....methods.bridge.learned.scores import LearnedScores
from .....methods.bridge.learned.training import ScoreTraining, learn, one_point
from .....methods.bridge.likelihood import BridgeSampler
from .....tasks.sde.automatic import AutomaticSDE
from .....tasks.sde.sde import TimeGrid, euler_path
from .....tasks.seeding import derive_seed, generator
from .piece import Experiment, Row

GRID = TimeGrid(3.0, 150)
FAST, SLOPE, LEVEL, SIGMA = 0.2, 1.5, 0.8, 0.3
START = (-0.9, -0.5)
ENDS, PARTICLES = 4, 1024
BATCHES, BATCH = 10, 20_000  # of Euler paths behind the truth
TRAINING = ScoreTraining(paths=3_000, steps=1_500, batch=512)
SAMPLERS = {
    "flow": BridgeSampler(base="flow", particles=PARTICLES),
    "flow, resampled": BridgeSampler(base="flow", particles=PARTICLES, threshold=0.5),
    "linearised": BridgeSampler(base="linearised", particles=PARTICLES),
    "midpoint": BridgeSampler(base="midpoint", particles=PARTICLES),
    "guided": BridgeSampler(proposal="guided", particles=PARTICLES),
    "learned": BridgeSampler(particles=PARTICLES),
}


def fitzhugh_nagumo() -> Experiment:
    """Log-likelihoods of four end points by closed forms and by a learned score, which has no base.

        dV = (V − V³ − W)/0.2 dt + 0.3 dB₁,    dW = (1.5 V − W + 0.8) dt + 0.3 dB₂,    from (−0.9, −0.5)

    T = 3 and K = 150. `exact` is the mean density of the last Euler step over 200,000 paths, with its
    standard error `exact_stderr`.
    """
    for name in SAMPLERS:
        yield partial(_estimated, name)


def drift(x: Tensor, theta: Tensor) -> Tensor:
    """Return ((v − v³ − w)/θ₁, θ₂ v − w + θ₃), (..., 2), for states x = (v, w)."""
    v, w = x.unbind(-1)
    fast, slope, level, _ = theta.unbind(-1)
    return torch.stack([(v - v**3 - w) / fast, slope * v - w + level], -1)


def diffusion(x: Tensor, theta: Tensor) -> Tensor:
    """Return (θ₄, θ₄), (..., 2)."""
    return theta[..., 3:].expand(x.shape)


def _estimated(name: str) -> list[Row]:
    sde, start = _sde(), torch.tensor(START, dtype=torch.float64)
    y, exact, exact_stderr = _ends()
    base = _scores() if name == "learned" else None
    found = SAMPLERS[name].estimate(sde, start, y, GRID, derive_seed("bridges", "fitzhugh_nagumo"), base)
    return [
        {
            "bridges": name,
            "v": float(y[k, 0]),
            "w": float(y[k, 1]),
            "exact": float(exact[k]),
            "exact_stderr": float(exact_stderr[k]),
            "error": float(found.value[k] - exact[k]),
            "stderr": float(found.stderr[k]),
            "ess_fraction": float(found.ess_fraction[k]),
            "lost_fraction": float(found.lost_fraction[k]),
        }
        for k in range(ENDS)
    ]


def _sde() -> AutomaticSDE:
    return AutomaticSDE(drift, diffusion, torch.tensor([FAST, SLOPE, LEVEL, SIGMA], dtype=torch.float64), 2)


@cache
def _ends() -> tuple[Tensor, Tensor, Tensor]:
    """Return end points (4, 2) drawn from the model, their log-densities and the standard errors of these."""
    sde, start = _sde(), torch.tensor(START, dtype=torch.float64)
    y = euler_path(sde, start, GRID, _noise("ends", GRID.steps, ENDS))[:, -1]
    before, step = TimeGrid(GRID.time(GRID.steps - 1), GRID.steps - 1), GRID.dt
    log_densities = []
    for batch in range(BATCHES):
        last = euler_path(sde, start, before, _noise(str(batch), before.steps, BATCH))[:, -1]
        mean = last + sde.at(last).drift * step
        law = torch.distributions.Normal(mean.unsqueeze(1), SIGMA * step**0.5)
        log_densities.append(law.log_prob(y).sum(-1))
    density = torch.cat(log_densities).exp()
    mean = density.mean(0)
    return y, mean.log(), density.std(0) / (math.sqrt(len(density)) * mean)


def _noise(stream: str, steps: int, paths: int) -> Tensor:
    random = generator(derive_seed("bridges", "fitzhugh_nagumo", stream))
    return torch.randn((steps, paths, 2), generator=random, dtype=torch.float64)


@cache
def _scores() -> LearnedScores:
    law = one_point(_sde(), torch.tensor(START, dtype=torch.float64))
    return learn(law, GRID, TRAINING, derive_seed("bridges", "fitzhugh_nagumo", "training"))


FITZHUGH_NAGUMO: dict[str, Callable[[], Experiment]] = {"fitzhugh_nagumo": fitzhugh_nagumo}
