"""Values of options are checked; entry points of other packages are found, and hidden ones are reported."""

import math
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from graybench.tasks import registry
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tasks.plugin import require_flag, require_positive
from graybench.tasks.registry import Registry

LINEAR = "graybench.tasks.classic.linear_gaussian:LinearGaussian"


@pytest.mark.parametrize("value", ["false", 0, 1, None, np.True_])
def test_a_flag_is_true_or_false(value):
    with pytest.raises(UserError, match=r"^here must be true or false, but is .*\.$"):
        require_flag("here", value)
    require_flag("here", True)
    require_flag("here", False)


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, True, "1", None, 1j])
def test_what_is_no_finite_number_above_0_is_refused(value):
    with pytest.raises(UserError, match=r"^here must be a finite number above 0, but is .*\.$"):
        require_positive("here", value)


@pytest.mark.parametrize("value", [1, 1e-300, np.float32(0.5), np.int64(2)])
def test_finite_numbers_above_0_are_allowed(value):
    require_positive("here", value)


def test_an_entry_point_whose_name_is_taken_is_told(monkeypatch):
    """A built-in or another package hides a name; the same entry point twice is no conflict."""
    added = [("galton", "own:Galton"), ("line", LINEAR), ("line", LINEAR), ("mine", "b:B"), ("mine", "a:A")]
    points = [EntryPoint(name, value, "graybench.tasks") for name, value in added]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    table = {"galton": "graybench.tasks.classic.galton:Galton"}
    known = Registry("task", "graybench.tasks.task:Task", table, "graybench.tasks")
    assert known.names() == ["galton", "line", "mine"]
    assert known.load("line") is LinearGaussian
    assert known.hidden() == [
        "task galton of own:Galton is hidden by graybench.tasks.classic.galton:Galton: "
        "rename its entry point.",
        "task mine of b:B is hidden by a:A: rename its entry point.",
    ]
