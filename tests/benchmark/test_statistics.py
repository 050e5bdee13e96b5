"""Intervals against what is known of them: the bootstrap's exact variance, coverage, pairing, grouping."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from benchmark.statistics import bootstrap_means, mean_interval, ratio_interval, summarise, table_of


def two_levels(random: np.random.Generator, replicates: int, observations: int) -> np.ndarray:
    """Replicates that differ with standard deviation 1, and observations within them, also with 1."""
    return random.standard_normal((replicates, 1)) + random.standard_normal((replicates, observations))


def exact_bootstrap_variance(table: np.ndarray) -> float:
    """Var of the mean of R draws of (a row, then the mean of m draws within it), by total variance."""
    replicates, observations = table.shape
    return (table.mean(1).var() + table.var(1).mean() / observations) / replicates


@pytest.mark.parametrize(("replicates", "observations"), [(5, 1), (8, 6), (30, 5)])
def test_draws_have_the_exact_mean_and_variance_of_the_hierarchical_bootstrap(
    replicates: int, observations: int
) -> None:
    table = 3 + two_levels(np.random.default_rng(7), replicates, observations)
    (draws,) = bootstrap_means(table)
    deviation = exact_bootstrap_variance(table) ** 0.5
    # 2,000 draws give the mean to deviation/45 and the deviation to 1.6 %: four and six standard errors,
    # which another seed would miss about once in 10,000 times
    assert draws.mean() == pytest.approx(table.mean(), abs=4 * deviation / 2000**0.5)
    assert draws.std() == pytest.approx(deviation, rel=0.1)


def test_the_interval_is_as_wide_as_the_exact_bootstrap_variance_says() -> None:
    table = two_levels(np.random.default_rng(3), 30, 5)
    value, low, high = mean_interval(table)
    assert value == table.mean()
    # the draws are nearly normal; their 2.5 and 97.5 percentiles give the width to about 2 %, so that another
    # seed would miss 10 % fewer than once in 10,000 times
    width = 2 * norm.ppf(0.975) * exact_bootstrap_variance(table) ** 0.5
    assert high - low == pytest.approx(width, rel=0.1)


@pytest.mark.parametrize(
    ("replicates", "least", "most"),
    # As the module says for 5 replicates (0.89 in 1,500 tables); close to 0.95 for 20 (0.949). In 300 tables
    # the standard errors are 0.018 and 0.013: another seed would leave these ranges once in 1,000 times.
    [(5, 0.83, 0.95), (20, 0.907, 0.992)],
)
def test_coverage_in_a_two_level_normal_model(replicates: int, least: float, most: float) -> None:
    random = np.random.default_rng(11)
    intervals = [mean_interval(two_levels(random, replicates, 4)) for _ in range(300)]
    assert least <= np.mean([low <= 0 <= high for _, low, high in intervals]) <= most


def test_what_does_not_vary_has_an_interval_of_no_width() -> None:
    assert mean_interval(np.full((4, 3), 0.25)) == (0.25, 0.25, 0.25)


def test_replicates_are_drawn_before_observations() -> None:
    # all spread is between two replicates: the mean of 2 rows drawn from {0, 1} is 0, ½ or 1; drawing the 200
    # numbers freely would give 0.5 ± 0.07 instead
    table = np.repeat([[0.0], [1.0]], 100, axis=1)
    (draws,) = bootstrap_means(table)
    assert set(draws) == {0, 0.5, 1}
    assert mean_interval(table) == (0.5, 0, 1)


def test_each_replicate_draws_observations_of_its_own() -> None:
    # 50 replicates of (0, 1) have 100 independent draws: ± 0.05; with one draw for all of them it were ± 0.35
    (draws,) = bootstrap_means(np.tile([0.0, 1.0], (50, 1)))
    assert draws.std() == pytest.approx(0.05, rel=0.1)  # six standard errors


def test_a_missing_value_makes_the_interval_missing() -> None:
    assert np.isnan(mean_interval(np.array([[1.0, np.nan], [2.0, 3.0]]))).all()


def test_the_ratio_of_proportional_tables_is_exact() -> None:
    table = np.exp(two_levels(np.random.default_rng(5), 5, 3))
    assert ratio_interval(0.4 * table, table) == pytest.approx((0.4, 0.4, 0.4), rel=1e-12)
    # the same numbers with replicates out of step have nothing to cancel
    assert np.diff(ratio_interval(0.4 * table[::-1], table)[1:]).item() > 0.1


def test_the_ratio_is_of_means_not_a_mean_of_ratios() -> None:
    assert ratio_interval(np.array([[1.0, 3.0]]), np.array([[4.0, 1.0]])).value == 4 / 5


def long(table: np.ndarray, **columns: object) -> pd.DataFrame:
    """The rows of a table, in an order that nothing may depend on."""
    rows = [
        {"replicate": r, "observation": o, "value": table[r, o], "floor": 0.1 * o, "status": "ok", **columns}
        for r, o in np.ndindex(*table.shape)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_rows_are_arranged_by_replicate_and_observation() -> None:
    table = np.arange(6.0).reshape(2, 3)
    assert (table_of(long(table)) == table).all()
    by_replicate = long(table[:, :1]).assign(observation=pd.array([pd.NA, pd.NA], dtype="Int64"))
    assert (table_of(by_replicate) == table[:, :1]).all()


def test_summarise_takes_each_group_by_itself_and_only_what_is_ok() -> None:
    random = np.random.default_rng(2)
    tables = {(m, b): random.standard_normal((3, 2)) for m in ("dsm", "mix") for b in (100, 10)}
    rows = pd.concat([long(table, method=m, budget=b) for (m, b), table in tables.items()])
    bad = long(np.full((3, 2), np.nan), method="tsm", budget=10).assign(status="not_finite")
    skipped = rows.head(1).assign(status="skipped", value=1e9)
    summary = summarise(pd.concat([bad, rows, skipped]), ["method", "budget"])
    assert list(zip(summary["method"], summary["budget"], strict=True)) == list(tables)
    for line, table in zip(summary.itertuples(), tables.values(), strict=True):
        assert (line.value, line.low, line.high) == mean_interval(table)
        assert line.floor == pytest.approx(0.05)


def test_summarise_of_nothing_has_its_columns() -> None:
    nothing = long(np.zeros((1, 1)), method="dsm").assign(status="failed")
    summary = summarise(nothing, ["method"])
    assert summary.empty
    assert list(summary.columns) == ["method", "value", "low", "high", "floor"]
