"""The command line: exit statuses, the one sentence of each mistake, and what the lists say."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graybench import methods, tasks
from graybench.benchmark.cli import advise, listing
from graybench.benchmark.cli import main as cli
from graybench.benchmark.running.rows import frame
from graybench.benchmark.running.store import Store
from graybench.benchmark.running.sweep import Sweep
from graybench.tests.benchmark.conftest import made_up
from graybench.tests.benchmark.toys import write_sweep


@pytest.fixture
def graybench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Any]:
    monkeypatch.setattr(listing, "user_cache_path", lambda name: tmp_path / "cache" / name)

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["graybench", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setenv("COLUMNS", "1000")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield call
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def test_lists_tell_dimensions_and_needs(graybench: Any) -> None:
    status, out, _ = graybench("tasks")
    assert status == 0
    (galton,) = [line for line in out.splitlines() if "galton" in line]
    assert "joint_score, marginal_score, reference" in galton
    status, out, _ = graybench("methods")
    assert status == 0
    assert all(name in out for name in ("dsm", "tsm", "ltsm", "mix", "marginal_score", "gate=scalar"))


def test_check_ends_with_1_if_a_check_fails(graybench: Any) -> None:
    wrong = "graybench.tests.benchmark.checks.broken_tasks"
    status, out, _ = graybench("check", "task", f"{wrong}:Right", "--n", "2000")
    assert status == 0
    assert "failed" not in out
    status, out, _ = graybench("check", "task", f"{wrong}:Right", f"{wrong}:Hidden", "--n", "2000")
    assert status == 1
    assert "T2, prior predictive: The joint score carries about 0." in out
    assert graybench("check", "task", "galton", "--n", "10")[0] == 2


def test_information_is_a_table_of_the_named_tasks(graybench: Any) -> None:
    status, out, _ = graybench("information", "gaussian_mixture", "galton")
    assert status == 0
    assert [line.split(" | ")[0] for line in out.splitlines()[2:]] == ["| gaussian_mixture", "| galton"]
    status, _, err = graybench("information", "graybench.tests.benchmark.toys:Scoreless")
    assert (status, err) == (2, "graybench: task scoreless has no joint score.\n")


def test_a_broken_plugin_is_listed_and_stops_nothing(graybench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    line, broken = "graybench.tests.benchmark.toys:Line", "no_such_module:Plugin"
    monkeypatch.setattr(tasks.REGISTRY, "table", {"broken": broken, "line": line})
    monkeypatch.setitem(methods.REGISTRY.table, "broken", broken)
    sentence = (
        "cannot be imported from no_such_module: ModuleNotFoundError: No module named 'no_such_module'."
    )
    for kind, other in (("task", "a line"), ("method", "DSM and LTSM mixed")):
        status, out, _ = graybench(f"{kind}s")
        assert status == 0
        assert other in out
        assert out.splitlines()[-1] == f"{kind} broken {sentence}"
    status, out, _ = graybench("check", "task", "--n", "1000")
    assert status == 0
    assert out.startswith(f"left out: task broken {sentence}\n")
    assert "T2, prior predictive" in out
    status, out, err = graybench("information")
    assert (status, err) == (0, f"left out: task broken {sentence}\n")
    assert "| line |" in out
    for arguments in (("check", "task", "line", "broken"), ("information", "broken")):
        assert graybench(*arguments) == (2, "", f"graybench: task broken {sentence}\n")


def test_mistakes_end_with_2_and_one_line(
    graybench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweep(Path("good.yaml"))
    write_sweep(Path("bad.yaml"), budgets=[10, -5])
    mistakes = {
        ("run", "bad.yaml"): "bad.yaml: budgets[1]: must be at least 1, but is -5.",
        ("run", "none.yaml"): "none.yaml: there is no such file.",
        ("run", "good.yaml", "--budget", "7"): "there is no budget 7 in sweep toys: there are 10.",
        ("run", "good.yaml", "--method", "fats"): (
            "there is no method in sweep toys called 'fats': did you mean fast?"
        ),
        ("run", "good.yaml", "--workers", "2", "--scheduler", "tcp://a:1"): (
            "--workers is for the local cluster and cannot be used with --scheduler."
        ),
        (
            "run",
            "good.yaml",
            "--shard",
            "4/3",
        ): "--shard 4/3: a shard is I/N with I from 1 to N, such as 2/8.",
        ("merge", "nowhere", "--out", "here"): "nowhere: this is not a result folder: it has no sweep.yaml.",
        ("run", "good.yaml", "--out", "good.yaml"): "good.yaml: this is not a folder.",
        ("run", "good.yaml", "--out", "."): ".: the folder is not empty and holds no results of a sweep.",
        ("run", "good.yaml", "--scheduler", "nowhere"): (
            "--scheduler nowhere: missing port number in address 'nowhere'."
        ),
        ("run", "good.yaml", "--device", "gpu"): (
            "there is no device 'gpu': it can be cpu, cuda, or cuda:0 and so on."
        ),
        ("run", "good.yaml", "--device", "gpu", "--scheduler", "tcp://a:1"): (
            "there is no device 'gpu': it can be cpu, cuda, or cuda:0 and so on."
        ),
        ("run", "good.yaml", "--device", "cuda:99"): (
            f"device cuda:99: torch finds {torch.cuda.device_count()} CUDA devices here; use another, or cpu."
        ),
        ("table", "nowhere"): "nowhere: there is no such folder.",
        ("figures", "nowhere"): "nowhere: there is no such folder.",
    }
    for arguments, sentence in mistakes.items():
        status, _, err = graybench(*arguments)
        assert (status, err) == (2, f"graybench: {sentence}\n"), arguments
    assert graybench("run")[0] == 2
    assert graybench("run", "good.yaml", "--workers", "0")[0] == 2
    assert graybench("dance")[0] == 2


@pytest.fixture
def finished(tmp_path: Path) -> Store:
    sweep = Sweep.load(write_sweep(tmp_path / "given.yaml"))
    store = Store(tmp_path / "out", sweep)
    (cell,) = sweep.cells()
    store.write(cell, frame(cell, [{"metric": "mmd", "value": 0.1, "replicate": 0, "observation": 0}]))
    return store


def test_nothing_missing_starts_no_worker(graybench: Any, finished: Store, tmp_path: Path) -> None:
    status, out, _ = graybench("run", tmp_path / "given.yaml", "--out", finished.folder)
    assert status == 0
    assert out.splitlines() == [
        "1 cells, 1 of them finished before.",
        "1 of 1 cells are finished: 1 ok, 0 skipped, 0 failed, 0 timed out, 0 not finite.",
        f"The table is {finished.table}, the cells are in {finished.cells}.",
    ]


def test_advice_names_the_folder_the_budget_and_the_tasks(
    graybench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up().to_parquet(tmp_path / "table.parquet")
    asked = ("--budget", "700", "--metric", "mmd", "--from", tmp_path)
    status, out, _ = graybench("advise", "galton", *asked)
    assert (status, f"{tmp_path}: galton, 100 simulations" in out) == (0, True)
    lines = [line.replace("│", " ").split() for line in out.splitlines() if "│" in line]
    assert [line[0] for line in lines] == ["mix", "mix(gate=learned)", "dsm", "ltsm"]
    assert (lines[0][-1], lines[-1][-1]) == ("best", "not_finite")
    alone = made_up().query("replicate == 0")
    (tmp_path / "alone").mkdir()
    alone.to_parquet(tmp_path / "alone/table.parquet", index=False)
    status, out, _ = graybench("advise", "galton", *asked[:-1], tmp_path / "alone")
    assert (status, "dsm" in out, "nan" in out) == (0, True, False)
    status, out, _ = graybench("advise", "gaussian_mixture", *asked)
    assert "rank by mmd, mean over tasks (2)" in out
    assert "The tasks are galton, linear_gaussian." in out
    status, out, _ = graybench("advise", "--dim-theta", "2", "--dim-x", "500", *asked)
    assert "No task in the table is like yours in dim_x, so these ranks may not hold for it." in " ".join(
        out.split()
    )
    mistakes = {
        ("--budget", "1"): "name a task, or give --dim-theta and --dim-x.",
        ("galton", "--dim-x", "3", "--budget", "1"): (
            "a task has its own dimensions and structure; leave out --dim-theta, --dim-x and --structure."
        ),
        ("galtn", "--budget", "1"): "there is no task 'galtn'; `graybench tasks` lists them.",
        ("--dim-x", "3", "--dim-theta", "1", "--structure", "set", "--budget", "1"): (
            "there is no structure 'set': there are field, items, series, vector."
        ),
    }
    for arguments, sentence in mistakes.items():
        status, _, err = graybench("advise", *arguments, "--from", tmp_path)
        assert (status, err) == (2, f"graybench: advise: {sentence}\n"), arguments
    both = []
    for name in ("galton", "linear_gaussian"):
        (tmp_path / name).mkdir()
        made_up().query("task == @name").to_parquet(tmp_path / name / "table.parquet", index=False)
        both += ["--from", tmp_path / name]
    status, out, _ = graybench("advise", "galton", *asked[:-2], *both)
    assert (status, out.count("100 simulations")) == (0, 1)
    status, out, _ = graybench("advise", "gaussian_mixture", *asked[:-2], *both)
    assert (status, out.count("gaussian_mixture, 100 simulations")) == (0, 2)
    monkeypatch.setattr(advise, "RELEASED", (tmp_path / "nowhere",))
    assert "name a result folder by --from" in graybench("advise", "galton", "--budget", "1")[2]


def test_another_sweep_in_the_folder(graybench: Any, finished: Store, tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "other.yaml", name="other")
    status, _, err = graybench("run", path, "--out", finished.folder)
    assert status == 2
    assert err == (
        f"graybench: {finished.folder}: it holds results of sweep toys with root_seed 0, "
        "not of sweep other with root_seed 0; give another --out.\n"
    )


def command(*arguments: str, cwd: Path, shell: str = "", **environment: str) -> tuple[int, str, str]:
    """Run the command in a process of its own, after some lines of a shell."""
    script = f'{shell}\nexec "$@"'
    ran = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "graybench", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ran.returncode, ran.stdout, ran.stderr


def test_a_tilde_after_an_option_is_the_home_folder(
    graybench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for arguments in (["--out=~/x"], ["--out", "~/x"]):
        asked = ("merge", "~/nowhere", *arguments)
        assert graybench(*asked)[2].startswith(
            f"graybench: {tmp_path}/home/nowhere: this is not a result folder"
        )
    assert graybench("table", "~/x")[2] == f"graybench: {tmp_path}/home/x: there is no such folder.\n"
    assert graybench("report", "~/x", "--out=~/site")[2].startswith(f"graybench: {tmp_path}/home/x")
    home = tmp_path / "home"
    given = ["--out=~/x", "~/x", "--out", "x", "mix(gate=~)", "a=~/x", "--method=m(a=~/x)"]
    assert [cli._with_home(argument) for argument in given] == [f"--out={home}/x", f"{home}/x", *given[2:]]


def test_a_deleted_working_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    status, _, err = command("table", "x", cwd=tmp_path / "gone", shell='rmdir "$PWD"')
    assert (status, err) == (2, "graybench: the current folder has been deleted; change to another one.\n")


def test_a_malformed_configuration_of_dask_is_named(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("distributed: [a\n")
    sweep = write_sweep(tmp_path / "given.yaml")
    status, _, err = command("run", str(sweep), cwd=tmp_path, DASK_CONFIG=str(tmp_path))
    assert status == 2
    assert err.startswith(
        f"graybench: Dask cannot be imported: A dask config file at '{tmp_path}/site.yaml' is malformed"
    )
    assert err.count("\n") == 1


def test_plugins_in_files_run_beside_files_named_like_our_folders(tmp_path: Path) -> None:
    stranger = "raise RuntimeError('this is not graybench')\n"
    for name in ("tasks.py", "benchmark.py", "tasks/__init__.py", "methods/other.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(stranger)
    toys = "from graybench.tests.benchmark.toys import Fast, Line\n"
    (tmp_path / "methods" / "mine.py").write_text(f"{toys}class Mine(Fast):\n    name = 'first'\n")
    (tmp_path / "mine.py").write_text(
        f"{toys}class Mine(Fast):\n    name = 'second'\nclass Task(Line):\n    name = 'own'\n"
    )
    methods = ["methods/mine.py:Mine", "mine.py:Mine"]
    text = write_sweep(tmp_path / "sweep.yaml", tasks=["mine.py:Task"], methods=methods).read_text()
    asked = ("run", "sweep.yaml", "--out", ".", "--workers", "1")
    status, out, err = command(*asked, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "own · first · budget 10: ok" in out
    assert "own · second · budget 10: ok" in out
    assert (tmp_path / "sweep.yaml").read_text() == text
    assert command("table", ".", cwd=tmp_path)[0] == 0
    assert "mine.py has no Line2" in command("check", "task", "mine.py:Line2", cwd=tmp_path)[2]


def test_a_damaged_table_ends_with_1(graybench: Any, finished: Store) -> None:
    finished.table.write_bytes(b"PAR1")
    status, _, err = graybench("table", finished.folder)
    assert status == 1
    assert err.startswith(f"graybench: {finished.table}: the file is damaged (")
    assert err.count("\n") == 1


def test_an_unknown_metric_of_a_table(graybench: Any, finished: Store, tmp_path: Path) -> None:
    graybench("run", tmp_path / "given.yaml", "--out", finished.folder)
    status, _, err = graybench("table", finished.folder, "--metric", "mdm")
    assert (status, err) == (
        2,
        f"graybench: there is no metric 'mdm' in {finished.folder}: did you mean mmd?\n",
    )


def test_what_is_resolved_in_time_is_neither_the_table_nor_a_figure_of_its_own(
    graybench: Any, finished: Store, tmp_path: Path
) -> None:
    (cell,) = Sweep.load(tmp_path / "given.yaml").cells()
    values = {"replicate": 0, "value": 0.5}
    later = {"metric": "parameter_rmse", **values}
    finished.write(cell, frame(cell, [{"metric": "optimal_weight", "time": 0.1, **values}, later]))
    graybench("run", tmp_path / "given.yaml", "--out", finished.folder)
    status, out, _ = graybench("table", finished.folder)
    assert status == 0
    assert "parameter_rmse" in out
    finished.write(cell, frame(cell, [{"metric": "learned_weight", "status": "failed", **values}]))
    graybench("run", tmp_path / "given.yaml", "--out", finished.folder)
    assert graybench("figures", finished.folder)[1].endswith("drawn: no row of the table is ok.\n")
    out = graybench("figures", finished.folder, "--only", "over_option")[1]
    assert (
        out == "no figure of the kind over_option can be drawn; leave out --only to draw all that can be.\n"
    )


def test_compare_of_two_folders_says_what_changed(graybench: Any, finished: Store, tmp_path: Path) -> None:
    graybench("run", tmp_path / "given.yaml", "--out", finished.folder)
    both = ("compare", finished.folder, finished.folder)
    status, out, err = graybench(*both, "--metric", "mmd")
    assert (status, err) == (0, "")
    assert "1 cells: 0 only in A" in out
    assert graybench(*both, "--method", "mix") == (
        2,
        "",
        "graybench: --method, --baseline and --format are for one folder and cannot be used with DIR_B.\n",
    )
    assert graybench(*both, "--metric", "mdm")[2].startswith("graybench: there is no metric 'mdm' in ")


def test_a_table_can_be_latex_or_markdown(graybench: Any, finished: Store, tmp_path: Path) -> None:
    graybench("run", tmp_path / "given.yaml", "--out", finished.folder)
    for form, said in (("latex", r"\toprule"), ("markdown", "| **0.1** |"), ("terminal", "0.1 *")):
        status, out, err = graybench("table", finished.folder, "--format", form)
        assert (status, err) == (0, "")
        assert said in out
    assert graybench("table", finished.folder, "--format", "html")[0] == 2
