"""Tasks with the interface of sbibm."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from .errors import UserError
from .prior import Prior
from .reference import Reference
from .sampled_reference import SampledReference
from .seeding import ambient_seed, derive_seed, generator

REFERENCE_SAMPLES = 10_000


class Viewed(Protocol):
    """The part of a `Task` that a view needs."""

    n_observations: ClassVar[int]

    @property
    def label(self) -> str: ...
    @property
    def prior(self) -> Prior: ...
    @property
    def dim_theta(self) -> int: ...
    @property
    def dim_x(self) -> int: ...
    def simulator(self, theta: Tensor, generator: torch.Generator) -> Any: ...
    def observations(self) -> Any: ...
    def reference(self, x_o: Tensor) -> Reference: ...


class PriorDistribution(torch.distributions.Distribution):
    """A prior over θ of dimension d, as a `torch.distributions.Distribution`."""

    arg_constraints: ClassVar = {}

    def __init__(self, prior: Prior, dim: int) -> None:
        super().__init__(event_shape=torch.Size([dim]), validate_args=False)
        self.prior = prior

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw θ, (*sample_shape, d)."""
        u = torch.randn(*sample_shape, *self.event_shape, dtype=torch.float64)
        return self.prior.to_theta(u).float()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(θ), (...), for θ (..., d); −∞ outside the support."""
        return self.prior.push_forward(_standard_normal, value.double()).float()


class SbibmSimulator:
    """A simulator that counts its runs in `num_simulations`.

    Args:
        view: the view of the task.
        max_calls: the largest number of runs in total, one for each row of θ; None for no limit.
    """

    def __init__(self, view: "SbibmView", max_calls: int | None) -> None:
        self.simulator, self.max_calls, self.num_simulations = view.simulate, max_calls, 0
        self.name, self.dim_data, self.dim_parameters = view.name, view.dim_data, view.dim_parameters
        self.flatten_data, self.unflatten_data = view.flatten_data, view.unflatten_data

    def __call__(self, parameters: Tensor) -> Tensor:
        """Return x, (n, dim_data), for θ (n, d), or for θ (d,) with n = 1.

        Raises:
            UserError: θ has a wrong shape, or the total number of runs would exceed `max_calls`.
        """
        theta = torch.atleast_2d(parameters)
        if theta.ndim != 2 or theta.shape[1] != self.dim_parameters:
            shape, d = tuple(parameters.shape), self.dim_parameters
            raise UserError(f"task {self.name}: parameters must have shape (n, {d}), not {shape}.")
        asked = self.num_simulations + len(theta)
        if self.max_calls is not None and asked > self.max_calls:
            raise UserError(
                f"task {self.name}: {asked} simulations are more than max_calls, {self.max_calls}; "
                "request fewer, or a new simulator."
            )
        x = self.simulator(theta)
        self.num_simulations = asked
        return x


class SbibmView:
    """A task with the interface of sbibm: θ and float32, observations counted from 1.

    The view has the methods of sbibm's tasks for sampling and scoring, and does not need sbibm. It has no
    Pyro model, which a few algorithms of sbibm request through `_get_transforms` and `_get_log_prob_fn`.

    Parameters and data are drawn with torch's global generator, as in sbibm: `torch.manual_seed` makes them
    reproducible. Observations and reference draws are the same in every call.

    Args:
        task: the task.

    Attributes:
        num_posterior_samples: the number of samples that sbibm compares with the reference.
        num_simulations: sbibm's budgets.
    """

    num_posterior_samples = REFERENCE_SAMPLES
    num_simulations: ClassVar = [100, 1000, 10_000, 100_000, 1_000_000]

    def __init__(self, task: Viewed) -> None:
        self._task = task
        self.name = self.name_display = task.label
        self.dim_data, self.dim_parameters = task.dim_x, task.dim_theta
        self.num_observations = task.n_observations

    @property
    def num_reference_posterior_samples(self) -> int:
        """The number of reference draws per observation: 10,000, or fewer if fewer are stored."""
        return len(self.get_reference_posterior_samples(1))

    def get_prior(self) -> Callable[..., Tensor]:
        """Return a function prior(num_samples=1) that draws θ, (num_samples, d)."""

        def prior(num_samples: int = 1) -> Tensor:
            return self.get_prior_dist().sample((num_samples,))

        return prior

    def get_prior_dist(self) -> PriorDistribution:
        """Return the prior over θ as a distribution of torch."""
        return PriorDistribution(self._task.prior, self.dim_parameters)

    def get_simulator(self, max_calls: int | None = None) -> SbibmSimulator:
        """Return a simulator with its own count of runs; beyond `max_calls` runs it raises `UserError`."""
        return SbibmSimulator(self, max_calls)

    def get_observation(self, num_observation: int) -> Tensor:
        """Return observation `num_observation`, (1, dim_data)."""
        return self._observations.x[self._row(num_observation)].float()

    def get_true_parameters(self, num_observation: int) -> Tensor:
        """Return the true θ of observation `num_observation`, (1, d)."""
        return self._observations.theta[self._row(num_observation)].float()

    def get_reference_posterior_samples(self, num_observation: int) -> Tensor:
        """Return draws of θ from the reference posterior of an observation, (10,000, d), or all stored draws.

        Stored draws are returned as they are: drawing from them again would repeat some.

        Raises:
            UserError: there is no such observation, or the task has no reference posterior.
        """
        reference = self._reference(num_observation)
        if isinstance(reference, SampledReference):
            u = reference.draws[:REFERENCE_SAMPLES]
        else:
            u = reference.sample(REFERENCE_SAMPLES, derive_seed("sbibm", "reference", num_observation))
        return self._task.prior.to_theta(u).float()

    def _sample_reference_posterior(self, num_samples: int, num_observation: int) -> Tensor:
        """Draw new θ from the reference posterior, (num_samples, d), under sbibm's name."""
        u = self._reference(num_observation).sample(num_samples, ambient_seed())
        return self._task.prior.to_theta(u).float()

    def get_labels_data(self) -> list[str]:
        """Return the names data_1, data_2, ..."""
        return [f"data_{i + 1}" for i in range(self.dim_data)]

    def get_labels_parameters(self) -> list[str]:
        """Return the names parameter_1, parameter_2, ..."""
        return [f"parameter_{i + 1}" for i in range(self.dim_parameters)]

    def flatten_data(self, data: Tensor) -> Tensor:
        """Return data as (n, dim_data)."""
        return data.reshape(-1, self.dim_data)

    unflatten_data = flatten_data

    def simulate(self, theta: Tensor) -> Tensor:
        """Run the simulator once for each row of θ, (n, d); return x, (n, dim_data)."""
        return self._task.simulator(theta.double(), generator(ambient_seed())).x.float()

    @cached_property
    def _observations(self) -> Any:
        return self._task.observations()

    def _reference(self, num_observation: int) -> Reference:
        return self._task.reference(self._observations.x[self._row(num_observation)][0])

    def _row(self, num_observation: int) -> slice:
        if not 1 <= num_observation <= self.num_observations:
            raise UserError(
                f"task {self.name}: observations are numbered 1 to {self.num_observations}, "
                f"but {num_observation!r} was requested."
            )
        return slice(num_observation - 1, num_observation)


def _standard_normal(u: Tensor) -> Tensor:
    return -0.5 * (u.square() + math.log(2 * math.pi)).sum(-1)
