"""The printed table: values known by hand, the best marked, failures and the floor shown."""

import io
from collections.abc import Callable

import pandas as pd
import pytest
from rich.console import Console

from graybench.benchmark.analysis.formats import as_latex, as_markdown
from graybench.benchmark.analysis.table import averaged, method_labels, print_table, sheets_of
from graybench.benchmark.running.rows import COLUMNS, DTYPES
from graybench.tasks.errors import UserError


def row(method: str, budget: int, value: float, replicate: int = 0, **columns: object) -> dict[str, object]:
    return {
        "task": "galton",
        "method": method,
        "method_settings": "",
        "budget": budget,
        "replicate": replicate,
        "metric": "mmd",
        "value": value,
        "floor": 0.0125,
        "status": "ok",
        **columns,
    }


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS)).astype(DTYPES)


def shown(frame: pd.DataFrame, metric: str = "mmd", wide: bool = False) -> dict[str, list[str]]:
    """The cells of the printed table by the first column."""
    out = io.StringIO()
    print_table(frame, metric, Console(file=out, width=200), wide)
    lines = [line.replace("┃", "│").split("│")[1:-1] for line in out.getvalue().splitlines()]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines if line}


def failed(method: str, budget: int, status: str) -> dict[str, object]:
    """The row of a cell that failed as a whole."""
    return row(method, budget, float("nan"), status=status, replicate=pd.NA, floor=float("nan"))


FRAME = table(
    *[row("dsm", budget, 0.2, r) for budget in (100, 1000) for r in range(3)],
    # the mean of two draws from these replicates is 0.3, 0.4 or 0.5, so the interval is all of it
    row("mix", 100, 0.3, 0),
    row("mix", 100, 0.5, 1),
    row("mix", 1000, 0.05, 0, method_settings="gate=learned recipe=plain"),
    failed("ltsm", 100, "timeout"),
    row("ltsm", 1000, 0.3),
)


def test_means_intervals_best_failures_and_floor() -> None:
    lines = shown(FRAME)
    assert lines == {
        "method": ["100", "1,000"],
        "dsm": ["0.2 [0.2, 0.2] *", "0.2 [0.2, 0.2]"],
        "mix": ["0.4 [0.3, 0.5]", ""],
        "mix(gate=learned, recipe=plain)": ["", "0.05 *"],
        "ltsm": ["timeout", "0.3"],
        "floor": ["0.013", "0.013"],
    }


def test_what_is_shown_as_failed_cannot_be_the_best() -> None:
    one_bad = row("mix", 100, float("nan"), 1, status="not_finite")
    lines = shown(table(row("dsm", 100, 0.2), row("mix", 100, 0.1), one_bad))
    assert lines["mix"] == ["not_finite"]
    assert lines["dsm"] == ["0.2 *"]


def test_every_method_failed() -> None:
    lines = shown(table(failed("dsm", 100, "failed"), failed("mix", 100, "skipped")))
    assert lines == {"method": ["100"], "dsm": ["failed"], "mix": ["skipped"]}


@pytest.mark.parametrize("form", [as_markdown, as_latex])
def test_no_p_value_is_the_best(form: Callable[[pd.DataFrame, str], str]) -> None:
    """An exact posterior has a uniform p-value: 0.9 is no better than 0.5."""
    p_values = table(row("dsm", 100, 0.5, metric="sbc"), row("mix", 100, 0.9, metric="sbc"))
    lines = shown(p_values, "sbc")
    assert (lines["dsm"], lines["mix"]) == (["0.5"], ["0.9"])
    text = form(p_values, "sbc")
    assert "0.9" in text
    assert "best" not in text
    assert "**" not in text
    assert "textbf" not in text


def test_one_table_for_each_task_and_no_floor_where_there_is_none() -> None:
    other = table(row("dsm", 100, 0.4, task="galton(rows=10)", floor=float("nan")))
    out = io.StringIO()
    print_table(pd.concat([FRAME, other]), "mmd", Console(file=out, width=200))
    unwrapped = " ".join(out.getvalue().split())
    first, second = unwrapped.split("galton(rows=10) · mmd, mean [95 % interval], * best")
    assert "galton · mmd, mean [95 % interval], * best" in first
    assert "floor" in first
    assert "0.4 *" in second
    assert "floor" not in second


def test_wide_tables_have_the_means_of_every_task_at_a_budget() -> None:
    other = table(row("dsm", 100, 0.1, task="[two]"), row("sally", 100, 0.7, task="[two]"))
    at_100, at_1000 = sheets_of(pd.concat([FRAME, other]), "mmd", wide=True)
    assert (at_100.name, at_1000.name) == ("100 simulations", "1,000 simulations")
    assert (at_100.columns, at_1000.columns) == (["galton", "[two]"], ["galton"])
    cells = {label: [str(entry) for entry in entries] for label, entries in at_100.lines.items()}
    assert cells == {"dsm": ["0.2", "0.1"], "mix": ["0.4", ""], "ltsm": ["timeout", ""], "sally": ["", "0.7"]}
    best = [label for label, entries in at_100.lines.items() for entry in entries if entry.best]
    assert best == ["dsm", "dsm"]
    assert {*at_1000.lines} == {"dsm", "mix(gate=learned, recipe=plain)", "ltsm"}  # sally was not run there
    assert at_100.floors == ["0.013", "0.013"]
    assert "mean [" not in at_100.caption("")


def test_rows_over_diffusion_time_are_no_part_of_the_mean() -> None:
    over_time = row("dsm", 100, 99.0, time=0.5)
    assert shown(table(row("dsm", 100, 0.2), over_time))["dsm"] == ["0.2 *"]


@pytest.mark.parametrize(
    ("metric", "says"),
    [("mdm", "no metric 'mdm' to average: did you mean mmd?"), ("target_variance", "there are mmd.")],
)
def test_a_metric_that_cannot_be_averaged_is_refused(metric: str, says: str) -> None:
    over_time = row("mix", 100, 1.0, time=0.5, metric="target_variance")
    not_for_it = failed("npe", 100, "skipped") | {"metric": "target_variance"}
    with pytest.raises(UserError, match=says):
        averaged(pd.concat([FRAME, table(over_time, not_for_it)]), metric)


def test_labels_show_the_settings() -> None:
    assert sorted(method_labels(FRAME).unique()) == ["dsm", "ltsm", "mix", "mix(gate=learned, recipe=plain)"]
