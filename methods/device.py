"""Where score-matching methods fit and sample: whoever runs a method says so, the method asks.

All random numbers are drawn on the CPU and moved, and closed forms (the recipe's regression, moments of
scores, the choice of a gate) are computed there too, so a device changes results by rounding alone. The name
is held in a context variable, like the listener of `methods.progress`: it is no option of a method, and fits
in different threads do not share it.
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
    """Give the name of the device that fits are to run on."""
    return _device.get()


@contextmanager
def on(device: str) -> Iterator[None]:
    """Run every score-matching fit made inside the `with` block on `device`, see `require`."""
    require(device)
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


def require(device: str) -> None:
    """Raise `UserError` unless `device` is "cpu", or a "cuda" or "cuda:N" that torch finds here."""
    require_name(device)
    if device == CPU:
        return
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= found:
        raise UserError(f"device {device}: torch finds {found} CUDA devices here; use another, or cpu.")


def require_name(device: str) -> None:
    """Raise `UserError` unless `device` is "cpu", "cuda" or "cuda:N", here or elsewhere."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"there is no device {device!r}: it can be cpu, cuda, or cuda:0 and so on.")
