"""Methods that turn simulations into posteriors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..tasks.errors import UserError
from ..tasks.registry import Registry
from . import saving
from .method import Method, Posterior, PosteriorState

REGISTRY: Registry[Method] = Registry(
    kind="method",
    base=Method,  # type: ignore[type-abstract]
    table={
        "bridge_is": "graybench.methods.bridge.bridge_is:BridgeIS",
        "dsm": "graybench.methods.score.score_matching:DSM",
        "tsm": "graybench.methods.score.score_matching:TSM",
        "ltsm": "graybench.methods.score.score_matching:LTSM",
        "mix": "graybench.methods.score.mixtures:Mix",
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


def get_method(name: str, /, **options: Any) -> Method:
    """Make the method `name`, a registered name or `module:Class`, with its options.

    Raises:
        UserError: there is no such method or option; the message gives the nearest names.
    """
    return REGISTRY.get(name, **options)


def load_posterior(
    folder: Path | str, *, method: Method | None = None, allow_pickle: bool = False
) -> Posterior:
    """Read a posterior that `Posterior.save` wrote to `folder`, whichever method and options made it.

    Tensors and JSON run no code: a method that they name is taken if it is registered, and never imported
    from the current folder.

    Args:
        folder: where it was saved.
        method: the method that made it, where that is not a registered one; its options do not matter.
        allow_pickle: also read a pickle, which runs whatever code it names: only if you trust who wrote it.

    Raises:
        UserError: there is no saved posterior, or it is not to be read, or it cannot be.
    """
    folder = Path(folder)
    if saving.is_pickle(folder):
        return _unpickled(folder, allow_pickle)
    description, tensors = saving.read(folder)
    name = description.method
    if method is None and name not in REGISTRY.names():
        raise UserError(
            f"{folder} holds a posterior of {name!r}, which is no registered method: hand over the method by "
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
    object.__setattr__(posterior, "dims", description.dims)  # a posterior may be a frozen dataclass
    return posterior


def _unpickled(folder: Path, allowed: bool) -> Posterior:
    if not allowed:
        raise UserError(
            f"{folder} holds a pickle, which runs code when it is read: if you trust who wrote it, "
            "load_posterior(folder, allow_pickle=True)."
        )
    posterior = saving.read_pickle(folder)
    if not isinstance(posterior, Posterior):
        raise UserError(f"{folder} holds no posterior, but a {type(posterior).__name__}.")
    return posterior
