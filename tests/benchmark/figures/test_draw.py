"""What the figures draw is what the table says, failures included; their files are reproducible."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from graybench.benchmark.analysis.labels import task_of
from graybench.benchmark.analysis.statistics import mean_interval, table_of
from graybench.benchmark.figures.board import TILTS, board
from graybench.benchmark.figures.draw import draw_all, over_budget, variance
from graybench.benchmark.figures.style import (
    CLIPPED,
    KNOWN,
    MISSING,
    PNG_COLOURS,
    PNG_DPI,
    looks_of,
    save_png,
)
from graybench.benchmark.figures.weights import learned_weight, optimal_weight
from graybench.benchmark.running.kept import nothing
from graybench.benchmark.running.rows import COLUMNS, DTYPES, with_variants
from graybench.tasks.classic.galton import Galton
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.seeding import generator

METHODS = ("dsm", "tsm", "ltsm", "mix", "mix(gate=learned)")
TIMES = (0.001, 0.1, 0.4, 1.0)
BUDGETS = (100, 1000)
REPLICATES, OBSERVATIONS = 3, 2


def row(label: str, budget: int, metric: str, value: float, **columns: object) -> dict[str, object]:
    name, _, settings = label.rstrip(")").partition("(")
    same = {"task": "toy", "method": name, "method_settings": settings, "budget": budget, "metric": metric}
    return {"status": "ok", **same, "value": value, **columns}


def failed_cell(label: str, budget: int, metric: str, status: str = "failed") -> dict[str, object]:
    return row(label, budget, metric, float("nan"), status=status)


def frame_of(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS)).astype(DTYPES)


def results() -> Iterator[dict[str, object]]:
    """Positive numbers of which no two are alike, for every metric that is drawn."""
    random = np.random.default_rng(0)

    def number() -> float:
        return float(random.uniform(0.05, 0.3))

    for label in METHODS:
        for budget in BUDGETS:
            for r in range(REPLICATES):
                for o in range(OBSERVATIONS):
                    for metric in ("mmd", "c2st_mlp", "score_error"):
                        floor = 0.01 * (o + 1) if metric == "mmd" else 0.0
                        at = {"replicate": r, "observation": o}
                        yield row(label, budget, metric, number(), **at, floor=floor)
                    for t in TIMES:
                        yield row(label, budget, "score_error", number(), **at, time=t, floor=0.0)
                for t in TIMES:
                    yield row(label, budget, "target_variance", number(), replicate=r, time=t, floor=0.0)
                    if label.startswith("mix"):
                        w_star = t * (1 + 0.1 * r) / (budget**0.1)
                        yield row(label, budget, "optimal_weight", w_star, replicate=r, time=t)
                    if label == "mix(gate=learned)":
                        yield row(label, budget, "learned_weight", number(), replicate=r, time=t)


ROWS = list(results())
FRAME = with_variants(frame_of(ROWS))
LOOKS = looks_of(FRAME["label"].unique())


def lines_in(axis: Axes) -> dict[str, Line2D]:
    """The lines of methods by their names; marks and floors have a `gid`."""
    return {str(line.get_label()): line for line in axis.get_lines() if line.get_gid() is None}


def marks_in(axis: Axes, kind: str) -> list[Line2D]:
    return [line for line in axis.get_lines() if line.get_gid() == kind]


def expected(rows: pd.DataFrame, x: str) -> np.ndarray:
    """x, value, low, high of one line, (4, n), from the table by the shortest way."""
    return np.array([[at, *mean_interval(table_of(own))] for at, own in rows.groupby(x)], dtype=float).T


def check_lines(axis: Axes, rows: pd.DataFrame, x: str, labels: tuple[str, ...] = METHODS) -> None:
    """Check that a panel has the line and the band of each method, from the table, in the method's look."""
    lines = lines_in(axis)
    bands = {to_hex(band.get_facecolor()[0]): band for band in axis.collections if len(band.get_paths())}
    for label in labels:
        at, value, low, high = expected(rows[rows["label"] == label], x)
        look = KNOWN[label]
        line = lines[look.name]
        np.testing.assert_array_equal(line.get_xydata(), np.stack([at, value], 1))
        assert (to_hex(line.get_color()), line.get_marker()) == (look.colour.lower(), look.marker)
        corners = bands[look.colour.lower()].get_paths()[0].vertices
        for k, t in enumerate(at):
            ends = corners[np.isclose(corners[:, 0], t), 1]
            assert (ends.min(), ends.max()) == (low[k], high[k])


def select(metric: str, **columns: object) -> pd.DataFrame:
    rows = FRAME[FRAME["metric"] == metric]
    for column, value in columns.items():
        rows = rows[rows[column] == value]
    return rows


@pytest.mark.parametrize("metric", ["mmd", "score_error", "c2st_mlp"])
def test_over_budget_the_mean_and_each_observation(metric: str) -> None:
    figure = over_budget(FRAME, LOOKS, metric)
    assert figure is not None
    mean, *each = figure.axes
    averages = select(metric)[lambda rows: rows["time"].isna()]
    check_lines(mean, averages, "budget")
    assert [axis.get_title() for axis in each] == ["observation 0", "observation 1"]
    for o, axis in enumerate(each):
        check_lines(axis, averages[averages["observation"] == o], "budget")
        assert axis.get_ylim() == mean.get_ylim()
    if metric == "mmd":
        floors = [line.get_ydata()[0] for axis in figure.axes for line in marks_in(axis, "floor")]
        assert floors == pytest.approx([0.015, 0.01, 0.02])


def test_over_time_variance_at_the_largest_budget_and_score_error_at_each() -> None:
    figure = variance(FRAME, LOOKS)
    assert figure is not None
    titles = ["target variance, $N$ = 1,000", "score error, $N$ = 100", "score error, $N$ = 1,000"]
    assert [axis.get_title() for axis in figure.axes] == titles
    check_lines(figure.axes[0], select("target_variance", budget=1000), "time")
    for axis, budget in zip(figure.axes[1:], BUDGETS, strict=True):
        check_lines(axis, select("score_error", budget=budget)[lambda rows: rows["time"].notna()], "time")


def test_optimal_weight_and_its_distance_from_the_largest_budget() -> None:
    figure = optimal_weight(FRAME)
    assert figure is not None
    above, below = figure.axes
    w_star = np.array(TIMES) * 1.1  # the mean over replicates of 1, 1.1 and 1.2
    for budget in BUDGETS:
        line = lines_in(above)[f"{budget:,}"]
        np.testing.assert_allclose(line.get_xydata(), np.stack([TIMES, w_star / budget**0.1], 1))
        off = lines_in(below)[f"{budget:,}"].get_ydata()
        np.testing.assert_allclose(off, w_star / budget**0.1 - w_star / 1000**0.1, atol=1e-12)


def test_learned_weight_on_top_of_the_optimal_one() -> None:
    figure = learned_weight(FRAME, LOOKS)
    assert figure is not None
    for axis, budget in zip(figure.axes, BUDGETS, strict=True):
        learned = select("learned_weight", budget=budget)
        check_lines(axis, learned, "time", ("mix(gate=learned)",))
        optimal = lines_in(axis)["optimal $w^*(t)$"].get_ydata()
        np.testing.assert_allclose(optimal, np.array(TIMES) * 1.1 / budget**0.1)


def every_figure(rows: pd.DataFrame) -> list[Figure]:
    each = [over_budget(rows, LOOKS, metric) for metric in ("mmd", "score_error", "c2st_mlp")]
    each += [variance(rows, LOOKS), optimal_weight(rows), learned_weight(rows, LOOKS)]
    return [figure for figure in each if figure is not None]


def test_every_line_has_a_band_in_its_colour() -> None:
    for axis in [axis for figure in every_figure(FRAME) for axis in figure.axes]:
        lines = [to_hex(line.get_color()) for line in lines_in(axis).values()]
        bands = [to_hex(band.get_facecolor()[0]) for band in axis.collections if len(band.get_paths())]
        assert sorted(lines) == sorted(bands)


def test_a_single_budget_has_its_interval_too() -> None:
    figure = over_budget(FRAME[FRAME["budget"] == 100], LOOKS, "mmd")
    assert figure is not None
    dsm = expected(select("mmd", label="dsm", budget=100), "budget")[:, 0]
    strokes = [bar for bar in figure.axes[0].collections if isinstance(bar, LineCollection)]
    stroke = next(bar for bar in strokes if to_hex(bar.get_color()[0]) == KNOWN["dsm"].colour.lower())
    ((x, low), (same, high)) = stroke.get_paths()[-1].vertices
    assert (low, high) == (dsm[2], dsm[3])
    places = [lines_in(figure.axes[0])[KNOWN[label].name].get_xdata()[0] for label in METHODS]
    assert x == same == places[0]
    np.testing.assert_allclose(np.diff(np.log(places)), 2 / len(METHODS) * np.log(1.2))  # beside each other
    assert np.log(places).mean() == pytest.approx(np.log(100))


def test_values_without_an_interval_lie_on_the_axis() -> None:
    rows = [r | {"value": 3 * r["value"]} for r in ROWS if r.get("replicate") == 0]
    for metric in ("mmd", "c2st_mlp"):
        figure = over_budget(with_variants(frame_of(rows)), LOOKS, metric)
        assert figure is not None
        low, high = figure.axes[0].get_ylim()
        drawn = np.concatenate([line.get_ydata() for axis in figure.axes for line in lines_in(axis).values()])
        assert low <= drawn.min() < 0.5 < drawn.max() <= high


def test_looks_are_distinct_and_do_not_depend_on_the_company() -> None:
    looks = looks_of([*METHODS, "npe", "abc"])
    assert {label: looks[label] for label in METHODS} == {**looks_of(METHODS)}
    assert looks_of(KNOWN) == KNOWN
    assert len({look.colour for look in looks.values()}) == 7
    assert len({look.marker for look in looks.values()}) == 7
    assert len({look[1:] for look in looks_of([*KNOWN, "npe", "abc"]).values()}) == len(KNOWN) + 2
    assert looks_of(["npe", "abc", "mix"])["abc"] == looks["abc"]


def test_a_failed_cell_is_a_cross_at_its_budget() -> None:
    kept = [r for r in ROWS if (r["method"], r["budget"]) != ("tsm", 100)]
    failed = [failed_cell("tsm", 100, m, "timeout") for m in ("mmd", "score_error", "target_variance")]
    rows = with_variants(frame_of(kept + failed))
    figure = over_budget(rows, LOOKS, "mmd")
    assert figure is not None
    for axis in figure.axes:
        (cross,) = marks_in(axis, MISSING)
        assert to_hex(cross.get_color()) == KNOWN["tsm"].colour.lower()
        assert cross.get_xdata().tolist() == [100]
        assert lines_in(axis)["TSM"].get_xdata().tolist() == [1000]
    assert "no result" in [text.get_text() for text in figure.legends[0].get_texts()]
    figure = variance(rows, LOOKS)
    assert figure is not None
    assert [len(marks_in(axis, MISSING)) for axis in figure.axes] == [0, 1, 0]


def test_neither_line_nor_band_spans_a_gap() -> None:
    """The score errors of LTSM fail at t = 0.1: 0.001 is alone, and 0.4 and 1 have a line and a band."""
    times, place = np.array(TIMES), {"method": "ltsm", "metric": "score_error", "budget": 100, "time": 0.1}
    rows = [{**r, "status": "not_finite", "value": np.nan} if place.items() <= r.items() else r for r in ROWS]
    figure = variance(with_variants(frame_of(rows)), LOOKS)
    assert figure is not None
    axis, look = figure.axes[1], KNOWN["ltsm"]
    (cross,) = marks_in(axis, MISSING)
    assert cross.get_xdata().tolist() == [0.1]
    lines = [line for line in axis.get_lines() if line.get_label() == look.name]
    assert [line.get_xdata().tolist() for line in lines] == [[times[0]], times[2:].tolist()]
    own = [
        c for c in axis.collections if to_hex(c.get_edgecolor()[0]) == look.colour.lower() and c.get_paths()
    ]
    spans = [sorted({x for path in c.get_paths() for x in path.vertices[:, 0]}) for c in own]
    assert spans == [[times[0]], times[2:].tolist()]


def test_one_bad_replicate_is_not_averaged_away() -> None:
    spoil = {"replicate": 1, "observation": 1, "budget": 1000, "method": "dsm", "metric": "mmd"}
    rows = [{**r, "status": "not_finite", "value": np.nan} if spoil.items() <= r.items() else r for r in ROWS]
    figure = over_budget(with_variants(frame_of(rows)), LOOKS, "mmd")
    assert figure is not None
    crosses = [[mark.get_xdata().tolist() for mark in marks_in(axis, MISSING)] for axis in figure.axes]
    assert crosses == [[[1000]], [], [[1000]]]  # the mean and observation 1, not observation 0


def test_a_skipped_method_is_named_and_a_diverging_one_does_not_squash_the_others() -> None:
    rows = [{**r, "value": 1e9} if (r["method"], r["budget"]) == ("ltsm", 100) else r for r in ROWS]
    rows = [r for r in rows if r["method"] != "tsm"] + [failed_cell("tsm", 100, "score_error", "skipped")]
    figure = over_budget(with_variants(frame_of(rows)), LOOKS, "score_error")
    assert figure is not None
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"TSM: skipped", "beyond the axis"} <= set(texts)
    assert figure.axes[0].get_ylim()[1] < 1e4
    (mark,) = marks_in(figure.axes[0], CLIPPED)
    assert (to_hex(mark.get_color()), mark.get_xdata().tolist()) == (KNOWN["ltsm"].colour.lower(), [100])


@pytest.mark.parametrize("metric", ["mmd", "score_error", "c2st_mlp"])
def test_no_figure_of_an_absent_metric(metric: str) -> None:
    rest = FRAME[FRAME["metric"] != metric]
    assert over_budget(rest, LOOKS, metric) is None
    assert optimal_weight(FRAME[FRAME["metric"] == "mmd"]) is None
    assert learned_weight(FRAME[FRAME["metric"] == "mmd"], LOOKS) is None
    assert variance(FRAME[FRAME["metric"] == "mmd"], LOOKS) is None


def test_files_by_task_and_variant_the_same_byte_for_byte(tmp_path: Path) -> None:
    rows = [r | {"task": "galton(rows=10)"} for r in ROWS if r["metric"] in ("mmd", "learned_weight")]
    plain = [
        r | {"method_settings": f"{r['method_settings']} recipe=plain".strip()}
        for r in rows
        if r["metric"] == "mmd"
    ]
    frame = frame_of(rows + plain)
    first, second = (
        draw_all(frame, nothing(), tmp_path / "a" / "figures"),
        draw_all(frame, nothing(), tmp_path / "b"),
    )
    stems = ["board-galton_rows=10", "mmd-galton_rows=10", "learned_weight-galton_rows=10"]
    stems.append("mmd-galton_rows=10-recipe=plain")
    names = [f"{stem}.{ending}" for stem in stems for ending in ("pdf", "png")]
    assert sorted(path.name for path in first) == sorted(names)
    assert sorted(first) == sorted((tmp_path / "a" / "figures").iterdir())
    for path, again in zip(first, second, strict=True):
        assert path.read_bytes() == again.read_bytes()
    pdf = (tmp_path / "b" / "mmd-galton_rows=10.pdf").read_bytes()
    assert b"/Subtype /Type3" not in pdf  # TrueType, which journals ask for
    assert b"/CIDFontType2" in pdf


def test_a_png_has_few_colours_among_them_those_of_the_lines(tmp_path: Path) -> None:
    figure = over_budget(FRAME, LOOKS, "mmd")
    assert figure is not None
    save_png(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert (image.mode, image.width) == ("P", round(figure.get_figwidth() * PNG_DPI))
        seen = np.array([colour for _, colour in image.convert("RGB").getcolors(PNG_COLOURS)], dtype=float)
    assert seen.max(0).tolist() == [255, 255, 255]  # paper is white
    for label in METHODS:
        wanted = 255 * np.array(to_rgb(KNOWN[label].colour))
        assert np.abs(seen - wanted).max(1).min() <= 16


def test_an_empty_table_has_no_figures(tmp_path: Path) -> None:
    assert draw_all(frame_of([]), nothing(), tmp_path) == []


def test_the_board_has_the_exact_distributions_and_paths_from_nail_to_nail() -> None:
    task = Galton(rows=7, nails=9)
    above, below = board(task).axes
    for tilt, line in zip(TILTS, below.get_lines(), strict=True):
        pmf = task.pmf(torch.tensor([tilt.theta], dtype=torch.float64))[0]
        np.testing.assert_array_equal(line.get_xydata(), np.stack([np.arange(10), pmf], 1))
    nails = {tuple(nail) for row in above.get_lines()[:7] for nail in row.get_xydata()}
    paths = above.get_lines()[7:]
    assert [path.get_color() for path in paths] == [tilt.colour for tilt in TILTS if tilt.marker]
    for path in paths:
        _, *hits, end = [tuple(point) for point in path.get_xydata()]
        assert nails.issuperset(hits)
        assert {abs(b[0] - a[0]) for a, b in zip(hits, [*hits[1:], end], strict=True)} == {0.5}
    ends = [path.get_xdata()[-1] for path in paths]
    tilts = [tilt for tilt in TILTS if tilt.marker]
    assert ends == [task.paths(torch.tensor([t.theta]), generator(t.seed))[0, -1].item() for t in tilts]


def test_the_board_of_a_label() -> None:
    for task in (Galton(), Galton(rows=7, nails=9), LinearGaussian(dim=3, spread=10.0, rotated=True)):
        assert task_of(task.label) == task
    assert task_of("two_moons") is None
    assert task_of("galton(balls=0)") is None
