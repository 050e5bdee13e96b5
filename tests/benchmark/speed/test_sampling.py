"""The sampling table: both sides make the same number of evaluations; times themselves are not asserted."""

import re

import pytest

from graybench.benchmark.speed import sampling as bench_sampling


@pytest.fixture
def small(monkeypatch):
    for name, value in {"REPLICATES": 1, "DRAWS": 4, "EVALUATIONS": 7, "STEPS": 2, "SBI_EPOCHS": 1}.items():
        monkeypatch.setattr(bench_sampling, name, value)


def test_rivals_are_held_to_samplers_with_as_many_evaluations(small):
    """sbi's evaluations are counted at its network, and adaptive ones are given to the suite's flow."""
    pytest.importorskip("sbi")
    table = bench_sampling.against_sbi(1)
    counts = [int(re.search(r"(\d+) evaluations", row.what)[1]) for row in table]
    rivals = [row.what.startswith("sbi") for row in table]
    assert counts[:3] == [7, 7, 5]
    assert rivals == [False, False, False, False, True, True, False, True, True]
    for k in (4, 7):
        assert counts[k] == counts[k - 1]
        assert counts[k + 1] == 7
        assert table[k].ratio == pytest.approx(table[k].seconds / table[k - 1].seconds)
        assert table[k + 1].ratio == pytest.approx(table[k + 1].seconds / table[0].seconds)


def test_told_and_given_are_timed_for_each_width_of_x(small):
    table = bench_sampling.given_observations(1)
    assert len(table) == 2 * len(bench_sampling.COLUMNS)
    assert all(row.ratio == 1 for row in table[::2])
