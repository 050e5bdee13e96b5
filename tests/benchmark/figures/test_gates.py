"""Figures about gates show the numbers of the table, and what can be worked out exactly."""

from itertools import compress

import numpy as np
import pandas as pd
import pytest
import torch

from graybench.benchmark.figures.gates import gates_choice, gates_eigenvalues, gates_ratio, gates_variance
from graybench.benchmark.figures.style import FLOOR, KNOWN, MISSING
from graybench.benchmark.metrics.truth import TIMES
from graybench.benchmark.running.measure import train_seed
from graybench.benchmark.running.rows import DTYPES, with_variants
from graybench.methods.score.schedule import alpha_sigma, alpha_sigma_at
from graybench.tasks.classic.galton import Galton
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tests.methods.exact import variances

TASKS = ("galton", "linear_gaussian(rotated=true, spread=100.0)")
METHODS = {"dsm": "", "mix": "", "mix(gate=matrix)": "gate=matrix", "mix(gate=auto)": "gate=auto"}
CHOSEN = {(TASKS[0], 0): "scalar", (TASKS[0], 1): "scalar", (TASKS[1], 0): "matrix", (TASKS[1], 1): "state"}
ERROR = {"dsm": 4.0, "mix": 2.0, "mix(gate=matrix)": 1.0, "mix(gate=auto)": 0.5}


def table():
    rows = []
    for task in TASKS:
        for label, settings in METHODS.items():
            for replicate in range(2):
                same = {"task": task, "method": label.partition("(")[0], "method_settings": settings}
                same |= {"budget": 200, "replicate": replicate, "status": "ok", "root_seed": 3}
                error = {"observation": 0, "value": ERROR[label] * (1 + replicate)}
                rows.append({**same, "metric": "score_error", **error})
                for t in TIMES:
                    rows.append({**same, "metric": "excess_variance", "time": t, "value": -t / 2})
                if settings == "gate=auto":
                    gain = {"value": 0.1, "stderr": 0.01, "reason": CHOSEN[task, replicate]}
                    rows.append({**same, "metric": "gate_gain", **gain})
    return with_variants(pd.DataFrame(rows).reindex(columns=list(DTYPES)).astype(DTYPES))


@pytest.fixture(scope="module")
def rows():
    return table()


def of(rows, task):
    return rows[rows["task"] == task]


def test_variances_are_drawn_above_the_exact_share_of_the_score(rows):
    """By quadrature σ² E‖s‖² is 1 − σ² v_DSM; 200 simulations with 20 draws each know it to about 0.015."""
    (axis,) = gates_variance(of(rows, "galton")).axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    np.testing.assert_allclose(lines["MIX, matrix"].get_ydata(), 1 - np.array(TIMES) / 2, rtol=1e-12)
    (floor,) = [line for line in axis.get_lines() if line.get_gid() == FLOOR]
    for k in (4, 10, 14, 26):
        alpha, sigma = alpha_sigma_at(TIMES[k])
        exact = 1 - sigma**2 * variances(Galton(), alpha, sigma)["dsm"]
        assert floor.get_ydata()[k] == pytest.approx(exact, abs=0.06)


def test_a_gate_that_failed_is_a_cross_and_not_a_gap(rows):
    own = of(rows, "galton")
    same = {"task": "galton", "method": "mix", "method_settings": "gate=state", "budget": 200}
    lost = pd.DataFrame([{**same, "metric": "excess_variance", "status": "timeout"}])
    lost = with_variants(lost.reindex(columns=list(DTYPES)).astype(DTYPES))
    figure = gates_variance(pd.concat([own, lost]))
    (cross,) = [line for line in figure.axes[0].get_lines() if line.get_gid() == MISSING]
    assert cross.get_color() == KNOWN["mix(gate=state)"].colour
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"MIX, state", "no result"} <= set(names)
    assert gates_variance(lost) is None


def test_eigenvalues_are_those_of_the_sweeps_own_simulations(rows):
    task = LinearGaussian(rotated=True, spread=100.0)
    (axis,) = gates_eigenvalues(of(rows, TASKS[1])).axes
    drawn = np.array([line.get_ydata() for line in axis.get_lines()])
    t = torch.tensor(axis.get_lines()[0].get_xdata(), dtype=torch.float64)
    alpha, sigma = alpha_sigma(t)
    expected = []
    for r in range(2):
        g = task.simulate(200, train_seed(3, task, r)).joint_score
        values = torch.linalg.eigvalsh(g.T @ g / 200).unsqueeze(1)
        expected.append(sigma**2 * values / (sigma**2 * values + alpha**2))
    # the gate's J is shrunk a little, which moves the small eigenvalue most
    np.testing.assert_allclose(drawn, torch.stack(expected).mean(0), atol=0.05)
    assert gates_eigenvalues(of(rows, "galton")) is None  # nothing to see in one dimension


def test_ratios_are_to_the_scalar_mixture(rows):
    axes = {axis.get_title(): axis for axis in gates_ratio(rows).axes}
    assert list(axes) == ["DSM", "matrix", "auto"]
    for title, expected in (("DSM", 2.0), ("matrix", 0.5), ("auto", 0.25)):
        (points,) = [line for line in axes[title].get_lines() if line.get_marker() == "o"]
        assert points.get_xdata().tolist() == pytest.approx([expected] * 2)
    assert gates_ratio(rows[rows["label"] != "mix"]) is None


def test_choices_are_counted(rows):
    alone = rows[rows["reason"] == "matrix"].assign(budget=2000)  # one replicate of the second task
    figure = gates_choice(pd.concat([rows, alone]))
    axis, other = figure.axes
    ((bar,),) = other.containers
    assert (bar.get_width(), bar.get_center()[1], other.get_ylim()) == (1, 1, axis.get_ylim())
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["scalar", "matrix", "state"]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == list(TASKS)
    assert axis.get_ylim() == (1.6, -0.6)
    for bars, widths, starts, sign in zip(
        axis.containers,
        ([2, 0], [0, 1], [0, 1]),
        ([0, 2], [0, 0], [0, 1]),
        figure.legends[0].get_patches(),
        strict=True,
    ):
        assert [bar.get_width() for bar in bars] == widths
        seen = [bar.get_width() > 0 for bar in bars]
        assert [bar.get_x() for bar in compress(bars, seen)] == list(compress(starts, seen))
        assert {bar.get_facecolor() for bar in bars} == {sign.get_facecolor()}
        assert {bar.get_hatch() for bar in bars} == {sign.get_hatch()}
    assert gates_choice(rows[rows["metric"] == "score_error"]) is None
