"""Isolation of libraries that draw from global generators and print."""

import contextlib
import io
import logging
import operator
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from ...tasks.seeding import GLOBAL_GENERATORS


@contextlib.contextmanager
def private_randomness(seed: int) -> Iterator[None]:
    """Set the global generators of torch, numpy and Python from `seed`, and restore them at the end.

    One thread at a time enters, including threads that run pyro models. The generators of accelerators are
    left alone, because these libraries run on the CPU.
    """
    seed = operator.index(seed)
    with GLOBAL_GENERATORS:
        kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            torch.set_rng_state(kept[0])
            np.random.set_state(kept[1])
            random.setstate(kept[2])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress prints, warnings, and log lines below errors."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
