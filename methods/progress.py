"""Progress of long work: a method calls `report`, whoever runs it listens.

The listener is held in a context variable, so a method needs no extra argument, and fits that run in
different threads do not hear each other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]

_listener: ContextVar[Listener | None] = ContextVar("graybench_progress", default=None)


def report(stage: str, done: int, total: int) -> None:
    """Say that `done` of `total` steps of `stage` ("fit", "sample", ...) are finished."""
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
