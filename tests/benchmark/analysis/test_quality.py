"""Time to quality: who is within the margin, how surely, and who is the fastest; values known by hand."""

import io
import re

import pytest
from rich.console import Console

from graybench.benchmark.analysis.quality import print_time_to_quality, time_to_quality
from graybench.tests.benchmark.analysis.test_table import failed, row, table


def cell(method: str, values: list[float], seconds: float, **columns: object) -> list[dict[str, object]]:
    times = {"fit_seconds": seconds / 2, "sample_seconds": seconds / 2}
    return [row(method, 100, value, r, **times, **columns) for r, value in enumerate(values)]


FRAME = table(
    *cell("dsm", [0.10, 0.10], 6),
    *cell("mix", [0.11, 0.11], 4),
    *cell("mix", [0.12, 0.20], 2, method_settings="gate=auto"),
    *cell("prior", [0.90, 0.90], 0.2),
    failed("ltsm", 100, "timeout"),
    *cell("dsm", [0.10, 0.10], 6, task="line"),
)


def test_the_fastest_of_those_within_the_margin_is_first() -> None:
    found = time_to_quality(FRAME, "mmd", 0.02)
    galton = found[found["task"] == "galton"].set_index("method")
    assert list(galton.index) == ["dsm", "mix", "mix(gate=auto)", "prior"]  # what failed has no place
    assert list(galton["reached"]) == [True, True, False, False]
    # a draw of both replicates at 0.12, a quarter of all, brings the third method within the margin
    assert galton["share"]["mix(gate=auto)"] == pytest.approx(0.25, abs=0.05)  # 5 standard errors of 2,000
    assert list(galton["share"][["dsm", "mix", "prior"]]) == [1, 1, 0]
    assert list(galton["seconds"]) == [3, 2, 1, 0.1]  # of one of two replicates
    assert found[found["task"] == "line"]["reached"].tolist() == [True]


def test_the_margin_decides() -> None:
    first = {
        margin: time_to_quality(FRAME, "mmd", margin)
        .query("task == 'galton' and reached")
        .sort_values("seconds")["method"]
        .iloc[0]
        for margin in (0.0, 0.01, 0.07, 1.0)
    }
    assert first == {0.0: "dsm", 0.01: "mix", 0.07: "mix(gate=auto)", 1.0: "prior"}


def test_it_is_printed_fastest_first() -> None:
    out = io.StringIO()
    print_time_to_quality(FRAME, "mmd", 0.02, Console(file=out, width=200))
    lines = [line.split("│")[1:-1] for line in out.getvalue().splitlines() if "│" in line]
    assert [[part.strip() for part in line] for line in lines] == [
        ["galton", "0.1", "2 mix, 3 dsm"],
        ["line", "0.1", "3 dsm"],
    ]


def test_a_share_of_draws_is_printed_where_it_is_not_sure() -> None:
    out = io.StringIO()
    print_time_to_quality(FRAME, "mmd", 0.065, Console(file=out, width=200))
    assert re.search(r"1 mix\(gate=auto\) \((7[0-9])%\), 2 mix, 3 dsm", out.getvalue())  # 3 of 4 draws
