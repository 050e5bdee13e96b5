"""Claims about diffusions on trees against made-up tables with known answers."""

import pandas as pd
import pytest

from graybench.benchmark.papers.bridge import tree_claims as claims
from graybench.benchmark.papers.bridge.paper import BRIDGE


def coverage_table(held, root):
    """Return 40 data sets at two amplitudes, of which a share `held` covers a, and all cover ℓ."""
    return pd.DataFrame(
        [
            {
                "tips": 8,
                "landmarks": 16,
                "a": a,
                "data_set": k,
                "a_covered": k < held,
                "length_covered": True,
                "root_covered": root + 0.01 * (-1) ** k,
                "root_error": factor * (1 + k % 3),
                "brownian_root_error": 1.0 + k % 3,
            }
            for a, factor in ((0.05, 1.0), (0.3, 0.5))
            for k in range(20)
        ]
    )


@pytest.mark.parametrize(
    ("held", "root", "verdicts"),
    [
        (20, 0.95, ["holds", "holds", "holds", "holds"]),
        (8, 0.85, ["fails", "holds", "fails", "holds"]),
        (17, 0.99, ["open", "holds", "holds", "fails"]),
    ],
)
def test_coverage_is_pooled_over_amplitudes_and_the_roots_has_two_ends(held, root, verdicts):
    found = list(claims.intervals_on_trees_cover(coverage_table(held, root)))
    assert [finding.verdict for finding in found] == verdicts
    assert [finding.target for finding in found] == [0.85, 0.85, 0.90, 0.98]
    assert found[0].found.value == held / 20
    assert found[0].variant == "8 tips, 16 landmarks, 40 data sets"
    assert found[2].found.value == pytest.approx(root)


def test_errors_of_roots_are_compared_at_each_amplitude():
    equal, half = claims.roots_are_nearer(coverage_table(20, 0.95))
    assert equal.found == pytest.approx((1, 1, 1))
    assert half.found == pytest.approx((0.5, 0.5, 0.5))
    assert half.claim == "rms error of the root / of Brownian motion's, a = 0.3"
    worse = coverage_table(20, 0.95).assign(root_error=9.0)
    assert [finding.verdict for finding in claims.roots_are_nearer(worse)] == ["fails", "fails"]


def test_predictions_are_held_against_each_rival_of_each_sample():
    def table(relative, brownian):
        return pd.DataFrame(
            [
                {"method": "diffusion", "species": 5},
                {"method": "nearest_relative", "species": 5, "lower_by": relative, "low": 0.1, "high": 0.9},
                {
                    "method": "brownian_gaussian",
                    "species": 5,
                    "lower_by": brownian,
                    "low": -0.3,
                    "high": -0.1,
                },
            ]
        )

    tables = (table(0.5, -0.2), table(0.6, -0.25))
    found = list(claims.species_are_predicted(("one", "two"), "nearest_relative")(*tables))
    assert [(f.found.value, f.verdict, f.variant) for f in found] == [
        (0.5, "holds", "one, 5 species"),
        (0.6, "holds", "two, 5 species"),
    ]
    found = list(claims.species_are_predicted(("one", "two"), "brownian_gaussian")(*tables))
    assert [(f.found.value, f.verdict) for f in found] == [(-0.2, "fails"), (-0.25, "fails")]


def test_sources_of_trees_are_commands_that_write_their_tables(tmp_path):
    commands = {source.folder: source.command(tmp_path) for source in BRIDGE.sources}
    assert commands["trees/papilio"][:-1] == [
        "shapes", "papilio", "--group", "species", "--tree", "papilio", "--out",
    ]  # fmt: skip
    assert commands["trees/carnivores"][:-1] == ["shapes", "carnivores", "--tree", "carnivores", "--out"]
    needed = {name for figure in BRIDGE.figures for claim in figure.claims for name in claim.needs}
    of_trees = {name.rpartition("/")[0] for name in needed if name.startswith("trees/")}
    assert of_trees == {folder for folder in commands if folder.startswith("trees/")}
