"""Between groups: simulated amplitudes are found, ancestors are midpoints, others are scored alike."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from graybench.benchmark.shapes import between, fits, tables
from graybench.benchmark.shapes import report as shape_report
from graybench.benchmark.shapes.specimens import Specimens, aligned
from graybench.tasks.landmarks.procrustes import align, procrustes_distance
from graybench.tasks.landmarks.sample import LandmarkSample
from graybench.tasks.landmarks.task import ellipse
from graybench.tests.methods.bridge.test_shape_likelihood import LENGTH, QUICK, diffuse

GROUPS, MEMBERS = 5, 12
WITHIN, BETWEEN = 0.04, 0.03


def simulated(landmarks: int, groups: int, members: int) -> LandmarkSample:
    """Return groups that start where BETWEEN moved an ellipse, with members that WITHIN moved from there."""
    starts = diffuse(ellipse(landmarks, 2), groups, 21, a=BETWEEN)
    parts = [diffuse(start, members, 31 + k, a=WITHIN) for k, start in enumerate(starts)]
    names = tuple(f"{k}_{i}" for k in range(groups) for i in range(members))
    return LandmarkSample(torch.cat(parts), names, {"sort": tuple(name[0] for name in names)})


def specimens(sample: LandmarkSample) -> Specimens:
    return Specimens(aligned(sample.coordinates, False)[0], sample.specimens, sample.labels["sort"])


def plain(a: float, stderr: float) -> fits.Result:
    return {"theta": [math.log(a), 0.0], "theta_stderr": [stderr, 0.1]}


def test_amplitudes_within_and_between_in_closed_form() -> None:
    # Two groups of 3 and 5: within² = (3/2 · 4 + 5/4 · 9)/2, between² = 2 · 16 − (4/2 + 9/4)/2.
    both = Specimens(torch.zeros(8, 4, 2), tuple("abcdefgh"), ("p",) * 3 + ("q",) * 5)
    rows = between.amplitude_rows(both, {"p": plain(2, 0.1), "q": plain(3, 0.2)}, plain(4, 0.05))
    within, apart, quotient = rows
    assert within["estimate"] == pytest.approx(math.sqrt(8.625))
    assert apart["estimate"] == pytest.approx(math.sqrt(29.875))
    assert quotient["estimate"] == pytest.approx(math.sqrt(29.875 / 8.625))
    # errors of the squares: 2 · 0.1 · 4 and 2 · 0.2 · 9, halved; 2 · 0.05 · 32 with those of the means
    error = np.hypot(1.5 * 0.8, 1.25 * 3.6) / 2
    assert within["low"] == pytest.approx(math.sqrt(8.625 - 1.959964 * error))
    error = np.hypot(3.2, np.hypot(0.8 / 2, 3.6 / 4) / 2)
    assert apart["high"] == pytest.approx(math.sqrt(29.875 + 1.959964 * error))
    unknown = between.amplitude_rows(both, {"p": plain(2, math.nan), "q": plain(3, 0.2)}, plain(4, 0.05))
    assert [row["estimate"] for row in unknown] == [row["estimate"] for row in rows]
    assert all(math.isnan(float(str(row[end]))) for row in unknown for end in ("low", "high"))
    none = between.amplitude_rows(both, {"p": plain(2, 0.1), "q": plain(3, 0.2)}, plain(0.1, 0.05))
    assert [none[1][part] for part in ("estimate", "low")] == [0, 0]


def test_amplitudes_that_were_simulated_are_found() -> None:
    # Two numbers within 2 half-widths of 95 %: a correct fit fails one seed in 5,000, and the seed is fixed.
    sample = simulated(8, GROUPS, MEMBERS)
    found = specimens(sample)
    means = between.means_of(found)
    assert means is not None
    assert torch.equal(means.shapes[2], found.of("2").mean(0))
    each = {name: fits.fit(found.of(name), QUICK, name, ("theta",)) for name in found.group_names}
    over = fits.fit(means.shapes, QUICK, "means", ("theta",))
    rows = between.amplitude_rows(found, each, over)
    radius = float(ellipse(8, 2).square().sum(1).mean().sqrt())
    for row, truth in zip(rows, (WITHIN, BETWEEN), strict=False):
        value, low, high = (float(str(row[part])) for part in ("estimate", "low", "high"))
        assert 2 * (low - value) < truth / radius - value < 2 * (high - value)
        assert high - low < 0.8 * value


def test_the_ancestor_of_two_groups_is_their_midpoint_with_the_error_of_a_mean_of_two() -> None:
    # Of small movements, to which the normal law is exact but for terms of their order.
    small = 1e-3
    ends = aligned(diffuse(ellipse(6, 2), 4, 3, a=small), False)[0]
    means = Specimens(ends, tuple("abcd"), ("g",) * 4)
    theta = [math.log(small), math.log(LENGTH)]
    found = between.fit_ancestors(means, {"theta": theta}, QUICK)
    over = {**fits.fit(ends, QUICK, "over", ("theta",), errors=False), "x_0": ends.mean(0).flatten().tolist()}
    rows, points = between.ancestor_tables(means, over, found)
    assert list(rows["groups"]) == ["a + b", "a + c", "a + d", "b + c", "b + d", "c + d", "a + b + c + d"]
    assert (rows["in_stderr"][:6] < 0.02).all()
    assert rows["between_means"][3] == pytest.approx(float((ends[1] - ends[2]).square().mean().sqrt()))
    assert rows["between_means"][6] == pytest.approx(np.sqrt(np.square(rows["between_means"][:6]).mean()))
    assert rows["ancestor_to_midpoint"][6] == pytest.approx(0, abs=1e-12)
    last = points[points["groups"] == "c + d"]
    middle = 0.5 * (ends[2] + ends[3])
    np.testing.assert_allclose(last["midpoint"], middle.flatten(), rtol=1e-12)
    np.testing.assert_allclose(last["ancestor"], middle.flatten(), atol=0.02 * small)
    settings_of = fits.likelihood_of(ends[2:], QUICK, "x", reference=middle.flatten(), slack=small / 2**0.5)
    known = settings_of.start_information(torch.tensor(theta, dtype=torch.float64), middle.flatten())
    assert known is not None
    np.testing.assert_allclose(last["stderr"], torch.linalg.inv(known).diagonal().sqrt(), rtol=1e-3)


def test_tables_say_which_starts_were_held() -> None:
    found = specimens(simulated(5, 4, 4))
    settings = fits.Settings(particles=2, steps=4, start="mean")
    each = {name: fits.fit(found.of(name), settings, name) for name in found.group_names}
    means = between.means_of(found)
    assert means is not None
    over = between.fit_means(means, settings)
    ancestors, points = between.ancestor_tables(means, over, between.fit_ancestors(means, over, settings))
    assert list(ancestors["start"]) == ["fitted"] * 6 + ["mean"]
    assert list(points["start"]) == ["fitted"] * 60 + ["mean"] * 10
    held = ancestors["ancestor_to_midpoint"] == 0
    assert held.tolist() == (ancestors["start"] == "mean").tolist()
    for table in (tables.group_table(found, each), tables.mean_table(found, each)):
        assert set(table["start"]) == {"mean"}
    distances = tables.group_table(found, each).set_index("quantity")["estimate"]["distance_of_means"]
    assert (distances < 1e-12).all()


def test_specimens_of_no_group_are_scored_as_those_of_groups() -> None:
    sample = simulated(5, 4, 4)
    found = specimens(sample)
    raw = Specimens(sample.coordinates, found.names, found.groups)
    settings = fits.Settings(particles=2, steps=4)
    each = [fits.fit(found.of(name), settings, name, ("theta",), errors=False) for name in "01"]
    scored = fits.others(raw, 3 * sample.coordinates[:3] + 7, each, settings)
    expected = fits.matrix(found.shapes[:3], each, settings, "also")
    np.testing.assert_allclose(scored["value"], expected["value"], rtol=1e-9)
    one = procrustes_distance(align(sample.coordinates[4:8]).mean, sample.coordinates[2])
    assert scored["distance"][2][1] == pytest.approx(float(one))


def test_four_groups_and_others_make_all_tables(tmp_path: Path) -> None:
    sample, out = simulated(5, 4, 4), tmp_path / "out"
    settings = fits.Settings(particles=2, steps=4)
    more = LandmarkSample(diffuse(ellipse(5, 2), 2, 77), ("x", "y"), {})
    ess = shape_report.report_groups(sample, "sort", settings, 2, out, Console(quiet=True), more)
    assert len(ess) == 4 * (16 + 16 + 2)
    also = pd.read_csv(out / "also.csv")
    assert list(also["specimen"]) == ["x"] * 4 + ["y"] * 4
    assert len(pd.read_csv(out / "ancestors.csv")) == 6 + 1
    assert len(pd.read_csv(out / "ancestor_shapes.csv")) == 7 * 10
    amplitudes = pd.read_csv(out / "between.csv").set_index("quantity")["estimate"]
    quotient = amplitudes["a_between"] / amplitudes["a_within"]
    assert amplitudes["a_between_over_within"] == pytest.approx(quotient, rel=1e-4)
    assert (out / "also.png").stat().st_size > 1000


def test_mistakes_with_others_are_named(tmp_path: Path, graybench: Any) -> None:
    def mistake(*arguments: Any) -> str:
        status, _, error = graybench("shapes", *arguments, "--out", tmp_path / "out")
        assert status == 2
        return str(error)

    growth = ("rats", "--age", "age_days", "--id", "rat")
    assert "--also cannot be used with --age" in mistake(*growth, "--also", "rats")
    assert "growth holds nothing out; leave it out." in mistake(*growth, "--held-out", 2)
    tree = ("apes", "--tree", "carnivores")
    assert "--also has no meaning with --tree" in mistake(*tree, "--also", "apes")
    assert "must have the same landmarks and dimensions, but are (7, 3) and (8, 2)" in mistake(
        "macaques", "--also", "apes"
    )
