"""The registry of plug-ins: entry points of other packages are found, and hidden ones are reported."""

from importlib.metadata import EntryPoint

from graybench.tasks import registry
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.registry import Registry

LINEAR = "graybench.tasks.classic.linear_gaussian:LinearGaussian"


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
