"""Figures of the bridge experiments: those of `graybench bridges` and those of the reproduced paper."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ...analysis.statistics import Z
from ...figures.style import COLUMN, GREY, PAGE, PLAIN, panels_of, save, styled
from ...running.writing import make_folder
from ...shapes import figures as shape_figures
from . import error_figures, network_figures
from .claims import SCORE_COEFFICIENT, case_of
from .looks import BLUE, GREEN, LIGHT, ORANGE, YELLOW, Look, legend
from .tree_figures import tree_figure

LEARNED: dict[str, Look] = {
    "exact": ("exact score", "D", ORANGE),
    "plain": ("learned, plain", "o", BLUE),
    "residual": ("learned, residual", "s", GREEN),
    "guided": ("guided proposal", "^", LIGHT),
}
PROPOSALS: dict[str, Look] = {
    "heat_kernel": ("heat kernel", "D", ORANGE),
    "midpoint": ("midpoint", "o", BLUE),
    "guided": ("guided proposal", "^", LIGHT),
    "heat_kernel, resampled": ("heat kernel, resampled", "v", YELLOW),
    "midpoint, resampled": ("midpoint, resampled", "s", GREEN),
}
FLOOR = 1e-4  # of errors: those of Brownian motion are rounding


@styled
def draw_bridges(folder: Path) -> list[Path]:
    """Draw every figure of `FIGURES` whose tables are there, as PDF and PNG in DIR/figures."""
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
        look = {"marker": marker, "color": colour, "label": kernel}
        sns.lineplot(rows, x="steps", y="ess_fraction", ax=middle, **PLAIN | look)
        middle.plot(rows["steps"], rows["expected"], "--", color=GREY)
    middle.set(xlabel="steps K", ylabel="ESS/N", ylim=(0, 1.05), xscale="log", title="kernel of the weights")
    middle.set_xticks([25, 50, 100, 200], ["25", "50", "100", "200"], minor=False)
    middle.minorticks_off()
    for column, colour, marker in (("rms_explicit", BLUE, "o"), ("rms_stable", ORANGE, "D")):
        look = {"marker": marker, "color": colour, "label": column.removeprefix("rms_")}
        sns.lineplot(explicit, x="condition", y=column, ax=right, **PLAIN | look)
    right.set(xlabel="condition number of Σ", ylabel="rms of the target", xscale="log", yscale="log")
    right.set_title("target of the objective")
    left.legend(loc="lower left")
    middle.legend(loc="center right")
    right.legend(loc="center right")
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


@styled
def likelihoods(exact: pd.DataFrame, learned: pd.DataFrame) -> Figure:
    """Draw ESS/N and the mean absolute error of log-likelihoods where the law is known, a row a case."""
    rows = pd.concat([exact.assign(how=exact["proposal"]), learned.assign(how=learned["network"])])
    rows = rows.assign(case=[case_of(row) for _, row in rows.iterrows()])
    figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
    left, right = panels_of(figure, 2, 2)
    cases = list(rows.sort_values(["task", "dim"])["case"].unique())
    for k, (how, (_, marker, colour)) in enumerate(LEARNED.items()):
        own = rows[rows["how"] == how]
        place = own["case"].map(cases.index).to_numpy(dtype=float) + 0.13 * (k - 1.5)
        left.plot(own["ess_fraction"], place, marker, color=colour)
        right.plot(own["mean_absolute_error"].clip(lower=FLOOR), place, marker, color=colour)
    right.axvline(FLOOR, color=GREY, linestyle=(0, (1, 2)))
    for axis in (left, right):
        axis.set_yticks(range(len(cases)), cases)
        axis.set_ylim(len(cases) - 0.5, -0.5)
        axis.grid(axis="y", linewidth=0.3)
    left.set(xlabel="ESS/N", xlim=(0, 1.04))
    right.set(xlabel="mean |error| in nats (dotted: at most that)", xscale="log")
    right.set_yticklabels([])
    legend(figure, LEARNED.values())
    return figure


@styled
def landmarks(few: pd.DataFrame, many: pd.DataFrame) -> Figure:
    """Draw ESS/N and the difference of two runs for 8 to 64 landmarks, a row for each case."""
    rows = pd.concat([few, many])
    sizes = rows[["landmarks", "dimensions", "amplitude"]].to_numpy().tolist()
    rows = rows.assign(case=[f"{int(n)} in {int(m)}-D, a = {a:g}" for n, m, a in sizes])
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    left, right = panels_of(figure, 2, 2)
    cases = list(rows["case"].unique())
    for k, (proposal, (_, marker, colour)) in enumerate(PROPOSALS.items()):
        own = rows[rows["proposal"] == proposal]
        place = own["case"].map(cases.index).to_numpy(dtype=float) + 0.13 * (k - 2)
        left.plot(own["ess_fraction"], place, marker, color=colour)
        if "resampled" in proposal:
            left.plot(own["final_ess_fraction"], place, marker, color=colour, markerfacecolor="none")
        right.plot(own["mean_difference"], place, marker, color=colour)
    for axis in (left, right):
        axis.set_yticks(range(len(cases)), cases)
        axis.set_ylim(len(cases) - 0.5, -0.5)
        axis.set_xscale("log")
        axis.grid(axis="y", linewidth=0.3)
    left.set(xlabel="ESS/N, counted by origins; open: at the end", xlim=(2e-3, 1.3))
    right.set(xlabel="mean difference of two runs in nats")
    right.set_yticklabels([])
    legend(figure, PROPOSALS.values())
    return figure


@styled
def objectives(table: pd.DataFrame) -> Figure:
    """Draw what both objectives learn on geometric Brownian motion, beside the score."""
    figure = Figure(figsize=(0.55 * PAGE, 1.5), layout="constrained")
    axis = figure.subplots()
    colours = {"paper": BLUE, "corrected": ORANGE}
    kinds = {"hue": "objective", "order": colours, "palette": colours, "legend": False}
    sns.stripplot(table, x="c", y="objective", size=3, jitter=False, alpha=0.7, ax=axis, **kinds)
    axis.axvline(SCORE_COEFFICIENT, color=GREY, linestyle="--")
    axis.annotate(
        "the score", (SCORE_COEFFICIENT, 0.5), xytext=(4, 0), textcoords="offset points", va="center"
    )
    axis.set_yticks([0, 1], ["stable objective\nof the paper", "with div Σ"])
    axis.set_ylim(1.5, -0.5)
    axis.set(xlabel="learned coefficient of $1/x$, five data sets", ylabel="")
    return figure


@styled
def diffusion_means(simulated: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """Draw errors of diffusion means beside those of sample means, and both means of groups of shapes."""
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.7])
    ends = simulated[["diffusion_mean_error", "sample_mean_error"]].to_numpy()
    limits = [0.95 * ends.min(), 1.05 * ends.max()]
    left.plot(limits, limits, color=GREY, linestyle="--")
    left.plot(simulated["sample_mean_error"], simulated["diffusion_mean_error"], "o", color=BLUE)
    left.set(xlabel="rms error of the sample mean", ylabel="rms error of the diffusion mean")
    left.set(xlim=limits, ylim=limits, title=f"{len(simulated)} simulated data sets")
    looks = shape_figures.looks_of_groups(list(means["group"].unique()))
    for group, look in looks.items():
        wide = means[means["group"] == group].pivot(index="landmark", columns="axis")
        x, y = wide["diffusion_mean"][["x", "y"]].to_numpy().T
        right.plot(x, y, "+", color=look.colour, markersize=5)
        x, y = wide["sample_mean"][["x", "y"]].to_numpy().T
        right.plot(x, y, "o", color=look.colour, markersize=6, markerfacecolor="none", markeredgewidth=0.6)
    right.set_aspect("equal")
    right.set(xlabel="x", ylabel="y", title="skulls of apes: + diffusion mean, ○ sample mean")
    legend(figure, [(name, "o", look.colour) for name, look in looks.items()])
    return figure


def shape_matrix(table: pd.DataFrame) -> Figure:
    """Draw mean log-likelihoods of the specimens of each group under each."""
    return shape_figures.matrix(table, list(table["own_group"].unique()))


FIGURES: dict[str, tuple[tuple[str, ...], Callable[..., Figure]]] = {
    "ablations": (("covariance_factor", "forward_kernel", "explicit_target"), ablations),
    "recovery": (("recovery",), recovery_figure),
    "convergence": (("convergence",), error_figures.convergence),
    "coverage": (("coverage", "long_coverage"), network_figures.coverage),
    "wells": (("amortised_scores",), network_figures.wells),
    "trainings": (("objectives",), network_figures.trainings),
    "landmark-networks": (
        ("landmark_network", "paper_network", "lagged_errors"),
        error_figures.landmark_networks,
    ),
    "many-errors": (("many_errors",), error_figures.many_errors),
    "network-means": (("network_means",), network_figures.network_means),
    "trees": (("tree_coverage", "tree_run_time", "tree_samplers"), tree_figure),
}
