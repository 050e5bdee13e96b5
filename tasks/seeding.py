"""Seeds and generators: every random stream has a name, and nothing touches torch's global generator.

There are two exceptions. `ambient_seed` draws from the global generator, for users of other packages who call
`torch.manual_seed`. Libraries that only use global generators, such as pyro and sbi, run one at a time under
the lock `GLOBAL_GENERATORS`; their caller seeds the generators and restores them afterwards.
"""

import hashlib
import json
import operator
import threading

import torch

GLOBAL_GENERATORS = threading.RLock()


def derive_seed(*parts: int | str) -> int:
    """Return the seed of the stream that `parts` name: the first 63 bits of SHA-256 of their JSON form.

    `derive_seed(1, "train", "galton", 0)` is the same on every machine. Streams with different names are
    independent for all practical purposes. Whole numbers may be of any type.
    """
    digest = hashlib.sha256(json.dumps(parts, default=operator.index).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int) -> torch.Generator:
    """Return a new `torch.Generator` with the given seed."""
    return torch.Generator().manual_seed(operator.index(seed))


def ambient_seed() -> int:
    """Draw a seed from torch's global generator."""
    return int(torch.randint(2**63 - 1, ()))
