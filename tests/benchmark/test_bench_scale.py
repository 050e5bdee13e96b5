"""The overhead of many cells: the table says what was run; times themselves are not asserted."""

import re

from benchmark import bench_scale


def test_the_table_has_both_runs_of_both_sweeps():
    lines = bench_scale.measure(cells=60, small=20).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| 60 cells, run",
        "| 20 cells, run",
        "| 60 cells, run again, all finished",
        "| 20 cells, run again, all finished",
    ]
    peaks = [int(re.search(r"\| (\d+) \|$", line)[1]) for line in lines[2:]]
    assert all(100 < peak < 5000 for peak in peaks)  # torch alone takes more than 100 MiB
