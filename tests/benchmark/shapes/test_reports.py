"""Reports of groups: groups are told apart, and work is not done twice."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from graybench.benchmark.cli.shapes import POINTS
from graybench.benchmark.shapes import fits as shapes
from graybench.benchmark.shapes import report as shape_report
from graybench.tasks.landmarks.files import read_landmarks
from graybench.tasks.landmarks.task import ellipse
from graybench.tests.benchmark.shapes.groups import write_groups
from graybench.tests.methods.bridge.test_shape_likelihood import diffuse


def test_groups_that_differ_are_told_apart(
    two_groups: Path, tmp_path: Path, graybench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    options = ("--group", "sort", "--particles", 4, "--steps", 6, "--held-out", 3, "--out", out)
    status, said, error = graybench("shapes", two_groups, *options)
    assert (status, error) == (0, "")
    assert "[8/8] profile long: in " in said
    assert "The least ESS/N" in said
    classified = pd.read_csv(out / "classification.csv")
    assert (classified["by_likelihood"] == classified["group"]).all()
    assert len(classified) == 16
    summary = pd.read_csv(out / "summary.csv").set_index("quantity")
    assert summary.loc["accuracy_likelihood", "value"] == 1
    assert summary.loc["chance", "value"] == 9 / 16
    assert summary.loc["within_minus_between_held_out", "low"] > 0
    for name in ("means", "bridges", "matrix", "profiles"):
        assert all((out / f"{name}.{kind}").stat().st_size > 1000 for kind in ("pdf", "png"))
    means = pd.read_csv(out / "means.csv")
    assert len(means) == 2 * 6 * 2
    assert ((means["diffusion_mean"] - means["sample_mean"]).abs() < 3 * means["stderr"]).all()
    assert set(pd.read_csv(out / "likelihoods.csv")["fit"]) == {"all", "held_out"}

    # A rerun computes only the pieces that are lost or damaged, and the tables are the same.
    monkeypatch.setattr(shape_report, "_draw", lambda *_: None)  # drawing is most of a rerun's time
    written = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    assert graybench("shapes", two_groups, *options)[1].count("finished before") == 8
    (out / "work").joinpath("stray.tmp").write_text("")
    (one,) = (out / "work").glob("fold_1-*.json")
    (other,) = (out / "work").glob("profile_long-*.json")
    one.unlink()
    other.write_text('{"rows": [')  # damaged
    said = graybench("shapes", two_groups, *options)[1]
    assert said.count("finished before") == 6
    assert {path.name: path.read_bytes() for path in out.glob("*.csv")} == written


def test_an_interrupted_run_leaves_whole_pieces(
    two_groups: Path, tmp_path: Path, graybench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(shape_report, "matrix", interrupted)
    out = tmp_path / "out"
    options = ("--group", "sort", "--particles", 2, "--steps", 4, "--out", out)
    status, _, error = graybench("shapes", two_groups, *options)
    assert status == 1
    assert "interrupted with 2 of 10 pieces finished; run the same command again" in error
    assert sorted(path.name.split("-")[0] for path in (out / "work").iterdir()) == ["fit_long", "fit_round"]


def test_one_group_needs_no_label(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "one.csv", {"x": diffuse(ellipse(5, 2), 4, 5)})
    settings = shapes.Settings(particles=2, steps=4)
    found = shape_report.report_groups(
        read_landmarks(path), None, settings, 5, tmp_path / "out", Console(quiet=True)
    )
    assert len(found) == 4
    assert not (tmp_path / "out" / "summary.csv").exists()


def test_specimens_of_no_group_are_thinned_like_the_group(
    tmp_path: Path, graybench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = write_groups(tmp_path / "few.csv", {"few": diffuse(ellipse(6, 2), 4, 1, a=0.05)})
    monkeypatch.setitem(POINTS, str(few), 5)  # as for outlines that are known by name
    more = write_groups(tmp_path / "more.csv", {"more": diffuse(ellipse(6, 2), 2, 5, a=0.05)})
    options = ("--also", more, "--start", "mean", "--held-out", 2, "--particles", 2, "--steps", 4)
    status, _, error = graybench("shapes", few, *options, "--out", tmp_path / "out")
    assert status == 0, error
    assert len(pd.read_csv(tmp_path / "out/also.csv")) == 2
    assert pd.read_csv(tmp_path / "out/means.csv")["landmark"].max() == 5
