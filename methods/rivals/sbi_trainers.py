"""sbi's trainers and posteriors, made deterministic and silent for the methods that use them.

sbi draws from global generators and prints. Every call sets the generators from its own seed and suppresses
the prints, see `private_randomness.py`. sbi's epochs are reported as progress.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..method import Posterior
from ..progress import report
from .optional_package import import_for
from .private_randomness import private_randomness, quiet

PATIENCE = 20  # sbi stops after so many epochs without improvement, so at least so many are to come


class NoTracker:
    """A tracker that discards training curves; sbi's default writes them to a folder."""

    log_dir = None

    def log_metric(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    log_metrics = log_params = add_figure = flush = log_metric


def make_trainer(method: str, algorithm: str, d: int, **options: Any) -> Any:
    """Return one of sbi's trainers for d parameters with the prior N(0, I).

    Args:
        method: the name of the method that uses it, for messages.
        algorithm: the name of the class in `sbi.inference`.
        d: number of parameters.
        options: further arguments of the class.

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
    """Return the prior N(0, I) of u."""
    return torch.distributions.MultivariateNormal(torch.zeros(d), torch.eye(d))


class WrappedPosterior(Posterior):
    """One of sbi's posteriors.

    Args:
        posterior: sbi's posterior.
        data: the map from observations (m, dim_x) to the data that sbi was trained on.
    """

    def __init__(self, posterior: Any, data: Callable[[Tensor], Tensor] = Tensor.float) -> None:
        self.posterior, self.data = posterior, data

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        with private_randomness(seed), quiet():
            drawn = self.posterior.sample_batched((n,), x=self.data(x_o), show_progress_bars=False)
        return drawn.transpose(0, 1)


class ItemsPosterior(WrappedPosterior):
    """A posterior of any number of items, whose scores sbi composes from the scores of single items.

    Args:
        posterior: sbi's posterior given one item.
        iid_method: sbi's name of the composition.
    """

    composes = True

    def __init__(self, posterior: Any, iid_method: str) -> None:
        super().__init__(posterior)
        self.iid_method = iid_method

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        assert self.dims is not None
        d, dim_x = self.dims
        given: dict[str, Any] = {"iid_method": self.iid_method, "show_progress_bars": False}
        with private_randomness(seed), quiet():
            items = (x.reshape(-1, dim_x) for x in self.data(x_o))
            drawn = [self.posterior.sample((n,), x=x, **given) for x in items]
        return torch.stack(drawn) if drawn else torch.empty(0, n, d)


class DensityPosterior(WrappedPosterior):
    """A posterior with a normalised density, which is differentiable if u requires a gradient."""

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        theta = u.float().transpose(0, 1)
        density = self.posterior.log_prob_batched(
            theta, x=self.data(x_o), norm_posterior=False, track_gradients=_differentiated(u)
        )
        return density.transpose(0, 1)


class FlowPosterior(WrappedPosterior):
    """A posterior whose density sbi finds by solving an ODE, here for all observations at once.

    The density is differentiable if u requires a gradient. For flow matching it is the density of `sample`.
    For score estimation `sample` integrates an SDE, whose law equals this density only if the score is exact.
    """

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        flow = self.posterior.potential_fn.neural_ode(self.data(x_o))
        with torch.set_grad_enabled(_differentiated(u)):
            density: Tensor = flow.log_prob(u.float().transpose(0, 1))
        return density.transpose(0, 1)


def _differentiated(u: Tensor) -> bool:
    """Return whether to differentiate a density of u; sbi's own parameters always require a gradient."""
    return u.requires_grad and torch.is_grad_enabled()
