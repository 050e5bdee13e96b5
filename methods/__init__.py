"""Methods that turn simulations into posteriors."""

import pickle
from pathlib import Path
from typing import Any

from methods.method import PICKLED, Method, Posterior
from tasks.errors import UserError
from tasks.plugin import Registry

REGISTRY: Registry[Method] = Registry(
    kind="method",
    base=Method,  # type: ignore[type-abstract]
    table={
        "bridge_is": "methods.bridge.bridge_is:BridgeIS",
        "dsm": "methods.score_matching:DSM",
        "tsm": "methods.score_matching:TSM",
        "ltsm": "methods.score_matching:LTSM",
        "mix": "methods.mixtures:Mix",
        "prior": "methods.baselines:Prior",
        "rejection_abc": "methods.baselines:RejectionABC",
        "sally": "methods.sally:Sally",
        "scandal": "methods.scandal:Scandal",
        "sbi_npe": "methods.sbi_methods:SbiNPE",
        "sbi_nle": "methods.sbi_methods:SbiNLE",
        "sbi_nre": "methods.sbi_methods:SbiNRE",
        "sbi_fmpe": "methods.sbi_methods:SbiFMPE",
        "sbi_npse": "methods.sbi_methods:SbiNPSE",
        "sbi_npse_suite": "methods.sbi_methods:SbiNPSESuite",
        "tsm_mix": "methods.mixtures:TSMMix",
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
    from methods.score_posterior import read_description

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
