"""sbi's trainers and posteriors as the methods of the suite use them.

sbi draws from the global generators and prints: they are set from the seed that a call was given for as long
as it runs, and nothing is printed (`rivals.private_randomness`). It counts epochs, which are reported to
whoever listens to the suite's progress.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..method import Posterior
from ..progress import report
from .optional_package import import_for
from .private_randomness import private_randomness, quiet

PATIENCE = 20  # epochs without improvement after which sbi stops: at least so many more are to come


class NoTracker:
    """Takes sbi's training curves and keeps none of them, where sbi's own would write them to a folder."""

    log_dir = None

    def log_metric(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    log_metrics = log_params = add_figure = flush = log_metric


def make_trainer(method: str, algorithm: str, d: int, **options: Any) -> Any:
    """Make one of sbi's trainers for d parameters with the prior N(0, I), for the method of that name.

    Raises:
        UserError: sbi is not installed.
    """
    with private_randomness(0), quiet():  # sbi draws from a prior to check it
        inference = import_for(f"method {method}", "sbi.inference")
        made = getattr(inference, algorithm)(
            prior=standard_normal(d), tracker=NoTracker(), show_progress_bars=False, **options
        )
    made._maybe_show_progress = lambda show, epoch: report("fit", epoch, epoch + PATIENCE)
    return made


def standard_normal(d: int) -> torch.distributions.MultivariateNormal:
    """Give the prior of u."""
    return torch.distributions.MultivariateNormal(torch.zeros(d), torch.eye(d))


class WrappedPosterior(Posterior):
    """One of sbi's posteriors, given what `data` makes of observations of `dim_x` components."""

    def __init__(self, posterior: Any, dim_x: int, data: Callable[[Tensor], Tensor] = Tensor.float) -> None:
        self.posterior, self.dim_x, self.data = posterior, dim_x, data

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        with private_randomness(seed), quiet():
            drawn = self.posterior.sample_batched((n,), x=self.data(x_o), show_progress_bars=False)
        return drawn.transpose(0, 1)


class DensityPosterior(WrappedPosterior):
    """One with a normalised density, which is differentiated if u is to be."""

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        theta = u.float().transpose(0, 1)
        density = self.posterior.log_prob_batched(
            theta, x=self.data(x_o), norm_posterior=False, track_gradients=_differentiated(u)
        )
        return density.transpose(0, 1)


class FlowPosterior(WrappedPosterior):
    """One whose density sbi finds by solving an ODE, here for all observations at once; it is differentiated
    if u is to be.

    The density is that of `sample` for flow matching; a score's samples come from an SDE, whose law it is
    only as far as the score is right.
    """

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        flow = self.posterior.potential_fn.neural_ode(self.data(x_o))
        with torch.set_grad_enabled(_differentiated(u)):
            density: Tensor = flow.log_prob(u.float().transpose(0, 1))
        return density.transpose(0, 1)


def _differentiated(u: Tensor) -> bool:
    """Say whether a density of u is to be differentiated: sbi's own parameters always ask for it."""
    return u.requires_grad and torch.is_grad_enabled()
