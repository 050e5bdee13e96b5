"""Figures of learned scores, and of inference with them, from tables of `graybench bridges`."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from ...analysis.statistics import Z, mean_interval, share_interval
from ...figures.style import GREY, PAGE, PLAIN, panels_of, styled
from .claims import LEAST_COVERAGE, USABLE
from .looks import (
    BASE,
    BLUE,
    GREEN,
    LIGHT,
    NETWORK,
    ORANGE,
    YELLOW,
    Look,
    draw_row,
    label_rows,
    legend,
    plain,
    sign,
    wanted,
)
from .network_claims import PARAMETERS, PROCESSES, WELL_ERROR, stated_over_exact

TRAININGS: dict[str, Look] = {
    "matching": ("score matching", "o", BLUE),
    "variance": ("variance of log w", "D", ORANGE),
    "divergence": ("divergence", "^", LIGHT),
    "matching, then variance": ("both in turn", "s", GREEN),
}
STARTS: dict[str, Look] = {
    "diffusion_mean": ("fitted start", "s", GREEN),
    "sample_mean": ("sample mean", "o", BLUE),
    "exact_maximum": ("exact maximum", "D", ORANGE),
}
RATIOS: tuple[Look, ...] = (("log k", "o", YELLOW), ("log σ", "v", GREY))


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
    label_rows(
        panels, [f"T = {t:g}, σ = {sigma:g}, to {end:+g}".replace("-", "−") for t, sigma, end in cases]
    )
    scheme = Line2D([], [], color=GREY, marker="|", markersize=9, linestyle="none", label="Euler scheme")
    legend(figure, (BASE, NETWORK), [scheme, wanted()])
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
            look = PLAIN | {"x": "simulations", "y": "ess_fraction", "marker": marker, "color": colour}
            sns.lineplot(own, ax=axis, **look)
            hollow = {"linestyle": "none", "markerfacecolor": "white", "zorder": 3}
            edge = {"markeredgewidth": 1, "markeredgecolor": colour}
            sns.lineplot(own[~own["used"]], ax=axis, **look | hollow | edge)
        alone = rows.loc[~rows["used"], "ess_fraction"]
        if len(alone):  # a network that is not used leaves the base
            axis.axhline(float(alone.iloc[0]), color=GREY, linestyle="--", linewidth=0.8)
        scope = "all θ, $x_0$" if rows["amortised"].all() else "one θ, $x_0$"
        axis.set(xscale="log", ylim=(0, 1.02), xlabel="simulations", ylabel="")
        axis.set_title(f"{PROCESSES[task]}, D = {dim}\n{scope}, base: {base}")
        ticks = sorted(rows["simulations"].unique())
        axis.set_xticks(ticks, [f"{n:,}" for n in ticks], minor=False)
        axis.minorticks_off()
    figure.axes[0].set_ylabel("ESS/N")
    alone_sign = Line2D([], [], color=GREY, linestyle="--", linewidth=0.8, label="base alone")
    unused_sign = sign("not used", "o", GREY, markerfacecolor="white")
    legend(figure, TRAININGS.values(), [unused_sign, alone_sign])
    return figure


@styled
def coverage(short: pd.DataFrame, long: pd.DataFrame) -> Figure:
    """Draw the coverage of both parameters, and stated over exact standard errors, a row for each case."""
    table = pd.concat([short, long])
    figure = Figure((PAGE, 3), layout="constrained")
    panels = panels_of(figure, 3, 3)
    signs = (
        sign("all fits", "s", GREEN),
        sign("fits with standard errors", "s", GREEN, markerfacecolor="white"),
        sign("exact likelihood", "D", BLUE),
    )
    keys = ["base", "duration", "kind"]
    cases = table[keys].drop_duplicates().sort_values(keys, ascending=[False, True, True])
    names = {"ends": "end points", "path": "path"}
    labels = []
    for place, case in enumerate(cases.to_numpy().tolist()):
        rows = table[(table[keys] == case).all(axis=1)]
        base, duration, kind = case
        known = np.isfinite(rows["log_k_stderr"])
        labels.append(f"{names[kind]}, T = {duration:g}\n{base} ({known.sum()} of {len(rows)})")
        for axis, (name, (_, truth)) in zip(panels, PARAMETERS.items(), strict=False):
            covered = rows[f"{name}_covered"]
            away = (rows[f"exact_{name}"] - truth).abs()
            ideal = away <= Z * rows[f"exact_{name}_stderr"]
            for k, hits in enumerate((covered, covered[known], ideal)):
                share = share_interval(int(hits.sum()), len(hits))
                draw_row(axis, share, place + 0.22 * (k - 1), signs[k])
        for k, (name, (_, marker, colour)) in enumerate(zip(PARAMETERS, RATIOS, strict=True)):
            ratio = stated_over_exact(rows, name)
            at = place + 0.3 * (k - 0.5)
            panels[2].plot(ratio, np.full(len(ratio), at), marker, color=colour, alpha=0.5, markeredgewidth=0)
            panels[2].plot([ratio.median()] * 2, [at - 0.13, at + 0.13], color=colour)
    for axis, (symbol, _) in zip(panels, PARAMETERS.values(), strict=False):
        axis.axvline(LEAST_COVERAGE, color=ORANGE, linestyle="--")
        axis.set(xlabel=f"coverage of 95 % intervals, {symbol}", xlim=(0.3, 1.02))
    panels[2].axvline(1, color=GREY, linestyle="--", linewidth=0.8)
    panels[2].set(xlabel="stated / exact standard error")
    label_rows(panels, labels)
    legend(figure, (), [*signs, *(sign(*look) for look in RATIOS), wanted()])
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
            points = {"marker": marker, "color": colour, "alpha": 0.5, "size": 3, "jitter": False}
            sns.stripplot(x=place, y=error, native_scale=True, ax=axis, **points)
            value, low, high = np.sqrt(mean_interval((error**2).reshape(-1, 1)))
            axis.errorbar(
                [place + 0.15], [value], [[value - low], [high - value]], fmt="_", color="black", markersize=8
            )
        axis.set(title=f"{PROCESSES[task]}, {len(own)} data sets", xlim=(-0.4, len(STARTS) - 0.6))
        axis.set(yscale="log", ylim=limits)
        axis.yaxis.set_major_formatter(FuncFormatter(plain))
        axis.set_xticks(range(len(STARTS)), [label for label, _, _ in STARTS.values()])
    figure.axes[0].set_ylabel("|error| of $x_0$; bars: rms")
    return figure
