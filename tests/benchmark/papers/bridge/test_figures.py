"""Figures of the bridge experiments: what their lines and marks say of made-up tables."""

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.papers.bridge import error_figures, network_figures
from graybench.methods.bridge.genealogy import LAG


def test_slopes_are_drawn_through_the_middle_of_the_points():
    x = np.array([2.0, 4.0, 8.0])
    rows = [
        pd.DataFrame(
            {
                "over": over,
                "model": "MeanReversion",
                "x": x,
                "bias": -3 * x**-0.9,
                "bias_stderr": 0.01,
                "spread": 2 * x**-0.5,
                **{
                    f"{what}_exponent{end}": value
                    for what, fit in (("bias", (-0.9, -1, -0.8, -1)), ("spread", (-0.5, -0.5, -0.5, -0.25)))
                    for end, value in zip(("", "_low", "_high", "_theory"), fit, strict=True)
                },
            }
        )
        for over in "NKD"
    ]
    figure = error_figures.convergence(pd.concat(rows))
    for axis, scale, slope, theory in ((figure.axes[0], 3, -0.9, -1), (figure.axes[5], 2, -0.5, -0.25)):
        points, fit, expected = axis.get_lines()[:3]
        assert points.get_ydata() == pytest.approx(scale * x**slope)
        assert fit.get_ydata() == pytest.approx(scale * x**slope)
        assert expected.get_ydata() == pytest.approx(scale * 4**slope * (x / 4) ** theory)


def test_many_errors_show_the_long_run_where_there_is_one(tmp_path):
    def runs(particles, steps, estimates):
        return pd.DataFrame(
            {
                "landmarks": 32,
                "particles": particles,
                "steps": steps,
                "run": range(len(estimates)),
                "lag": LAG,
                "log_likelihood": estimates,
                "stderr": 0.3,
            }
        )

    table = pd.concat([runs(256, 50, [3.0, 1.0, 2.0]), runs(256, 200, [1.0, 2.0]), runs(16384, 50, [2.5])])
    figure = error_figures.many_errors(table)
    with_long, without, _ = figure.axes
    assert with_long.get_lines()[0].get_xdata() == pytest.approx([1, 2, 3])
    ((span,), others) = (axis.patches for axis in (with_long, without))
    assert span.get_x() == pytest.approx(2.5 - 1.959964 * 0.3)
    assert span.get_width() == pytest.approx(2 * 1.959964 * 0.3)
    assert not others


def test_coverage_is_drawn_over_all_fits_over_those_with_errors_and_for_the_exact_likelihood():
    parameter = {"exact_log_k": 0.0, "exact_log_k_stderr": 1.0, "exact_log_sigma": 0.4}
    rows = [
        {
            "duration": 1.0,
            "kind": kind,
            "base": base,
            "log_k_covered": k < 6,
            "log_k_stderr": 1.0 if k < 8 else np.nan,
            "log_sigma_covered": k < 8,
            "log_sigma_stderr": 1.0,
            "exact_log_sigma_stderr": 1.0 if k < 5 else 0.1,  # 0.8 away
            **parameter,
        }
        for base in ("learned", "auto")
        for kind in ("ends", "path")
        for k in range(10)
    ]
    table = pd.DataFrame(rows)
    long = table[(table["kind"] == "ends") & (table["base"] == "learned")].assign(
        duration=4.0, log_k_covered=False
    )
    figure = network_figures.coverage(table, long)
    shares = [
        [line.get_xdata()[0] for line in axis.get_lines() if line.get_marker() in ("s", "D")][:9]
        for axis in figure.axes[:2]
    ]
    assert shares[0] == pytest.approx([0.6, 0.75, 1.0] * 2 + [0.0, 0.0, 1.0])
    assert shares[1] == pytest.approx([0.8, 1.0, 0.5] * 3)
    labels = [label.get_text().split("\n") for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == ["end points, T = 1", "learned (8 of 10)"]
    assert labels[2] == ["end points, T = 4", "learned (8 of 10)"]
    assert labels[4] == ["path, T = 1", "auto (8 of 10)"]
