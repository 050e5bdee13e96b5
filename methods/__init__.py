"""Methods that turn simulations into posteriors, by name, and posteriors read from disk."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tasks.errors import UserError
from ..tasks.registry import Registry

if TYPE_CHECKING:
    from .method import Method, Posterior

REGISTRY: "Registry[Method]" = Registry(
    kind="method",
    base="graybench.methods.method:Method",
    table={
        "bayesflow_consistency": "graybench.methods.rivals.bayesflow:BayesFlowConsistency",
        "bayesflow_diffusion": "graybench.methods.rivals.bayesflow:BayesFlowDiffusion",
        "bayesflow_fm": "graybench.methods.rivals.bayesflow:BayesFlowFM",
        "bridge_is": "graybench.methods.bridge.bridge_is:BridgeIS",
        "dsm": "graybench.methods.score.score_matching:DSM",
        "tsm": "graybench.methods.score.score_matching:TSM",
        "ltsm": "graybench.methods.score.score_matching:LTSM",
        "mix": "graybench.methods.score.mixtures:Mix",
        "likelihood_score": "graybench.methods.rivals.likelihood_score:LikelihoodScore",
        "npe_score": "graybench.methods.rivals.npe_score:NPEScore",
        "prior": "graybench.methods.rivals.baselines:Prior",
        "rejection_abc": "graybench.methods.rivals.baselines:RejectionABC",
        "sally": "graybench.methods.rivals.sally:Sally",
        "scandal": "graybench.methods.rivals.scandal:Scandal",
        "sbi_npe": "graybench.methods.rivals.sbi:SbiNPE",
        "sbi_nle": "graybench.methods.rivals.sbi:SbiNLE",
        "sbi_nre": "graybench.methods.rivals.sbi:SbiNRE",
        "sbi_fmpe": "graybench.methods.rivals.sbi:SbiFMPE",
        "sbi_npse": "graybench.methods.rivals.sbi:SbiNPSE",
        "sbi_npse_suite": "graybench.methods.rivals.sbi:SbiNPSESuite",
        "tsm_mix": "graybench.methods.score.mixtures:TSMMix",
    },
    group="graybench.methods",
)


def get_method(name: str, /, **options: Any) -> "Method":
    """Return a method with its options.

    Args:
        name: a registered name, or `module:Class`.
        options: the method's options.

    Raises:
        UserError: there is no such method or option; the message names the nearest ones.
    """
    return REGISTRY.get(name, **options)


def load_posterior(
    folder: Path | str, *, method: "Method | None" = None, allow_pickle: bool = False
) -> "Posterior":
    """Return the posterior that `Posterior.save` wrote to `folder`.

    Reading tensors and JSON runs no code: only registered methods are found by name, and nothing is imported
    from the current folder.

    Args:
        folder: where the posterior was saved.
        method: the method that fitted it, if it is not registered; its options do not matter.
        allow_pickle: True also reads a pickle, which can run any code: use it only if you trust the author.

    Raises:
        UserError: there is no saved posterior, it cannot be read, or `allow_pickle` is False for a pickle.
    """
    from . import saving
    from .method import PosteriorState

    folder = Path(folder)
    if saving.is_pickle(folder):
        return _unpickled(folder, allow_pickle)
    description, tensors = saving.read(folder)
    name = description.method
    if method is None and name not in REGISTRY.names():
        raise UserError(
            f"{folder} holds a posterior of {name!r}, which is not a registered method: use "
            "load_posterior(folder, method=...)."
        )
    if method is not None and name != method.name:
        raise UserError(f"{folder} holds a posterior of {name!r}, not of {method.name!r}.")
    try:
        made = replace(method, **description.options) if method else get_method(name, **description.options)
        posterior = made.restore(PosteriorState(made, tensors, description.facts), description.dims)
    except Exception as error:  # the content may be anything
        told = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{folder} does not hold a posterior of {name}: {told}.") from error
    posterior._describe(description.dims, made.in_float32)
    return posterior


def _unpickled(folder: Path, allowed: bool) -> "Posterior":
    from . import saving
    from .method import Posterior

    if not allowed:
        raise UserError(
            f"{folder} holds a pickle, which can run any code when it is read: if you trust its author, use "
            "load_posterior(folder, allow_pickle=True)."
        )
    posterior = saving.read_pickle(folder)
    if not isinstance(posterior, Posterior):
        raise UserError(f"{folder} holds a {type(posterior).__name__}, not a posterior.")
    return posterior
