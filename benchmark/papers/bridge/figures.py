"""Figures of the bridge experiments: what each part is worth, and how well parameters are recovered."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...analysis.statistics import Z
from ...figures.style import COLUMN, GREY, PAGE, panels_of, save, styled
from ...running.writing import make_folder

BLUE, ORANGE = "#0072B2", "#D55E00"


@styled
def draw_bridges(folder: Path) -> list[Path]:
    """Draw, as PDF and PNG in DIR/figures, every figure whose experiments have been run."""
    drawn: list[Path] = []
    for name, (needs, draw) in FIGURES.items():
        paths = [folder / f"{need}.csv" for need in needs]
        if all(path.exists() for path in paths):
            figure = draw(*(pd.read_csv(path) for path in paths))
            make_folder(folder / "figures")
            drawn += save(figure, folder / "figures", name)
    return drawn


@styled
def ablations(covariance: pd.DataFrame, kernels: pd.DataFrame, explicit: pd.DataFrame) -> Figure:
    """Draw what the covariance factor, the adjoint kernel and the stable target are worth."""
    figure = Figure((PAGE, 2.2), layout="constrained")
    left, middle, right = panels_of(figure, 3, 3)
    left.plot(covariance["dim"], covariance["expected"], "--", color=GREY, label="$2^{-D/2}$")
    left.plot(covariance["dim"], covariance["ess_fraction"], "o", color=BLUE, label="without the factor")
    left.axhline(1, color=ORANGE, label="with it")
    left.set(xlabel="dimension D", ylabel="ESS/N", yscale="log", title="covariance of the bridge")
    for kernel, colour, marker in (("adjoint", ORANGE, "D"), ("forward", BLUE, "o")):
        rows = kernels[kernels["kernel"] == kernel]
        middle.plot(rows["steps"], rows["ess_fraction"], marker=marker, color=colour, label=kernel)
        middle.plot(rows["steps"], rows["expected"], "--", color=GREY)
    middle.set(xlabel="steps K", ylabel="ESS/N", ylim=(0, 1.05), xscale="log", title="kernel of the weights")
    middle.set_xticks([25, 50, 100, 200], ["25", "50", "100", "200"], minor=False)
    middle.minorticks_off()
    for column, colour, marker in (("rms_explicit", BLUE, "o"), ("rms_stable", ORANGE, "D")):
        label = column.removeprefix("rms_")
        right.plot(explicit["condition"], explicit[column], marker=marker, color=colour, label=label)
    right.set(xlabel="condition number of Σ", ylabel="rms of the target", xscale="log", yscale="log")
    right.set_title("target of the objective")
    for axis in (left, middle, right):
        axis.legend()
    return figure


@styled
def recovery_figure(recovery: pd.DataFrame) -> Figure:
    """Draw the estimates of every data set with their intervals."""
    figure = Figure((COLUMN, 2.6), layout="constrained")
    titles = {"a": "amplitude $a$", "length": "length-scale $\\ell$"}
    for axis, (parameter, title) in zip(panels_of(figure, 2, 2), titles.items(), strict=True):
        rows = recovery[recovery["parameter"] == parameter].sort_values("estimate")
        place = np.arange(len(rows))
        low, high = (rows["estimate"] * np.exp(s * Z * rows["log_stderr"]) for s in (-1, 1))
        axis.hlines(place, low, high, color=BLUE, alpha=0.6)
        missed = ~rows["covered"].to_numpy()
        axis.plot(rows["estimate"], place, "o", color=BLUE)
        axis.plot(rows["estimate"][missed], place[missed], "x", color=ORANGE, markersize=6)
        axis.axvline(rows["truth"].iloc[0], color=GREY, linestyle="--")
        axis.set(xlabel=title, yticks=[])
    figure.axes[0].set_ylabel("data sets, 95 % intervals")
    return figure


FIGURES: dict[str, tuple[tuple[str, ...], Callable[..., Figure]]] = {
    "ablations": (("covariance_factor", "forward_kernel", "explicit_target"), ablations),
    "recovery": (("recovery",), recovery_figure),
}
