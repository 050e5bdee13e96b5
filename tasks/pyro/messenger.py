"""The engine of `PyroTask`: it runs a pyro model once for many θ and adds up the joint density."""

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
    """A pyro handler that sets the value of every site of a model and adds up the log-densities.

    At each site the handler checks the distribution, draws the value without a gradient or takes it from
    `given`, and adds the log-density of the value, row by row. Later sites see a fixed value. The derivative
    of the sum in θ is therefore the joint score, without a second run.

    Simulations are pyro's outermost plate, at dimension −1 − `PLATES`. The model may open up to `PLATES`
    plates of its own inside, and no plate can be confused with the simulations by its size.

    Args:
        task: the task's label, for error messages.
        rows: the number n of simulations.
        data: the name of the site with the data.
        given: the value of every site, by name; None to draw them.

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
        """Run the model within the plate of simulations, for θ (n, d).

        The model receives θ as (d, n, 1, 1, 1, 1).

        Raises:
            UserError: a site has no density from which a joint score follows, or the site with the data is
                missing.
        """
        parameters = theta.T.reshape(theta.shape[1], self.rows, *[1] * PLATES)
        try:
            with self, pyro.plate(ROWS, self.rows, dim=-1 - PLATES):
                model(parameters)
        except ValueError as error:
            if f"Shape mismatch inside plate('{ROWS}')" not in str(error):
                raise
            advice = "unpack θ into its components: a, b = theta"
            raise UserError(
                f"task {self.task}: a site does not have one row per simulation; {advice} ({error})."
            ) from error
        if self.data not in self.values:
            sites = f"site {self.data!r}; sites: {', '.join(self.values) or 'none'}"
            raise UserError(f"task {self.task}: the data must be drawn as {sites}.")

    def _pyro_sample(self, message: Any) -> None:
        # The outermost handler comes last, so the message includes the effects of plates and masks.
        name, fn = message["name"], message["fn"]
        if site_is_subsample(message):
            self._require_whole_plate(name, fn, message["value"])
        elif (message["infer"] or {}).get("_deterministic"):
            if name == self.data:
                self._reject(name, "is deterministic and has no density; draw it with noise")
        else:
            self._check(name, message)
            value = self._value(name, fn)
            density = fn.log_prob(value)
            if density.shape != fn.batch_shape:
                shapes = f"{tuple(density.shape)}, not {tuple(fn.batch_shape)}"
                self._reject(name, f"has log-densities of shape {shapes}; fix log_prob of {_kind(fn)}")
            self.values[name] = value
            self.log_prob = self.log_prob + density.reshape(self.rows, -1).double().sum(1)
            message["value"], message["done"] = value, True

    def _pyro_param(self, message: Any) -> None:
        self._reject(message["name"], "is a pyro.param; make it a constant or a component of θ")

    def _value(self, name: str, fn: Any) -> Tensor:
        if self.given is None:
            with torch.no_grad():
                drawn = fn()
            # A new tensor: transforms cache the drawn one, and log_prob would then skip the gradient.
            fixed = drawn.detach()
            # A distribution of plain numbers draws in float32, which would limit all that follows.
            return fixed.double() if fixed.is_floating_point() else fixed
        if name not in self.given:
            self._reject(name, "has no value among the given latents; pass one for each site")
        return self.given[name].detach().reshape(fn.shape())

    def _check(self, name: str, message: Any) -> None:
        """Raise `UserError` unless the site draws from a density with a fixed support."""
        fn = message["fn"]
        if name in self.values:
            self._reject(name, "occurs twice; name every site differently")
        if not isinstance(fn, TorchDistributionMixin):
            self._reject(name, f"draws from {_kind(fn)}; use a distribution of pyro.distributions")
        for part in _parts(fn):
            if isinstance(part, dist.Unit):
                self._reject(name, "is a pyro.factor, which cannot be simulated; write it as pyro.sample")
            if isinstance(part, dist.Delta):
                self._reject(name, "is a Delta, which has no density; use its value without pyro.sample")
            if isinstance(part, dist.MaskedDistribution):
                self._reject_mask(name)
            self._require_fixed_support(name, part)
        if message["is_observed"] or message["value"] is not None:
            self._reject(
                name, "already has a value; a simulator draws every site: remove obs and conditioning"
            )
        if message["mask"] is not None:
            self._reject_mask(name)
        if torch.as_tensor(message["scale"]).ne(1).any():
            self._reject(
                name, "has a scaled density, which differs from the density of its draws; remove the scale"
            )
        if len(fn.batch_shape) != 1 + PLATES:
            shape = f"has batch shape {tuple(fn.batch_shape)}, but at most {PLATES} plates are possible"
            self._reject(name, f"{shape}; declare the dimensions of a vector or a matrix by to_event")

    def _require_fixed_support(self, name: str, part: Distribution) -> None:
        try:
            moves = _support_moves(part)
        except NotImplementedError:
            self._reject(name, "draws from a distribution without a support; define the support of its class")
        if moves:
            advice = "draw from a fixed support and transform the value, as low + width * draw"
            self._reject(name, f"has a support that depends on θ, so there is no joint score; {advice}")

    def _require_whole_plate(self, name: str, fn: Any, chosen: Tensor | None) -> None:
        size = fn.subsample_size or fn.size if chosen is None else len(chosen)
        if size != fn.size:
            raise UserError(f"task {self.task}: plate {name!r} has {size} of {fn.size} rows; use them all.")

    def _reject_mask(self, name: str) -> NoReturn:
        self._reject(name, "is masked: it is drawn but missing from the density; remove the mask")

    def _reject(self, name: str, problem: str) -> NoReturn:
        raise UserError(f"task {self.task}: site {name!r} {problem}.")


def _kind(fn: object) -> str:
    return f"{type(fn).__module__}.{type(fn).__qualname__}"


def _parts(fn: Any) -> Iterator[Distribution]:
    """Yield a distribution and all distributions inside it: bases, and components of mixtures."""
    yield fn
    for value in vars(fn).values():
        if isinstance(value, Distribution):
            yield from _parts(value)


def _support_moves(fn: Any) -> bool:
    """Return whether the support depends on θ. Values of other sites carry no gradient, so only θ does."""
    if not _has_nominal_support(fn):
        return _carries_gradient(fn.support)
    everywhere = _is_everywhere(fn.base_dist)
    for transform in _steps(fn.transforms):
        if not everywhere and _carries_gradient(transform):
            return True
        everywhere = everywhere and _is_real(transform.codomain)
    return False


def _is_everywhere(fn: Any) -> bool:
    """Return whether the support is all real numbers or vectors."""
    if isinstance(fn, Independent | dist.ExpandedDistribution):
        return _is_everywhere(fn.base_dist)
    if _has_nominal_support(fn):
        return _is_everywhere(fn.base_dist) and all(_is_real(step.codomain) for step in _steps(fn.transforms))
    return _is_real(fn.support)


def _has_nominal_support(fn: Any) -> bool:
    """Return whether `fn.support` is only the codomain of the last transform.

    For a shifted Uniform, for example, this codomain is the real line.
    """
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
    """Return whether a tensor within constraints and transforms depends on θ."""
    if isinstance(thing, Tensor):
        return thing.requires_grad
    if isinstance(thing, list | tuple):
        return any(map(_carries_gradient, thing))
    if isinstance(thing, Constraint | Transform):
        return any(_carries_gradient(value) for key, value in vars(thing).items() if key != "_cached_x_y")
    return False
