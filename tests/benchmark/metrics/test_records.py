"""The records of the metrics, against the committed results and the documentation."""

from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.metrics import diagnostics
from graybench.benchmark.metrics.catalogue import MAIN, METRICS, record_of, reported
from graybench.benchmark.metrics.metric import Metric

ROOT = Path(__file__).parents[3]
TABLES = sorted(ROOT.glob("results/**/table.parquet"))
ROUNDING = 1e-9
UNRELEASED = {"c2st_ensemble", "mmd_squared", "tarp_gap", "predictive_distance"}  # in no released table


@pytest.fixture(scope="module")
def released() -> pd.DataFrame:
    columns = ["metric", "value", "floor", "status"]
    rows = pd.concat([pd.read_parquet(path, columns=columns) for path in TABLES])
    return rows[rows["status"] == "ok"]


def test_released_values_have_the_bounds_and_floors_of_the_records(
    released: pd.DataFrame,
) -> None:
    assert set(released["metric"]) == set(METRICS) - UNRELEASED
    for name, own in released.groupby("metric"):
        low, high = record_of(str(name)).bounds
        assert low - ROUNDING <= own["value"].min(), name
        assert own["value"].max() <= high + ROUNDING, name
        assert own["floor"].notna().any() == bool(record_of(str(name)).floor), name


@pytest.mark.parametrize("record", METRICS.values(), ids=list(METRICS))
def test_a_record_names_the_module_that_computes_it(record: Metric) -> None:
    """The source of that module is what a cell's id knows of the metric."""
    function = resolve_name(record.computed_by)
    assert (record.module, record.computed_by) == (
        function.__module__,
        f"{function.__module__}:{function.__name__}",
    )
    assert record.perfect is None or record.bounds[0] <= record.perfect <= record.bounds[1]
    assert not record.ranked or record.same_as in {"", *METRICS}


def test_coverage_is_perfect_at_the_level_of_its_regions() -> None:
    assert record_of("coverage").perfect == record_of("expected_coverage").perfect == diagnostics.LEVEL


def test_ratios_are_of_errors_alone() -> None:
    assert {name for name, record in METRICS.items() if record.has_ratio} == {
        "score_error",
        "mmd",
        "posterior_mean_error",
        "posterior_std_error",
        "parameter_rmse",
        "tarp_gap",
        "log_likelihood_error",
    }
    assert all(METRICS[name].has_ratio for name in MAIN)


def test_distance_from_perfect() -> None:
    values = np.array([0.4, 0.9, 1.0])
    np.testing.assert_allclose(record_of("coverage").distance(values), [0.5, 0.0, 0.1], atol=1e-15)
    np.testing.assert_array_equal(record_of("excess_variance").distance(values - 1), values - 1)


def test_a_metric_that_only_a_table_knows_is_shown_by_its_name_and_not_ranked() -> None:
    record = record_of("of_another_version")
    assert (record.title, record.ranked, record.definition) == ("of_another_version", False, "")
    names = {"tarp", "mmd_squared", "mmd", "of_another_version", "score_error", "a"}
    assert reported(names) == ["score_error", "mmd", "tarp", "a", "of_another_version"]
