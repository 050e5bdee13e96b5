"""Sweep files: what they expand to, and the one sentence that each mistake is answered with."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from graybench.benchmark.analysis.labels import task_of
from graybench.benchmark.metrics.catalogue import METRICS
from graybench.benchmark.running.sweep import SWEEPS, Sweep, sweep_file
from graybench.benchmark.running.yaml_loader import Dumper, Loader
from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.toys import HERE, toy, write_sweep


def load(folder: Path, **changes: Any) -> Sweep:
    return Sweep.load(write_sweep(folder / "sweep.yaml", **changes))


def mistake(folder: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, **changes)
    return str(caught.value).removeprefix(f"{folder}/sweep.yaml: ")


def test_expands_tasks_then_budgets_then_methods(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        tasks=[toy("Line", shift=[0.0, 1.0])],
        budgets=[10, 20],
        methods=[toy("Slow", seconds=[1, 2]), toy("Fast")],
    )
    assert [(c.task.label, c.budget, c.method.label) for c in sweep.cells()] == [
        (task, budget, method)
        for task in ("line", "line(shift=1.0)")
        for budget in (10, 20)
        for method in ("slow(seconds=1.0)", "slow(seconds=2.0)", "fast")
    ]
    assert len({cell.id for cell in sweep.cells()}) == 12


def test_cells_carry_the_whole_sweep(tmp_path: Path) -> None:
    sweep = load(tmp_path, root_seed=7, observations=1, timeout=3, metrics=["mmd_squared", "mmd"])
    (cell,) = sweep.cells()
    assert (cell.root_seed, cell.observations, cell.timeout, cell.replicates) == (7, 1, 3.0, 2)
    assert cell.metrics == ("mmd_squared", "mmd")
    assert cell.title == "line · fast · budget 10"


def test_defaults(tmp_path: Path) -> None:
    (cell,) = load(tmp_path, replicates=None, posterior_samples=None).cells()
    assert (cell.root_seed, cell.replicates, cell.posterior_samples) == (0, 5, 1000)
    assert (cell.observations, cell.timeout) == (None, None)


def test_the_dump_is_the_same_sweep(tmp_path: Path) -> None:
    sweep = load(tmp_path, methods=[toy("Slow", seconds=[1, 2])])
    again = Sweep.model_validate(yaml.safe_load(yaml.safe_dump(sweep.model_dump())))
    assert again == sweep
    assert [cell.id for cell in again.cells()] == [cell.id for cell in sweep.cells()]


def test_select_matches_name_or_label(tmp_path: Path) -> None:
    sweep = load(tmp_path, budgets=[10, 20], methods=[toy("Slow", seconds=[1, 2]), toy("Fast")])
    assert len(sweep.select(methods=["slow"])) == 4
    assert [c.title for c in sweep.select(["line"], ["slow(seconds=2.0)", "fast"], [20])] == [
        "line · slow(seconds=2.0) · budget 20",
        "line · fast · budget 20",
    ]


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"tasks": ["lime"]}, "there is no task in sweep toys called 'lime': did you mean line?"),
        ({"methods": ["fats"]}, "there is no method in sweep toys called 'fats': did you mean fast?"),
        ({"budgets": [11]}, "there is no budget 11 in sweep toys: there are 10."),
    ],
)
def test_select_refuses_what_is_not_there(tmp_path: Path, filters: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path).select(**filters)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": None}, "name: it is missing."),
        ({"name": "a/b"}, "name: must be made of letters, digits, - and _, but is 'a/b'."),
        ({"tasks": []}, "tasks: it must not be empty."),
        ({"tasks": "galton"}, "tasks: must be a list, but is 'galton'."),
        ({"tasks": ["galtom"]}, "tasks[0]: there is no task 'galtom': did you mean galton?"),
        ({"tasks": [5]}, "tasks[0]: must be a name or a mapping with a name, but is 5."),
        ({"tasks": [{"shift": 1}]}, "tasks[0].name: it is missing."),
        ({"tasks": [toy("Fast")]}, f"tasks[0]: {HERE}:Fast is not a task: it must extend Task."),
        (
            {"tasks": [toy("Line", shfit=1)]},
            f"tasks[0]: task '{HERE}:Line' has no option 'shfit': did you mean shift?",
        ),
        ({"tasks": [toy("Line"), toy("Line", shift=0.0)]}, "tasks: line is given twice."),
        (
            {"methods": [toy("Slow", seconds=[])]},
            f"methods[0]: option 'seconds' of '{HERE}:Slow' has an empty list of values.",
        ),
        ({"methods": [toy("Fast"), toy("Fast")]}, "methods: fast is given twice."),
        ({"methods": ["dsn"]}, "methods[0]: there is no method 'dsn': did you mean dsm?"),
        (
            {"metrics": ["mmd", "c2st"]},
            "metrics[1]: there is no metric 'c2st': did you mean c2st_mlp?",
        ),
        ({"metrics": ["mmd", "mmd"]}, "metrics: mmd is given twice."),
        ({"budgets": None}, "budgets: it is missing."),
        ({"budgets": []}, "budgets: it must not be empty."),
        ({"budgets": [10, -5]}, "budgets[1]: must be at least 1, but is -5."),
        ({"budgets": [0]}, "budgets[0]: must be at least 1, but is 0."),
        ({"budgets": [10, 10]}, "budgets: 10 is given twice."),
        ({"budgets": [2**63]}, "budgets[0]: must be at most 1000000000, but is 9223372036854775808."),
        ({"budgets": ["1e3"]}, "budgets[0]: must be a whole number, but is 1000.0."),
        ({"budgets": [True]}, "budgets[0]: must be a whole number, but is True."),
        ({"budgets": 10}, "budgets: must be a list, but is 10."),
        ({"replicates": 0}, "replicates: must be at least 1, but is 0."),
        ({"posterior_samples": 1}, "posterior_samples: must be at least 5, but is 1."),
        ({"root_seed": -1}, "root_seed: must be at least 0, but is -1."),
        ({"timeout": 0}, "timeout: must be above 0, but is 0."),
        ({"timeout": float("inf")}, "timeout: must be a finite number, but is inf."),
        ({"observations": 3}, "observations: task line has only 2 observations, but 3 are asked for."),
        ({"budgets": None, "budgts": [10]}, "there is no key 'budgts': did you mean budgets or budgets_in?"),
    ],
)
def test_mistakes(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    assert mistake(tmp_path, **changes) == sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b"name: [1, 2\nbudgets: 3",
            "line 2, column 8: invalid YAML: expected ',' or ']', but got ':'.",
        ),
        (
            b"name: a\ntasks: []\nname: b",
            "line 3, column 1: invalid YAML: the key 'name' is given twice.",
        ),
        (b"\xff\xfe\x00\x81", "invalid YAML: the file is not text in UTF-8."),
        (b"- 1\n- 2\n", "a sweep must be a mapping of keys to values."),
        (b"", "a sweep must be a mapping of keys to values."),
    ],
)
def test_files_that_are_no_sweep(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Sweep.load(path)
    assert str(caught.value) == f"{path}: {sentence}"


def test_numbers_with_exponents_and_merged_keys(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e2 for a text; a merge key brings keys that others may replace."""
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: a\nbudgets: [10]\nmetrics: [mmd]\n"
        "tasks: [{name: linear_gaussian, spread: [1e2, 1.5e1]}]\n"
        "methods: [&mix {name: mix, steps: 10, width: 8}, {<<: *mix, steps: 20}]\n"
    )
    sweep = Sweep.load(path)
    assert [task.spread for task in sweep.all_tasks()] == [100.0, 15.0]
    assert [(m.steps, m.width) for m in sweep.all_methods()] == [(10, 8), (20, 8)]
    assert [task_of(task.label) for task in sweep.all_tasks()] == sweep.all_tasks()
    assert task_of("landmarks(nugget=1e-05)") == get_task("landmarks", nugget=1e-5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("08", 8),
        ("+7", 7),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1:30", "1:30"),
        ("1e-5", 1e-5),
        ("12e03", 12000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("yes", "yes"),
        ("off", "off"),
        ("True", True),
        ("~", None),
        ("2024-13-41", "2024-13-41"),
    ],
)
def test_values_follow_yaml_1_2(text: str, value: Any) -> None:
    read = yaml.load(f"[{text}]", Loader=Loader)
    assert read == [value]
    assert type(read[0]) is type(value)
    # texts that either version takes for something else are written in quotes
    assert yaml.load(yaml.dump([text, value], Dumper=Dumper), Loader=Loader) == [text, value]
    assert yaml.safe_load(yaml.dump([text], Dumper=Dumper)) == [text]


def test_a_root_seed_with_a_zero_in_front_is_decimal(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep.yaml")
    path.write_text(path.read_text() + "root_seed: 010\n")
    assert Sweep.load(path).root_seed == 10
    path.write_text(path.read_text().replace("010", "1_000"))
    with pytest.raises(UserError, match=r"root_seed: must be a whole number, but is '1_000'\.$"):
        Sweep.load(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml: there is no such file\.$"):
        Sweep.load(tmp_path / "nothing.yaml")
    with pytest.raises(UserError, match=r"it cannot be read: Is a directory\.$"):
        Sweep.load(tmp_path)


def test_a_sweep_of_graybench_is_named_without_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Sweep.load(sweep_file(Path("quick"))).name == "quick"
    own = write_sweep(Path("quick"), name="own")
    assert Sweep.load(sweep_file(own)).name == "own"
    assert sweep_file(Path("quick.yaml")) == Path("quick.yaml")
    with pytest.raises(UserError, match=r"^there is no sweep 'quik', and no such file: did you mean quick"):
        sweep_file(Path("quik"))


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sweep_of_graybench_expands_to_cells(path: Path) -> None:
    cells = Sweep.load(path).cells()
    places = [(cell.task.label, cell.method.label, cell.budget) for cell in cells]
    assert len(cells) > 1
    assert len(set(places)) == len({cell.id for cell in cells}) == len(cells)
    assert set(cells[0].metrics) <= set(METRICS)


def test_a_plugin_that_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plugin.py").write_text("def broken(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert mistake(tmp_path, methods=["broken_plugin:Method"]).startswith(
        "methods[0]: method broken_plugin:Method cannot be imported from the current folder and the "
        "environment: SyntaxError: invalid syntax"
    )


def test_budgets_can_be_counted_in_items_of_tasks_that_have_them(tmp_path: Path) -> None:
    (cell,) = load(tmp_path).cells()
    assert not cell.budget_in_items
    (cell,) = load(tmp_path, tasks=["iid_mixture"], budgets_in="items").cells()
    assert cell.budget_in_items
    assert mistake(tmp_path, budgets_in="items") == (
        "task line has no option for a number of items independent given θ."
    )
    assert mistake(tmp_path, budgets_in="draws") == (
        "budgets_in: must be 'simulations' or 'items', but is 'draws'."
    )
