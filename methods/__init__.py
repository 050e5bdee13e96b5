"""Methods that turn simulations into posteriors."""

import pickle
from pathlib import Path
from typing import Any

from ..tasks.errors import UserError
from ..tasks.registry import Registry
from .method import PICKLED, Method, Posterior

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


def load_posterior(folder: Path | str) -> Posterior:
    """Read a posterior that was saved to `folder`, whichever method and options made it.

    A `posterior.pickle` runs what it holds when it is read: load only what you trust.

    Raises:
        UserError: there is no saved posterior, or it cannot be read.
    """
    folder = Path(folder)
    if (folder / PICKLED).exists():
        return _unpickled(folder / PICKLED)
    from .score.posterior import read_description

    description = read_description(folder)
    return get_method(description["method"], **description["options"]).load(folder)


def _unpickled(path: Path) -> Posterior:
    try:
        posterior = pickle.loads(path.read_bytes())
    except Exception as error:  # unpickling runs the code of whatever was pickled
        raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(posterior, Posterior):
        raise UserError(f"{path} holds no posterior, but a {type(posterior).__name__}.")
    return posterior
