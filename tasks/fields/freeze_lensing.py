"""Make the frozen references of `lensing_lognormal`, in about 8 minutes of a free core; it needs pyro.

    python -m graybench.tasks.fields.freeze_lensing

Pyro's No-U-Turn sampler draws parameters u and latents w together, in float64. In these coordinates the prior
is N(0, I). One chain samples all observations at once: their posteriors are independent, so the density of
them all is the product, and a gradient of the product costs little more than a gradient of one. Chains are
independent of each other and start at draws of the prior.

The joint score at a draw (u, w) is an unbiased estimate of the score at u, in either reading. With g_f and
g_w of both, the stored one is g_w + W (g_f − g_w) with the matrix W of least variance.
"""

from typing import Any

import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from ..frozen import save
from ..seeding import derive_seed
from ..task import Task
from .lensing_lognormal import LensingLognormal
from .lensing_readings import combined

CHAINS, WARMUP, DRAWS, THINNING = 4, 300, 2_000, 2
LARGEST_TREE = 6  # at most 2⁶ − 1 steps of a trajectory


def chain(task: LensingLognormal, x: Tensor, warmup: int, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sample the posteriors of m observations by one chain of the No-U-Turn sampler.

    Args:
        task: any reading.
        x: the observations, (m, dim_x).
        warmup: number of draws that adapt step size and masses, and are dropped.
        draws: number n of draws.
        seed: names the random stream; torch's global generator is left as it was.

    Returns:
        u, (m, n, 2), and w, (m, n, N, N).
    """
    whitened = LensingLognormal("whitened", task.grid, task.noise, task.shift)

    def potential(point: dict[str, Tensor]) -> Tensor:
        theta = task.prior.to_theta(point["u"])
        prior = sum(value.square().sum() for value in point.values()) / 2
        return prior - whitened.log_joint(theta, x, point["w"]).sum()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = {
            "u": torch.randn(len(x), task.dim_theta, dtype=x.dtype),
            "w": torch.randn(len(x), task.grid, task.grid, dtype=x.dtype),
        }
        kernel = NUTS(potential_fn=potential, max_tree_depth=LARGEST_TREE)
        run = MCMC(kernel, draws, warmup, initial_params=start, disable_progbar=True)
        run.run()
    found = run.get_samples()
    return found["u"].transpose(0, 1), found["w"].transpose(0, 1)


def joint_scores(task: LensingLognormal, x_o: Tensor, u: Tensor, white: Tensor) -> tuple[Tensor, Tensor]:
    """Return the joint scores in u of the readings "field" and "whitened", (n, 2) each.

    Args:
        task: any reading.
        x_o: one observation, (dim_x,).
        u: parameters, (n, 2).
        white: latents w, (n, N, N).
    """
    theta = task.prior.to_theta(u)
    z = task.field(theta, white)
    scores = []
    for reading, latents in (("field", z), ("whitened", white)):
        read = LensingLognormal(reading, task.grid, task.noise, task.shift)
        point = theta.clone().requires_grad_()
        density = read.log_joint(point, x_o.expand(len(u), -1), latents)
        (slope,) = torch.autograd.grad(density.sum(), point)
        scores.append(task.prior.score_in_u(u, slope))
    return scores[0], scores[1]


def frozen(task: LensingLognormal, x_o: Tensor, u: Tensor, white: Tensor) -> dict[str, Any]:
    """Return the arrays of one observation for `save`, with diagnostics.

    Args:
        task: the task.
        x_o: the observation, (dim_x,).
        u: draws of C chains, (C, n, 2).
        white: their latents, (C, n, N, N).
    """
    ess = effective_sample_size(u)
    flat = u.flatten(0, 1)
    return {
        "draws": flat,
        "scores": combined(*joint_scores(task, x_o, flat, white.flatten(0, 1))),
        "effective_size": min(len(flat), float(ess.min())),
        "ess": ess,
        "r_hat": split_gelman_rubin(u),
    }


def main() -> None:
    """Freeze the references of all observations of the task."""
    torch.set_num_threads(1)
    task = LensingLognormal()
    x = Task.observations(task).x
    parts = []
    for k in range(CHAINS):
        u, white = chain(task, x, WARMUP, DRAWS, derive_seed("frozen", task.name, k))
        parts.append((u[:, ::THINNING], white[:, ::THINNING]))
        print("chain", k, flush=True)
    u, white = (torch.stack(part, 1) for part in zip(*parts, strict=True))
    references = [frozen(task, *rows) for rows in zip(x, u, white, strict=True)]
    for k, row in enumerate(references):
        print(k, "ESS", row["ess"].tolist(), "R-hat", row["r_hat"].tolist(), flush=True)
    print(save(task, references))


if __name__ == "__main__":
    main()
