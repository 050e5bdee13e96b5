"""Progress of long computations: a method calls `report`, and its caller listens.

The listener is a context variable, so methods need no extra argument, and each thread has its own listener.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]

_listener: ContextVar[Listener | None] = ContextVar("graybench_progress", default=None)


def report(stage: str, done: int, total: int) -> None:
    """Report that `done` of `total` steps of `stage` ("fit", "sample", ...) are finished."""
    listener = _listener.get()
    if listener is not None:
        listener(stage, done, total)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send every `report` made inside the `with` block to `listener(stage, done, total)`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
