"""What cells keep: the very draws and ranks that were measured, stored with the cell."""

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from torch import Tensor

from graybench.benchmark.metrics.diagnostics import PAIRS
from graybench.benchmark.metrics.truth import truth_of
from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.kept import DTYPES, belonging, joined, kept_in, nothing
from graybench.benchmark.running.measure import run_cell
from graybench.benchmark.running.merge import merge_folders
from graybench.benchmark.running.rows import failure_rows, frame
from graybench.benchmark.running.store import Store
from graybench.benchmark.running.sweep import Sweep
from graybench.benchmark.running.writing import StoreError
from graybench.methods.method import Method, Posterior
from graybench.tasks import get_task
from graybench.tasks.errors import NotFiniteError, UserError
from graybench.tasks.seeding import derive_seed
from graybench.tasks.simulations import Simulations
from graybench.tests.benchmark.toys import write_sweep

TASK = get_task("linear_gaussian", dim=2)
OF_RANKS = ("coverage", "mmd")


class CountingPosterior(Posterior):
    """Draws 0, 1, 2, … in the first component, and `second` in the other."""

    def __init__(self, second: float) -> None:
        self.second = second

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        if n != 40 and self.second == 1.0:
            raise NotFiniteError("no draws for fresh pairs")
        counted = torch.arange(n, dtype=torch.float64)
        return torch.stack([counted, torch.full_like(counted, self.second)], 1).expand(len(x_o), n, 2)


class Counting(Method):
    name: ClassVar[str] = "counting"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Draws known numbers."
    requires: ClassVar[frozenset[str]] = frozenset()

    second: float = -99.0

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        return CountingPosterior(self.second)


def cell(metrics: tuple[str, ...] = OF_RANKS, second: float = -99.0, keep: int = 7) -> Cell:
    return Cell(TASK, Counting(second=second), 30, 2, metrics, 40, 2, 0, None, keep_samples=keep)


def values(kept: pd.DataFrame, kind: str, replicate: int = 0) -> Tensor:
    own = kept[(kept["kind"] == kind) & (kept["replicate"] == replicate)]
    return torch.tensor(own.pivot(index="index", columns="parameter", values="value").to_numpy())


def test_draws_and_reference_are_the_first_of_what_was_measured() -> None:
    kept = run_cell(cell()).kept
    u = torch.stack([torch.arange(7.0), torch.full((7,), -99.0)], 1).double()
    assert values(kept, "draw").equal(TASK.prior.to_theta(u).float())
    exact = truth_of(TASK, 2, 40).reference_sample(0, 0).theta
    assert values(kept, "reference").equal(exact[:7].float())
    assert dict(kept.dtypes.astype(str)) == DTYPES
    assert set(kept["budget"]) == {30}


def test_ranks_are_shares_of_draws_below_the_truth() -> None:
    """No u is above 7; all are above -99."""
    kept = run_cell(cell()).kept
    for replicate in range(2):
        ranks = values(kept, "rank", replicate)
        assert ranks.shape == (PAIRS, 2)
        seed = derive_seed("diagnostics", TASK.label, "pairs", replicate)
        u = TASK.simulate(PAIRS, seed).u[:, 0]
        below = (torch.arange(100.0) < u.unsqueeze(1)).float().mean(1)
        torch.testing.assert_close(ranks[:, 0], below)
        assert (ranks[:, 1] == 1).all()


def test_cells_keep_ranks_only_for_metrics_that_look_at_them_and_nothing_unless_asked() -> None:
    assert set(run_cell(cell(metrics=("mmd",))).kept["kind"]) == {"draw", "reference"}
    assert run_cell(cell(keep=0)).kept.empty


def test_ranks_that_cannot_be_drawn_do_not_cost_the_cell_its_other_numbers() -> None:
    rows, kept = run_cell(cell(second=1.0))
    assert dict(zip(rows["metric"], rows["status"], strict=False)) == {"coverage": "not_finite", "mmd": "ok"}
    assert set(kept["kind"]) == {"draw", "reference"}


def test_references_of_a_task_are_joined_once() -> None:
    first, second = run_cell(cell()).kept, run_cell(cell(second=-98.0)).kept
    both = joined([first, second])
    assert_frame_equal(both[: len(first)], first)
    assert_frame_equal(
        both[len(first) :].reset_index(drop=True),
        second[second["kind"] != "reference"].reset_index(drop=True),
    )


def load(folder: Path, **changes: Any) -> Sweep:
    return Sweep.load(write_sweep(folder / "given.yaml", budgets=[10, 20], keep_samples=5, **changes))


def rows_of(cell: Cell) -> pd.DataFrame:
    return frame(cell, [{"metric": "mmd", "replicate": 0, "value": 0.5}])


def kept_by(cell: Cell) -> pd.DataFrame:
    same = {"cell": cell.id, "task": "t", "method": "m", "method_settings": "", "budget": cell.budget}
    place = {"kind": "draw", "replicate": 0, "index": 0, "parameter": 0, "value": float(cell.budget)}
    return pd.DataFrame([same | place]).astype(DTYPES)


def test_a_folder_holds_what_its_finished_cells_keep(tmp_path: Path) -> None:
    sweep = load(tmp_path)
    first, second = sweep.cells()
    store = Store(tmp_path / "out", sweep)
    for cell in (second, first):
        store.write(cell, rows_of(cell), kept_by(cell))
    store.merge(sweep.cells(), pytest.fail)
    assert_frame_equal(kept_in(store.folder), joined([kept_by(first), kept_by(second)]))

    store.write(first, failure_rows(first, "failed", "because"))  # a later run of the cell keeps nothing
    store.merge(sweep.cells(), pytest.fail)
    assert_frame_equal(kept_in(store.folder), kept_by(second))


def test_merged_folders_hold_what_their_cells_keep(tmp_path: Path) -> None:
    sweep = load(tmp_path)
    for name, cell in zip("ab", sweep.cells(), strict=True):
        Store(tmp_path / name, sweep).write(cell, rows_of(cell), kept_by(cell))
    merge_folders([tmp_path / "a", tmp_path / "b"], tmp_path / "both", lambda line: None)
    found = kept_in(tmp_path / "both")
    assert_frame_equal(found, joined([kept_by(cell) for cell in sweep.cells()]))


def test_a_folder_without_kept_numbers_has_none_and_a_damaged_file_is_told(tmp_path: Path) -> None:
    assert_frame_equal(kept_in(tmp_path), nothing())
    (tmp_path / "kept.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(StoreError, match=r"kept\.parquet: the file is damaged; `graybench run` makes it"):
        kept_in(tmp_path)


def test_a_damaged_file_of_a_cell_costs_only_its_own_draws(tmp_path: Path) -> None:
    sweep = load(tmp_path)
    first, second = sweep.cells()
    store = Store(tmp_path / "out", sweep)
    for each in (first, second):
        store.write(each, rows_of(each), kept_by(each))
    damaged = store.folder / "kept" / f"{first.id}.parquet"
    damaged.write_bytes(b"PAR1 or not")
    told: list[str] = []
    store.merge(sweep.cells(), told.append)
    assert_frame_equal(kept_in(store.folder), kept_by(second))
    assert told == [
        f"{damaged}: the file is damaged, so the draws of this cell are left out; delete it and "
        f"{store.cells / damaged.name}, and run again to draw them anew."
    ]


def test_a_folder_whose_cells_keep_nothing_any_more_has_no_kept_numbers(tmp_path: Path) -> None:
    sweep = load(tmp_path)
    (first, *_) = sweep.cells()
    store = Store(tmp_path / "out", sweep)
    store.write(first, rows_of(first), kept_by(first))
    store.merge(sweep.cells(), pytest.fail)
    assert len(kept_in(store.folder)) == 1
    store.write(first, rows_of(first))
    store.merge(sweep.cells(), pytest.fail)
    assert kept_in(store.folder).empty


def test_what_belongs_to_rows_has_the_reference_of_their_task_from_any_cell() -> None:
    first, second = run_cell(cell()), run_cell(cell(second=-98.0))
    both = joined([first.kept, second.kept])
    found = belonging(both, second.rows)
    assert set(found.loc[found["kind"] != "reference", "cell"]) == set(second.rows["cell"])
    assert_frame_equal(found[found["kind"] == "reference"], both[both["kind"] == "reference"])


def test_no_more_samples_are_kept_than_are_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="keep_samples: only 5 posterior_samples are drawn, but 6 are to be"):
        Sweep.load(write_sweep(tmp_path / "given.yaml", posterior_samples=5, keep_samples=6))
