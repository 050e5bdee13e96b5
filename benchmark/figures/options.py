"""Figures of metrics over a numeric option of a task, such as C2ST over a number of draws."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from ..analysis.labels import task_of
from ..analysis.table import method_labels
from ..metrics.catalogue import record_of
from .style import (
    PAGE,
    Look,
    draw_floor,
    draw_methods,
    floor_handles,
    legend,
    looks_of,
    mark_handles,
    panels_of,
    styled,
    value_axis,
)

LEAST_VALUES = 3  # of an option that is drawn
MOST_TICKS = 8
MOST_COLUMNS = 4  # of the legend
# of the settings of a method, next to the method's own marker and line
MARKERS = ("^", "s", "v", "<", ">", "d")
DASHES = ((0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (7, 2)), (0, (3, 1, 1, 1, 1, 1)))


class Family(NamedTuple):
    """Tasks that differ in one numeric option alone.

    Attributes:
        title: the task with its other settings, as in `galton(positions=true)`.
        option: the name of the option.
        values: the value of the option by the label of the task.
    """

    title: str
    option: str
    values: dict[str, float]


def families_of(labels: list[str]) -> list[Family]:
    """Return the families with `LEAST_VALUES` tasks or more.

    A task that is not installed belongs to no family: its label leaves out options with their default value.
    """
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    tasks = [(label, task) for label in labels if (task := task_of(label)) is not None]
    for label, task in tasks:
        for option, value in task.options().items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = ", ".join(s for s in task.settings.split() if s.split("=")[0] != option)
                found[f"{task.name}({rest})" if rest else task.name, option][label] = value
    families = [Family(title, option, values) for (title, option), values in found.items()]
    return [family for family in families if len(family.values) >= LEAST_VALUES]


def over_options(rows: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Yield every metric that is a number for each observation, with its figure over options of tasks.

    A metric that is resolved in diffusion time is drawn by its average.

    Args:
        rows: a result table, from `running.rows.with_variants`.
    """
    families = families_of(list(rows["task"].unique()))
    numbers = rows["observation"].notna() & rows["time"].isna() & (rows["status"] == "ok")
    for metric in rows.loc[numbers, "metric"].unique() if families else ():
        figure = over_option(rows, str(metric), families)
        if figure is not None:
            yield str(metric), figure


@styled
def over_option(rows: pd.DataFrame, metric: str, families: list[Family]) -> Figure | None:
    """Draw a metric over an option: a panel for each family and budget, a line for each method and settings.

    Return None if nothing has a result.

    Args:
        rows: a result table, from `running.rows.with_variants`.
        metric: name of the metric.
        families: from `families_of`.
    """
    looks = looks_of_settings(rows)
    rows = rows[(rows["metric"] == metric) & rows["time"].isna()]
    rows = rows.assign(label=method_labels(rows), variant="")
    panels = []
    for family in families:
        own = rows.assign(option=rows["task"].map(family.values)).dropna(subset="option")
        panels += [(family, budget, r) for budget, r in own.groupby("budget") if (r["status"] == "ok").any()]
    if not panels:
        return None
    columns = min(3, len(panels))
    height = 1.1 + 2.1 * -(-len(panels) // columns)
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    axes = panels_of(figure, len(panels), columns)
    lines = []
    for axis, (family, budget, own) in zip(axes, panels, strict=True):
        draw_floor(axis, own.groupby("option")["floor"].mean(), metric)
        lines.append(draw_methods(axis, own, "option", looks))
        axis.set_title(f"{family.title}, $N$ = {budget:,}")
        option_axis(axis, family)
    for k, axis in enumerate(axes):
        value_axis(axis, metric, lines)
        axis.tick_params(labelleft=k % columns == 0)
        if k % columns == 0:
            axis.set_ylabel(record_of(metric).axis_label)
    _legend(figure, pd.concat([own for _, _, own in panels]), looks)
    return figure


def _legend(figure: Figure, rows: pd.DataFrame, looks: dict[str, Look]) -> None:
    """Draw the legend with the settings of a method below each other, as far as they fill columns."""
    most = rows.groupby("method")["label"].nunique().max()
    signs = floor_handles(figure)
    n = rows["label"].nunique() + len(signs) + len(mark_handles(figure))
    columns = min(MOST_COLUMNS, -(-n // most))
    blanks = [Patch(alpha=0, label=" ")] * (-n % columns)
    legend(figure, rows, looks, [*signs, *blanks], columns)


def looks_of_settings(rows: pd.DataFrame) -> dict[str, Look]:
    """Return the look of each method with all its settings, by its label in `analysis.table.method_labels`.

    The colour is the method's. Marker and dashes are the method's without other settings, and else tell the
    settings apart. In the name, `composition=jac` is "jac" and `embedding=true` is "embedding".
    """
    methods = rows.assign(full=method_labels(rows))[["label", "variant", "full"]].drop_duplicates()
    variants = sorted(set(methods["variant"]) - {""})
    looks = {}
    for label, look in looks_of(methods["label"].unique()).items():
        for _, variant, full in methods[methods["label"] == label].sort_values("variant").to_numpy():
            if variant:
                k, name = variants.index(variant), ", ".join([look.name, *map(_short, variant.split())])
                looks[full] = Look(name, look.colour, MARKERS[k % len(MARKERS)], DASHES[k % len(DASHES)])
            else:
                looks[full] = look
    return looks


def _short(setting: str) -> str:
    option, _, value = setting.partition("=")
    if value == "true":
        return option
    return value if value.isidentifier() and value not in ("false", "none") else setting


def option_axis(axis: Axes, family: Family) -> None:
    """Make x the option of a family, on a log scale if its values are positive."""
    values = sorted(family.values.values())
    if values[0] > 0:
        axis.set_xscale("log")
    ticks = values[:: -(-len(values) // MOST_TICKS)]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.set_xticklabels([f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(family.option)
