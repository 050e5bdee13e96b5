"""Studies on simulated trees: the law of the trees, Brownian motion at small a, samplers, summaries."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from graybench.benchmark.papers.bridge.experiments import trees
from graybench.benchmark.papers.bridge.experiments.trees import Cell, random_tree
from graybench.benchmark.papers.bridge.tree_figures import (
    exponent_of,
    run_times,
    summarise_coverage,
    tree_figure,
)
from graybench.tasks.seeding import generator


def test_a_random_tree_has_two_children_at_each_ancestor_and_tips_at_height_1():
    tree = random_tree(16, generator(0))
    assert len(tree.tips) == 16
    assert {len(tree.children[node]) for node in tree.inner} == {2}
    assert [tree.ages[tip] for tip in tree.tips] == pytest.approx([1.0] * 16)
    assert min(tree.lengths[1:]) > 0


def test_random_trees_have_the_law_of_pure_birth():
    """With three tips, times with two and three lineages are exponential; Kolmogorov-Smirnov at 1e-4."""
    random = generator(1)
    found = [min(random_tree(3, random).lengths[1:3]) for _ in range(400)]
    # E_2/(E_2 + E_3) < u if E_2 < r E_3 with r = u/(1 − u).
    assert stats.kstest(found, lambda u: 2 * u / (2 * u + 3 * (1 - u))).pvalue > 1e-4


def test_roots_are_those_of_brownian_motion_at_small_a(monkeypatch):
    """At a = 0.01 the errors of both roots differ by less than a tenth, four times the Monte Carlo error."""
    monkeypatch.setattr(trees, "DRAWS", 300)
    with torch.no_grad():
        for data_set in range(2):
            (row,) = trees._covered(Cell(4, 8, 0.01), data_set)
            assert row["root_error"] == pytest.approx(row["brownian_root_error"], rel=0.1)
            assert row["a_estimate"] == pytest.approx(row["brownian_a_estimate"], rel=0.3)


def test_coverage_counts_coordinates_between_the_quantiles():
    draws = torch.linspace(0, 1, 1001).double()[:, None].expand(-1, 4)
    truth = torch.tensor([0.02, 0.03, 0.97, 0.98]).double()
    assert trees._held(draws, truth).tolist() == [False, True, True, False]


def test_guided_particles_are_all_effective_at_small_a_and_few_at_large(monkeypatch):
    monkeypatch.setattr(trees, "PARTICLES", 500)
    with torch.no_grad():
        small, large = (trees._sampled("guided", Cell(8, 8, a), 0)[0]["root_ess"] for a in (0.002, 0.3))
    assert large < 50 < 450 < small


def test_nuts_and_our_sampler_agree(monkeypatch):
    """Means of (log a, log ℓ) within five Monte Carlo errors, from effective sizes."""
    for name, value in {"CHAINS": 2, "DRAWS": 40, "WARMUP": 30}.items():
        monkeypatch.setattr(trees, name, value)
    with torch.no_grad():
        baseline = trees.baseline_of(Cell(3, 8, 0.2), 0)
        fit = baseline.fit()
        ours, _ = trees._sample(baseline, fit)
        other, _ = trees._nuts(baseline, fit)
    sizes = 1 / ours.diagnostics().theta_ess + 1 / other.diagnostics().theta_ess
    error = ours.theta.flatten(0, 1).std(0) * sizes**0.5
    away = (ours.theta - other.theta).mean((0, 1)).abs()
    assert bool((away < 5 * error).all())
    assert other.theta.shape == ours.theta.shape


def test_superimposed_tips_have_the_size_of_the_tips_and_no_movement_as_a_whole():
    baseline = trees.baseline_of(Cell(8, 8, 0.05), 0)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    x = baseline.sample.coordinates.clone()
    x[3] = 1.5 * x[3] @ turn.T + 7.0
    moved = replace(baseline, sample=replace(baseline.sample, coordinates=x))
    found, other = (trees.superimposed(own).sample.coordinates for own in (baseline, moved))
    assert found.mean(1).abs().max() < 1e-12
    sizes = [own.square().sum((1, 2)).sqrt() for own in (found, other)]
    expected = (baseline.sample.coordinates - baseline.sample.coordinates.mean(1, keepdim=True)).square()
    torch.testing.assert_close(sizes[0], expected.sum((1, 2)).sqrt().mean().expand(8))
    torch.testing.assert_close(found / sizes[0][0], other / sizes[1][0], atol=1e-6, rtol=0)


def test_superimposing_lowers_the_amplitude():
    """Most of the movement is that of shapes as a whole: the estimate of a falls below 0.8 of the truth."""
    (row,) = trees._superimposed(Cell(8, 8, 0.05), 0)
    assert row["converged"]
    assert row["superimposed_a_estimate"] < 0.8 * min(row["a_estimate"], 0.05)


def coverage_rows():
    return pd.DataFrame(
        [
            {
                "tips": tips,
                "landmarks": 8,
                "a": a,
                "data_set": k,
                **{f"{p}{n}_covered": k > 0 for p in ("", "brownian_") for n in ("a", "length")},
                "root_covered": 0.9 + 0.1 * (k % 2),
                "brownian_root_covered": 0.8,
                "root_error": 3.0 if k else 4.0,
                "brownian_root_error": 5.0,
                "root_ess": 100.0 + k,
                "root_rhat": 1.01,
                "theta_ess": 90.0,
                "theta_rhat": 1.0,
                "seconds": 2.0,
            }
            for tips in (8, 32)
            for a in (0.05, 0.3)
            for k in range(4)
        ]
    )


def time_rows():
    cells = [("tips", cell) for cell in trees.OVER_TIPS]
    cells += [("landmarks", cell) for cell in trees.OVER_LANDMARKS]
    return pd.DataFrame(
        [
            {"over": over, **cell._asdict(), "root_ess": 100.0 / cell.tips, "seconds": f * cell.tips**1.5}
            for over, cell in cells
            for f in (1.0, 4.0)
        ]
    )


def test_a_summary_by_hand():
    row = summarise_coverage(coverage_rows()).iloc[0]
    assert (row["tips"], row["a"], row["data_sets"]) == (8, 0.05, 4)
    assert row["a_covered"] == 0.75
    assert row["root_covered"] == pytest.approx(0.95)
    # Student's interval of (0.9, 1, 0.9, 1), cut at 1.
    assert row["root_covered_low"] == pytest.approx(0.95 - 3.1824 * (0.01 / 3) ** 0.5 / 2, abs=1e-4)
    assert row["root_covered_high"] == 1
    assert row["error_ratio"] == pytest.approx(((16 + 3 * 9) / 100) ** 0.5)
    assert row["error_ratio_low"] == pytest.approx(0.6)
    assert row["root_ess"] == 101.5


def test_exponents_of_a_power_law():
    curves = run_times(time_rows(), "tips")
    np.testing.assert_allclose(curves["seconds"], 2.0 * np.array([4, 8, 16, 32, 64]) ** 1.5)
    for column, expected in {"seconds": 1.5, "seconds_per_draw": 2.5}.items():
        assert exponent_of(curves[column]) == pytest.approx((expected,) * 3)


def test_the_figure_draws_intervals_and_exponents():
    samplers = pd.DataFrame(
        [
            {"sampler": sampler, "a": a, "root_ess": ess, "seconds": 2.0}
            for sampler, ess in (("guided", 20.0), ("hamiltonian", 300.0))
            for a in trees.AMPLITUDES
        ]
    )
    figure = tree_figure(coverage_rows(), time_rows(), samplers)
    first = figure.axes[0].collections[0].get_segments()[0]
    row = summarise_coverage(coverage_rows()).iloc[0]
    assert first[:, 1] == pytest.approx([row["a_covered_low"], row["a_covered_high"]])
    labels = [text.get_text() for text in figure.axes[4].get_legend().get_texts()]
    assert labels[0] == "run: 1.50 ± 0.00"
