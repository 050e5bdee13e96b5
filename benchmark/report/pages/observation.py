"""The picture of an observation as what it is: a path, items, a field, a shape, or numbers."""

from typing import Any

import altair as alt
import torch
from torch import Tensor

from ....tasks.landmarks.task import Landmarks
from ....tasks.simulations import Observations
from ....tasks.structure import Field, Items, Series, Structure
from ....tasks.task import Task
from ..charts import DRAWN_FLOOR, HEIGHT, Chart, finished, short
from ..numbers import number

Context = dict[str, Any]
BLUE = "#0072B2"
FEW, MOST = 12, 300  # numbers of a vector that need no picture; numbers that are listed


def observation(task: Task, observations: Observations) -> Context:
    """Return picture, caption and numbers of a task's first observation; a short vector has no picture."""
    x = observations.x[0].double()
    what, chart, square = _picture(task, x, task.structure.effective)
    caption = f"The first observation: {what}."
    size = {"width": HEIGHT} if square else {}
    return {
        "caption": caption,
        "spec": finished(chart, f"{caption[:-1]}, of {task.label}.", **size) if chart else None,
        "numbers": [number(value) for value in x[:MOST].tolist()],
        "more": max(0, len(x) - MOST),
    }


def _picture(task: Task, x: Tensor, structure: Structure) -> tuple[str, Chart | None, bool]:
    """Return what an observation is, its chart, and whether the chart must be square."""
    if isinstance(task, Landmarks):
        return _shape(task, x)
    if isinstance(structure, Series):
        return _path(structure, x)
    if isinstance(structure, Field) and len(structure.shape) == 2:
        return _map(structure, x)
    if isinstance(structure, Items):
        return _items(structure, x)
    return _vector(x)


def _base(**columns: Any) -> alt.Chart:
    """Return a chart of columns of equal length."""
    lines = zip(
        *(map(short, column) if _real(column) else column for column in columns.values()), strict=True
    )
    return alt.Chart(alt.Data(values=[dict(zip(columns, line, strict=True)) for line in lines]))


def _real(column: Any) -> bool:
    return isinstance(next(iter(column)), float)


def _y(field: str, title: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False))


def _path(structure: Series, x: Tensor) -> tuple[str, Chart, bool]:
    path = structure.unflatten(x)
    steps, channels = path.shape
    base = _base(
        time=list(range(1, steps + 1)) * channels,
        channel=[f"channel {c + 1}" for c in range(channels) for _ in range(steps)],
        x=path.T.flatten().tolist(),
    ).encode(alt.X("time:Q", title="time", scale=alt.Scale(zero=False), axis=alt.Axis(tickMinStep=1)))
    if channels > 1:
        palette = alt.Scale(range=[BLUE, "#D55E00", "#009E73", "#CC79A7"])
        legend = alt.Legend(title=None, orient="bottom")
        base = base.encode(
            alt.Color("channel:N", scale=palette, legend=legend),
            alt.StrokeDash("channel:N", legend=legend),
        )
        marks: dict[str, Any] = {}
    else:
        marks = {"color": BLUE}
    y = _y("x", "x")
    lines = base.mark_line(strokeWidth=1.8, **marks).encode(y)
    dots = base.mark_point(filled=True, size=24, opacity=1, **marks).encode(y)
    numbers = f" of {channels} numbers" if channels > 1 else ""
    return f"a path at {steps} times{numbers}", alt.layer(lines, dots), False


def _map(structure: Field, x: Tensor) -> tuple[str, Chart, bool]:
    rows, columns = structure.shape
    values = structure.unflatten(x)[..., 0]
    chart = (
        _base(
            row=[i for i in range(rows) for _ in range(columns)],
            column=list(range(columns)) * rows,
            x=values.flatten().tolist(),
        )
        .mark_rect()
        .encode(
            alt.X("column:O", axis=alt.Axis(labels=False, ticks=False, title=None)),
            alt.Y("row:O", axis=alt.Axis(labels=False, ticks=False, title=None)),
            alt.Color("x:Q", scale=alt.Scale(scheme="cividis"), legend=alt.Legend(title="x")),
        )
    )
    first = ", the first channel" if structure.channels > 1 else ""
    return f"a field on a grid of {rows} × {columns} points{first}", chart, True


def _items(structure: Items, x: Tensor) -> tuple[str, Chart, bool]:
    items = structure.unflatten(x)
    data = structure.each.unflatten(x.unflatten(-1, (structure.n, structure.each.size)))
    if data.ndim == 3:
        groups = [g + 1 for g in range(len(data)) for _ in range(data[0].numel())]
        dots = _dots(_base(group=groups, x=data.flatten().tolist()))
        chart = dots.encode(alt.X("group:O", axis=alt.Axis(labelAngle=0)), _y("x", "x"))
        return f"{structure.n} groups of {data.shape[1]} items", chart, False
    described = items.shape[1] - data.shape[1]
    if data.shape[1] == 1 and described == 1:
        dots = _dots(_base(at=items[:, 1].tolist(), x=data[:, 0].tolist()))
        x_axis = alt.X("at:Q", title="regressor", scale=alt.Scale(zero=False))
        return f"{structure.n} items over their regressor", dots.encode(x_axis, _y("x", "x")), False
    if data.shape[1] == 1:
        bars = _base(x=data[:, 0].tolist()).mark_bar(color=BLUE)
        bins = alt.Bin(maxbins=30)
        chart = bars.encode(alt.X("x:Q", bin=bins, title="x"), alt.Y("count()", title="items"))
        return f"{structure.n} items, as a histogram", chart, False
    if data.shape[1] == 2:
        dots = _dots(_base(a=data[:, 0].tolist(), b=data[:, 1].tolist()))
        chart = dots.encode(alt.X("a:Q", title="x₁", scale=alt.Scale(zero=False)), _y("b", "x₂"))
        return f"{structure.n} items of two numbers", chart, False
    k = data.shape[1]
    dots = _dots(_base(component=list(range(1, k + 1)) * len(data), x=data.flatten().tolist()))
    chart = dots.encode(alt.X("component:O", axis=alt.Axis(labelAngle=0)), _y("x", "x"))
    return f"{structure.n} items of {k} numbers, component by component", chart, False


def _dots(base: alt.Chart) -> alt.Chart:
    return base.mark_point(filled=True, size=40, opacity=0.8, color=BLUE)


def _shape(task: Landmarks, x: Tensor) -> tuple[str, Chart, bool]:
    dimensions = task.sde(task.prior.to_theta(torch.zeros(1, task.dim_theta))).dimensions
    start, end = (of.double().unflatten(-1, (-1, dimensions)) for of in (task.start, x))
    ends = torch.cat([start, end])[:, :2]
    middle, reach = (ends.amax(0) + ends.amin(0)) / 2, float((ends.amax(0) - ends.amin(0)).max()) * 0.55
    columns = {"a": start[:, 0], "b": start[:, 1], "c": end[:, 0], "d": end[:, 1]}
    base = _base(**{name: column.tolist() for name, column in columns.items()})

    def at(channel: Any, field: str, k: int) -> Any:
        domain = [short(float(middle[k]) - reach), short(float(middle[k]) + reach)]
        return channel(
            f"{field}:Q", title=f"x{k + 1}", scale=alt.Scale(domain=domain, nice=False, zero=False)
        )

    moves = base.mark_rule(color=DRAWN_FLOOR).encode(
        at(alt.X, "a", 0), at(alt.Y, "b", 1), alt.X2("c:Q"), alt.Y2("d:Q")
    )
    template = base.mark_point(color=DRAWN_FLOOR, size=40).encode(at(alt.X, "a", 0), at(alt.Y, "b", 1))
    found = _dots(base).encode(at(alt.X, "c", 0), at(alt.Y, "d", 1))
    seen = ", the first two coordinates" if dimensions > 2 else ""
    what = f"{len(start)} landmarks (filled) that moved from the template (circles){seen}"
    return what, alt.layer(moves, template, found), True


def _vector(x: Tensor) -> tuple[str, Chart | None, bool]:
    if len(x) <= FEW:
        return f"{len(x)} number{'s' if len(x) > 1 else ''}", None, False
    bars = _base(component=list(range(1, len(x) + 1)), x=x.tolist()).mark_bar(color=BLUE)
    at = alt.X("component:O", axis=alt.Axis(labelOverlap=True, labelAngle=0))
    return f"{len(x)} numbers, component by component", bars.encode(at, alt.Y("x:Q", title="x")), False
