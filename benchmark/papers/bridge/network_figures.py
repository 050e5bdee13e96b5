"""Figures of learned scores, of standard errors, and of convergence, from tables of `graybench bridges`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from ...analysis.statistics import Interval, Z, mean_interval, share_interval
from ...figures.style import GREY, PAGE, panels_of, styled
from .looks import BLUE, GREEN, LIGHT, ORANGE, YELLOW, Look, legend
from .network_claims import (
    LARGEST_RATIO,
    LARGEST_STDERR,
    LEAST_COVERAGE,
    LEAST_RATIO,
    MODELS,
    NETWORK_ESS,
    PARAMETERS,
    PROCESSES,
    USABLE,
    WELL_ERROR,
    cases_of_runs,
    reference_of,
    stated_over_spread,
)

BASE, NETWORK, PAPER = ("base alone", "o", BLUE), ("network", "s", GREEN), ("the paper's network", "^", LIGHT)
CURVES: dict[str, Look] = {
    "MeanReversion": (MODELS["MeanReversion"], "o", BLUE),
    "GeometricBrownianMotion": (MODELS["GeometricBrownianMotion"], "D", ORANGE),
}
TRAININGS: dict[str, Look] = {
    "matching": ("score matching", "o", BLUE),
    "variance": ("variance of log w", "D", ORANGE),
    "divergence": ("divergence", "^", LIGHT),
    "matching, then variance": ("matching, then variance", "s", GREEN),
}
STARTS: dict[str, Look] = {
    "diffusion_mean": ("fitted start", "s", GREEN),
    "sample_mean": ("sample mean", "o", BLUE),
    "exact_maximum": ("exact maximum", "D", ORANGE),
}
RATIOS: tuple[Look, ...] = (("log k", "o", YELLOW), ("log σ", "v", GREY))


def _sign(label: str, marker: str, colour: str, **more: Any) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="none", label=label, **more)


def _wanted() -> Line2D:
    return Line2D([], [], color=ORANGE, linestyle="--", label="wanted")


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
            axis.yaxis.set_major_formatter(FuncFormatter(_plain))
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
def coverage(table: pd.DataFrame) -> Figure:
    """Draw the coverage of both parameters, and stated over exact standard errors, a row for each case."""
    figure = Figure((PAGE, 2.6), layout="constrained")
    panels = panels_of(figure, 3, 3)
    signs = (
        _sign("all fits", "s", GREEN),
        _sign("fits with standard errors", "s", GREEN, markerfacecolor="white"),
        _sign("exact likelihood", "D", BLUE),
    )
    cases = [(kind, base) for base in ("learned", "auto") for kind in ("ends", "path")]
    names = {"ends": "end points", "path": "path"}
    labels = []
    for place, (kind, base) in enumerate(cases):
        rows = table[(table["kind"] == kind) & (table["base"] == base)]
        known = np.isfinite(rows["log_k_stderr"])
        labels.append(f"{names[kind]}, {base}\n({known.sum()} of {len(rows)})")
        for axis, (name, (_, truth)) in zip(panels, PARAMETERS.items(), strict=False):
            covered = rows[f"{name}_covered"]
            away = (rows[f"exact_{name}"] - truth).abs()
            ideal = away <= Z * rows[f"exact_{name}_stderr"]
            for k, hits in enumerate((covered, covered[known], ideal)):
                share = share_interval(int(hits.sum()), len(hits))
                _row(axis, share, place + 0.22 * (k - 1), signs[k])
        for k, (name, (_, marker, colour)) in enumerate(zip(PARAMETERS, RATIOS, strict=True)):
            ratio = rows[f"{name}_stderr"] / rows[f"exact_{name}_stderr"]
            at = place + 0.3 * (k - 0.5)
            panels[2].plot(ratio, np.full(len(ratio), at), marker, color=colour, alpha=0.5, markeredgewidth=0)
            panels[2].plot([ratio.median()] * 2, [at - 0.13, at + 0.13], color=colour)
    for axis, (symbol, _) in zip(panels, PARAMETERS.values(), strict=False):
        axis.axvline(LEAST_COVERAGE, color=ORANGE, linestyle="--")
        axis.set(xlabel=f"coverage of 95 % intervals, {symbol}", xlim=(0.3, 1.02))
    panels[2].axvline(1, color=GREY, linestyle="--", linewidth=0.8)
    panels[2].set(xlabel="stated / exact standard error")
    _rows(panels, labels)
    legend(figure, (), [*signs, *(_sign(*look) for look in RATIOS), _wanted()])
    return figure


@styled
def wells(table: pd.DataFrame) -> Figure:
    """Draw ESS/N and errors of one network for all θ and x_0 beside its base alone, a row for each case."""
    figure = Figure((PAGE, 2.7), layout="constrained")
    left, right = panels = panels_of(figure, 2, 2)
    keys = ["duration", "sigma", "end"]
    cases = table[keys].drop_duplicates().to_numpy().tolist()
    for learned, (_, marker, colour) in ((False, BASE), (True, NETWORK)):
        own = table[table["network"] == learned]
        place = np.array([cases.index(case) for case in own[keys].to_numpy().tolist()])
        left.plot(own["ess_fraction"], place, marker, color=colour)
        shift = 0.15 if learned else -0.15
        right.errorbar(
            own["error"], place + shift, xerr=Z * own["stderr"], fmt=marker, color=colour, elinewidth=0.9
        )
        right.plot(own["error_of_scheme"], place, "|", color=GREY, markersize=9)
    left.axvline(USABLE, color=ORANGE, linestyle="--")
    left.set(xlabel="ESS/N", xlim=(0, 1.02))
    for end in (-WELL_ERROR, WELL_ERROR):
        right.axvline(end, color=ORANGE, linestyle="--")
    right.set(xlabel="error of the log-likelihood in nats")
    _rows(panels, [f"T = {t:g}, σ = {sigma:g}, to {end:+g}".replace("-", "−") for t, sigma, end in cases])
    scheme = Line2D([], [], color=GREY, marker="|", markersize=9, linestyle="none", label="Euler scheme")
    legend(figure, (BASE, NETWORK), [scheme, _wanted()])
    return figure


@styled
def trainings(table: pd.DataFrame) -> Figure:
    """Draw ESS/N over simulations for each training, and the base alone where it is known."""
    figure = Figure((PAGE, 2.3), layout="constrained")
    problems = table[["task", "base", "dim"]].drop_duplicates().to_numpy().tolist()
    for axis, (task, base, dim) in zip(panels_of(figure, 3, 3), problems, strict=True):
        rows = table[(table["task"] == task) & (table["base"] == base)]
        for recipe, (_, marker, colour) in TRAININGS.items():
            own = rows[rows["recipe"] == recipe]
            axis.plot(own["simulations"], own["ess_fraction"], marker=marker, color=colour)
            unused = own[~own["used"]]
            axis.plot(
                unused["simulations"],
                unused["ess_fraction"],
                marker,
                color=colour,
                markerfacecolor="white",
                zorder=3,
            )
        alone = rows.loc[~rows["used"], "ess_fraction"]
        if len(alone):  # a network that is not used leaves the base
            axis.axhline(float(alone.iloc[0]), color=GREY, linestyle="--", linewidth=0.8)
        scope = "all θ, $x_0$" if rows["amortised"].all() else "one θ, $x_0$"
        axis.set(xscale="log", ylim=(0, 1.02), xlabel="simulations")
        axis.set_title(f"{PROCESSES[task]}, D = {dim}\n{scope}, base: {base}")
        ticks = sorted(rows["simulations"].unique())
        axis.set_xticks(ticks, [f"{n:,}" for n in ticks], minor=False)
        axis.minorticks_off()
    figure.axes[0].set_ylabel("ESS/N")
    alone_sign = Line2D([], [], color=GREY, linestyle="--", linewidth=0.8, label="base alone")
    unused_sign = _sign("not used", "o", GREY, markerfacecolor="white")
    legend(figure, TRAININGS.values(), [unused_sign, alone_sign])
    return figure


@styled
def landmark_networks(trained: pd.DataFrame, paper: pd.DataFrame, lagged: pd.DataFrame) -> Figure:
    """Draw ESS/N without resampling, the stated error with it, and that error over the spread of 20 runs."""
    figure = Figure((PAGE, 2.7), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.2, 1, 1])
    cases = trained[["landmarks", "steps"]].drop_duplicates().to_numpy().tolist()
    for base, (_, marker, colour) in (("midpoint", BASE), ("network", NETWORK)):
        own = trained[trained["base"] == base]
        place = np.array([cases.index(case) for case in own[["landmarks", "steps"]].to_numpy().tolist()])
        plain = (own["threshold"] == 0).to_numpy()
        error = Z * own["ess_stderr"][plain]
        shift = 0.15 if base == "network" else -0.15
        left.errorbar(own["ess_fraction"][plain], place[plain] + shift, xerr=error, fmt=marker, color=colour)
        middle.plot(own["stderr"][~plain], place[~plain] + shift, marker, color=colour)
    looks = {"midpoint": BASE, "paper": PAPER}
    more = list(paper["landmarks"].unique())
    for base, (_, marker, colour) in looks.items():
        own = paper[paper["base"] == base]
        left.plot(
            own["ess_fraction"], [len(cases) + more.index(n) for n in own["landmarks"]], marker, color=colour
        )
    for place, (n, _) in enumerate(cases):
        for axis, targets in ((left, NETWORK_ESS), (middle, LARGEST_STDERR)):
            if n in targets:
                axis.vlines(targets[n], place - 0.4, place + 0.4, color=ORANGE, linestyle="--")
    left.set(xscale="log", xlabel="ESS/N without resampling")
    middle.set(xlabel="stated error in nats, resampled", xlim=(0, None))
    _rows([left, middle], [f"n = {n}, K = {k}" for n, k in [*cases, *((n, 50) for n in more)]])
    _ratio_over_lag(right, lagged)
    legend(figure, (BASE, NETWORK, PAPER), [_wanted()])
    return figure


def _ratio_over_lag(axis: Axes, table: pd.DataFrame) -> None:
    """Draw the stated error over the spread of runs for each lag, with the run farthest off and without."""
    middle = table["log_likelihood"].median()
    farthest = table.loc[(table["log_likelihood"] - middle).abs().idxmax(), "run"]
    kept = table[table["run"] != farthest]
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
            ends = [float(long["log_likelihood"]) + sign * Z * float(long["stderr"]) for sign in (-1, 1)]
            axis.axvspan(*ends, color=GREEN, alpha=0.35, linewidth=0)
        n, *settings = case.split(", ")
        axis.set(yticks=[], xlabel="$\\log\\hat p$ in nats", title=f"{n}\n{', '.join(settings)}")
    panels[0].set_ylabel(f"{len(cases[0][1])} runs")
    for place, (_, runs) in enumerate(cases):
        value, low, high = stated_over_spread(runs)
        last.errorbar([place], [value], [[value - low], [high - value]], fmt="o", color=BLUE)
        stated, wanted = float(runs["stderr"].mean()), LARGEST_STDERR[int(runs["landmarks"].iloc[0])]
        text = f"{stated:.2f} nats\n(≤ {wanted:g})"
        last.annotate(text, (place, high), xytext=(0, 3), textcoords="offset points", ha="center")
    last.axhspan(LEAST_RATIO, LARGEST_RATIO, color=ORANGE, alpha=0.12, linewidth=0)
    labels = [
        f"{runs['landmarks'].iloc[0]}\n{runs['particles'].iloc[0]:,}\n{runs['steps'].iloc[0]}"
        for _, runs in cases
    ]
    last.set_xticks(range(len(cases)), labels)
    last.set(xlim=(-0.6, len(cases) - 0.4), ylim=(0, 1.3 * last.get_ylim()[1]))
    last.set(xlabel="n, N, K", ylabel="stated error / spread")
    return figure


@styled
def network_means(table: pd.DataFrame) -> Figure:
    """Draw errors of fitted starts, sample means and exact maxima of every data set, and their rms."""
    figure = Figure((0.8 * PAGE, 2.4), layout="constrained")
    tasks = list(table["task"].unique())
    every = table[[f"{which}_error" for which in STARTS]].to_numpy()
    limits = every.min() / 1.3, every.max() * 1.3
    for axis, task in zip(panels_of(figure, len(tasks), len(tasks)), tasks, strict=True):
        own = table[table["task"] == task]
        errors = own[[f"{which}_error" for which in STARTS]].to_numpy()
        axis.plot(range(len(STARTS)), errors.T, color=LIGHT, linewidth=0.4, alpha=0.5)
        for place, (error, (_, marker, colour)) in enumerate(zip(errors.T, STARTS.values(), strict=True)):
            axis.plot(np.full(len(error), place), error, marker, color=colour, alpha=0.5, markeredgewidth=0)
            value, low, high = np.sqrt(mean_interval((error**2).reshape(-1, 1)))
            axis.errorbar(
                [place + 0.15], [value], [[value - low], [high - value]], fmt="_", color="black", markersize=8
            )
        axis.set(title=f"{PROCESSES[task]}, {len(own)} data sets", xlim=(-0.4, len(STARTS) - 0.6))
        axis.set(yscale="log", ylim=limits)
        axis.yaxis.set_major_formatter(FuncFormatter(_plain))
        axis.set_xticks(range(len(STARTS)), [label for label, _, _ in STARTS.values()])
    figure.axes[0].set_ylabel("|error| of $x_0$; bars: rms")
    return figure


def _row(axis: Axes, found: Interval, place: float, sign: Line2D) -> None:
    error = [[found.value - found.low], [found.high - found.value]]
    axis.errorbar([found.value], [place], xerr=error, fmt="none", color=sign.get_color(), elinewidth=0.9)
    axis.plot(
        [found.value],
        [place],
        sign.get_marker(),
        color=sign.get_color(),
        markerfacecolor=sign.get_markerfacecolor(),
    )


def _plain(value: float, _place: int) -> str:
    return f"{value:g}"


def _rows(panels: Sequence[Axes], labels: Sequence[str]) -> None:
    """Make y the rows of a table, from the top, with labels at the first panel."""
    for axis in panels:
        axis.set_yticks(range(len(labels)), labels)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.grid(axis="y", linewidth=0.3)
        if axis is not panels[0]:
            axis.set_yticklabels([])
