"""Methods of the package BayesFlow 2 (Radev et al. 2023), with its own defaults unless stated otherwise.

All learn in u, where the prior is N(0, I). BayesFlow runs on Keras, here with torch. It switches gradients
off and sets up logging for the whole process when it is imported, and draws from global generators: all of
this is undone, see `import_bayesflow` and `private_randomness.py`.
"""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...tasks.errors import NotFiniteError, UserError
from ...tasks.plugin import require_flag, require_whole
from ...tasks.seeding import derive_seed
from ...tasks.simulations import Simulations
from ...tasks.structure import Field, Items, Series, Structure
from ..method import Method, Posterior
from ..progress import report
from .optional_package import import_for
from .private_randomness import private_randomness, quiet

BACKEND = "torch"
FIRST_STEPS = 10  # of a path of BayesFlow's consistency model
SEEDS = 2**31  # the number of seeds that Keras takes
DIRECTIONS = 2  # of the grids that BayesFlow convolves


def import_bayesflow(method: str) -> ModuleType:
    """Return BayesFlow on Keras with torch, with gradients and the root logger as before the import.

    Args:
        method: the name of the method, for messages.

    Raises:
        UserError: BayesFlow is not installed, or Keras already runs on something else than torch.
    """
    os.environ.setdefault("KERAS_BACKEND", BACKEND)
    root, gradients = logging.getLogger(), torch.is_grad_enabled()
    handlers, level = list(root.handlers), root.level
    try:
        with quiet():
            found = import_for(f"method {method}", "bayesflow", "bayesflow")
            backend = import_for(f"method {method}", "keras", "bayesflow").backend.backend()
    finally:
        torch.set_grad_enabled(gradients)
        root.handlers[:] = handlers
        root.setLevel(level)
    if backend != BACKEND:
        raise UserError(
            f"method {method} needs Keras on torch, but Keras runs on {backend}: set the environment "
            f"variable KERAS_BACKEND={BACKEND} before Python starts."
        )
    return found


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Run BayesFlow silently, with autograd in its own steps only and all randomness from a seed."""
    with private_randomness(seed), quiet(), redirect_stderr(StringIO()), torch.no_grad():
        import_for("BayesFlow", "keras", "bayesflow").utils.set_random_seed(seed % SEEDS)
        yield


class BayesFlowPosterior(Posterior):
    """A posterior of BayesFlow.

    Args:
        workflow: the fitted workflow.
        structure: the structure of x, if a network summarises x; None for a vector.
    """

    def __init__(self, workflow: Any, structure: Structure | None) -> None:
        self.workflow, self.structure = workflow, structure

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        assert self.dims is not None
        if not n or not len(x_o):
            return torch.empty(len(x_o), n, self.dims[0])
        with _alone(seed):
            drawn = self.workflow.sample(
                num_samples=n, conditions={"x": _data(x_o, self.structure)}, seed=seed % SEEDS
            )
        return torch.from_numpy(drawn["u"]).float()


class BayesFlowDensity(BayesFlowPosterior):
    """A posterior whose density BayesFlow finds by solving an ODE, with the exact divergence."""

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        rows = {"u": u.flatten(0, 1).float().numpy()}
        rows["x"] = _data(x_o, self.structure).repeat(u.shape[1], 0)
        with _alone(0):
            density = self.workflow.log_prob(rows)
        return torch.from_numpy(density).float().unflatten(0, u.shape[:2])


def _data(x: Tensor, structure: Structure | None) -> Any:
    """Return x (n, dim_x) as an array in the form of its structure, items as vectors."""
    if structure is None:
        return x.float().numpy()
    form = structure.unflatten(x.float())
    return (form.flatten(2) if isinstance(structure, Items) else form).numpy()


class BayesFlowMethod(Method):
    """The base of BayesFlow's methods; a subclass names the inference network.

    Training takes 100 epochs of minibatches of 32 by AdamW along a cosine from 5e-4, on a network of five
    layers of 256 units. Only one of BayesFlow's defaults is changed: x is standardised as well as u.

    Args:
        epochs: number of passes through the simulations.
        batch: number of simulations in a minibatch.
        embedding: summarise the data by BayesFlow's network for their structure, trained together with the
            rest: a `DeepSet` for items, a `TimeSeriesNetwork` for series, and a `ConvolutionalNetwork` for
            fields; vectors have none.

    Raises:
        UserError: an option is out of range.

    Source: Radev et al., BayesFlow: Amortized Bayesian workflows with neural networks, Journal of Open Source
    Software 8 (2023), arXiv 2306.16015.
    """

    version: ClassVar[int] = 1
    least_simulations: ClassVar[int] = 2  # one does not vary
    in_float32: ClassVar[bool] = True
    network: ClassVar[str]
    posterior: ClassVar[type[BayesFlowPosterior]] = BayesFlowDensity

    epochs: int = 100
    batch: int = 32
    embedding: bool = False

    def __post_init__(self) -> None:
        for option in ("epochs", "batch"):
            require_whole(f"method {self.name}: {option}", getattr(self, option), 1)
        require_flag(f"method {self.name}: embedding", self.embedding)

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        """Fit one replicate.

        Raises:
            UserError: BayesFlow is not installed, or has no network for the structure of x.
            NotFiniteError: training diverged.
        """
        package = import_bayesflow(self.name)
        structure = _structure(simulations.structure) if self.embedding else None
        data = {"u": simulations.u.float().numpy(), "x": _data(simulations.x, structure)}
        with _alone(derive_seed(seed, "bayesflow")):
            workflow = package.BasicWorkflow(
                inference_network=self._inference(package, len(simulations)),
                summary_network=_summary(self.name, package, structure),
                inference_variables="u",
                inference_conditions=None if structure else "x",
                summary_variables="x" if structure else None,
                standardize="all",
            )
            options = {"epochs": self.epochs, "batch_size": self.batch, "verbose": 0}
            history = workflow.fit_offline(data, callbacks=[self._progress()], **options)
        if not math.isfinite(history.history["loss"][-1]):
            raise NotFiniteError(f"method {self.name}: training diverged")
        return self.posterior(workflow, structure)

    def _inference(self, package: ModuleType, n: int) -> Any:
        return getattr(package.networks, self.network)()

    def _progress(self) -> Any:
        """Return a callback of Keras that reports epochs."""
        keras = import_for(f"method {self.name}", "keras", "bayesflow")
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, _: report("fit", epoch + 1, self.epochs)
        )


def _structure(structure: Structure | None) -> Structure | None:
    """Return the structure that BayesFlow has a network for, or None."""
    own = None if structure is None else structure.effective
    return own if isinstance(own, Items | Series | Field) else None


def _summary(method: str, package: ModuleType, structure: Structure | None) -> Any:
    """Return BayesFlow's network for a structure, with its defaults."""
    if isinstance(structure, Items):
        return package.networks.DeepSet()
    if isinstance(structure, Series):
        return package.networks.TimeSeriesNetwork()
    if isinstance(structure, Field):
        if (directions := len(structure.shape)) != DIRECTIONS:
            raise UserError(
                f"method {method}: BayesFlow has no network for a field in {directions} directions; set "
                "embedding to false."
            )
        return package.networks.ConvolutionalNetwork()
    return None


class BayesFlowFM(BayesFlowMethod):
    """BayesFlow's flow matching: a velocity field v that carries noise ε to the posterior is regressed.

        minimise E ‖v(u_t, x, t) − (u − ε)‖²,    u_t = (1 − t) ε + t u

    Samples solve the ODE by an adaptive Runge-Kutta scheme (Tsitouras 5/4).

    Source: Wildberger et al., Flow matching for scalable simulation-based inference, arXiv 2305.17161.
    """

    name: ClassVar[str] = "bayesflow_fm"
    summary: ClassVar[str] = "BayesFlow's flow matching."
    network: ClassVar[str] = "FlowMatching"


class BayesFlowDiffusion(BayesFlowMethod):
    """BayesFlow's diffusion model: a network that denoises u_t given x is learned.

        minimise E w(t) ‖û(u_t, x, t) − u‖²,    u_t = α u + σ ε

    with the noise schedule of Karras et al. Samples solve the reverse SDE by an adaptive scheme of two steps.

    Source: Karras et al., Elucidating the design space of diffusion-based generative models, arXiv
    2206.00364.
    """

    name: ClassVar[str] = "bayesflow_diffusion"
    summary: ClassVar[str] = "BayesFlow's diffusion model."
    network: ClassVar[str] = "DiffusionModel"


class BayesFlowConsistency(BayesFlowMethod):
    """BayesFlow's consistency model: a map from any point of a diffusion's path to its end is learned.

    Two points of a path, made from one ε, must map to the same u; the steps between them get shorter as
    training goes on. Samples take few evaluations, and there is no density.

    Raises:
        UserError: an option is out of range, or training has fewer than ten steps, the number of steps of a
            path at first.

    Source: Schmitt et al., Consistency models for scalable and fast simulation-based inference, arXiv
    2312.05440.
    """

    name: ClassVar[str] = "bayesflow_consistency"
    summary: ClassVar[str] = "BayesFlow's consistency model."
    network: ClassVar[str] = "ConsistencyModel"
    posterior: ClassVar[type[BayesFlowPosterior]] = BayesFlowPosterior

    def _inference(self, package: ModuleType, n: int) -> Any:
        steps = self.epochs * math.ceil(n / self.batch)
        if steps < FIRST_STEPS:
            raise UserError(
                f"method {self.name} needs {FIRST_STEPS} training steps or more, but takes {steps} with "
                f"{n} simulations, epochs={self.epochs} and batch={self.batch}: raise epochs or lower batch."
            )
        return package.networks.ConsistencyModel(total_steps=steps)
