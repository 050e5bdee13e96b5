"""Intervals against what is known of them: the bootstrap's exact variance, coverage, pairing, grouping."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t, ttest_rel

from graybench.benchmark.analysis.statistics import (
    LEVEL,
    Z,
    bootstrap_means,
    difference_interval,
    holm,
    mean_interval,
    ratio_interval,
    summarise,
    table_of,
)


def test_the_normal_interval_is_of_the_level_of_all_others() -> None:
    assert pytest.approx(norm.ppf((1 + LEVEL) / 2), abs=1e-6) == Z


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
    np.testing.assert_array_equal(table_of(long(table).query("value != 4")), [[0, 1, 2], [3, np.nan, 5]])
    with pytest.raises(ValueError, match="twice"):
        table_of(pd.concat([long(table), long(table[:1])]))


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


def test_a_paired_difference_is_nearly_the_t_test() -> None:
    before, after = np.random.default_rng(4).standard_normal((2, 8, 1))
    found, by_t = difference_interval(before, after, paired=True), ttest_rel(after, before)
    assert found.difference == pytest.approx((after - before).mean())
    # the deviation of 2,000 draws is known to 1.6 %: six of its standard errors
    width = 2 * by_t.confidence_interval().high[0] - 2 * (after - before).mean()
    assert found.high - found.low == pytest.approx(width, rel=0.1)
    statistic = found.difference / (found.high - found.low) * 2 * t.ppf(0.975, 7)
    assert found.p == pytest.approx(2 * t.sf(abs(statistic), 7))
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_a_constant_difference_is_known_exactly_when_paired() -> None:
    table = crossed(np.random.default_rng(5), 5, 3, (1, 1, 1))
    assert difference_interval(table, table, paired=True) == (0, 0, 0, 1)
    found = difference_interval(table, table + 0.5, paired=True)
    assert found[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert found.p < 1e-6
    assert difference_interval(table, table + 0.5, paired=False).p > 0.2


def test_unpaired_tables_share_their_observations_if_they_have_as_many() -> None:
    columns = np.random.default_rng(6).standard_normal((1, 6))
    before, after = np.repeat(columns, 4, axis=0), np.repeat(columns, 7, axis=0) + 0.5
    assert difference_interval(before, after, paired=False)[:3] == pytest.approx((0.5, 0.5, 0.5))
    low, high = difference_interval(before, after[:, :5], paired=False)[1:3]
    assert high - low > 0.5
    with pytest.raises(ValueError, match="cannot be paired"):
        difference_interval(before, after, paired=True)


@pytest.mark.parametrize("columns", [(1, 1), (6, 5)])
def test_an_unpaired_difference_has_the_variances_of_both_tables(columns: tuple[int, int]) -> None:
    """t s √(n/(n − 1)) with the exact variance of the draws; that of 2,000 draws is known to 3.2 %."""
    random = np.random.default_rng(11)
    before, after = (crossed(random, rows, m, (1, 1, 1)) for rows, m in zip((8, 5), columns, strict=True))
    found = difference_interval(before, after, paired=False)
    spread = np.sqrt(exact_bootstrap_variance(before) + exact_bootstrap_variance(after))
    half = t.ppf(0.975, 4) * np.sqrt(5 / 4) * spread
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)  # six of the standard errors of s
    assert found.difference == pytest.approx(after.mean() - before.mean())


def test_one_replicate_makes_no_interval_of_a_difference() -> None:
    found = difference_interval(np.ones((1, 3)), np.full((5, 3), 3.0), paired=False)
    assert found.difference == 2
    assert np.isnan(found[1:]).all()


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("effects", [(1, 0, 0), (1, 1, 1), (0, 1, 0.1)])
def test_false_alarms_where_nothing_changed(effects: tuple[float, float, float], paired: bool) -> None:
    """Percentiles of the draws give 0.16 with the spread between five replicates alone."""
    random = np.random.default_rng(9)
    tables = [(crossed(random, 5, 5, effects), crossed(random, 5, 5, effects)) for _ in range(200)]
    alarms = [difference_interval(*pair, paired=paired).p < 0.05 for pair in tables]
    # 0.05 in 200 has a standard error of 0.015: four of them, which another seed passes once in 10,000 times
    assert np.mean(alarms) <= 0.05 + 4 * 0.015


def test_a_large_change_is_found() -> None:
    """A shift by eight standard errors of a paired difference of five replicates: in 190 of 200 at least."""
    random = np.random.default_rng(10)
    shift = 8 * np.sqrt(2 / 5)
    pairs = [(crossed(random, 5, 1, (1, 0, 0)), crossed(random, 5, 1, (1, 0, 0)) + shift) for _ in range(200)]
    assert sum(difference_interval(*pair, paired=True).p < 0.05 for pair in pairs) >= 190


def test_holm_by_hand() -> None:
    # in order 0.01 ≤ 0.05/4 and 0.016 ≤ 0.05/3, but 0.03 > 0.05/2, at which it ends
    assert holm(np.array([0.03, 0.01, np.nan, 0.016, 0.04])).tolist() == [False, True, False, True, False]
    assert holm(np.array([0.02, 0.04])).tolist() == [True, True]
    assert holm(np.array([np.nan])).tolist() == [False]


@pytest.mark.filterwarnings("error")
def test_a_ratio_of_nothing_to_nothing_has_no_interval_and_warns_of_nothing():
    """Of three replicates two are 0 on both sides, so that some draws are 0 on both sides."""
    table = np.array([[0.0], [0.0], [1.0]])
    value, low, high = ratio_interval(table, 2 * table)
    assert value == 0.5
    assert np.isnan([low, high]).all()


@pytest.mark.filterwarnings("error")
def test_an_interval_ends_at_infinity_where_draws_do():
    """Of two replicates the denominator is 0 in a quarter of the draws, and the ratio 2, 4 or infinite."""
    value, low, high = ratio_interval(np.array([[1.0], [1.0]]), np.array([[0.0], [0.5]]))
    assert (value, low, high) == (4.0, 2.0, np.inf)


def test_holm_is_as_by_the_definition():
    """All p-values up to the first that fails, in order, on sets of any size with and without NaN."""
    random = np.random.default_rng(3)
    for n in range(30):
        p = random.uniform(size=n) ** 6
        p[random.uniform(size=n) < 0.1] = np.nan
        known = np.sort(p[np.isfinite(p)])
        fails = known > 0.05 / np.arange(len(known), 0, -1)
        held = known[: fails.argmax()] if fails.any() else known
        assert holm(p).tolist() == np.isin(p, held).tolist()
