"""The speed table: each part is measured and stored; times themselves are not asserted."""

import csv
import time

import numpy as np
import pytest
import torch

from graybench.benchmark.choices.fresh import FRESH, fresh_loss
from graybench.benchmark.metrics.mmd import mmd_squared
from graybench.benchmark.speed import bench, end_to_end, jax_training
from graybench.benchmark.speed import gates as bench_gates
from graybench.benchmark.speed import metrics as bench_metrics
from graybench.benchmark.speed import simulators as bench_simulators
from graybench.benchmark.speed import training as bench_training
from graybench.benchmark.speed.timing import Timing, take_turns
from graybench.methods.nn.network import ReplicatedMLP
from graybench.methods.score.gates import of_state
from graybench.methods.score.gates.choice import CLOSED, FITTED
from graybench.methods.score.recipes import Preconditioned
from graybench.methods.score.score_matching import DSM
from graybench.methods.score.trainer import Trainer
from graybench.tasks import REGISTRY
from graybench.tasks.classic.gaussian_mixture import GaussianMixture
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator

STEPS_OF = {"a step of one network": 1, "a step of 2 networks together": 2}


def some_rows(quick):
    assert torch.get_num_threads() == 1
    return [Timing("slow, and quick" if quick else "slow", 0.5, 1.0), Timing("fast", 0.25, 0.5)]


def broken(quick):
    raise ValueError(quick)


def test_parts_are_measured_in_order_and_stored_as_they_end(tmp_path, monkeypatch):
    threads, said = torch.get_num_threads(), []
    monkeypatch.setattr(bench, "PARTS", {"first": some_rows, "second": some_rows, "third": broken})
    bench.measure(["second", "first"], True, tmp_path / "made", said.append)
    with (tmp_path / "made/bench.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["part"] for row in table] == ["first", "first", "second", "second"]
    by = table[0].pop("made_by")
    assert by.startswith("`graybench bench --only first --quick`: ")
    assert table[0] == {"part": "first", "what": "slow, and quick", "seconds": "0.5", "ratio": "1.0"}
    text = (tmp_path / "made/bench.md").read_text()
    assert text.startswith(f"## first\n\n{by}\n\n| what |")
    assert "| what | seconds | ratio |\n|---|---|---|\n| slow, and quick | 0.5 | 1 |" in text
    assert "| fast | 0.25 | 0.5 |" in said[1]
    with pytest.raises(ValueError, match="False"):
        bench.measure([], False, tmp_path / "other", said.append)
    assert "## second" in (tmp_path / "other/bench.md").read_text()
    assert torch.get_num_threads() == threads


def test_a_part_takes_nothing_from_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "PARTS", {"first": some_rows, "second": some_rows})
    bench.measure([], True, tmp_path, lambda text: None)
    bench.measure(["first"], False, tmp_path, lambda text: None)
    with (tmp_path / "bench.csv").open() as file:
        table = [(row["part"], row["what"], "--quick" in row["made_by"]) for row in csv.DictReader(file)]
    assert [(part, quick) for part, _, quick in table] == [("first", False)] * 2 + [("second", True)] * 2
    assert [what for _, what, _ in table] == ["slow", "fast", "slow, and quick", "fast"]
    assert (tmp_path / "bench.md").read_text().count("## ") == 2


def test_an_unknown_part_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no part 'trianing' of the bench: did you mean training"):
        bench.measure(["trianing"], True, tmp_path / "made", print)
    assert not (tmp_path / "made").exists()


def test_training_is_held_to_its_products_and_sbi_to_each_network(monkeypatch):
    monkeypatch.setattr(bench_training, "QUICK_STEPS", 2)
    monkeypatch.setattr(bench_training, "BUDGET", 200)
    monkeypatch.setattr(bench_training, "REPLICATES", (1, 2))
    *steps, one, two = bench_training.rows(quick=True)
    seconds = {row.what: row for row in steps}
    for step in ("a step of one network", "a step of 2 networks together"):
        reference = seconds[f"{step}: JAX"]
        assert reference.ratio == 1
        for name in bench_training.NAMES.values():
            row = seconds[f"{step}: {name}"]
            assert row.ratio == pytest.approx(row.seconds / reference.seconds)
    assert len(steps) == 2 * len(bench_training.NAMES) + 1
    assert one.seconds == two.seconds
    judged = [seconds[f"{step}: DSM with validation"].seconds / n for step, n in STEPS_OF.items()]
    assert two.ratio / one.ratio == pytest.approx(judged[0] / judged[1])


def test_jax_trains_what_dsm_trains():
    """The loss on fresh simulations falls as far, within a fifth.

    Over six replicates the two falls differed by 4 % on average, with a spread of 5 %, so the average of four
    replicates is 6 standard errors from the limit.
    """
    steps, task, replicates = 1000, GaussianMixture(), 4
    method = DSM(steps=steps, early_stopping=False)
    data = method.training_data([task.simulate(10_000, r) for r in range(replicates)])
    trainer = method.trainer(data, range(replicates), Trainer)
    model, gate = trainer.fitted
    fresh = method.training_data([task.simulate(FRESH, 9)] * replicates)
    before = fresh_loss(method, model, gate, fresh)
    averaged = jax_training.fit(model.mlp, data.u, data.x, steps)()
    for p, value in zip((*model.mlp.weights, *model.mlp.biases), averaged, strict=True):
        p.data.copy_(torch.from_numpy(np.array(value)))
    by_jax = before - fresh_loss(method, model, gate, fresh)
    trainer.run(lambda done, total: None)
    by_dsm = before - fresh_loss(method, model, gate, fresh)
    assert (by_dsm > 0.1 * before).all()
    assert abs((by_jax / by_dsm - 1).mean()) < 0.2


def test_the_products_are_those_of_a_step(monkeypatch):
    """As many floating-point operations as torch counts in a forward and backward pass of the network."""
    from torch.utils.flop_counter import FlopCounterMode

    d, dim_x, replicates, multiply = 3, 2, 4, torch.bmm
    inputs = Preconditioned(torch.zeros(1, 2, d), torch.zeros(1, 2, dim_x)).n_inputs
    random = [generator(r) for r in range(replicates)]
    mlp = ReplicatedMLP(inputs, d, width=DSM.width, depth=DSM.depth, generators=random)
    with FlopCounterMode(display=False) as step:
        mlp(torch.randn(replicates, DSM.batch, inputs)).sum().backward()
    counted = []

    def counting(a, b, out):
        counted.append(2 * a.numel() * b.shape[2])
        return multiply(a, b, out=out)

    monkeypatch.setattr(torch, "bmm", counting)
    bench_training.matrix_products(d, dim_x, replicates, 1)()
    assert sum(counted) == step.get_total_flops() > 0


def test_every_task_is_simulated_and_loops_are_held_to_the_tasks(monkeypatch):
    for name, value in {"QUICK_SECONDS": 0.0, "BALLS": 4096, "PATHS": 200}.items():
        monkeypatch.setattr(bench_simulators, name, value)
    for name in ("LOOPED_BALLS", "LOOPED_PATHS", "SINGLE_BALLS"):
        monkeypatch.setattr(bench_simulators, name, 10)
    rows = bench_simulators.rows(quick=True)
    assert [row.what.split(",")[0] for row in rows[5:]] == list(REGISTRY.table)
    assert rows[0].ratio == rows[3].ratio == rows[5].ratio == 1
    assert rows[1].ratio == pytest.approx(rows[1].seconds / rows[0].seconds)


def test_every_gate_is_a_share_of_a_fit(monkeypatch):
    monkeypatch.setattr(bench_gates, "QUICK_STEPS", 5)
    monkeypatch.setattr(bench_gates, "BUDGET", 50)
    monkeypatch.setattr(of_state, "STEPS", of_state.LOOKS)
    fit, *gates = bench_gates.rows(quick=True)
    assert fit.ratio == 1
    assert len(gates) == len(CLOSED) + len(FITTED) + 1
    assert all(gate.ratio == pytest.approx(gate.seconds / fit.seconds) for gate in gates)


def test_metrics_are_held_to_mmd(monkeypatch):
    monkeypatch.setattr(bench_metrics, "QUICK_SIZE", 30)
    first, *others = bench_metrics.rows(quick=True)
    assert first.ratio == 1
    assert all(row.ratio == pytest.approx(row.seconds / first.seconds) for row in others)


def test_whole_matrices_give_the_same_mmd():
    x, y = (torch.randn(40, 2, generator=generator(k), dtype=torch.float64) for k in (1, 2))
    expected = mmd_squared(x, y, bench_metrics.BANDWIDTH).value
    assert bench_metrics.whole_matrices(x, y) == pytest.approx(expected, rel=1e-10)


def test_what_waits_takes_no_time():
    """Seconds are the processor's, which a sleeping process does not use; each runs once more, to warm up."""
    runs = []
    taken = take_turns({"sleeps": lambda: (runs.append(1), time.sleep(0.05))}, 3)
    assert len(runs) == 4
    assert taken["sleeps"] < 0.04


def test_the_parts_of_a_sweep_are_all_of_its_time(tmp_path):
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(end_to_end.CELL.replace("[10000]", "[50]").replace("mix]", "{name: mix, steps: 3}]"))
    made = end_to_end.run(sweep, tmp_path / "out", 1)
    whole, first, *parts = end_to_end._as_rows("cell", 1, made)
    assert 0 < first.seconds < whole.seconds - made.cells
    assert sum(part.ratio for part in parts) == pytest.approx(1)
    assert all(0 < part.seconds < whole.seconds for part in parts)
    assert parts[0].seconds == made.table.groupby("cell")["fit_seconds"].first().sum()
    with pytest.raises(RuntimeError, match="failed"):
        end_to_end.run(tmp_path / "none.yaml", tmp_path / "out", 1)
