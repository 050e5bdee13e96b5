"""Claims about bridges against made-up tables with known answers."""

import math

import pandas as pd
import pytest

from graybench.benchmark.papers.bridge import claims


def test_bias_is_held_by_its_size_on_either_side():
    rows = [
        {"task": "brownian", "dim": 1, "proposal": "exact", "bias": bias, "bias_stderr": 0.001}
        for bias in (0.01, -0.01, 0.0, 0.02, 0.1)
    ]
    found = list(claims.likelihoods_are_unbiased(pd.DataFrame(rows)))
    assert [f.verdict for f in found] == ["holds", "holds", "holds", "open", "fails"]
    assert found[0].found == pytest.approx((0.01, 0.01 - 1.959964e-3, 0.01 + 1.959964e-3))
    assert found[1].found == pytest.approx(found[0].found)
    assert found[2].found == pytest.approx((0, 0, 1.959964e-3))
    assert found[0].claim == "|bias| in nats, Brownian motion, D = 1"


def test_ess_without_a_standard_error_is_no_result():
    row = {"task": "brownian", "dim": 2, "proposal": "exact", "ess_fraction": 0.95}
    (found,) = claims.bridges_are_good(pd.DataFrame([row]))
    assert found.verdict == "no result"
    assert found.found.value == 0.95
    (found,) = claims.bridges_are_good(pd.DataFrame([row | {"ess_stderr": 0.01}]))
    assert (found.verdict, found.variant) == ("holds", "exact score")


def test_many_landmarks_are_counted_for_each_proposal():
    table = pd.DataFrame(
        {
            "landmarks": [32, 64, 32, 64],
            "proposal": ["plain", "plain", "resampled", "resampled"],
            "ess_fraction": [0.06, 0.01, 0.01, 0.01],
            "final_ess_fraction": [0.06, 0.01, 0.8, 0.5],
            "mean_difference": [2.0, 3.0, 0.5, 1.5],
        }
    )
    found = [(f.variant, f.found.value) for f in claims.many_landmarks_do_not_collapse(table)]
    assert found[::2] == [("plain", 1), ("plain", 1), ("plain", 2)]
    assert found[1::2] == [("resampled", 2), ("resampled", 0), ("resampled", 1)]
    lost = table.assign(ess_fraction=math.nan, final_ess_fraction=math.nan, mean_difference=math.nan)
    assert [f.found.value for f in claims.many_landmarks_do_not_collapse(lost)] == [2] * 6


def test_landmarks_are_usable_with_the_score_of_the_heat_kernel():
    row = {"landmarks": 8, "dimensions": 2, "amplitude": 0.1, "ess_fraction": 0.6, "ess_stderr": 0.01}
    table = pd.DataFrame([row | {"proposal": "heat_kernel"}, row | {"proposal": "none", "ess_fraction": 0.1}])
    (found,) = claims.few_landmarks_are_usable(table)
    assert found.claim == "ESS/N, 8 landmarks, D = 16, a = 0.1"
    assert (found.variant, found.target, found.at_least, found.verdict) == ("heat_kernel", 0.5, True, "holds")
    assert found.found == pytest.approx((0.6, 0.6 - 0.01959964, 0.6 + 0.01959964))


def test_rows_of_a_claim_are_chosen_by_proposal_dimension_and_network():
    table = pd.DataFrame(
        {
            "proposal": ["exact", "none", "exact"],
            "dim": [1, 2, 20],
            "network": ["plain", "plain", "attention"],
        }
    )
    assert claims.exact_proposals(table).index.tolist() == [0, 2]
    assert claims.low_dimensions(table).index.tolist() == [0, 1]
    assert claims.high_dimensions(table, "attention").index.tolist() == [2]
    assert claims.high_dimensions(table, "plain").empty


def test_without_the_factor_or_the_adjoint_kernel_the_ess_should_be_low():
    row = {"task": "geometric_brownian", "dim": 2, "ess_stderr": 0.01, "steps": 50}
    low, high = row | {"ess_fraction": 0.3, "kernel": "forward"}, row | {"ess_fraction": 0.97}
    found = [
        *claims.factor_is_needed(pd.DataFrame([low, high])),
        *claims.adjoint_kernel_is_needed(pd.DataFrame([low, high | {"kernel": "adjoint"}])),
    ]
    assert [f.verdict for f in found] == ["holds", "fails", "holds"]
    assert [f.variant for f in found] == 2 * ["exact score, no factor"] + ["forward kernel"]
    assert not any(f.at_least for f in found)
    assert found[2].claim == "ESS/N, geometric Brownian, D = 2, K = 50"


def test_learned_scores_are_named_by_their_network():
    row = {"task": "brownian", "dim": 1, "network": "plain", "ess_fraction": 0.95, "ess_stderr": 0.01}
    used, unused = (next(claims.bridges_are_good(pd.DataFrame([row | {"used": u}]))) for u in (True, False))
    assert (used.variant, unused.variant) == ("plain network, used", "plain network, not used")


def test_the_error_of_log_sum_exp_is_held_by_its_size():
    row = {"dim": 80, "what": "underflow", "dtype": "float32"}
    table = pd.DataFrame([row | {"log_sum_exp_error": error} for error in (-1e-6, 1e-4)])
    found = list(claims.log_sum_exp_is_right(table))
    assert [f.found.value for f in found] == [1e-6, 1e-4]
    assert [f.verdict for f in found] == ["holds", "fails"]


def test_the_objective_is_held_against_the_coefficient_of_the_score():
    rows = [{"objective": "paper", "c": c} for c in (0.4, 0.5, 0.6)]
    rows += [{"objective": "corrected", "c": c} for c in (-1.51, -1.49, -1.5)]
    table = pd.DataFrame(rows)
    (paper,), (corrected,) = (claims.learns_the_score(of)(table) for of in ("paper", "corrected"))
    assert paper.found.value == pytest.approx(2.0)
    assert (paper.verdict, corrected.verdict) == ("fails", "holds")
    assert corrected.found.value == pytest.approx(0, abs=1e-12)


def test_growth_of_targets_is_from_the_best_to_the_worst_condition():
    table = pd.DataFrame({"condition": [100.0, 10.0], "rms_stable": [0.7, 0.7], "rms_explicit": [60.0, 2.0]})
    stable, explicit = claims.target_is_stable(table)
    assert stable.found.value == 1
    assert explicit.found.value == pytest.approx(30)
    # each rms is known to 1/√(2n), n = 10,000, and the ratio of two to √2 times as much
    assert explicit.found.high == pytest.approx(30 * (1 + 1.959964 * math.sqrt(2) / math.sqrt(20_000)))
    assert (stable.verdict, explicit.verdict) == ("holds", "holds")


def test_recovery_counts_data_sets():
    rows = [
        {
            "data_set": k,
            "parameter": name,
            "relative_error": 0.02 * (-1) ** k,
            "covered": k > 0,
            "converged": True,
        }
        for k in range(20)
        for name in ("a", "length")
    ]
    found = {f.claim: f for f in claims.parameters_are_recovered(pd.DataFrame(rows))}
    assert found["mean |relative error| of a"].found == pytest.approx((0.02, 0.02, 0.02))
    coverage = found["coverage of 95 % intervals of length"]
    # Wilson's interval of 19 of 20, from its formula
    z2 = 1.959964**2
    centre, half = (
        (0.95 + z2 / 40) / (1 + z2 / 20),
        math.sqrt(z2) / (1 + z2 / 20) * math.sqrt(0.95 * 0.05 / 20 + z2 / 1600),
    )
    assert coverage.found == pytest.approx((0.95, centre - half, centre + half), rel=1e-5)
    assert coverage.verdict == "open"
    assert found["share of fits that converged"].found.value == 1


def test_starts_are_compared_pair_by_pair_in_the_root_mean_square():
    table = pd.DataFrame(
        {"diffusion_mean_error": [0.1, 0.3], "sample_mean_error": [0.2, 0.6], "coverage": [1.0, 0.9]}
    )
    ratio, coverage = claims.starts_are_recovered(table)
    assert ratio.found == pytest.approx((0.5, 0.5, 0.5))  # of every data set, so that no draw differs
    assert coverage.found.value == pytest.approx(0.95)


def test_species_are_those_of_groups_without_their_sex():
    classified = pd.DataFrame(
        {"group": ["gorf", "gorm", "panf", "panm"], "by_likelihood": ["gorm", "gorm", "panf", "gorm"]}
    )
    values = {"accuracy_likelihood": 0.5, "chance": 0.25, "within_minus_between_held_out": 3.0}
    summary = pd.DataFrame(
        [{"quantity": q, "value": v, "low": v - 0.1, "high": v} for q, v in values.items()]
    )
    found = {f.claim: f for f in claims.species_are_told_apart(summary, classified)}
    assert found["held-out accuracy over species"].found.value == 0.75
    assert found["held-out accuracy over species"].target == 0.5
    assert found["held-out accuracy over groups, specimens of gor"].found.value == 0.5
    assert found["held-out accuracy over groups"].verdict == "holds"
    assert found["held-out nats a specimen, own group less the others' mean"].found == (3.0, 2.9, 3.0)


def test_the_means_of_a_group_are_compared_in_standard_errors():
    rows = [
        {"group": g, "quantity": q, "estimate": v}
        for g, far in (("a", 0.1), ("b", 0.4))
        for q, v in (("distance_of_means", far), ("mean_stderr", 0.2))
    ]
    (found,) = claims.means_of_groups_agree(pd.DataFrame(rows))
    assert found.found == pytest.approx((2, 2, 2))
    assert found.verdict == "fails"
