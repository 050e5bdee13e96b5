"""The device on which score-matching methods fit and sample: the caller sets it with `on`.

Random numbers are drawn on the CPU and then moved. Closed forms (the recipe's regression, moments of scores,
the choice of a gate) are computed on the CPU. A device therefore changes results only by rounding. The device
is a context variable and not an option of a method, so each thread has its own.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from ..tasks.errors import UserError

CPU = "cpu"

_device: ContextVar[str] = ContextVar("graybench_device", default=CPU)


def current() -> str:
    """Return the name of the current device."""
    return _device.get()


@contextmanager
def on(device: str) -> Iterator[None]:
    """Run every score-matching fit inside the `with` block on `device`.

    Raises:
        UserError: the device does not exist, see `require`.
    """
    require(device)
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


def require(device: str) -> None:
    """Raise `UserError` unless `device` is "cpu", or is "cuda" or "cuda:N" and torch finds it here."""
    require_name(device)
    if device == CPU:
        return
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= found:
        raise UserError(f"device {device}: torch finds {found} CUDA devices here; use another, or cpu.")


def require_name(device: str) -> None:
    """Raise `UserError` unless `device` is "cpu", "cuda" or "cuda:N"; it need not exist here."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"there is no device {device!r}: it can be cpu, cuda, or cuda:0 and so on.")
