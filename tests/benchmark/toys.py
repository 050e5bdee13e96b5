"""A task with an exact posterior, methods and tasks that misbehave, and a sweep file made of them.

They are addressed as `tests.benchmark.toys:Name`, so that worker processes find them.
"""

import builtins
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor

from graybench.methods.method import Method, Posterior
from graybench.methods.progress import report
from graybench.tasks.prior import Normal
from graybench.tasks.reference import GaussianReference
from graybench.tasks.seeding import generator
from graybench.tasks.simulations import Simulations
from graybench.tasks.task import Outcome, Task

HERE = "graybench.tests.benchmark.toys"


class Line(Task):
    """x = θ + z with z and θ standard normal, so that the posterior is N(x/2, 1/2)."""

    shift: float = 0.0

    name: ClassVar[str] = "line"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a line"
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "reference"})
    n_observations: ClassVar[int] = 2

    prior = Normal()
    dim_theta = 1
    dim_x = 1

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        return Outcome(theta + noise + self.shift, noise)

    def reference(self, x_o: Tensor) -> GaussianReference:
        return GaussianReference((x_o - self.shift) / 2, torch.tensor([[0.5]]))


class NotFinite(Line):
    name = "not_finite"

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        outcome = super().simulator(theta, generator)
        return Outcome(outcome.x / 0, outcome.joint_score)


class WrongShape(Line):
    name = "wrong_shape"

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        outcome = super().simulator(theta, generator)
        return Outcome(outcome.x.flatten(), outcome.joint_score)


class Scoreless(Line):
    name = "scoreless"
    capabilities = frozenset({"reference"})


class Exact(Posterior):
    def __init__(self, shift: float) -> None:
        self.shift = shift

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        noise = torch.randn(len(x_o), n, 1, generator=generator(seed), dtype=x_o.dtype)
        return (x_o.unsqueeze(1) - self.shift) / 2 + 0.5**0.5 * noise


class Fast(Method):
    """The exact posterior, its mean shifted by the mean of the data it was given, so that they matter."""

    name: ClassVar[str] = "fast"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "exact"
    requires: ClassVar[frozenset[str]] = frozenset({"joint_score"})

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        report("fit", 1, 1)
        return Exact(float(simulations.x.mean()))


class Slow(Fast):
    seconds: float = 0.4

    name: ClassVar[str] = "slow"

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        time.sleep(self.seconds)
        return super().fit(simulations, seed)


class Raises(Fast):
    name = "raises"

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        raise ArithmeticError("no luck today")


class Panic(BaseException):
    """Is no `Exception`, as what extensions in Rust raise."""


class RaisesWhatever(Fast):
    error: str = "Panic"

    name: ClassVar[str] = "raises_whatever"

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        raise {**vars(builtins), **globals()}[self.error]("not today")


class Unreadable(Fast):
    """Pickles to what raises where it is read."""

    name = "unreadable"

    def __reduce__(self) -> Any:
        return _panic, ()


def _panic() -> None:
    raise Panic("not here")


class Hangs(Fast):
    """Sleeps in C and holds Python's lock, so that no other thread of the worker process gets a turn."""

    name = "hangs"

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        ctypes.PyDLL(None).sleep(3600)
        return super().fit(simulations, seed)


class Stubborn(Fast):
    """Goes on whatever is raised in it, and starts a process that ignores what it is asked."""

    name = "stubborn"

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        subprocess.Popen(["sh", "-c", "trap '' INT TERM; sleep 600; sleep 600"])
        while True:
            with suppress(BaseException):
                time.sleep(1)


class Deadly(Fast):
    """Kills its own process; with a `flag`, the path of a file, only as long as that file does not exist."""

    flag: str = ""

    name: ClassVar[str] = "deadly"

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        if not (self.flag and Path(self.flag).exists()):
            if self.flag:
                Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(simulations, seed)


def toy(name: str, **options: Any) -> Any:
    """Name a toy as a sweep file does."""
    return {"name": f"{HERE}:{name}", **options} if options else f"{HERE}:{name}"


def write_sweep(path: Path, **changes: Any) -> Path:
    """Write a valid sweep of 1 task, 1 method and 1 budget, with some keys changed, or left out if None."""
    content = {
        "name": "toys",
        "tasks": [toy("Line")],
        "methods": [toy("Fast")],
        "budgets": [10],
        "replicates": 2,
        "metrics": ["mmd"],
        "posterior_samples": 20,
        **changes,
    }
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition; raise `TimeoutError` if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened in {seconds} s")
        time.sleep(0.02)
