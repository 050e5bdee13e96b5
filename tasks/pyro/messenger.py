"""Runs a pyro model once, for many θ, and reads its joint density on the way; the engine of `PyroTask`.

Where the model comes to a site, the site is checked, its value is drawn without a gradient, and its
log-density at that value is added, row by row. What the model does later sees a value that is fixed, so that
the derivative of the sum with respect to θ is the joint score: no second run is needed.

The simulations are pyro's outermost plate, at dimension −1 − `PLATES`: the model may open up to `PLATES` of
its own within it, and no size of theirs can be taken for the number of simulations.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import pyro
import torch
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution, Independent, TransformedDistribution, constraints
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import ComposeTransform, Transform

from ..errors import UserError

PLATES, ROWS = 4, "simulations"


class JointDensity(Messenger):
    """Draws or takes the value of every site of a model and adds up the log-densities.

    Args:
        task: the task's label, for error messages.
        rows: the number n of simulations.
        data: the name of the site that is the data.
        given: the value of every site, by name; drawn if None.

    Attributes:
        values: the value of every site, by name, (n, ...), without a gradient.
        log_prob: log p(x, z | θ), (n,), in float64, with the gradient of θ.
    """

    def __init__(self, task: str, rows: int, data: str, given: Mapping[str, Tensor] | None) -> None:
        super().__init__()
        self.task, self.rows, self.data, self.given = task, rows, data, given
        self.values: dict[str, Tensor] = {}
        self.log_prob = torch.zeros(rows, dtype=torch.float64)

    def run(self, model: Callable[[Tensor], Any], theta: Tensor) -> None:
        """Run the model within the plate of simulations, for θ (n, d), which it gets as (d, n, 1, ..., 1).

        Raises:
            UserError: a site has no density that the joint score could be derived from, or x is missing.
        """
        parameters = theta.T.reshape(theta.shape[1], self.rows, *[1] * PLATES)
        try:
            with self, pyro.plate(ROWS, self.rows, dim=-1 - PLATES):
                model(parameters)
        except ValueError as error:
            if f"Shape mismatch inside plate('{ROWS}')" not in str(error):
                raise
            advice = "θ comes as its components: a, b = theta"
            raise UserError(
                f"task {self.task}: not one row for each simulation; {advice} ({error})."
            ) from error
        if self.data not in self.values:
            sites = f"site {self.data!r}; sites: {', '.join(self.values) or 'none'}"
            raise UserError(f"task {self.task}: the data must be drawn as {sites}.")

    def _pyro_sample(self, message: Any) -> None:
        # the outermost handler comes last: plates and masks have left their marks in the message
        name, fn = message["name"], message["fn"]
        if site_is_subsample(message):
            self._require_whole_plate(name, fn, message["value"])
        elif (message["infer"] or {}).get("_deterministic"):
            if name == self.data:
                self._reject(name, "is deterministic and so has no density; draw it, with noise")
        else:
            self._check(name, message)
            value = self._value(name, fn)
            density = fn.log_prob(value)
            if density.shape != fn.batch_shape:
                shapes = f"{tuple(density.shape)}, not {tuple(fn.batch_shape)}"
                self._reject(name, f"has log-densities of shape {shapes}; mend log_prob of {_kind(fn)}")
            self.values[name] = value
            self.log_prob = self.log_prob + density.reshape(self.rows, -1).double().sum(1)
            message["value"], message["done"] = value, True

    def _pyro_param(self, message: Any) -> None:
        self._reject(message["name"], "is a pyro.param; make it a constant or a component of θ")

    def _value(self, name: str, fn: Any) -> Tensor:
        if self.given is None:
            with torch.no_grad():
                drawn = fn()
            # a new tensor: transforms that cache would answer log_prob from the draw, without the gradient
            fixed = drawn.detach()
            # a distribution of plain numbers draws in float32, and what follows would be no better than that
            return fixed.double() if fixed.is_floating_point() else fixed
        if name not in self.given:
            self._reject(name, "has no value among the latents that were given; give one for each site")
        return self.given[name].detach().reshape(fn.shape())

    def _check(self, name: str, message: Any) -> None:
        """Raise `UserError` unless the site has a density with a fixed support, of which the draw is one."""
        fn = message["fn"]
        if name in self.values:
            self._reject(name, "occurs twice; give every site a name of its own")
        if not isinstance(fn, TorchDistributionMixin):
            self._reject(name, f"draws from {_kind(fn)}; take one of pyro.distributions")
        for part in _parts(fn):
            if isinstance(part, dist.Unit):
                self._reject(name, "is a pyro.factor, which cannot be simulated; write it as pyro.sample")
            if isinstance(part, dist.Delta):
                self._reject(name, "is a Delta, which has no density; use its value without pyro.sample")
            if isinstance(part, dist.MaskedDistribution):
                self._reject_mask(name)
            self._require_fixed_support(name, part)
        if message["is_observed"] or message["value"] is not None:
            self._reject(name, "has a value already; a simulator draws all: leave out obs and conditioning")
        if message["mask"] is not None:
            self._reject_mask(name)
        if torch.as_tensor(message["scale"]).ne(1).any():
            self._reject(name, "has its density scaled, away from that of its draws; leave out the scale")
        if len(fn.batch_shape) != 1 + PLATES:
            shape = f"has batch shape {tuple(fn.batch_shape)}, but at most {PLATES} plates are possible"
            self._reject(name, f"{shape}; declare the dimensions of a vector or a matrix by to_event")

    def _require_fixed_support(self, name: str, part: Distribution) -> None:
        try:
            moves = _support_moves(part)
        except NotImplementedError:
            self._reject(name, "draws from a distribution without a support; give its class one")
        if moves:
            advice = "draw from a fixed support and transform the value, as low + width * draw"
            self._reject(name, f"has a support that depends on θ, and so no joint score; {advice}")

    def _require_whole_plate(self, name: str, fn: Any, chosen: Tensor | None) -> None:
        size = fn.subsample_size or fn.size if chosen is None else len(chosen)
        if size != fn.size:
            raise UserError(f"task {self.task}: plate {name!r} has {size} of {fn.size} rows; use them all.")

    def _reject_mask(self, name: str) -> NoReturn:
        self._reject(name, "is masked: drawn, but not counted in the density; leave out the mask")

    def _reject(self, name: str, problem: str) -> NoReturn:
        raise UserError(f"task {self.task}: site {name!r} {problem}.")


def _kind(fn: object) -> str:
    return f"{type(fn).__module__}.{type(fn).__qualname__}"


def _parts(fn: Any) -> Iterator[Distribution]:
    """Yield a distribution and those that it is built on: bases, components of mixtures."""
    yield fn
    for value in vars(fn).values():
        if isinstance(value, Distribution):
            yield from _parts(value)


def _support_moves(fn: Any) -> bool:
    """Say whether the support depends on θ: the values of other sites carry no gradient, so θ alone does."""
    if not _has_nominal_support(fn):
        return _carries_gradient(fn.support)
    everywhere = _is_everywhere(fn.base_dist)
    for transform in _steps(fn.transforms):
        if not everywhere and _carries_gradient(transform):
            return True
        everywhere = everywhere and _is_real(transform.codomain)
    return False


def _is_everywhere(fn: Any) -> bool:
    """Say whether the support is all real numbers or vectors."""
    if isinstance(fn, Independent | dist.ExpandedDistribution):
        return _is_everywhere(fn.base_dist)
    if _has_nominal_support(fn):
        return _is_everywhere(fn.base_dist) and all(_is_real(step.codomain) for step in _steps(fn.transforms))
    return _is_real(fn.support)


def _has_nominal_support(fn: Any) -> bool:
    """Say whether `fn.support` is the last transform's whole range: a shifted Uniform's is then all reals."""
    return type(fn).support is TransformedDistribution.support


def _steps(transforms: Iterable[Transform]) -> Iterator[Transform]:
    for transform in transforms:
        if isinstance(transform, ComposeTransform):
            yield from _steps(transform.parts)
        else:
            yield transform


def _is_real(support: Any) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real


def _carries_gradient(thing: Any) -> bool:
    """Say whether a tensor within constraints and transforms depends on θ."""
    if isinstance(thing, Tensor):
        return thing.requires_grad
    if isinstance(thing, list | tuple):
        return any(map(_carries_gradient, thing))
    if isinstance(thing, Constraint | Transform):
        return any(_carries_gradient(value) for key, value in vars(thing).items() if key != "_cached_x_y")
    return False
