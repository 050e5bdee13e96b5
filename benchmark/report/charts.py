"""The charts of a report, as Vega-Lite specifications made with Altair, in the looks of `figures.style`.

A line shows means over the budget or diffusion time, its band their intervals. A cross at the upper edge is a
point without a result, a triangle there a point beyond the axis. The page's style sheet sets the colours of
text and grid.
"""

import json
import math
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from ..figures.style import Look, log_limits
from ..metrics.catalogue import record_of

# Paths of symbols that Vega lacks, in its units: a square from −1 to 1.
CROSS = "M-1,-0.7L-0.7,-1L0,-0.3L0.7,-1L1,-0.7L0.3,0L1,0.7L0.7,1L0,0.3L-0.7,1L-1,0.7L-0.3,0Z"
STAR = "M0,-1L0.22,-0.31L0.95,-0.31L0.36,0.12L0.59,0.81L0,0.38L-0.59,0.81L-0.36,0.12L-0.95,-0.31L-0.22,-0.31Z"
PENTAGON = "M0,-1L0.95,-0.31L0.59,0.81L-0.59,0.81L-0.95,-0.31Z"
HEXAGON = "M0,-1L0.87,-0.5L0.87,0.5L0,1L-0.87,0.5L-0.87,-0.5Z"
SHAPES = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "P": "cross",
    "^": "triangle-up",
    "v": "triangle-down",
    "X": CROSS,
    "*": STAR,
    "p": PENTAGON,
    "h": HEXAGON,
}
HEIGHT = 300
DRAWN_FLOOR = "#767676"
SYMLOG_WIDTH = 0.03
TICKS = (-1000, -100, -10, -1, -0.1, 0, 0.03, 0.1, 0.3, 1, 10, 100, 1000)
Spec = dict[str, Any]
Chart = alt.Chart | alt.LayerChart | alt.FacetChart


def name_of(look: Look) -> str:
    """Return the name of a look in plain text, without TeX."""
    return look.name.replace("$", "").replace("^*", "*")


def curves(points: pd.DataFrame, looks: dict[str, Look], description: str) -> Spec:
    """Draw a metric over the budget: the points of one metric, task and variant."""
    shown = points[points["status"] != "skipped"]
    budgets = sorted(int(b) for b in shown["budget"].unique())
    x = alt.X(
        "budget:Q",
        scale=alt.Scale(type="log", domain=[budgets[0] / 1.3, budgets[-1] * 1.3]),
        axis=alt.Axis(title="budget N (simulator calls)", values=budgets, format=",", grid=False),
    )
    return lines(shown, "budget", x, looks, description)


def over_time(points: pd.DataFrame, looks: dict[str, Look], description: str) -> Spec:
    """Draw a metric over diffusion time: the points of one metric, task, variant and budget."""
    x = alt.X(
        "time:Q",
        scale=alt.Scale(type="sqrt", domain=[0, 1]),
        axis=alt.Axis(
            title="diffusion time t (square-root scale)",
            values=[0.01, 0.1, 0.3, 0.6, 1],
            format="~g",
            grid=False,
        ),
    )
    return lines(points, "time", x, looks, description)


def lines(points: pd.DataFrame, along: str, x: alt.X, looks: dict[str, Look], description: str) -> Spec:
    """Draw a line with its band for each method, dots if they are few, and marks for missing results."""
    own = {label: look for label, look in looks.items() if label in set(points["label"])}
    axis = _value_axis(str(points["metric"].iloc[0]), points)
    colour, shape, dash = scales_of(own, legend())
    drawn = _drawn(points, along, own, axis.top)
    tooltip = [alt.Tooltip(f"{field}:N") for field in ("method", along, "value", "low", "high", "reason")]
    layers: list[alt.Chart] = [
        alt.Chart().mark_area(opacity=0.18, clip=True).encode(axis.of("low"), alt.Y2("high:Q")),
        alt.Chart().mark_line(clip=True, strokeWidth=1.8).encode(alt.Y("value:Q"), dash),
    ]
    dots = _dots("!datum.edge", size=46 if along == "budget" else 16)
    layers += [dots.encode(alt.Y("value:Q"), shape, tooltip=tooltip)]
    layers += [marks.encode(tooltip=tooltip) for marks in _edges(drawn)]
    parse = dict.fromkeys((along, "value", "low", "high"), "number")
    data = alt.InlineData(
        values=drawn.to_csv(index=False, float_format="%.3g"),
        format=alt.CsvDataFormat(type="csv", parse=parse),
    )
    chart = alt.layer(*layers, data=data).encode(x, colour)
    floor = points["floor"].mean() if along == "budget" else math.nan
    if axis.bottom < floor < axis.top and floor > 0:
        rule = alt.Chart(alt.Data(values=[{"floor": short(floor)}])).mark_rule(strokeDash=[5, 3])
        chart = alt.layer(chart, rule.encode(alt.Y("floor:Q"), color=alt.value(DRAWN_FLOOR)))
    return finished(chart, description)


def _dots(condition: str, **look: Any) -> alt.Chart:
    """Return the dots of the points that a condition on `edge` selects."""
    return alt.Chart().transform_filter(condition).mark_point(filled=True, opacity=1, **look)


def rank_chart(ranked: pd.DataFrame, looks: dict[str, Look], description: str) -> Spec:
    """Draw mean ranks with their intervals, the best on top."""
    values = [
        {"method": name_of(looks[label]), "rank": short(rank), "low": short(low), "high": short(high)}
        for label, rank, low, high in ranked[["label", "rank", "low", "high"]].to_numpy()
    ]
    own = {label: looks[label] for label in ranked["label"]}
    last = max(2.0, ranked[["rank", "high"]].max().max())
    colour, shape, _ = scales_of(own, None)
    base = alt.Chart(alt.Data(values=values))
    y = alt.Y("method:N", sort=[name_of(look) for look in own.values()], title=None)
    x = alt.X(
        "rank:Q",
        title="mean rank, 1 is best",
        scale=alt.Scale(domain=[1, short(last)], nice=False, zero=False, padding=10),
        axis=alt.Axis(tickMinStep=1),
    )
    layers = [base.mark_point(filled=True, size=80, opacity=1).encode(x, y, colour, shape)]
    if ranked["low"].notna().any():
        bars = base.mark_rule(strokeWidth=3, opacity=0.5)
        layers.insert(0, bars.encode(alt.X("low:Q"), y, colour, alt.X2("high:Q")))
    return finished(alt.layer(*layers), description, height=40 * len(values))


class _Axis(NamedTuple):
    """The value axis of a chart, from `bottom` to `top`."""

    scale: alt.Scale
    axis: alt.Axis
    bottom: float
    top: float

    def of(self, field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=self.scale, axis=self.axis)


def _value_axis(metric: str, points: pd.DataFrame) -> _Axis:
    title, kind = record_of(metric).title, record_of(metric).scale
    ends = points[["value", "low", "high"]]
    if kind == "log" and (points["value"].dropna() > 0).all():
        low, high = log_limits([ends])
        axis = alt.Axis(title=title, values=_decades(low, high), format="~g")
        return _Axis(_scale("log", low, high), axis, low, high)
    low, high = ends.min().min(), ends.max().max()
    low, high = (low, high) if math.isfinite(low) else (0.0, 1.0)
    if kind == "symlog":
        low, high = min(low, 0.0), max(high, 0.1) * 1.05
        ticks = [t for t in TICKS if low <= t <= high]
        axis = alt.Axis(title=title, values=ticks, format="~g")
        return _Axis(_scale("symlog", low, high, constant=SYMLOG_WIDTH), axis, low, high)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    return _Axis(_scale("linear", low, high), alt.Axis(title=title, tickCount=6), low, high)


def _decades(low: float, high: float) -> list[float]:
    """Return the ticks of a log axis: powers of ten, and 2 and 5 times these if they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    return [tick for k in powers for step in steps if low <= (tick := float(f"{step}e{k}")) <= high]


def _scale(kind: str, low: float, high: float, **more: float) -> alt.Scale:
    return alt.Scale(type=kind, domain=[short(low), short(high)], nice=False, **more)  # type: ignore[arg-type]


def legend(**look: Any) -> alt.Legend:
    """Return the legend of methods, below the chart unless `look` says otherwise."""
    given: dict[str, Any] = {"orient": "bottom", "columns": 3} | look
    return alt.Legend(**given, title=None, symbolSize=70, symbolOpacity=1)


def scales_of(
    looks: dict[str, Look], shown: alt.Legend | None
) -> tuple[alt.Color, alt.Shape, alt.StrokeDash]:
    """Return the encodings of methods by colour, shape and dashes, with a legend or none."""
    names = [name_of(look) for look in looks.values()]

    def scale(values: list[Any]) -> alt.Scale:
        return alt.Scale(domain=names, range=values)

    return (
        alt.Color("method:N", scale=scale([look.colour for look in looks.values()]), legend=shown),
        alt.Shape("method:N", scale=scale([SHAPES[look.marker] for look in looks.values()]), legend=shown),
        alt.StrokeDash("method:N", scale=scale([_dash(look) for look in looks.values()]), legend=shown),
    )


def _dash(look: Look) -> list[float]:
    return [1, 0] if look.dashes == "-" else [2 * length for length in look.dashes[1]]


def _edges(drawn: pd.DataFrame) -> list[alt.Chart]:
    """Return the marks at the upper edge: crosses for missing results, triangles for points beyond the axis.

    Marks of several methods stand one below the other.
    """
    shapes = {"missing": CROSS, "beyond": "triangle-up"}
    marked = drawn.loc[drawn["edge"] != "", ["edge", "method"]]
    kinds = sorted(set(marked.itertuples(index=False, name=None)))
    return [
        _dots(
            f"datum.edge === '{edge}' && datum.method === {json.dumps(name)}", shape=shapes[edge], size=60
        ).encode(alt.YValue(5 + 9 * place))
        for place, (edge, name) in enumerate(kinds)
    ]


def _drawn(points: pd.DataFrame, along: str, looks: dict[str, Look], top: float) -> pd.DataFrame:
    """Return the data that a chart needs; `edge` says what is marked at the upper edge."""
    drawn = points[[along, "value", "low", "high"]].copy()
    drawn.insert(0, "method", points["label"].map({label: name_of(look) for label, look in looks.items()}))
    missing = points["value"].isna()
    drawn["edge"] = np.select([missing, points["value"] > top], ["missing", "beyond"], "")
    drawn["reason"] = (points["status"] + ": " + points["reason"]).where(missing, "")
    return drawn


def short(value: float) -> float | None:
    """Return a number to three digits; none if it is not finite."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


def finished(chart: Chart, description: str, height: Any = HEIGHT, width: Any = "container") -> Spec:
    """Return the specification of a chart, by default as wide as its place on the page."""
    sized = chart.properties(width=width, height=height)
    if width == "container":
        sized = sized.properties(autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
    return styled(sized, description)


def styled(chart: Any, description: str) -> Spec:
    """Return the specification of a chart in the looks of the page."""
    described = chart.properties(description=description, background="transparent")
    plain = described.configure_view(stroke=None).configure(font="system-ui, sans-serif")
    spec: Spec = plain.configure_axis(labelFontSize=12).to_dict(validate=False)
    spec.pop("$schema", None)  # an unused address; the page says that this is Vega-Lite
    return spec
