"""Claims about learned scores, standard errors and convergence against made-up tables with known answers."""

import math

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.papers.bridge import network_claims as claims
from graybench.methods.bridge.genealogy import LAG


def verdicts(found):
    return [finding.verdict for finding in found]


def test_wells_count_cases_of_the_network_and_hold_errors_by_their_size():
    cases = [(0.6, 0.03), (0.4, -0.03), (0.5, 0.2), (math.nan, 0.05)]
    rows = [
        {
            "network": network,
            "duration": 1.0,
            "sigma": 0.5,
            "end": -1.0,
            "ess_fraction": ess,
            "error": error,
            "stderr": 0.005,
        }
        for network, chosen in ((True, cases), (False, [(0.1, 9.0)]))
        for ess, error in chosen
    ]
    count, *errors = claims.wells_are_served(pd.DataFrame(rows))
    assert count.found.value == 2  # 0.4, and what is not a number
    assert count.claim == "number of 4 cases with ESS/N below 0.5"
    assert count.verdict == "fails"
    assert verdicts(errors) == ["holds", "holds", "fails", "open"]
    assert errors[1].found == pytest.approx((0.03, 0.03 - 0.0098, 0.03 + 0.0098), abs=1e-5)
    assert "from −1 to −1" in errors[0].claim
    assert next(claims.wells_are_served(pd.DataFrame(rows[:1]))).verdict == "holds"


def test_matching_is_behind_where_another_training_is_clearly_better():
    def table(others):
        settings = [("well", "midpoint"), ("well", "linearised"), ("reverting", "none")]
        rows = [
            {"task": task, "base": base, "simulations": 100, "recipe": recipe, "ess_fraction": ess}
            for (task, base), other in zip(settings, others, strict=True)
            for recipe, ess in (("matching", 0.8), ("variance", other), ("divergence", 0.1))
        ]
        return pd.DataFrame(rows)

    (found,) = claims.matching_is_best(table([0.9, 0.805, 0.2]))
    assert (found.found.value, found.verdict) == (1, "fails")
    assert found.claim.startswith("number of 3 settings")  # and not of every task with every base
    (found,) = claims.matching_is_best(table([0.7, 0.805, 0.2]))
    assert (found.found.value, found.verdict) == (0, "holds")


def test_networks_of_landmarks_are_held_without_resampling_at_their_size():
    rows = [
        {
            "landmarks": n,
            "steps": 50,
            "base": base,
            "threshold": threshold,
            "ess_fraction": ess,
            "ess_stderr": 0.01,
        }
        for n, base, threshold, ess in (
            (16, "network", 0.0, 0.2),
            (32, "network", 0.0, 0.2),
            (16, "network", 0.5, 0.9),
            (16, "midpoint", 0.0, 0.9),
        )
    ]
    assert verdicts(claims.networks_help_landmarks(pd.DataFrame(rows))) == ["fails", "holds"]


def test_the_papers_network_is_counted_by_sizes():
    table = pd.DataFrame(
        {
            "landmarks": [20, 50, 20, 50],
            "base": ["midpoint", "midpoint", "paper", "paper"],
            "ess_fraction": [0.01, 0.01, 0.3, 0.004],
        }
    )
    (found,) = claims.paper_network_serves(table)
    assert (found.found.value, found.verdict) == (1, "fails")
    (found,) = claims.paper_network_serves(table.assign(ess_fraction=[0.01, 0.01, 0.3, 0.05]))
    assert (found.found.value, found.verdict) == (0, "holds")


def runs(estimates, stderr, n=32, particles=256, steps=50, lag=LAG):
    return pd.DataFrame(
        {
            "landmarks": n,
            "particles": particles,
            "steps": steps,
            "run": range(len(estimates)),
            "lag": lag,
            "log_likelihood": estimates,
            "stderr": stderr,
        }
    )


def test_the_stated_error_is_held_against_the_spread_on_both_sides():
    # 400 runs know their spread to 1/√800 = 3.5 %: the ratio 1 is 8 standard errors from either end
    estimates = 135 + 0.3 * np.random.default_rng(7).standard_normal(400)
    for stderr, expected in (
        (0.3, ["holds", "holds"]),
        (0.1, ["fails", "holds"]),
        (0.9, ["holds", "fails"]),
    ):
        table = pd.concat([runs(estimates, stderr), runs(estimates, 50.0, lag=0.0)])  # another lag
        found = list(claims.errors_are_right(table))
        assert verdicts(found) == expected
        assert found[0].found.value == pytest.approx(stderr / estimates.std(ddof=1))
    assert found[0].claim == "stated error / spread of 400 runs, 32 landmarks, N = 256, K = 50"


def test_one_run_far_off_leaves_the_stated_error_open():
    estimates = np.concatenate([np.linspace(-0.5, 0.5, 19), [4.0]])
    low, high = claims.errors_are_right(runs(estimates, 0.3))
    assert low.found.value < 0.4
    assert (low.verdict, high.verdict) == ("open", "holds")


def test_stated_errors_are_held_by_the_number_of_landmarks():
    sizes = (16, 32, 64)  # 16 has no target
    table = pd.concat([runs([0.0] * 9, 0.3, n=n) for n in sizes])
    found = list(claims.errors_are_small(table))
    assert [f.found.value for f in found] == pytest.approx([0.3, 0.3])
    assert verdicts(found) == ["fails", "holds"]


def test_runs_are_held_against_the_one_with_most_bridges():
    def found(away):
        own = runs([134.8, 135.2] * 50, 0.2)
        other = runs([0.0, 1.0], 0.2, steps=200)  # there is no run with more bridges
        return list(
            claims.long_runs_agree(pd.concat([own, other, runs([135 + away], 0.01, particles=16384)]))
        )

    (near,), (far,) = found(0.1), found(-0.6)
    assert near.found.value == pytest.approx(0.5)
    assert far.found.value == pytest.approx(3)
    assert (near.verdict, far.verdict) == ("holds", "fails")
    # the mean of 100 runs has the standard error 0.2 · √(100/99)/10, and the long run 0.01
    stderr = math.hypot(0.02 * math.sqrt(100 / 99), 0.01) / 0.2
    assert far.found.high - far.found.value == pytest.approx(1.959964 * stderr)
    assert "N = 16,384" in near.claim


def test_determinants_are_held_at_the_most_steps():
    table = pd.DataFrame(
        {
            "landmarks": [8, 8, 16],
            "amplitude": 0.1,
            "steps": [25, 100, 100],
            "offset": [5.0, -0.001, 0.2],
            "offset_spread": 0.01,
            "seconds": [1.0, 2.0, 4.0],
            "seconds_saved": [0.1, 0.2, 0.4],
        }
    )
    *changes, saved = claims.determinants_do_not_matter(table)
    assert verdicts(changes) == ["holds", "fails"]
    assert changes[1].found.high == pytest.approx(0.2 + 1.959964 * 0.01 / math.sqrt(5))
    assert saved.found == pytest.approx((0.1, 0.1, 0.1))
    assert saved.verdict == "holds"
    *_, saved = claims.determinants_do_not_matter(table.assign(seconds_saved=[0.001, 0.002, 0.004]))
    assert saved.verdict == "fails"


def test_coverage_counts_all_fits_and_standard_errors_those_that_are_stated():
    def table(covered, stated):
        rows = [
            {
                "kind": "ends",
                "base": base,
                "log_k_covered": k < covered,
                "log_sigma_covered": True,
                "log_k_stderr": stated if k < 30 else math.nan,
                "exact_log_k_stderr": 0.5,
                "log_sigma_stderr": 1.0,
                "exact_log_sigma_stderr": 1.0 if k else math.nan,  # no exact maximum was found
            }
            for base in ("learned", "auto")
            for k in range(40)
        ]
        return pd.DataFrame(rows)

    good = list(claims.intervals_cover("learned")(table(40, 0.52)))
    assert verdicts(good) == ["holds", "holds", "holds"]
    assert good[2].found == pytest.approx((0.04, 0.04, 0.04))
    assert good[2].variant == "learned, 29 fits with both"
    bad = list(claims.intervals_cover("auto")(table(20, 0.4)))
    assert verdicts(bad) == ["fails", "holds", "fails"]
    assert (bad[0].found.value, bad[0].variant) == (0.5, "auto, 40 data sets")
    assert bad[2].found.value == pytest.approx(0.2)


def test_starts_are_held_against_the_sample_mean_and_the_exact_maximum():
    def table(own, distance, converged):
        rows = [
            {
                "task": "double_well",
                "diffusion_mean_error": own * (1 + k % 2),
                "sample_mean_error": 1.0 + k % 2,
                "distance": distance,
                "covered": converged,
                "converged": converged,
            }
            for k in range(40)
        ]
        return pd.DataFrame(rows)

    good = list(claims.starts_are_found(table(0.5, 0.01, True)))
    assert verdicts(good) == ["holds"] * 4
    assert good[2].found == pytest.approx((0.5, 0.5, 0.5))
    assert verdicts(claims.starts_are_found(table(1.5, 0.1, False))) == ["fails"] * 4


def test_exponents_are_held_against_theory_by_their_distance():
    def row(fitted, half, theory):
        ends = {"": fitted, "_low": fitted - half, "_high": fitted + half, "_theory": theory}
        return {f"bias_exponent{name}": value for name, value in ends.items()}

    table = pd.DataFrame(
        [
            {"over": over, "model": "MeanReversion"} | row(*fit)
            for over, fit in (("N", (-0.95, 0.02, -1)), ("K", (-0.5, 0.1, -1)), ("D", (1.1, 0.05, 1)))
            for _ in range(3)  # points of a curve
        ]
    )
    found = list(claims.errors_fall_as_expected("bias")(table))
    assert verdicts(found) == ["holds", "fails", "open"]
    assert found[0].found == pytest.approx((0.05, 0.03, 0.07))
    assert found[1].claim == "|b − (-1)| for bias ∝ K^b, fitted b = -0.5"
