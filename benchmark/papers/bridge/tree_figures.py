"""Summaries of the studies on simulated trees, and their figure."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ...analysis.power_law import Exponent, exponent
from ...analysis.statistics import DRAWS, LEVEL, SEED, Array, Interval, share_interval
from ...figures.style import GREY, PAGE, PLAIN, styled
from .experiments.trees import Cell
from .looks import BLUE, GREEN, LIGHT, ORANGE, YELLOW, Look, legend

SIZES = (("o", BLUE), ("s", GREEN), ("^", ORANGE), ("D", YELLOW))
SAMPLERS: dict[str, Look] = {
    "hamiltonian": ("Hamiltonian", "o", BLUE),
    "guided": ("guided", "^", LIGHT),
    "nuts": ("Pyro NUTS", "s", GREEN),
}
TARGETS = {"a": (0.85, 1.0), "length": (0.85, 1.0), "root": (0.90, 0.98)}
MEDIANS = ("root_ess", "root_rhat", "theta_ess", "theta_rhat", "seconds")


def summarise_coverage(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each cell of `tree_coverage`, with intervals over its data sets, two or more.

    Shares of data sets have Wilson intervals, and the mean share of the root's coordinates Student's.
    `error_ratio` is the root mean square error of the diffusion's roots over that of the Brownian ones, with
    a percentile interval from a bootstrap over data sets. Effective sizes, R̂ and seconds are medians.
    """
    found = []
    for _, own in rows.groupby(list(Cell._fields)):
        row: dict[str, object] = {name: own[name].iloc[0] for name in Cell._fields}
        row["data_sets"] = len(own)
        for prefix in ("", "brownian_"):
            for name in TARGETS:
                held = own[f"{prefix}{name}_covered"].to_numpy(float)
                interval = _mean(held) if name == "root" else share_interval(int(held.sum()), len(own))
                row |= _named(f"{prefix}{name}_covered", interval)
        row |= _named("error_ratio", _ratio(own[["root_error", "brownian_root_error"]].to_numpy(float)))
        row |= {name: float(own[name].median()) for name in MEDIANS}
        found.append(row)
    return pd.DataFrame(found)


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _mean(values: Array) -> Interval:
    """Return the mean of shares (n,) with Student's interval, cut at 0 and 1."""
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * values.std(ddof=1) / len(values) ** 0.5
    return Interval(values.mean(), max(values.mean() - reach, 0.0), min(values.mean() + reach, 1.0))


def _ratio(errors: Array) -> Interval:
    """Return the ratio of root mean square errors, from the two errors of each data set, (n, 2)."""
    picks = np.random.default_rng(SEED).integers(len(errors), size=(DRAWS, len(errors)))
    ratios = np.sqrt(np.divide(*np.square(errors)[picks].mean(1).T))
    low, high = np.percentile(ratios, [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2])
    return Interval(float(np.sqrt(np.divide(*np.square(errors).mean(0)))), float(low), float(high))


def run_times(rows: pd.DataFrame, over: str) -> pd.DataFrame:
    """Return geometric means over data sets of a curve of `tree_run_time`, with the sizes as index.

    The columns are `seconds`, `root_ess` and `seconds_per_draw`, which is the ratio of both.
    """
    own = rows[rows["over"] == over].set_index(over)
    own = own.assign(seconds_per_draw=own["seconds"] / own["root_ess"])
    logs = own[["seconds", "root_ess", "seconds_per_draw"]].apply(np.log)
    return logs.groupby(level=0).mean().apply(np.exp)


def exponent_of(curve: "pd.Series[float]") -> Exponent:
    """Return the exponent of a column of `run_times`."""
    return exponent({int(str(size)): float(value) for size, value in curve.items()})


@styled
def tree_figure(coverage: pd.DataFrame, times: pd.DataFrame, samplers: pd.DataFrame) -> Figure:
    """Draw coverage and errors over a, run times over tips and landmarks, and effective draws per second."""
    figure = Figure((PAGE, 3.9), layout="constrained")
    upper, lower = figure.subplots(2, 4)
    summary = summarise_coverage(coverage)
    titles = {"a": "coverage of $a$", "length": "coverage of $\\ell$", "root": "coverage of the root"}
    for axis, (name, title) in zip(upper, titles.items(), strict=False):
        axis.axhspan(*TARGETS[name], color=GREY, alpha=0.15, linewidth=0)
        looks = _points(axis, summary, f"{name}_covered")
        axis.set(title=title, ylim=(0.0 if name != "root" else 0.6, 1.04))
    _points(upper[3], summary, "error_ratio")
    upper[3].axhline(1, color=GREY, linestyle="--")
    upper[3].set(title="error, to Brownian")
    for axis, over in zip(lower, ("tips", "landmarks"), strict=False):
        _draw_times(axis, run_times(times, over), over)
    for over, colour in (("tips", BLUE), ("landmarks", ORANGE)):
        ess = run_times(times, over)["root_ess"]
        sns.lineplot(ess, label=f"over {over}", color=colour, marker="o", ax=lower[2], **PLAIN)
    lower[2].set(title="effective draws", xlabel="tips or landmarks", ylabel="", xscale="log")
    _log_sizes(lower[2], times[["tips", "landmarks"]].to_numpy().ravel())
    lower[2].set_ylim(bottom=0)
    lower[2].legend()
    _draw_samplers(lower[3], samplers)
    legend(figure, looks)
    return figure


def _points(axis: Axes, summary: pd.DataFrame, column: str) -> list[Look]:
    """Draw a column with its intervals over a, for each size, and return the looks of sizes."""
    amplitudes = sorted(summary["a"].unique())
    looks: list[Look] = []
    sizes = summary.groupby(["tips", "landmarks"])
    for k, (((tips, n), own), (marker, colour)) in enumerate(zip(sizes, SIZES, strict=False)):
        x = own["a"].map(amplitudes.index).to_numpy(float) + 0.15 * (k - 1.5)
        axis.vlines(x, own[f"{column}_low"], own[f"{column}_high"], color=colour, linewidth=0.8)
        axis.plot(x, own[column], marker, color=colour, markersize=3.5)
        looks.append((f"{tips} tips, {n} landmarks", marker, colour))
    axis.set_xticks(range(len(amplitudes)), [f"{a:g}" for a in amplitudes])
    axis.set(xlabel="amplitude $a$", xlim=(-0.5, len(amplitudes) - 0.5))
    return looks


def _draw_times(axis: Axes, curves: pd.DataFrame, over: str) -> None:
    looks = {
        "seconds": ("run", "o", BLUE),
        "seconds_per_draw": ("draw", "s", ORANGE),
    }
    for column, (label, marker, colour) in looks.items():
        fitted = exponent_of(curves[column])
        axis.plot(curves.index, curves[column], marker, color=colour)
        logs = np.log(curves.index.to_numpy(float))
        line = np.exp(np.log(curves[column]).mean() + fitted.value * (logs - logs.mean()))
        text = f"{label}: {fitted.value:.2f} ± {fitted.high - fitted.value:.2f}"
        axis.plot(curves.index, line, color=colour, linewidth=0.8, label=text)
    axis.set(xscale="log", yscale="log", xlabel=over, title="seconds, exponents")
    _log_sizes(axis, curves.index)
    axis.set_ylim(top=axis.get_ylim()[1] * 30)
    axis.legend(loc="upper left", handlelength=1.2)


def _log_sizes(axis: Axes, sizes: Iterable[int]) -> None:
    ticks = sorted({int(size) for size in sizes})
    axis.set_xticks(ticks, map(str, ticks), minor=False)
    axis.minorticks_off()


def _draw_samplers(axis: Axes, samplers: pd.DataFrame) -> None:
    for sampler, (label, marker, colour) in SAMPLERS.items():
        own = samplers[samplers["sampler"] == sampler]
        speed = (own["root_ess"] / own["seconds"]).apply(np.log).groupby(own["a"]).mean().apply(np.exp)
        sns.lineplot(speed, label=label, color=colour, marker=marker, ax=axis, **PLAIN)
    axis.set(yscale="log", xlabel="amplitude $a$", ylabel="", title="effective draws/s")
    axis.set_ylim(top=axis.get_ylim()[1] * 20)
    axis.legend(loc="upper right", handlelength=1.2)
