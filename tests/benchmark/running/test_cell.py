"""The id of a cell: equal for the same work, different for any other, the source included."""

import dataclasses
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.rows import COLUMNS, DTYPES, ending, failure_rows, frame
from graybench.tasks import frozen
from graybench.tasks.jump.schloegl import Schloegl
from graybench.tasks.landmarks.task import Landmarks
from graybench.tests.benchmark.toys import Fast, Line, Slow

CELL = Cell(Line(), Slow(), 1000, 2, ("mmd",), 20, None, 0, None)


def change(**changes: Any) -> Cell:
    return dataclasses.replace(CELL, **changes)


def test_the_id_does_not_depend_on_the_process() -> None:
    program = "from graybench.tests.benchmark.running.test_cell import CELL; print(CELL.id)"
    # another hash seed shuffles sets, and the id must not notice
    said = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert said.stdout.strip() == CELL.id
    assert len(CELL.id) == 16
    assert int(CELL.id, 16) >= 0


@pytest.mark.parametrize(
    "changes",
    [
        {"task": Line(shift=1.0)},
        {"method": Slow(seconds=1.0)},
        {"method": Fast()},
        {"budget": 1001},
        {"replicates": 3},
        {"metrics": ("mmd_squared",)},
        {"posterior_samples": 21},
        {"observations": 1},
        {"root_seed": 1},
        {"budget_in_items": True},
        {"keep_samples": 5},
    ],
)
def test_whatever_changes_the_result_changes_the_id(changes: dict[str, Any]) -> None:
    assert change(**changes).id != CELL.id


def test_the_timeout_does_not_change_the_id() -> None:
    assert change(timeout=5.0).id == CELL.id


def test_a_new_version_changes_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = CELL.id
    monkeypatch.setattr(Slow, "version", 2)
    assert change().id != before


def test_a_worker_reports_the_id_that_the_client_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = pickle.dumps(CELL), CELL.id
    monkeypatch.setattr(Slow, "version", 2)
    assert pickle.loads(sent[0]).id == sent[1]


def test_other_stored_references_change_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = change(task=Schloegl()).id
    monkeypatch.setattr(frozen, "digest", lambda path: "abc" if path.name == "schloegl.npz" else "")
    assert change(task=Schloegl()).id != before


def test_another_content_of_a_template_changes_the_id_and_the_template(tmp_path: Path) -> None:
    task = Landmarks(template=str(tmp_path / "shapes.csv"))
    file, found = Path(task.template), []
    for leg in (1, 2, 1):
        triangles = (f"{name},a,0,0\n{name},b,0,1\n{name},c,{leg},0\n" for name in "st")
        file.write_text("specimen,landmark,x,y\n" + "".join(triangles))
        a, b, _ = task.start.view(3, 2)
        found.append((change(task=task).id, float((a - b).norm())))
    assert found[0] == found[2]
    assert found[0][0] != found[1][0]
    # the sum of squared distances from the centre is a third of that of the sides
    assert [side for _, side in found[:2]] == pytest.approx([3 / 2, 3 / math.sqrt(10)])


def test_titles() -> None:
    assert change(method=Slow(seconds=1.5)).title == "line · slow(seconds=1.5) · budget 1,000"


def test_frames_have_every_column_and_type() -> None:
    rows = frame(CELL, [{"metric": "mmd", "replicate": 0, "value": 0.5}, {"metric": "mmd", "time": 0.1}])
    assert tuple(rows.columns) == COLUMNS
    assert {column: str(dtype) for column, dtype in rows.dtypes.items()} == DTYPES
    assert rows["replicate"].isna().tolist() == [False, True]
    assert rows["value"].isna().tolist() == [False, True]
    assert set(rows["status"]) == {"ok"}
    assert set(rows["reason"]) == {""}
    assert set(rows["method"]) == {"slow"}
    assert set(rows["method_settings"]) == {""}
    assert set(rows["cell"]) == {CELL.id}


def test_a_reason_is_put_on_one_line() -> None:
    rows = failure_rows(CELL, "failed", "ValueError: first\n  second\n")
    assert ending(rows) == ("failed", "ValueError: first second")


def test_a_row_with_an_unknown_column_is_refused() -> None:
    with pytest.raises(ValueError, match="no column 'valve'"):
        frame(CELL, [{"valve": 1.0}])


def test_failure_rows_are_one_for_each_metric() -> None:
    rows = failure_rows(change(metrics=("mmd", "mmd_squared")), "failed", "because")
    assert rows[["metric", "status", "reason"]].values.tolist() == [
        ["mmd", "failed", "because"],
        ["mmd_squared", "failed", "because"],
    ]
    assert rows[["value", "time", "replicate", "observation"]].isna().all(axis=None)
    assert ending(rows) == ("failed", "because")


def test_a_skipped_metric_leaves_its_cell_ok() -> None:
    skipped = {"metric": "score_error", "status": "skipped", "reason": "it has no score"}
    assert ending(frame(CELL, [{"metric": "mmd"}, skipped])) == ("ok", "")
    assert ending(frame(CELL, [skipped])) == ("skipped", "it has no score")
    assert (
        ending(frame(CELL, [skipped, {"metric": "mmd", "status": "not_finite", "reason": "NaN"}]))[0]
        == "not_finite"
    )
