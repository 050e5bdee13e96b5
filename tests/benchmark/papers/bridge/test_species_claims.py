"""Claims about species against made-up tables with known answers."""

import pandas as pd
import pytest

from graybench.benchmark.papers.bridge import species_claims


def test_an_ancestor_is_held_against_the_least_node_that_has_its_species():
    nodes = pd.DataFrame(
        [
            {"node": node, "landmark": 1, "axis": axis, "method": method, "mean": value}
            for node, value in (("QS1868", 0.0), ("QS1870", 1.0), ("QS1871", 2.0), ("QS1872", 3.0))
            for axis in "xy"
            for method in ("diffusion", "brownian_gaussian")
        ]
    )
    nodes.loc[nodes["method"] == "brownian_gaussian", "mean"] = 99.0
    ancestors = {
        "Papilio ambrax + Papilio phestus": (3.1, 3.1),
        "Papilio protenor + Papilio ambrax": (1.3, 0.9),  # √((0.3² + 0.1²)/2), the farthest of pairs
        "Papilio deiphobus + Papilio ambrax": (0.1, -0.1),
        " + ".join(f"Papilio {name}" for name in sorted(species_claims.NODES["QS1868"])): (0.4, 0.0),
    }
    shapes = pd.DataFrame(
        [
            {"groups": groups, "landmark": 1, "axis": axis, "ancestor": value, "stderr": 0.5}
            for groups, values in ancestors.items()
            for axis, value in zip("yx", values, strict=True)
        ]
    )
    pairs, every = species_claims.ancestors_agree_with_the_tree(shapes, nodes)
    assert "over 3 pairs" in pairs.claim
    assert "(ambrax and protenor)" in pairs.claim
    assert pairs.found.value == pytest.approx(0.05**0.5 / 0.5)
    assert every.found.value == pytest.approx(0.08**0.5 / 0.5)
    assert pairs.verdict == every.verdict == "holds"


def test_species_are_held_against_specimens():
    row = {"quantity": "a_between_over_within", "estimate": 0.4, "low": 0.3, "high": 0.5}
    (found,) = species_claims.species_differ_more_than_specimens(pd.DataFrame([row]))
    assert (found.found, found.verdict) == ((0.4, 0.3, 0.5), "fails")


def test_a_wolf_is_held_against_foxes_by_the_higher_of_its_likelihoods():
    likelihoods = pd.DataFrame({"fit": ["all"] + ["held_out"] * 4, "log_likelihood": [99.0, 8, 10, 12, 10]})
    also = pd.DataFrame(
        {
            "specimen": ["Vul_vul", "Can_lup", "Urs_ame", "Cuo_alp"],
            "log_likelihood": [11.0, -50, -90, 3],
            "normal": [10.0, -20, -70, 8.5],
        }
    )
    lead, above = species_claims.foxes_are_likelier(also, likelihoods)
    # the variance of 8, 10, 12 and 10 is 8/3, and that of their mean 2/3
    assert lead.found == pytest.approx((30, 30 - 1.959964 * (2 / 3) ** 0.5, 30 + 1.959964 * (2 / 3) ** 0.5))
    assert (above.found.value, above.verdict) == (1, "fails")
    assert "of 3 other species" in above.claim
    assert (lead.target, lead.verdict) == (0, "holds")


def test_amplitudes_are_compared_in_logarithms():
    foxes, carnivores = (
        pd.DataFrame([{"quantity": "a", "estimate": a, "stderr": error}])
        for a, error in ((0.02, 0.0006), (0.1, 0.004))
    )
    (found,) = species_claims.carnivorans_differ_more_than_foxes(foxes, carnivores)
    assert found.found.value == pytest.approx(5)
    assert found.found.high / 5 == pytest.approx(5 / found.found.low)
    assert found.found.high == pytest.approx(5 * 2.718281828 ** (1.959964 * 0.05))
    assert found.verdict == "holds"
