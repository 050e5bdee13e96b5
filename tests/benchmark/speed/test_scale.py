"""The overhead of many cells: the table says what was run; times themselves are not asserted."""

import re

from graybench.benchmark.speed import scale as bench_scale


def test_the_table_has_clock_processor_and_memory_of_both_runs():
    rows = bench_scale.measure(cells=60, small=20)
    assert [row.what.split(" client")[0] for row in rows] == [
        "a cell of 60 that do nothing, run: on the clock;",
        "a cell of 60 that do nothing, run: the",
        "a cell of 60 that do nothing, run again, all finished: on the clock;",
        "a cell of 60 that do nothing, run again, all finished: the",
    ]
    assert [row.ratio for row in rows] == [
        1,
        rows[1].seconds / rows[0].seconds,
        1,
        rows[3].seconds / rows[2].seconds,
    ]
    peaks = [int(re.search(r"memory (\d+) MiB", row.what)[1]) for row in rows[::2]]
    assert all(100 < peak < 5000 for peak in peaks)  # torch alone takes more than 100 MiB
