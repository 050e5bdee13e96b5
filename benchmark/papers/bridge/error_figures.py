"""Figures of convergence, and of landmarks and their standard errors, from tables of `graybench bridges`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from ...analysis.statistics import Z
from ...figures.style import GREY, PAGE, panels_of, styled
from .looks import BASE, BLUE, GREEN, LIGHT, NETWORK, ORANGE, Look, label_rows, legend, plain, wanted
from .network_claims import (
    LARGEST_RATIO,
    LARGEST_STDERR,
    LEAST_RATIO,
    MODELS,
    NETWORK_ESS,
    cases_of_runs,
    reference_of,
    stated_over_spread,
)

PAPER: Look = ("the paper's network", "^", LIGHT)
PAPER_STEPS = 50  # K of the table `paper_network`
CURVES: dict[str, Look] = {
    "MeanReversion": (MODELS["MeanReversion"], "o", BLUE),
    "GeometricBrownianMotion": (MODELS["GeometricBrownianMotion"], "D", ORANGE),
}


@styled
def convergence(table: pd.DataFrame) -> Figure:
    """Draw bias and spread over N, K and D, with fitted slopes and those of theory."""
    figure = Figure((PAGE, 3.5), layout="constrained")
    panels = panels_of(figure, 6, 3)
    names = {"N": "bridges N", "K": "steps K", "D": "dimensions D"}
    for row, what in enumerate(("bias", "spread")):
        for axis, (over, label) in zip(panels[3 * row :], names.items(), strict=False):
            axis.set(xscale="log", yscale="log", xlabel=label)
            _curves(axis, table[table["over"] == over], what)
            ticks = sorted(table.loc[table["over"] == over, "x"].unique())
            axis.set_xticks(ticks, [str(x) for x in ticks], minor=False)
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(FuncFormatter(plain))
            axis.minorticks_off()
        panels[3 * row].set_ylabel(f"{'|bias|' if what == 'bias' else what} of $\\log\\hat p$ in nats")
    theory = Line2D([], [], color=GREY, linestyle="--", label="slope of theory")
    legend(figure, CURVES.values(), [Line2D([], [], color=GREY, label="fit"), theory])
    return figure


def _curves(axis: Axes, table: pd.DataFrame, what: str) -> None:
    for k, (model, own) in enumerate(table.groupby("model", sort=False)):
        _, marker, colour = CURVES[str(model)]
        x, y = own["x"].to_numpy(dtype=float), own[what].abs().to_numpy()
        error = Z * own["bias_stderr"] if what == "bias" else None
        axis.errorbar(x, y, error, fmt=marker, color=colour)
        centre = np.exp([np.log(x).mean(), np.log(y).mean()])
        first = own.iloc[0]
        names = ("exponent", "exponent_low", "exponent_high", "exponent_theory")
        slope, low, high, theory = (float(first[f"{what}_{name}"]) for name in names)
        axis.plot(x, centre[1] * (x / centre[0]) ** slope, color=colour)
        axis.plot(x, centre[1] * (x / centre[0]) ** theory, "--", color=GREY)
        rising = slope > 0
        axis.annotate(
            f"{slope:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−"),
            (0.97 if rising else 0.03, 0.05 + 0.12 * k),
            xycoords="axes fraction",
            ha="right" if rising else "left",
            color=colour,
        )
    axis.set_title(f"theory: {theory:g}".replace("-", "−"))


@styled
def landmark_networks(trained: pd.DataFrame, paper: pd.DataFrame, lagged: pd.DataFrame) -> Figure:
    """Draw ESS/N without resampling, the stated error with it, and that error over the spread of 20 runs."""
    figure = Figure((PAGE, 2.7), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.2, 1, 1])
    keys = ["landmarks", "steps"]
    cases = trained[keys].drop_duplicates().to_numpy().tolist()
    more = [[n, PAPER_STEPS] for n in paper["landmarks"].unique()]
    for base, (_, marker, colour), shift in (("midpoint", BASE, -0.15), ("network", NETWORK, 0.15)):
        own = trained[trained["base"] == base]
        for resampled, rows in own.groupby(own["threshold"] > 0):
            place = np.array([cases.index(case) for case in rows[keys].to_numpy().tolist()]) + shift
            if resampled:
                middle.plot(rows["stderr"], place, marker, color=colour)
            else:
                error = Z * rows["ess_stderr"]
                left.errorbar(rows["ess_fraction"], place, xerr=error, fmt=marker, color=colour)
    for base, (_, marker, colour) in (("midpoint", BASE), ("paper", PAPER)):
        rows = paper[paper["base"] == base]
        left.plot(rows["ess_fraction"], len(cases) + np.arange(len(rows)), marker, color=colour)
    for k, (n, _) in enumerate(cases):
        for axis, targets in ((left, NETWORK_ESS), (middle, LARGEST_STDERR)):
            if n in targets:
                axis.vlines(targets[n], k - 0.4, k + 0.4, color=ORANGE, linestyle="--")
    left.set(xscale="log", xlabel="ESS/N without resampling")
    middle.set(xlabel="stated error in nats, resampled", xlim=(0, None))
    label_rows([left, middle], [f"n = {n}, K = {k}" for n, k in cases + more])
    _ratio_over_lag(right, lagged)
    legend(figure, (BASE, NETWORK, PAPER), [wanted()])
    return figure


def _ratio_over_lag(axis: Axes, table: pd.DataFrame) -> None:
    """Draw the stated error over the spread of runs for each lag, with the run farthest off and without."""
    away = (table["log_likelihood"] - table["log_likelihood"].median()).abs()
    kept = table[table["run"] != table["run"].iloc[away.argmax()]]
    n = table["run"].nunique()
    for rows, label, marker, shift in (
        (table, f"{n} runs", "o", -0.008),
        (kept, "less the farthest", "v", 0.008),
    ):
        lags = sorted(rows["lag"].unique())
        found = [stated_over_spread(rows[rows["lag"] == lag]) for lag in lags]
        value, low, high = np.array(found).T
        axis.errorbar(
            np.array(lags) + shift,
            value,
            (value - low, high - value),
            fmt=marker,
            color=BLUE,
            markerfacecolor=BLUE if marker == "o" else "white",
            elinewidth=0.9,
            label=label,
        )
    axis.axhspan(LEAST_RATIO, LARGEST_RATIO, color=ORANGE, alpha=0.12, linewidth=0)
    axis.set(xlabel="lag", ylabel=f"stated error / spread, n = {table['landmarks'].iloc[0]}", ylim=(0, 1.8))
    axis.legend(loc="upper center", ncols=2, handlelength=1)


@styled
def many_errors(table: pd.DataFrame) -> Figure:
    """Draw the estimates of all runs with their intervals, and their stated error over their spread."""
    cases = cases_of_runs(table)
    figure = Figure((PAGE, 2.5), layout="constrained")
    *panels, last = panels_of(figure, len(cases) + 1, len(cases) + 1)
    for axis, (case, runs) in zip(panels, cases, strict=True):
        runs = runs.sort_values("log_likelihood")
        place = np.arange(len(runs))
        axis.errorbar(
            runs["log_likelihood"], place, xerr=Z * runs["stderr"], fmt="o", color=BLUE, elinewidth=0.9
        )
        long = reference_of(table, runs)
        if long is not None:
            ends = [float(long["log_likelihood"]) + side * Z * float(long["stderr"]) for side in (-1, 1)]
            axis.axvspan(*ends, color=GREEN, alpha=0.35, linewidth=0)
        n, *settings = case.split(", ")
        axis.set(yticks=[], xlabel="$\\log\\hat p$ in nats", title=f"{n}\n{', '.join(settings)}")
    panels[0].set_ylabel(f"{len(cases[0][1])} runs")
    for k, (_, runs) in enumerate(cases):
        value, low, high = stated_over_spread(runs)
        last.errorbar([k], [value], [[value - low], [high - value]], fmt="o", color=BLUE)
        largest = LARGEST_STDERR.get(int(runs["landmarks"].iloc[0]))
        text = f"{runs['stderr'].mean():.2f}" + (f"\n({largest:g})" if largest else "")
        last.annotate(text, (k, high), xytext=(0, 3), textcoords="offset points", ha="center")
    last.axhspan(LEAST_RATIO, LARGEST_RATIO, color=ORANGE, alpha=0.12, linewidth=0)
    labels = [
        f"{runs['landmarks'].iloc[0]}\n{runs['particles'].iloc[0]:,}\n{runs['steps'].iloc[0]}"
        for _, runs in cases
    ]
    last.set_xticks(range(len(cases)), labels)
    last.set(xlim=(-0.6, len(cases) - 0.4), ylim=(0, 1.3 * last.get_ylim()[1]))
    last.set(xlabel="n, N, K", ylabel="stated error / spread", title="numbers: stated nats\n(wanted at most)")
    return figure
