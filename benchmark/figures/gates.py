"""Figures about gates: the variance that each leaves in the target, and which gate is best or chosen.

The cost of a target y is σ² E‖y‖²/d, which is 1 plus `excess_variance`. It is 1 for DSM. For an unbiased
target it is at least σ² E‖s‖²/d, the score's share, and exceeds it by σ² times the target variance.
"""

from functools import cache
from typing import Any

import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from ...methods.score.gates.choice import CLOSED, FITTED
from ...methods.score.gates.of_time import OptimalWeight
from ...methods.score.schedule import alpha_sigma_at
from ...tasks.seeding import derive_seed, generator
from ..analysis.comparison import ratios
from ..analysis.labels import task_of
from ..metrics.truth import TIMES
from ..running.measure import train_seed
from .comparison import draw_ratios, looks_of_budgets
from .style import (
    FLOOR,
    GREY,
    KNOWN,
    MARK_EVERY,
    PAGE,
    TIME_LABEL,
    Look,
    budgets_of,
    draw_methods,
    handle,
    legend,
    looks_of,
    mark_clipped,
    mark_handles,
    panels_of,
    styled,
    time_axis,
)

STACK: dict[str, Any] = {"multiple": "stack", "shrink": 0.8, "alpha": 1, "linewidth": 0.4, "legend": False}
SCALAR, AUTO = "mix", "mix(gate=auto)"
RATIOS = (0.05, 20.0)
SHARE_SIMULATIONS, SHARE_DRAWS = 200, 20
HIGHEST = 1.3  # upper end of the axis; the variance of bad targets is unbounded


@styled
def gates_variance(rows: pd.DataFrame) -> Figure | None:
    """Draw the cost σ² E‖y‖²/d of each target over t, one panel for each budget.

    The dashed line is the score's share σ² E‖s‖²/d, if the task has exact scores. Return None with fewer than
    two targets.
    """
    rows = rows[(rows["metric"] == "excess_variance") & (rows["status"] != "skipped")]
    rows = rows[rows["time"].notna() | rows["replicate"].isna()]  # drop averages, keep cells without a result
    looks, budgets = looks_of(rows["label"].unique()), budgets_of(rows)
    if len(looks) < 2 or not budgets:
        return None
    floor = _score_share(str(rows["task"].iloc[0]))
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    axes = panels_of(figure, len(budgets), len(budgets))
    for axis, budget in zip(axes, budgets, strict=True):
        own = rows[rows["budget"] == budget]
        draw_methods(axis, own.assign(value=1 + own["value"]), "time", looks, MARK_EVERY)
        if floor is not None:
            axis.plot(TIMES, floor, color=GREY, linestyle="--", linewidth=0.9, gid=FLOOR, label="score")
        time_axis(axis)
        axis.set_ylim(0, HIGHEST)
        mark_clipped(axis)
        axis.set_title(f"$N$ = {budget:,}")
        axis.set_ylabel(r"$\sigma^2\,\mathrm{E}\|y\|^2/d$")
        axis.label_outer()
    figure.supxlabel(TIME_LABEL)
    lines = [line for line in axes[0].get_lines() if line.get_gid() == FLOOR]
    legend(figure, rows, looks, lines, columns=5)
    return figure


@cache
def _score_share(label: str) -> tuple[float, ...] | None:
    """Estimate σ² E‖s‖²/d = 1 − E‖σ s + ε‖²/d at `TIMES`; None for a task without exact scores."""
    task = task_of(label)
    if task is None or "reference" not in task.capabilities or task.reference_kind != "exact":
        return None
    drawn = task.simulate(SHARE_SIMULATIONS, derive_seed("score share", label))
    variance = torch.zeros(len(TIMES), dtype=torch.float64)
    for row, x in enumerate(drawn.x):
        reference = task.reference(x)
        u_0 = reference.sample(SHARE_DRAWS, derive_seed("score share", label, row))
        noise = generator(derive_seed("score share noise", label, row))
        eps = torch.randn(u_0.shape, generator=noise, dtype=u_0.dtype)
        for k, t in enumerate(TIMES):
            alpha, sigma = alpha_sigma_at(t)
            score = reference.diffused_score(alpha * u_0 + sigma * eps, alpha, sigma)
            variance[k] += (sigma * score + eps).square().mean() / len(drawn)
    return tuple((1 - variance).tolist())


@styled
def gates_eigenvalues(rows: pd.DataFrame) -> Figure | None:
    """Draw the eigenvalues of the matrix gate over t, the smallest dark, one panel for each budget.

    The gate is computed from the training simulations of the sweep. Return None in one dimension.
    """
    rows = rows[(rows["label"] == "mix(gate=matrix)") & (rows["status"] == "ok")]
    task = task_of(str(rows["task"].iloc[0])) if len(rows) else None
    if task is None or task.dim_theta == 1:
        return None
    budgets = sorted(rows["budget"].unique())
    replicates = sorted(rows["replicate"].dropna().unique())
    figure = Figure(figsize=(PAGE, 2.0), layout="constrained")
    t = torch.linspace(TIMES[0] ** 0.5, 1, 50).square()
    colours = enumerate(sns.color_palette("viridis", task.dim_theta), start=1)
    looks = {f"$w_{{{i}}}$": Look(f"$w_{{{i}}}$", colour, "", "-") for i, colour in colours}
    for axis, budget in zip(panels_of(figure, len(budgets), len(budgets)), budgets, strict=True):
        weights = []
        for r in replicates:
            seed = train_seed(int(rows["root_seed"].iloc[0]), task, int(r))
            score = task.simulate(int(budget), seed).joint_score
            assert score is not None
            weights.append(OptimalWeight.matrix(score.float().unsqueeze(0))(t.view(1, -1, 1))[0])
        places, names = [replicates, t.tolist(), list(looks)], ["replicate", "time", "label"]
        index = pd.MultiIndex.from_product(places, names=names)
        table = pd.Series(torch.stack(weights).flatten().numpy(), index, name="value").reset_index()
        draw_methods(axis, table.assign(observation=0, floor=0.0, status="ok"), "time", looks)
        time_axis(axis)
        axis.set_ylim(-0.03, 1.03)
        axis.set_ylabel("eigenvalues of $W^*(t)$")
        axis.set_title(f"$N$ = {budget:,}")
        axis.label_outer()
    figure.supxlabel(TIME_LABEL)
    return figure


@styled
def gates_ratio(rows: pd.DataFrame) -> Figure | None:
    """Draw score errors divided by the score error of the scalar mixture.

    Each method has a panel, with tasks down. Ratios beyond `RATIOS` are drawn at the edge. Return None
    without results of `SCALAR` and `AUTO`.
    """
    labels = [label for label in looks_of(rows["label"].unique()) if label != SCALAR]
    found = {label: ratios(rows, "score_error", label, SCALAR) for label in labels}
    found = {label: own for label, own in found.items() if (own["status"] == "ok").any()}
    if SCALAR not in rows["label"].unique() or AUTO not in found:
        return None
    of_budgets, tasks = looks_of_budgets(sorted(rows["budget"].unique())), list(rows["task"].unique())
    columns = min(4, len(found))
    lines = -(-len(found) // columns)
    figure = Figure(figsize=(PAGE, 0.6 + lines * (0.4 + 0.16 * len(tasks))), layout="constrained")
    looks = looks_of(found)
    axes = panels_of(figure, len(found), columns)
    for k, (axis, (label, own)) in enumerate(zip(axes, found.items(), strict=True)):
        ends = ["value", "low", "high"]
        draw_ratios(axis, own.assign(**own[ends].clip(*RATIOS)), tasks, of_budgets)
        axis.set_xlim(RATIOS[0] / 1.2, RATIOS[1] * 1.2)
        axis.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(looks[label].name.removeprefix("MIX, "))
        axis.set_xlabel("")
        if k % columns:
            axis.set_yticklabels([])
    figure.supxlabel("mean score error / mean score error of scalar MIX, below 1 is better")
    handles = [*map(handle, of_budgets.values()), *mark_handles(figure)]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


@styled
def gates_choice(rows: pd.DataFrame) -> Figure | None:
    """Draw how many replicates chose each gate: tasks down, one panel for each budget.

    Return None if no gate was chosen.
    """
    rows = rows[(rows["metric"] == "gate_gain") & (rows["label"] == AUTO) & (rows["status"] == "ok")]
    if rows.empty:
        return None
    budgets, tasks = sorted(rows["budget"].unique()), list(rows["task"].unique())
    looks = {gate: _bar_of(gate) for gate in (*CLOSED, *FITTED) if (rows["reason"] == gate).any()}
    figure = Figure(figsize=(PAGE, 0.9 + 0.19 * len(tasks)), layout="constrained")
    for axis, budget in zip(panels_of(figure, len(budgets), len(budgets)), budgets, strict=True):
        own = rows[rows["budget"] == budget]
        own = own.assign(task=pd.Categorical(own["task"], tasks))
        chosen = [gate for gate in looks if (own["reason"] == gate).any()]
        colours = {gate: looks[gate][0] for gate in reversed(chosen)}  # the last one's bars begin at 0
        sns.histplot(own, y="task", hue="reason", hue_order=list(colours), palette=colours, ax=axis, **STACK)
        for gate, bars in zip(chosen, axis.containers, strict=True):
            for bar in bars:
                bar.set_hatch(looks[gate][1])
        axis.set(title=f"$N$ = {budget:,}", xlabel="", ylabel="", ylim=(len(tasks) - 0.4, -0.6))
        axis.label_outer()
    figure.supxlabel("replicates")
    signs = [Patch(facecolor=c, hatch=h, edgecolor="white", label=gate) for gate, (c, h) in looks.items()]
    figure.legend(handles=signs, loc="outside upper center", ncols=4)
    return figure


def _bar_of(gate: str) -> tuple[Any, str]:
    """Return the colour of a gate's method and a hatch where the line of that method is dashed."""
    look = KNOWN[{"dsm": "dsm", "scalar": SCALAR}.get(gate, f"mix(gate={gate})")]
    return look.colour, "" if look.dashes == "-" else "////"
