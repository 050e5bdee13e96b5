"""What the processes of the suite share: one thread each, and the machine.

pytest-xdist runs tests side by side. A test with a deadline of seconds is marked `alone`: it runs while
no other test does, whatever the number of processes.
"""

import fcntl
import gc
import getpass
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; for what the tests start as well

import pytest
import torch

from graybench.tests.environments import Environment

torch.set_num_threads(1)

_LOCKS = Path(tempfile.gettempdir()) / f"graybench-tests-{getpass.getuser()}"
_LOCKS.mkdir(exist_ok=True)
_entrance, _machine = ((_LOCKS / name).open("w") for name in ("entrance", "machine"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that run alone first, so that the others wait for all of them at once."""
    items.sort(key=lambda item: not _alone(item))


def pytest_collection_finish() -> None:
    """Keep what is imported by now out of garbage collections, which statsmodels asks for at each call."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Hold the machine during a test and its fixtures: exclusively if it is marked `alone`, else shared.

    Whoever waits for the machine holds the entrance, so that nobody overtakes him.
    """
    fcntl.flock(_entrance, fcntl.LOCK_EX)
    fcntl.flock(_machine, fcntl.LOCK_EX if _alone(item) else fcntl.LOCK_SH)
    if not _alone(item):
        fcntl.flock(_entrance, fcntl.LOCK_UN)
    result = yield
    if not (_alone(item) and _alone(nextitem)):
        fcntl.flock(_machine, fcntl.LOCK_UN)
        fcntl.flock(_entrance, fcntl.LOCK_UN)
    return result


def _alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("wheel"), editable=False)


@pytest.fixture(scope="session")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("editable"), editable=True)
