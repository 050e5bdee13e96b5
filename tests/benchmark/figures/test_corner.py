"""Corner plots show the densities of known draws, on axes that only the reference determines."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.stats import norm

from graybench.benchmark.figures.corner import REFERENCE, corners, draw
from graybench.benchmark.figures.style import KNOWN
from graybench.benchmark.running.kept import DTYPES

MEANS, SPREADS = np.array([1.0, -20.0, 300.0]), np.array([0.1, 2.0, 30.0])
RHO = 0.8  # between each two parameters
LABELS = ("dsm", "mix(gate=conditional_hessian)", "mix(gate=state_hessian)", "tsm_mix(gate=matrix)", "npe")


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Draws (n, d) of a normal distribution with correlations `RHO`, means and spreads repeated."""
    random = np.random.default_rng(seed)
    own, common = random.standard_normal((n, d)), random.standard_normal((n, 1))
    return np.resize(MEANS, d) + np.resize(SPREADS, d) * (np.sqrt(1 - RHO) * own + np.sqrt(RHO) * common)


def tidy(**sources: np.ndarray) -> pd.DataFrame:
    def tables() -> Iterator[pd.DataFrame]:
        for source, values in sources.items():
            wide = pd.DataFrame(values, columns=[f"theta_{k}" for k in range(values.shape[1])])
            yield (
                wide.rename_axis("index")
                .reset_index()
                .melt("index", var_name="parameter")
                .assign(source=source)
            )

    return pd.concat(tables(), ignore_index=True)


def panels(figure: Figure) -> dict[tuple[int, int], Axes]:
    return {(a.get_subplotspec().rowspan.start, a.get_subplotspec().colspan.start): a for a in figure.axes}


def limits(figure: Figure) -> list[tuple[float, ...]]:
    return [(*axis.get_xlim(), *axis.get_ylim()) for (i, j), axis in panels(figure).items() if i > j]


def texts(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [*legend.get_title().get_text().split("\n"), *(text.get_text() for text in legend.get_texts())]


def test_densities_on_the_diagonal_are_those_of_the_draws() -> None:
    """A kernel with Scott's bandwidth h adds h² to the variance; 4,000 draws know the density to 5 %."""
    n = 4000
    figure = draw(tidy(reference=normal(n, 3), mix=normal(n, 3, seed=1)))
    for k in range(3):
        axis = panels(figure)[k, k]
        spread = SPREADS[k] * np.sqrt(1 + n ** (-2 / 5))
        (line,) = axis.get_lines()
        (region,) = axis.collections
        assert to_hex(line.get_color()) == KNOWN["mix"].colour.lower()
        for x, y in (line.get_xydata().T, region.get_paths()[0].vertices.T):
            assert y.max() == pytest.approx(norm.pdf(0, scale=spread), rel=0.05)
            assert x[y.argmax()] == pytest.approx(MEANS[k], abs=0.3 * SPREADS[k])


def test_regions_hold_half_and_95_percent_of_the_draws() -> None:
    """The kernel widens regions a little; a share of 4,000 draws has a standard error below 0.8 %."""
    own = normal(4000, 2)
    for source in (REFERENCE, "mix"):
        axis = panels(draw(tidy(**{source: own})))[1, 0]
        (regions,) = axis.collections
        if source == REFERENCE:  # the outer region has a hole, which the inner one fills
            held = sum(path.contains_points(own).astype(int) for path in regions.get_paths())
            assert np.mean(held > 0) == pytest.approx(0.95, abs=0.03)
        else:
            held = [path.contains_points(own).mean() for path in regions.get_paths()]
            assert held == pytest.approx([0.95, 0.5], abs=0.03)
            assert to_hex(regions.get_edgecolor()[0]) == KNOWN["mix"].colour.lower()


def test_the_axes_hold_the_reference_and_nothing_stretches_them() -> None:
    reference = normal(1000, 3)
    alone = draw(tidy(reference=reference))
    for i, j in ((1, 0), (2, 0), (2, 1)):
        axis = panels(alone)[i, j]
        for k, (low, high) in ((j, axis.get_xlim()), (i, axis.get_ylim())):
            outside = (reference[:, k] < low) | (reference[:, k] > high)
            assert not outside.any()
            assert 6 < (high - low) / SPREADS[k] < 9
    diverged = 1e9 * normal(100, 3)
    diverged[0] = np.nan, np.inf, -np.inf
    half = normal(100, 3)
    half[:50, 1] = 1e4
    figure = draw(tidy(reference=reference, dsm=diverged, mix=half, tsm=normal(100, 3)))
    assert limits(figure) == limits(alone)
    assert {"DSM, 100% outside", "MIX, 50% outside", "TSM"} <= set(texts(figure))
    assert len(panels(figure)[0, 0].get_lines()) == 2  # MIX is only away in the second parameter


def test_the_first_six_parameters_are_shown_and_a_sentence_says_so() -> None:
    for d in (6, 7):
        figure = draw(tidy(reference=normal(200, d)))
        assert len(figure.axes) == 6 * 7 / 2
        assert [panels(figure)[5, j].get_xlabel() for j in range(6)] == [f"theta_{j}" for j in range(6)]
        assert ("the first 6 of 7 parameters" in texts(figure)) == (d == 7)


def test_components_are_counted_from_one() -> None:
    draws = tidy(reference=normal(50, 2))
    numbered = draws.assign(parameter=draws["parameter"].str[-1].astype(int))
    assert [panels(draw(numbered))[1, j].get_xlabel() for j in range(2)] == ["$\\theta_{1}$", "$\\theta_{2}$"]


def test_one_parameter_is_one_density() -> None:
    figure = draw(tidy(reference=normal(200, 1), mix=normal(200, 1, seed=1)))
    (axis,) = figure.axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("theta_0", "density")
    assert len(axis.get_lines()) == len(axis.collections) == 1
    assert texts(figure) == ["", "reference", "MIX"]


def test_draws_that_have_no_density_are_left_out() -> None:
    """All draws of DSM are alike, and MIX has one: neither has a kernel estimate."""
    same = np.tile(MEANS[:2], (50, 1))
    figure = draw(tidy(reference=normal(200, 2), dsm=same, mix=same[:1]))
    assert [len(axis.get_lines()) for axis in figure.axes] == [0, 0, 0]
    assert texts(figure)[1:] == ["reference", "DSM", "MIX"]


@pytest.mark.parametrize("methods", [1, 3, 5])
@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_the_legend_covers_no_panel(d: int, methods: int) -> None:
    sources = {label: normal(20, d) for label in LABELS[:methods]}
    figure = draw(tidy(reference=normal(20, d), **sources))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not box.count_overlaps([axis.get_tightbbox() for axis in figure.axes])
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


def test_a_folder_has_a_plot_of_the_largest_budget_for_each_task_and_its_first_methods() -> None:
    def kept(task: str, method: str, kind: str, budget: int, centre: float) -> pd.DataFrame:
        value = centre + np.random.default_rng(0).standard_normal(50)
        same = {"cell": "c", "task": task, "method": method, "method_settings": "", "budget": budget}
        place = {"kind": kind, "replicate": 0, "index": range(50), "parameter": 0, "value": value}
        return pd.DataFrame(same | place).astype(DTYPES)

    rows = [kept("a", "m0", "reference", 10, 0.0), kept("b", "m0", "draw", 10, 5.0)]
    rows += [kept("a", f"m{k}", "draw", budget, k / 10) for k in range(6) for budget in (10, 100)]
    rows.append(kept("a", "m0", "rank", 100, 0.5))
    drawn = {task: (variant, figure) for task, variant, figure in corners(pd.concat(rows))}
    assert list(drawn) == ["a", "b"]
    assert drawn["a"][0] == ""
    (axis,) = drawn["a"][1].axes
    assert len(axis.lines) == 4
    peaks = [line.get_xdata()[np.argmax(line.get_ydata())] for line in axis.lines]  # type: ignore[arg-type]
    assert np.allclose(np.diff(peaks), 0.1, atol=0.05)
    assert [text.get_text() for text in drawn["a"][1].legends[0].get_texts()] == [
        "reference",
        "m0",
        "m1",
        "m2",
        "m3",
    ]
