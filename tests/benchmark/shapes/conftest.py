"""The command line, called in this process, and a file of shapes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graybench.benchmark.cli import main as cli
from graybench.tasks.landmarks.task import ellipse
from graybench.tests.benchmark.shapes.groups import write_groups
from graybench.tests.methods.bridge.test_shape_likelihood import diffuse


@pytest.fixture
def graybench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["graybench", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def two_groups(tmp_path: Path) -> Path:
    """Return a file with two groups that are well apart: round and long."""
    long = ellipse(6, 2) * torch.tensor([1.0, 0.5])
    shapes_of = {"round": diffuse(ellipse(6, 2), 9, 1, a=0.05), "long": diffuse(long, 7, 2, a=0.05)}
    return write_groups(tmp_path / "two.csv", {k: 100 * v + 7 for k, v in shapes_of.items()})
