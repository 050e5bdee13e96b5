"""Shapes on a tree: exact answers at a tiny amplitude and by dense Gaussians, the command, and mistakes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from graybench.benchmark.analysis.statistics import Z
from graybench.benchmark.cli.shapes import _tree
from graybench.benchmark.shapes import tree_figures, tree_tables
from graybench.benchmark.shapes.fits import model
from graybench.benchmark.shapes.specimens import aligned
from graybench.benchmark.shapes.tree_report import worries_of
from graybench.benchmark.shapes.trees import (
    Species,
    TreeSettings,
    fit_brownian,
    fit_diffusion,
    hold_out,
    species_folds,
    tree_sample,
)
from graybench.methods.bridge.trees.diffusion import simulate
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.public import tree_file
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.landmarks.trees import Tree, read_tree
from graybench.tasks.seeding import generator

NEWICK = "((a:1,b:1):1,c:2,(d:1.5,e_e:1.5):0.5);"  # three branches meet at the root
TREE = Tree((-1, 0, 1, 1, 0, 0, 5, 5), (0, 1, 1, 1, 2, 0.5, 1.5, 1.5), ("", "", *"abc", "", "d", "e_e"), "My")
MEAN = ellipse(5, 2)
SETTINGS = TreeSettings(draws=150)


def grown(a: float, seed: int, each: int = 1) -> tuple[tuple[int, ...], Tensor]:
    """Simulate the tips of the tree; with several specimens of a species, they scatter by a/2."""
    theta = torch.tensor([a, 0.5], dtype=torch.float64).log()
    random = generator(seed)
    nodes = simulate(TREE, model(2, 1e-3)(theta), MEAN.flatten(), 0.05, random)
    tips = tuple(tip for tip in TREE.tips for _ in range(each))
    x = torch.stack([nodes[tip].unflatten(-1, MEAN.shape) for tip in tips])
    if each > 1:
        x = x + 0.5 * a * torch.randn(x.shape, generator=random, dtype=torch.float64)
    return tips, x


@pytest.mark.parametrize("each", [1, 2])
def test_the_diffusion_is_brownian_motion_at_a_tiny_amplitude(each: int) -> None:
    """Means within 0.4 of a standard deviation, about five Monte Carlo errors, and bands as wide."""
    tips, x = grown(0.004, 1, each)
    sample = tree_sample(TREE, tips, x)
    exact, found = fit_brownian(sample, "gaussian", SETTINGS), fit_diffusion(sample, SETTINGS)
    assert exact["converged"]
    assert found["root_ess"] > 100
    for node in tree_tables.unknown_nodes(sample):
        mean, lower, upper = (np.array(exact[part])[node] for part in ("mean", "lower", "upper"))
        other = [np.array(found[part])[node] for part in ("mean", "lower", "upper")]
        sd = (upper - lower) / (2 * Z)
        assert np.abs((other[0] - mean) / sd).max() < 0.4
        assert ((other[2] - other[1]) / (upper - lower)).min() > 0.75
        assert ((other[2] - other[1]) / (upper - lower)).max() < 1.5  # wider, as a and ℓ are uncertain
        # The bands of the figures are those of the table.
        spread = np.array(exact["covariance"])[node]
        assert np.sqrt(spread[..., 0, 0]) == pytest.approx(sd[:, 0], rel=1e-6)
        assert spread[..., 0, 1] == pytest.approx(0)
    assert len(tree_tables.unknown_nodes(sample)) == (3 if each == 1 else len(TREE))
    # log ℓ hardly matters at five landmarks; log a is known to about 0.1
    assert found["theta"][0] == pytest.approx(exact["theta"][0], abs=0.1)
    assert found["high"][0] - found["low"][0] == pytest.approx(exact["high"][0] - exact["low"][0], rel=0.4)


def shared_times(tips: tuple[int, ...]) -> np.ndarray:
    """Return the time from the root to the last common ancestor of each two tips."""
    ages, times = TREE.ages, np.zeros((len(tips), len(tips)))
    for i, first in enumerate(tips):
        for j, second in enumerate(tips):
            times[i, j] = 0.5 * (ages[first] + ages[second] - TREE.distance(first, second))
    return times


@pytest.mark.parametrize("each", [1, 2])
def test_a_held_out_species_is_predicted_as_by_a_dense_gaussian(each: int) -> None:
    tips, x = grown(0.1, 2, each)
    out = TREE.tips[3]
    result = hold_out(Species(TREE, tips, x), (out,), TreeSettings(chains=2, draws=4))
    (found,) = result["species"]
    assert list(found) == [
        "truth",
        "nearest_relative",
        "brownian_gaussian",
        "brownian_independent",
        "diffusion",
    ]
    rest = torch.tensor([tip != out for tip in tips])
    shapes, held = aligned(x[rest], False, x[~rest])
    kept = tuple(tip for tip in tips if tip != out)
    assert np.array(found["truth"]) == pytest.approx(held.mean(0).numpy())
    sister = shapes[[tip == TREE.tips[4] for tip in kept]].mean(0)
    assert np.array(found["nearest_relative"]) == pytest.approx(sister.numpy())

    # The conditional law of the mean of the held-out specimens, with the root integrated out by a flat prior.
    theta = fit_brownian(tree_sample(TREE, kept, shapes), "independent", SETTINGS)["theta"]
    squares = np.exp(2 * np.array(theta))
    within = squares[1] if each > 1 else 0.0
    covariance = squares[0] * shared_times((*kept, out)) + 1e9
    covariance[:-1, :-1] += within * np.eye(len(kept))
    covariance[-1, -1] += within / each
    weights = np.linalg.solve(covariance[:-1, :-1], covariance[:-1, -1])
    mean = np.einsum("s,snm->nm", weights, shapes.numpy() - MEAN.numpy()) + MEAN.numpy()
    half = Z * np.sqrt(covariance[-1, -1] - weights @ covariance[:-1, -1])
    predicted = {part: np.array(own) for part, own in found["brownian_independent"].items()}
    assert predicted["mean"] == pytest.approx(mean, abs=1e-6)
    assert predicted["upper"] - predicted["mean"] == pytest.approx(np.full(MEAN.shape, half), rel=1e-5)


@pytest.mark.parametrize(("each", "places"), [(1, (0, 2)), (2, (2,))])
def test_the_diffusion_predicts_as_brownian_motion_at_a_tiny_amplitude(
    each: int, places: tuple[int, ...]
) -> None:
    """One species or two at once; c hangs at the root. Limits as for the nodes."""
    tips, x = grown(0.004, 3, each)
    result = hold_out(Species(TREE, tips, x), [TREE.tips[place] for place in places], SETTINGS)
    for found in result["species"]:
        mean, lower, upper = (
            np.array(found["brownian_gaussian"][part]) for part in ("mean", "lower", "upper")
        )
        other = [np.array(found["diffusion"][part]) for part in ("mean", "lower", "upper")]
        width = upper - lower
        assert np.abs((other[0] - mean) / width).max() < 0.4 / (2 * Z)
        ratio = (other[2] - other[1]) / width
        assert 0.75 < ratio.min() < ratio.max() < 1.6
        assert 0.9 < ratio.mean() < 1.3


def test_nearest_relatives_that_are_as_near_are_averaged() -> None:
    tips, x = grown(0.1, 4)
    out = TREE.tips[2]  # c is 4 from each of the others
    (found,) = hold_out(Species(TREE, tips, x), (out,), TreeSettings(chains=2, draws=4))["species"]
    shapes, _ = aligned(x[[tip != out for tip in tips]], False)
    assert np.array(found["nearest_relative"]) == pytest.approx(shapes.mean(0).numpy())


def test_scores_against_hand_counts() -> None:
    truth = np.array([[0.0, 1.0], [2.0, 3.0]])
    predicted = {"mean": truth + 1, "lower": truth - [[1, -1], [1, 1]], "upper": truth + 2}
    found = tree_tables.score(truth, predicted)
    # widths are 3, 1, 3, 3, and one truth lies 1 below its band
    assert found == {"rms_error": 1.0, "coverage": 0.75, "interval_score": pytest.approx((10 + 40) / 4)}
    assert tree_tables.score(truth, (truth + 2).tolist()) == {"rms_error": 2.0}
    table = pd.DataFrame(
        [
            (s, m, e, 1.0, 1.0)
            for s, e in (("a", 1.0), ("b", 3.0))
            for m, e in (("diffusion", e), ("other", 2 * e))
        ],
        columns=["species", "method", "rms_error", "coverage", "interval_score"],
    )
    summary = tree_tables.held_out_summary(table).set_index("method")
    assert summary.loc["diffusion", "rms_error"] == 2
    assert summary.loc["other", "lower_by"] == 2


def test_species_are_dealt_into_folds() -> None:
    a, b, c, d, e = TREE.tips
    assert species_folds(TREE, None) == [(a,), (b,), (c,), (d,), (e,)]
    assert species_folds(TREE, 3) == [(a, d), (b, e), (c,)]
    with pytest.raises(UserError, match="held-out must be from 2 to the 5 species, but is 6"):
        species_folds(TREE, 6)
    small = Tree((-1, 0, 0, 0), (0, 1, 1, 1), ("", *"abc"), "years")
    with pytest.raises(UserError, match="held-out 2 leaves fewer than two of 3 species; raise it"):
        species_folds(small, 2)


def test_shapes_on_the_tree_lie_apart() -> None:
    for name in ("carnivores", "small"):
        tree = read_tree(tree_file("carnivores"), "My") if name == "carnivores" else TREE
        x = MEAN + 0.1 * torch.randn(len(tree.tips), *MEAN.shape, generator=generator(5), dtype=torch.float64)
        sample = tree_sample(tree, tree.tips, x)
        paper = tree_figures._Paper(sample, MEAN.expand(len(tree), -1, -1).numpy())
        drawn = [paper.places[node] for node, roomy in paper.rooms().items() if roomy]
        assert len(drawn) >= 2
        _, width, height = paper.box((0, 0))
        for k, (x_1, y_1) in enumerate(drawn):
            assert x_1 + width / 2 < paper.column
            assert all(abs(x_1 - x_2) >= width or abs(y_1 - y_2) >= -height for x_2, y_2 in drawn[:k])


@pytest.mark.parametrize(("departure", "times"), [(0.5, 1), (0.05, 2), (0.02, 5), (0.001, 10)])
def test_small_departures_are_enlarged(departure: float, times: float) -> None:
    signs = torch.tensor([1.0, -1, 1, -1, 0]).double()
    x = MEAN + departure * 5 / 4 * signs[:, None, None]
    assert tree_figures.enlargement(tree_sample(TREE, TREE.tips, x)) == times


def test_chains_that_have_not_mixed_are_named() -> None:
    good = {"root_ess": 200.0, "root_rhat": 1.01, "theta_ess": 150.0, "theta_rhat": 1.02}
    fits = {"diffusion": good, **{f"brownian_{k}": {"converged": True} for k in ("gaussian", "independent")}}
    held = pd.DataFrame([{"method": "diffusion", "species": "a", **good}])
    assert worries_of(fits, held) == []
    bad = {**fits, "diffusion": {**good, "root_ess": 99.0, "theta_rhat": float("nan")}}
    root, theta = worries_of(bad, held)
    assert "the root's shape have not mixed: ESS 99 (at least 100 is needed)" in root
    assert "the parameters have not mixed: ESS 150" in theta
    (held_out,) = worries_of(fits, held.assign(root_rhat=1.2))
    assert "behind 1 of 1 held-out predictions have not mixed" in held_out
    (flat,) = worries_of({**fits, "brownian_gaussian": {"converged": False}}, held)
    assert flat.startswith(
        "the fit of Brownian motion, kernel at the mean shape did not converge, so its rows"
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a TPS file with 2 specimens of each of 5 species, and their tree."""
    tips, x = grown(0.1, 6, 2)
    blocks = [
        "LM=5\n" + "\n".join(f"{100 * a:.4f} {100 * b:.4f}" for a, b in shape.tolist())
        + f"\nID=s{k}\nSPECIES={TREE.names[tip].replace('_', ' ')}\n"
        for k, (tip, shape) in enumerate(zip(tips, x, strict=True))
    ]  # fmt: skip
    landmarks, tree = tmp_path / "five.tps", tmp_path / "five.nwk"
    landmarks.write_text("".join(blocks))
    tree.write_text(NEWICK)
    return landmarks, tree


QUICK = ("--chains", 2, "--draws", 6, "--held-out", 2)


def test_the_command_writes_tables_figures_and_a_page(
    files: tuple[Path, Path], tmp_path: Path, graybench: Any
) -> None:
    out = tmp_path / "out"
    arguments = (files[0], "--tree", files[1], *QUICK, "--time-unit", "million years", "--out", out)
    status, said, error = graybench("shapes", *arguments)
    assert (status, error) == (0, "")
    assert "[5/5] without b d: in " in said
    assert "warning: the chains of the root's shape have not mixed" in said
    for name in ("tree", "ancestors", "root", "held_out"):
        assert all((out / f"{name}.{kind}").stat().st_size > 1000 for kind in ("pdf", "png"))
    nodes = pd.read_csv(out / "nodes.csv")
    assert list(nodes) == ["node", "time", "landmark", "axis", "method", "mean", "lower", "upper"]
    assert list(nodes["node"].unique()) == ["root", "node 2", "a", "b", "c", "node 3", "d", "e_e"]
    assert len(nodes) == 3 * 8 * 5 * 2
    assert (nodes["lower"] < nodes["upper"]).all()
    assert nodes.loc[nodes["node"] == "d", "time"].unique() == 2
    parameters = pd.read_csv(out / "parameters.csv")
    assert parameters["quantity"].tolist() == [
        "a",
        "length",
        "within",
        "a",
        "length",
        "within",
        "a",
        "within",
    ]
    exact = parameters[parameters["method"] == "brownian_gaussian"].set_index("quantity")
    assert exact.loc["a", "low"] < exact.loc["a", "estimate"] < exact.loc["a", "high"]
    held = pd.read_csv(out / "held_out.csv")
    assert len(held) == 4 * 5
    assert set(held["species"]) == {"a", "b", "c", "d", "e_e"}
    page = (out / "README.md").read_text(encoding="utf-8")
    assert (
        "10 specimens of 5 species, 5 landmarks in 2-D. The tree is 2 high; time is in million years." in page
    )
    assert "**Not integrated out:** position, orientation and size of the specimens." in page
    assert f"| Brownian motion, kernel at the mean shape | a | {exact.loc['a', 'estimate']:.4g} |" in page
    assert "**Warning:** the chains of the root's shape have not mixed" in page

    written = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert graybench("shapes", *arguments)[1].count("finished before") == 5
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == written


def test_skulls_in_three_dimensions_have_two_projections_of_the_root() -> None:
    tree = Tree((-1, 0, 0, 0), (0, 1, 1, 1), ("", *"abc"), "years")
    x = ellipse(5, 3) + 0.1 * torch.randn(3, 5, 3, generator=generator(7), dtype=torch.float64)
    sample = tree_sample(tree, (1, 2, 3), x)
    fits = {"diffusion": fit_diffusion(sample, TreeSettings(chains=2, draws=4)),
            "brownian_gaussian": fit_brownian(sample, "gaussian", SETTINGS)}  # fmt: skip
    labels = [(axis.get_xlabel()[0], axis.get_ylabel()[0]) for axis in tree_figures.root(fits, False).axes]
    assert labels == [("x", "y"), ("x", "z")]


def test_trees_of_data_sets_have_their_units() -> None:
    assert _tree("carnivores", None).unit == "million years"
    assert len(_tree("carnivores", "My").tips) == 19
    assert replace(_tree("carnivores", "My"), unit="million years") == _tree("carnivores", None)


def test_mistakes_are_named(files: tuple[Path, Path], tmp_path: Path, graybench: Any) -> None:
    landmarks, tree = files

    def mistake(*arguments: Any) -> str:
        status, _, error = graybench("shapes", landmarks, "--out", tmp_path / "out", *arguments)
        assert status == 2
        return " ".join(str(error).split())

    def with_tree(text: str) -> str:
        tree.write_text(text)
        return mistake("--tree", tree)

    assert "--particles has no meaning with --tree; leave it out" in mistake("--tree", tree, "--particles", 4)
    assert "--id has no meaning with --tree" in mistake("--tree", tree, "--id", "s")
    assert "--draws has no meaning without --tree" in mistake("--draws", 9)
    assert "--time-unit has no meaning without --tree" in mistake("--time-unit", "My")
    assert "there is no column 'kind' in this sample" in mistake("--tree", tree, "--group", "kind")
    assert "held-out must be from 2 to the 5 species, but is 7" in mistake("--tree", tree, "--held-out", 7)
    assert "tree file no.nwk cannot be read" in mistake("--tree", "no.nwk")
    assert "species 'c' of the landmark file is not a tip of the tree" in with_tree(
        "((a:1,b:1):1,(d:1,e_e:1):1);"
    )
    assert "tip 'f' of the tree is no species of the landmark file; remove it" in with_tree(
        "((a:1,b:1):1,c:2,f:2,(d:1.5,e_e:1.5):0.5);"
    )
    assert "the branch above c needs a length above 0" in with_tree("((a:1,b:1):1,c:0,(d:1,e_e:1):1);")
    assert "the branch above a, b needs a length above 0" in with_tree("((a:1,b:1),c:2,(d:1,e_e:1):1);")
    assert "tip 3 of 5 has no name; add it" in with_tree("((a:1,b:1):1,:2,(d:1,e_e:1):1);")
    assert "is not in Newick format" in with_tree("((a:1,b:1:1,c:2,(d:1,e_e:1):1;")
    two = "LM=3\n0 0\n1 0\n0 1\nID=a\nLM=3\n0 0\n1 0\n0 2\nID=b\n"
    landmarks.write_text(two)
    assert "the tree has 2 species, and a fit on a tree needs 3" in with_tree("(a:1,b:1);")
