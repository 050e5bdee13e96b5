"""Fits of a diffusion to shapes: known parameters are found, and held-out specimens stay out."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from graybench.benchmark.analysis.statistics import Z
from graybench.benchmark.shapes import fits as shapes
from graybench.benchmark.shapes import tables
from graybench.benchmark.shapes.specimens import Specimens, aligned
from graybench.tasks.landmarks.files import read_landmarks
from graybench.tasks.landmarks.procrustes import align, align_to, procrustes_distance
from graybench.tasks.landmarks.task import ellipse
from graybench.tests.methods.bridge.test_shape_likelihood import LENGTH, QUICK, A, diffuse

THETA = np.log([A, LENGTH])


def test_a_joint_fit_finds_what_shapes_were_simulated_with() -> None:
    # 18 numbers are each within 4 standard errors: a correct fit fails one seed in 900; the seed is fixed.
    start = ellipse(8, 2)
    simulated = diffuse(start, 40, 3)
    settings = replace(QUICK, as_aligned=True)
    found = shapes.fit(simulated, settings, "fit")
    off = np.append(found["theta"] - THETA, np.array(found["x_0"]) - start.flatten().numpy())
    stderr = np.array(found["theta_stderr"] + found["x_0_stderr"])
    assert (np.abs(off) < 4 * stderr).all()
    assert (stderr[:2] < 0.12).all()
    assert found["converged"]
    assert found["ess_least"] > 0.3
    rows = tables.parameter_rows(found, group="g")
    assert [row["estimate"] for row in rows] == pytest.approx(np.exp(found["theta"]))
    top = shapes.profile(simulated, found, settings, "fit")["rows"]
    along_a = [row["log_likelihood"] for row in top if row["parameter"] == "a"]
    assert max(along_a) == pytest.approx(0, abs=1e-6)
    # At four standard errors a parabola is at −8; x_0 is held, which takes some more.
    assert max(along_a[0], along_a[-1]) < -5
    # A slice, with ℓ held as well, is lower everywhere but at the top.
    likelihood = shapes.likelihood_of(simulated, settings, "fit")
    best, x_0 = (torch.tensor(found[part], dtype=torch.float64) for part in ("theta", "x_0"))
    for row in (top[2], top[14]):
        held = torch.stack([torch.tensor(row["value"], dtype=torch.float64).log(), best[1]])
        sliced = float(likelihood(held, x_0).value.sum() - likelihood(best, x_0).value.sum())
        assert sliced < row["log_likelihood"] - 0.1


def test_profiles_follow_the_ridge_of_a_parabola_and_hold_what_has_no_highest_point() -> None:
    top = torch.tensor([0.3, -0.7], dtype=torch.float64)

    def parabola(theta: Tensor, in_length: float) -> float:
        a, length = (theta - top).tolist()
        return -2 * a**2 + 1.5 * a * length + in_length * length**2

    # d/dℓ = 1.5 a − 6 ℓ = 0 and d/da = −4 a + 1.5 ℓ = 0
    assert shapes._slopes(lambda at: parabola(at, -3.0), top) == pytest.approx((0.25, 0.375), rel=1e-8)
    for flat in (0.0, 0.5):
        over_a, over_length = shapes._slopes(partial(parabola, in_length=flat), top)
        assert over_a == 0
        assert over_length == pytest.approx(0.375, rel=1e-8)
    assert shapes._slopes(lambda at: 1.0, top) == (0, 0)


def test_with_the_start_held_at_the_mean_the_fit_is_over_a_and_length_alone() -> None:
    """Against a search without gradients, and against the errors of x_0 that a joint fit states."""
    y = aligned(diffuse(ellipse(8, 2), 10, 3, a=0.05), False)[0]
    settings = replace(QUICK, start="mean")
    found, joint = (shapes.fit(y, each, "fit") for each in (settings, QUICK))
    mean = y.mean(0).flatten()
    assert found["x_0"] == mean.tolist()
    assert found["x_0"] != joint["x_0"]
    assert [one["start"] for one in (found, joint)] == ["mean", "fitted"]

    likelihood = shapes.likelihood_of(y, settings, "fit").settled(torch.from_numpy(THETA), mean)

    def negative(theta: Any) -> float:
        with torch.no_grad():
            return -float(likelihood(torch.from_numpy(theta), mean).value.sum())

    searched = minimize(negative, THETA, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    np.testing.assert_allclose(found["theta"], searched.x, atol=1e-4)
    assert found["log_likelihood"] == pytest.approx(-searched.fun, abs=1e-6)
    np.testing.assert_allclose(found["x_0_stderr"], joint["x_0_stderr"], rtol=0.02)
    assert found["converged"]
    # In all dimensions the errors of x_0 are not known in closed form.
    ablation = shapes.fit(y, replace(settings, as_aligned=True), "fit")
    assert np.isnan(ablation["x_0_stderr"]).all()
    assert np.isfinite(ablation["theta_stderr"]).all()


def test_close_landmarks_do_not_lead_the_fit_to_the_maximum_with_a_far_too_large_length() -> None:
    """A search that begins at ℓ = 0.5 ends at ℓ = 5 with a = 1.2, 50 nats lower."""
    start = ellipse(24, 2)
    start = start * math.sqrt(24) / torch.linalg.matrix_norm(start)
    theta = torch.tensor([0.04, 0.1], dtype=torch.float64).log()
    there = shapes.model(2, QUICK.nugget)(theta).at(start.flatten())
    normals = torch.randn(8, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = aligned(start + there.colour(normals).unflatten(-1, (-1, 2)), False)[0]
    found = shapes.fit(y, replace(QUICK, start="mean"), "fit")
    # Two parameters within 4 standard errors: a correct fit fails one seed in 8,000, and the seed is fixed.
    assert (np.abs(found["theta"] - theta.numpy()) < 4 * np.array(found["theta_stderr"])).all()
    assert max(found["theta_stderr"]) < 0.2


def test_alignment_keeps_held_out_specimens_out() -> None:
    sample = read_landmarks("apes").coordinates[:12]
    shapes_of, rest = aligned(sample[:9], False, sample[9:])
    assert (shapes_of.square().sum((1, 2)) / 8).numpy() == pytest.approx(1)
    mean = align(sample[:9]).mean
    assert torch.equal(rest, align_to(mean, sample[9:]) * math.sqrt(8))
    sized, rest = aligned(sample[:9], True, sample[9:])
    sizes = sized.square().sum((1, 2)).sqrt() / math.sqrt(8)
    assert float(sizes.mean()) == pytest.approx(1)
    raw = torch.linalg.matrix_norm(sample - sample.mean(1, keepdim=True))
    assert (sizes / raw[:9]).numpy() == pytest.approx(float(sizes[0] / raw[0]))
    outside = rest.square().sum((1, 2)).sqrt() / math.sqrt(8)
    assert (outside / raw[9:]).numpy() == pytest.approx(float(sizes[0] / raw[0]))


def test_folds_spread_every_group_evenly() -> None:
    groups = ["a"] * 13 + ["b"] * 7
    fold = shapes.folds_of(groups, 5, 0)
    for group in "ab":
        counts = np.bincount([f for f, own in zip(fold, groups, strict=True) if own == group], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert fold == shapes.folds_of(groups, 5, 0) != shapes.folds_of(groups, 5, 1)


def test_statistics_against_hand_counts() -> None:
    assert tables.mcnemar(0, 0) == 1
    assert tables.mcnemar(5, 0) == pytest.approx(2 / 32)
    # Wilson: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
    z, p, n = Z, 0.8, 10
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    share = tables.share(8, 10)
    assert [share["low"], share["high"]] == pytest.approx(
        [(middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)], rel=1e-5
    )
    frame = pd.DataFrame(
        [("s", "a", "a", 5.0), ("s", "a", "b", 1.0), ("t", "a", "a", 3.0), ("t", "a", "b", 2.0),
         ("u", "b", "a", -4.0), ("u", "b", "b", 0.0)],
        columns=["specimen", "own_group", "group", "log_likelihood"],
    ).assign(fit="all", ess_fraction=1.0)  # fmt: skip
    assert tables.group_means(frame, ["a", "b"]).tolist() == [[0, -2.5], [-4, 0]]
    rows = {row["quantity"]: row["value"] for row in tables.within_and_between(frame, "all")}
    assert rows["within_all"] == pytest.approx(8 / 3)
    assert rows["between_all"] == pytest.approx(-1 / 3)
    assert rows["within_above_between_all"] == 1


def test_the_baseline_is_the_nearest_procrustes_mean() -> None:
    raw = Specimens(
        torch.cat([diffuse(ellipse(5, 2), 5, 8), diffuse(ellipse(5, 2), 4, 9)]),
        tuple("abcdefghi"),
        ("p",) * 5 + ("q",) * 4,
    )
    fold = [0, 1, 1, 1, 1, 0, 1, 1, 1]
    found = shapes.held_out(raw, fold, 0, shapes.Settings(particles=2, steps=4))
    for place, row in enumerate((0, 5)):
        for k, rows in enumerate((range(1, 5), range(6, 9))):
            distance = procrustes_distance(align(raw.shapes[list(rows)]).mean, raw.shapes[row])
            assert found["distance"][place][k] == pytest.approx(float(distance))
