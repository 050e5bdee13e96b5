"""The picture of an observation draws its very numbers, as what they are."""

from typing import Any

import pytest

from graybench.benchmark.analysis.labels import task_of
from graybench.benchmark.report.charts import short
from graybench.benchmark.report.pages.observation import observation


def shown(label: str) -> tuple[list[float], dict[str, Any] | None, str]:
    """The numbers of the first observation, to three digits; and the chart and the caption."""
    task = task_of(label)
    assert task is not None
    observations = task.observations()
    found = observation(task, observations)
    return [short(x) for x in observations.x[0].double().tolist()], found["spec"], found["caption"]


def data(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a chart with one data set."""
    return list(spec["data"]["values"])


def test_a_path_has_a_line_for_each_channel() -> None:
    x, spec, caption = shown("lotka_volterra")
    assert caption == "The first observation: a path at 10 times of 2 numbers."
    assert spec is not None
    lines = {
        name: [r["x"] for r in data(spec) if r["channel"] == name] for name in ("channel 1", "channel 2")
    }
    assert lines == {"channel 1": x[::2], "channel 2": x[1::2]}
    assert [row["time"] for row in data(spec)] == [*range(1, 11)] * 2


def test_items_are_a_histogram() -> None:
    x, spec, caption = shown("iid_mixture")
    assert "items, as a histogram" in caption
    assert spec is not None
    assert [row["x"] for row in data(spec)] == x


def test_items_with_many_regressors_are_a_histogram() -> None:
    x, spec, _ = shown("sbibm_bernoulli_glm_raw")
    assert spec is not None
    assert [row["x"] for row in data(spec)] == x


def test_a_field_is_a_map_row_by_row() -> None:
    x, spec, caption = shown("lensing_lognormal")
    assert "16 × 16" in caption
    assert spec is not None
    place = {(row["row"], row["column"]): row["x"] for row in data(spec)}
    assert [place[i, j] for i in range(16) for j in range(16)] == x


@pytest.mark.parametrize(("label", "dimensions"), [("landmarks", 2), ("landmarks(dimensions=3)", 3)])
def test_landmarks_are_a_shape_beside_its_template(label: str, dimensions: int) -> None:
    x, spec, caption = shown(label)
    assert caption.startswith("The first observation: 8 landmarks")
    assert spec is not None
    rows = data(spec)
    assert [row["c"] for row in rows] == x[::dimensions]
    assert [row["d"] for row in rows] == x[1::dimensions]
    assert (rows[0]["a"], rows[0]["b"]) == (1.0, 0.0)  # where the ellipse begins


def test_a_short_vector_is_numbers_only() -> None:
    x, spec, caption = shown("linear_gaussian")
    assert spec is None
    assert caption == "The first observation: 2 numbers."
    assert len(x) == 2


def test_groups_and_pairs_and_long_vectors() -> None:
    for label, fields, said in (
        ("hierarchical_normal", ("x",), "groups of 4 items"),
        ("sbibm_slcp", ("a", "b"), "4 items of two numbers"),
        ("sbibm_slcp_distractors", ("x",), "100 numbers, component by component"),
    ):
        x, spec, caption = shown(label)
        assert said in caption, label
        assert spec is not None
        assert [row[field] for row in data(spec) for field in fields] == x, label
