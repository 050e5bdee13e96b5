"""Random numbers: every stream is named by what it is for, and nothing touches torch's global generator.

The one exception is `ambient_seed`, for users of other packages, whose `torch.manual_seed` is to rule.
Libraries that draw from global generators alone, as pyro and sbi do, are run under `GLOBAL_GENERATORS`, one
at a time, by code that seeds the generators and puts them back.
"""

import hashlib
import json
import operator
import threading

import torch

GLOBAL_GENERATORS = threading.RLock()


def derive_seed(*parts: int | str) -> int:
    """Give the seed of the stream named by `parts`: the first 63 bits of SHA-256 of their JSON form.

    `derive_seed(1, "train", "galton", 0)` is the same on every machine, and streams with different names
    are independent for all practical purposes, so no seed is ever reused by adding small numbers to it.
    Whole numbers may be of any type.
    """
    digest = hashlib.sha256(json.dumps(parts, default=operator.index).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int) -> torch.Generator:
    """Give a fresh `torch.Generator`, started at `seed`."""
    return torch.Generator().manual_seed(operator.index(seed))


def ambient_seed() -> int:
    """Draw a seed from torch's global generator."""
    return int(torch.randint(2**63 - 1, ()))
