"""Intervals against what is known of them: the bootstrap's exact variance, coverage, pairing, grouping."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from benchmark.statistics import bootstrap_means, mean_interval, ratio_interval, summarise, table_of


def crossed(
    random: np.random.Generator, replicates: int, observations: int, effects: tuple[float, float, float]
) -> np.ndarray:
    """Replicates measured on the same observations: the standard deviations of rows, columns and the rest."""
    of_row, of_column, rest = effects
    return (
        of_row * random.standard_normal((replicates, 1))
        + of_column * random.standard_normal((1, observations))
        + rest * random.standard_normal((replicates, observations))
    )


def exact_bootstrap_variance(table: np.ndarray) -> float:
    """Var of the mean of R drawn rows and m drawn columns: by the analysis of variance of the table."""
    replicates, observations = table.shape
    rows, columns = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    rest = table - rows - columns + table.mean()
    return rows.var() / replicates + columns.var() / observations + rest.var() / table.size


@pytest.mark.parametrize(("replicates", "observations"), [(5, 1), (8, 6), (30, 5)])
def test_draws_have_the_exact_mean_and_variance_of_the_crossed_bootstrap(
    replicates: int, observations: int
) -> None:
    table = 3 + crossed(np.random.default_rng(7), replicates, observations, (1, 1, 1))
    (draws,) = bootstrap_means(table)
    deviation = exact_bootstrap_variance(table) ** 0.5
    # 2,000 draws give the mean to deviation/45 and the deviation to 1.6 %: four and six standard errors,
    # which another seed would miss about once in 10,000 times
    assert draws.mean() == pytest.approx(table.mean(), abs=4 * deviation / 2000**0.5)
    assert draws.std() == pytest.approx(deviation, rel=0.1)


def test_the_interval_is_as_wide_as_the_exact_bootstrap_variance_says() -> None:
    table = crossed(np.random.default_rng(3), 30, 20, (1, 1, 1))
    value, low, high = mean_interval(table)
    assert value == table.mean()
    # the draws are nearly normal; their 2.5 and 97.5 percentiles give the width to about 2 %, so that another
    # seed would miss 10 % fewer than once in 10,000 times
    width = 2 * norm.ppf(0.975) * exact_bootstrap_variance(table) ** 0.5
    assert high - low == pytest.approx(width, rel=0.1)


@pytest.mark.parametrize(
    ("replicates", "observations", "least", "most"),
    # In 300 tables the standard error of a coverage of 0.95 is 0.013, of 0.85 it is 0.021: four of them. A
    # crossed bootstrap counts the rest of the spread three times, so with many of both it may cover more.
    [(20, 20, 0.90, 1.0), (5, 5, 0.76, 0.94)],
)
def test_coverage_where_observations_differ_most(
    replicates: int, observations: int, least: float, most: float
) -> None:
    """Observations drawn for each replicate by itself would cover 0.6 here, and less with more replicates."""
    random = np.random.default_rng(11)
    tables = [crossed(random, replicates, observations, (0.3, 1, 0.3)) for _ in range(300)]
    covered = [low <= 0 <= high for _, low, high in map(mean_interval, tables)]
    assert least <= np.mean(covered) <= most


def test_what_does_not_vary_has_an_interval_of_no_width() -> None:
    assert mean_interval(np.full((4, 3), 0.25)) == (0.25, 0.25, 0.25)


def test_one_replicate_has_no_interval() -> None:
    value, low, high = mean_interval(np.array([[1.0, 2.0]]))
    assert value == 1.5
    assert np.isnan([low, high]).all()


def test_rows_and_columns_are_drawn_whole() -> None:
    # all spread is between two replicates: the mean of 2 rows drawn from {0, 1} is 0, ½ or 1
    table = np.repeat([[0.0], [1.0]], 100, axis=1)
    (draws,) = bootstrap_means(table)
    assert set(draws) == {0, 0.5, 1}
    assert mean_interval(table) == (0.5, 0, 1)
    # and between two observations, however many replicates there are
    (draws,) = bootstrap_means(np.tile([0.0, 1.0], (50, 1)))
    assert set(draws) == {0, 0.5, 1}


def test_tables_of_different_shapes_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        ratio_interval(np.ones((4, 2)), np.ones((5, 2)))


def test_a_missing_value_makes_the_interval_missing() -> None:
    assert np.isnan(mean_interval(np.array([[1.0, np.nan], [2.0, 3.0]]))).all()


def test_the_ratio_of_proportional_tables_is_exact() -> None:
    table = np.exp(crossed(np.random.default_rng(5), 5, 3, (1, 1, 1)))
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
