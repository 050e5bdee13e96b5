"""The look of all figures: the theme, one colour, marker and line style for each method, lines with bands.

Lines, points and distributions are drawn by seaborn, with the theme and sizes of this file and with the
intervals of `analysis.statistics`.

Colours are from Okabe and Ito, for colour-blind readers. Markers and dashes carry the same information in
print without colour. A line shows means; its band shows their intervals. A cross at the edge marks a value
without a result, and a triangle at the edge marks a value beyond the axis.
"""

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MultipleLocator, NullFormatter, NullLocator
from matplotlib.transforms import Transform
from PIL import Image

from ..analysis.statistics import Array, summarise
from ..metrics.catalogue import record_of
from ..running.rows import TO_RETRY

COLUMN, PAGE = 3.35, 6.9  # widths of one and two columns, in inches
GREY = "#555555"
BUDGET_LABEL = "budget $N$ (simulator calls)"
TIME_LABEL = "diffusion time $t$ (square-root scale)"
MARK_EVERY = 5  # points in diffusion time for each marker
PNG_DPI, PNG_COLOURS = 150, 256  # a page is 1,035 pixels wide
MISSING, CLIPPED, FLOOR = "missing", "clipped", "floor"  # kinds of marks, stored as `gid`
ENDS = ["value", "low", "high"]
# With these, seaborn draws the values and intervals of `ends_of`, and no estimates of its own.
INTERVALS: dict[str, Any] = {"estimator": lambda ends: ends.iloc[0], "errorbar": lambda ends: ends.iloc[1:]}
INTERVALS["legend"] = False
# With these, it draws values as they are.
PLAIN: dict[str, Any] = {"estimator": None, "errorbar": None, "legend": False, "markeredgewidth": 0}
BAND = {"err_style": "band", "err_kws": {"alpha": 0.15, "linewidth": 0}}
BAR = {"err_style": "bars", "err_kws": {"elinewidth": 0.9}}
MARKS = {MISSING: ("x", "no result"), CLIPPED: ("^", "beyond the axis")}

# Starts from Matplotlib's defaults, so that a user's settings have no effect.
styled = style.context(
    [
        "default",
        sns.axes_style("ticks"),
        {key: 0.6 * size for key, size in sns.plotting_context("paper", font_scale=1.3).items()},
        {
            "font.sans-serif": "DejaVu Sans",  # comes with Matplotlib, so that all machines have it
            "figure.labelsize": 7.5,
            "legend.frameon": False,
            "legend.handlelength": 2.6,
            "legend.columnspacing": 1.4,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlepad": 5,
            "lines.linewidth": 1.1,
            "lines.markersize": 3,
            "patch.force_edgecolor": False,
            "pdf.fonttype": 42,
        },
    ]
)


class Look(NamedTuple):
    """The name and style of one line."""

    name: str
    colour: Any
    marker: str
    dashes: Any

    @property
    def line(self) -> dict[str, Any]:
        """Return Matplotlib's settings of the line."""
        same = {"color": self.colour, "linestyle": self.dashes, "marker": self.marker, "markeredgewidth": 0}
        return {**same, "label": self.name, "zorder": 3}


KNOWN = {
    "dsm": Look("DSM", "#0072B2", "o", "-"),
    "tsm": Look("TSM", "#009E73", "s", (0, (1, 1))),
    "ltsm": Look("LTSM", "#E69F00", "^", (0, (4, 1.5))),
    "mix": Look("MIX", "#D55E00", "D", "-"),
    "mix(gate=diagonal)": Look("MIX, diagonal", "#56B4E9", "s", "-"),
    "mix(gate=matrix)": Look("MIX, matrix", "#E69F00", "P", "-"),
    "mix(gate=conditional_scalar)": Look("MIX, scalar given $x$", "#D55E00", "o", (0, (4, 1.5))),
    "mix(gate=conditional_diagonal)": Look("MIX, diagonal given $x$", "#56B4E9", "s", (0, (4, 1.5))),
    "mix(gate=conditional_matrix)": Look("MIX, matrix given $x$", "#E69F00", "P", (0, (4, 1.5))),
    "mix(gate=hessian)": Look("MIX, Hessian", "#009E73", "P", "-"),
    "mix(gate=conditional_hessian)": Look("MIX, Hessian given $x$", "#009E73", "P", (0, (4, 1.5))),
    "mix(gate=state_hessian)": Look("MIX, Hessian given $u_t$ and $x$", "#009E73", "X", "-"),
    "mix(gate=state)": Look("MIX, state", "#009E73", "*", "-"),
    "mix(gate=auto)": Look("MIX, auto", "#000000", "X", "-"),
    "mix(gate=learned)": Look("MIX, learned $w$", "#CC79A7", "v", (0, (5, 1, 1, 1))),
    "mix(gate=learned_from_optimal)": Look("MIX, learned from $w^*$", "#CC79A7", "^", (0, (1, 1))),
    "tsm_mix": Look("TSM-MIX", "#999999", "D", "-"),
    "tsm_mix(gate=matrix)": Look("TSM-MIX, matrix", "#999999", "P", (0, (4, 1.5))),
}
Looks = Mapping[str, Look]
OTHER_COLOURS = ("#56B4E9", "#000000", "#999999", "#B8A600")
OTHER_MARKERS = ("P", "X", "p", "*", "h")
OTHER_DASHES = ("-", (0, (3, 1, 1, 1, 1, 1)), (0, (6, 2)))


def looks_of(labels: Iterable[str]) -> dict[str, Look]:
    """Return the look of each method: fixed for those in `KNOWN`, by alphabetical order for all others."""
    given = set(labels)
    looks = {label: look for label, look in KNOWN.items() if label in given}
    for k, label in enumerate(sorted(given - KNOWN.keys())):
        colour, marker = OTHER_COLOURS[k % len(OTHER_COLOURS)], OTHER_MARKERS[k % len(OTHER_MARKERS)]
        looks[label] = Look(label, colour, marker, OTHER_DASHES[k % len(OTHER_DASHES)])
    return looks


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PDF and PNG and return both files; equal figures give equal bytes."""
    pdf, png = folder / f"{name}.pdf", folder / f"{name}.png"
    figure.savefig(pdf, metadata={"CreationDate": None})
    save_png(figure, png)
    return [pdf, png]


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG with `PNG_COLOURS` colours, in a quarter of the bytes of full colour."""
    with BytesIO() as buffer:
        figure.savefig(buffer, dpi=PNG_DPI)
        image = Image.open(buffer).convert("RGB")
    few = image.quantize(PNG_COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def panels_of(figure: Figure, n: int, columns: int) -> list[Axes]:
    """Add n panels to a figure, row by row, and return them."""
    grid = figure.add_gridspec(-(-n // columns), columns)
    return [figure.add_subplot(grid[k // columns, k % columns]) for k in range(n)]


def lines_of(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """Return the lines of methods: `label`, `x`, `value`, `low` and `high` of one metric, in the order of x.

    The values at an x are NaN if any of its rows ended badly, since a mean over the remaining rows would be
    too good. A cell that failed as a whole has no times; over time it becomes one row with x NaN. `stretch`
    numbers the parts of a line between such gaps.
    """
    keys = ["label", x]
    bad = rows["status"].isin(TO_RETRY)
    spoiled = bad.groupby([rows[key] for key in keys], dropna=False).transform("any")
    good = rows[(rows["status"] == "ok") & ~spoiled & rows[x].notna()]
    lines = pd.concat([summarise(good, keys), rows.loc[bad, keys].drop_duplicates()])
    lines = lines.rename(columns={x: "x"}).astype(dict.fromkeys(["x", *ENDS], float)).sort_values("x")
    return lines.assign(stretch=lines["value"].isna().groupby(lines["label"]).cumsum())


def draw_lines(axis: Axes, lines: pd.DataFrame, looks: Looks, every: int = 1) -> None:
    """Draw lines with their bands. A point without neighbours has a bar instead of a band.

    If all points have the same x, they are moved aside by up to 20 %, so that none hides another.

    Args:
        axis: where to draw, with linear scales as yet.
        lines: from `lines_of`.
        looks: the style of each label; the order keeps crosses and markers apart.
        every: a marker is drawn at one in so many points.
    """
    for place, (label, look) in enumerate(looks.items()):
        line = lines[lines["label"] == label]
        known, crosses = line.dropna(subset="value"), line.loc[line["value"].isna(), "x"].to_numpy()
        for _, part in known.groupby("stretch"):
            if lines["x"].nunique() == 1:
                part = part.assign(x=part["x"] * 1.2 ** ((2 * place + 1) / len(looks) - 1))
            drawn = INTERVALS | look.line | (BAND if len(part) > 1 else BAR)
            markers = (place % every, every)
            sns.lineplot(
                ends_of(part, ["x"]), x="x", y="end", sort=False, markevery=markers, ax=axis, **drawn
            )
        height = 1 - 0.06 * place
        if len(crosses) and known.empty:  # without any point of a line: one cross in the corner
            mark(axis, 0.97, height, look.colour, MISSING, axis.transAxes)
        elif len(crosses):
            mark(axis, crosses, height, look.colour, MISSING, axis.get_xaxis_transform())
    axis.set(xlabel="", ylabel="")


def ends_of(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return `value`, `low` and `high` below each other in the column `end`, for seaborn's `**INTERVALS`.

    An interval with an infinite end is left out.
    """
    bounded = np.isfinite(rows[["low", "high"]].to_numpy()).all(axis=1)
    rows = rows.assign(low=rows["low"].where(bounded), high=rows["high"].where(bounded))
    return rows.melt(keys, ENDS, value_name="end").dropna(subset="end")


def draw_methods(axis: Axes, rows: pd.DataFrame, x: str, looks: Looks, every: int = 1) -> pd.DataFrame:
    """Draw the line of each method that was not skipped, and return the lines; see `draw_lines`."""
    lines = lines_of(rows[rows["status"] != "skipped"], x)
    draw_lines(axis, lines, looks, every)
    return lines


def budgets_of(rows: pd.DataFrame) -> list[int]:
    """Return the budgets to draw, those without a result included; none if no budget has a result."""
    if not (rows["status"] == "ok").any():
        return []
    return sorted(int(budget) for budget in rows.loc[rows["status"] != "skipped", "budget"].unique())


def mark_clipped(axis: Axes) -> None:
    """Mark the upper edge with triangles, in the line's colour, where a line lies above it.

    A line with a marker at every point gets a triangle at each such point, any other line at each local peak.
    """
    top = axis.get_ylim()[1]
    for drawn in [line for line in axis.get_lines() if line.get_gid() is None]:
        x, value = np.asarray(drawn.get_xdata(), float), np.asarray(drawn.get_ydata(), float)
        above = np.flatnonzero(value > top)
        if drawn.get_markevery() != (0, 1):
            stretches = np.split(above, np.flatnonzero(np.diff(above) > 1) + 1)
            above = np.array([s[value[s].argmax()] for s in stretches if len(s)], dtype=int)
        if len(above):
            mark(axis, x[above], 0.985, drawn.get_color(), CLIPPED, axis.get_xaxis_transform())


def mark(
    axis: Axes, x: Array | float, y: Array | float, colour: Any, kind: str, transform: Transform
) -> None:
    """Draw marks of one kind, `MISSING` or `CLIPPED`, at x and y in the coordinates of `transform`."""
    axis.plot(
        *np.broadcast_arrays(np.atleast_1d(x), y),
        transform=transform,
        color=colour,
        marker=MARKS[kind][0],
        markersize=3.7,
        markeredgewidth=1.2 if kind == MISSING else 0,
        linestyle="none",
        clip_on=False,
        gid=kind,
        zorder=4,
    )


def log_limits(lines: Iterable[pd.DataFrame], above: float = 4) -> tuple[float, float]:
    """Return limits of a log axis that hold the lines, within a range around their median.

    The range is from 4 decades below the median to `above` decades over it, so that a method that diverges
    does not press the other lines together.
    """
    every = pd.concat(lines)[ENDS].to_numpy(dtype=float)
    seen = every[np.isfinite(every) & (every > 0)]
    if not len(seen):
        return 0.1, 1.0
    low, middle, high = np.log10([seen.min(), np.median(seen), seen.max()])
    return 10 ** max(low - 0.1, middle - 4), 10 ** min(high + 0.1, middle + above)


def time_axis(axis: Axes) -> None:
    """Make x diffusion time on a square-root scale, which spreads small t and contains 0."""
    axis.set_xscale("function", functions=(lambda t: np.sqrt(np.clip(t, 0, None)), np.square))
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_locator(FixedLocator([0.01, 0.1, 0.3, 0.6, 1]))
    axis.set_xticklabels([".01", ".1", ".3", ".6", "1"])
    axis.xaxis.set_minor_locator(NullLocator())


def budget_axis(axis: Axes, budgets: Iterable[int]) -> None:
    """Make x the simulator budget on a log scale."""
    numbers = [float(budget) for budget in budgets]
    axis.set_xscale("log")
    axis.set_xlim(min(numbers) / 1.4, max(numbers) * 1.4)
    axis.xaxis.set_minor_formatter(NullFormatter())


def value_axis(axis: Axes, metric: str, lines: list[pd.DataFrame]) -> None:
    """Make y a metric's values, on the metric's scale, with limits that hold the lines of all panels."""
    record = record_of(metric)
    every = pd.concat(lines)[ENDS]  # the ends are NaN with a single replicate
    low, high = every.min().min(), every.max().max()
    if record.scale == "log":
        axis.set_yscale("log")
        axis.set_ylim(log_limits(lines))
        mark_clipped(axis)
    elif record.scale == "symlog":
        # linear around the floor, where the estimate may be 0; logarithmic above
        axis.set_yscale("asinh", linear_width=0.03)
        axis.set_yticks([0, 0.03, 0.1, 0.3, 1], ["0", "0.03", "0.1", "0.3", "1"])
        axis.yaxis.set_minor_locator(NullLocator())
        axis.set_ylim(0, 1.05 * max(0.1, high))
    else:
        perfect = record.perfect or 0.0
        low, high = min(perfect - 0.02, low), max(perfect + 0.1, high) + 0.02
        axis.set_ylim(low, high)
        if high - low < 2:
            axis.yaxis.set_major_locator(MultipleLocator(0.1))


def draw_floor(axis: Axes, floor: "float | pd.Series[float]", metric: str) -> None:
    """Draw a metric's floor, a number or a number at each x. A floor of 0 has no place on a log axis."""
    least = 0 if record_of(metric).scale == "symlog" else np.nextafter(0, 1)
    look: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 0.9, "gid": FLOOR}
    if isinstance(floor, pd.Series):
        shown = floor[floor >= least]
        if len(shown):
            axis.plot(shown.index, shown, **look)
    elif floor >= least:
        axis.axhline(floor, **look)


def floor_handles(figure: Figure) -> list[Artist]:
    """Return the legend entry of floors, if one lies inside the limits of its axis."""
    floors = [(axis, line) for axis in figure.axes for line in axis.get_lines() if line.get_gid() == FLOOR]
    seen = any(np.max(line.get_ydata()) >= axis.get_ylim()[0] for axis, line in floors)
    sign = Line2D([], [], color=GREY, linestyle="--", linewidth=0.9, label="floor")
    return [sign] if seen else []


def legend(
    figure: Figure,
    rows: pd.DataFrame,
    looks: Mapping[str, Look],
    extra: Iterable[Artist] = (),
    columns: int | None = None,
) -> None:
    """Draw the legend above the panels.

    It shows the methods in `rows`, those that were skipped, the meaning of marks, and `extra`.
    """
    handles: list[Artist] = []
    for label, look in looks.items():
        statuses = set(rows.loc[rows["label"] == label, "status"])
        if statuses == {"skipped"}:
            handles.append(Patch(alpha=0, label=f"{look.name}: skipped"))
        elif statuses:
            handles.append(handle(look))
    handles += extra
    handles += mark_handles(figure)
    columns = columns or (len(handles) if figure.get_figwidth() > COLUMN else 3)
    title = rows["variant"].iloc[0].replace(" ", ", ") or None
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=columns)


def mark_handles(figure: Figure) -> list[Artist]:
    """Return the legend entries of the marks that a figure has."""
    kinds = {line.get_gid() for axis in figure.axes for line in axis.get_lines()}
    return [
        Line2D([], [], color=GREY, marker=marker, linestyle="none", label=meaning)
        for kind, (marker, meaning) in MARKS.items()
        if kind in kinds
    ]


def handle(look: Look) -> Line2D:
    """Return the legend entry of a line."""
    return Line2D([], [], **look.line)
