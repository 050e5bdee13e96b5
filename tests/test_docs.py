"""The documents do what they say: their files are written, their commands run, their links and tables hold.

A fenced block with a file name after its language is written to that file. A block that is `sh` alone is run,
line by line, in the same folder. Blocks marked `sh install` need a fresh machine and are left to CI. Blocks
marked `sh cluster` need several machines; `tests/benchmark/running` tests what they do.
"""

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command

import graybench
from graybench.benchmark.checks import conformance
from graybench.benchmark.checks import methods as method_checks
from graybench.benchmark.cli.main import app
from graybench.benchmark.figures.draw import draw_all
from graybench.benchmark.metrics.catalogue import METRICS
from graybench.benchmark.running.kept import nothing
from graybench.benchmark.running.measure import run_cell
from graybench.benchmark.running.rows import COLUMNS, STATUSES
from graybench.benchmark.running.sweep import Sweep, sweep_file
from graybench.methods import REGISTRY as METHODS
from graybench.methods.score.gates.choice import AUTO, GATES
from graybench.tasks import REGISTRY as TASKS
from graybench.tasks import get_task, structure
from graybench.tasks.task import CAPABILITIES
from graybench.tests.commands import run

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "tasks/README.md",
    "methods/README.md",
    "benchmark/README.md",
    "tests/third_party/README.md",
)
PAGES = sorted(
    str(path.relative_to(ROOT))
    for top in (
        "*.md",
        "tasks/**/*.md",
        "methods/**/*.md",
        "benchmark/**/*.md",
        "results/**/*.md",
        "tests/**/*.md",
    )
    for path in ROOT.glob(top)
)
START = "## From a TPS file and a Newick file to ancestors"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def follow(document: str, folder: Path) -> dict[str, str]:
    """Write and run every block of a document in order; return the output of each command."""
    outputs = {}
    for language, title, body in BLOCK.findall(read(document)):
        if language != "sh":
            (folder / title).write_text(body, encoding="utf-8")
        elif not title:
            for line in body.splitlines():
                outputs[line] = run(line, folder)
    return outputs


def verdicts(output: str) -> dict[str, list[str]]:
    """Return the names of the checks in the output of `graybench check`, by verdict."""
    found = re.findall(r"^│ (.+?) +│ (passed|failed|skipped) ", output, re.MULTILINE)
    return {v: [name for name, verdict in found if verdict == v] for v in ("passed", "failed", "skipped")}


def test_readme_and_benchmark(tmp_path: Path) -> None:
    outputs = follow("README.md", tmp_path) | follow("benchmark/README.md", tmp_path)

    # The learned posterior is near the exact one. With ten other pairs of seeds its mean is at most 0.24
    # exact standard deviations away, and its own standard deviation 0.82 to 1.09 of the exact one.
    numbers = re.findall(r"(\w+): (-?[\d.]+) ± ([\d.]+)", outputs["python session.py"])
    (learned, mean, std), (exact, exact_mean, exact_std) = numbers
    assert (learned, exact) == ("learned", "exact")
    assert abs(float(mean) - float(exact_mean)) < 0.5 * float(exact_std)
    assert 0.7 < float(std) / float(exact_std) < 1.4
    assert (tmp_path / "my_posterior/posterior.json").exists()

    small = pd.read_parquet(tmp_path / "runs/small/table.parquet")
    assert (small["status"] == "ok").all()
    assert list(small.columns) == list(COLUMNS)
    assert small.groupby(["method", "method_settings", "budget"]).ngroups == 6
    averaged = small[small["time"].isna()].groupby(["metric", "method", "method_settings", "budget"])["value"]
    assert (averaged.size() == 4).all()  # 2 replicates, 2 observations

    table = outputs["graybench table runs/small --metric score_error"]
    assert "galton · score_error" in table
    markdown = outputs["graybench table runs/small --metric mmd --format markdown"]
    mean = averaged.mean()["mmd", "dsm", "steps=300", 300]
    assert f"{mean:.3g}" in markdown

    (compared,) = (text for line, text in outputs.items() if line.startswith("graybench compare"))
    means = averaged.mean()["mmd"]
    ratio = means["mix", "gate=learned steps=300", 300] / means["dsm", "steps=300", 300]
    assert f"{ratio:.2f}" in compared

    drawn = {path.name for path in (tmp_path / "runs/small/figures").iterdir()}
    assert {"board-galton.pdf", "board-galton.png"} <= drawn
    assert any(name.startswith("mmd-galton") for name in drawn)
    leaderboard = (tmp_path / "site/leaderboard.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in leaderboard.splitlines() if row.endswith("0 of 2 |")]
    assert {row[0].removeprefix("| ") for row in rows} == {"dsm", "mix", "mix(gate=learned)"}
    assert (tmp_path / "site/index.html").exists()

    header, _, row = outputs["graybench information galton"].strip().splitlines()
    galton = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert 0 < float(galton["MIX/DSM, scalar gate"]) < 1


def test_tasks(tmp_path: Path) -> None:
    outputs = follow("tasks/README.md", tmp_path)
    used = outputs["python use.py"]
    assert "data: (1000, 2) joint scores: (1000, 2)" in used
    reading = verdicts(outputs["graybench check task reading.py:Reading"])
    assert {"T2, prior predictive", "reference, calibration", "reference, diffused"} <= set(reading["passed"])
    assert reading["failed"] == []
    (others,) = (text for line, text in outputs.items() if "groups.py:Groups" in line)
    assert re.findall(r"^ +(\w+) *$", others, re.MULTILINE) == ["counts", "groups", "wells"]
    assert verdicts(others)["failed"] == []
    assert verdicts(others)["passed"].count("T2, prior predictive") == 3
    assert {"T1, marginal score", "differences"} <= set(verdicts(others)["passed"])
    wings = outputs["python wings.py"]
    assert "wings: (2, 3, 2) ('w1', 'w2') ('f', 'm')" in wings
    assert "apes: (167, 8, 2) ['gorf', 'gorm', 'panf', 'panm', 'pongof', 'pongom']" in wings


def test_landmarks(tmp_path: Path) -> None:
    outputs = follow("tasks/landmarks/README.md", tmp_path)
    assert len(outputs) <= 10
    listed = named(" ".join(row[0] for row in table_after("tasks/landmarks/README.md", START, "| file")))
    assert {path.name for path in (tmp_path / "beetles").iterdir() if path.suffix != ".pdf"} == set(listed)
    assert "time is in million years" in (tmp_path / "beetles/README.md").read_text(encoding="utf-8")
    nodes = pd.read_csv(tmp_path / "beetles/nodes.csv")
    assert set(nodes["node"]) == {"root", "node 2", "node 3", "node 4"}
    # Drawn with a = 0.05 and ℓ = 0.6, of which superimposition takes some away
    fits = pd.read_csv(tmp_path / "beetles/parameters.csv").set_index(["method", "quantity"])
    assert 0.02 < fits.loc[("diffusion", "a"), "estimate"] < 0.07


def test_methods(tmp_path: Path) -> None:
    outputs = follow("methods/README.md", tmp_path)
    neighbours = outputs["python neighbours.py"]
    # rejection is calibrated here: a p-value below 0.001 would be chance in 2 of 1,000 cases
    p_values = re.search(r"p-values of SBC \[(.*)\]", neighbours)
    assert p_values
    assert all(float(p) > 1e-3 for p in p_values[1].split(","))
    assert "sbibm: data (1000, 2) reference samples (10000, 2)" in neighbours
    assert "theta[0]" in neighbours

    checked = verdicts(outputs["graybench check method regression.py:Regression"])
    assert checked["failed"] == []
    assert set(method_checks.CHECKS) - set(checked["passed"]) == {
        "budget",
        "score",
        "density",
    }

    mine = pd.read_parquet(tmp_path / "runs/mine/table.parquet")
    regression = mine[mine["method"] == "regression"]
    error = regression[regression["metric"] == "posterior_mean_error"]["value"]
    # the posterior is linear and Gaussian, so regression on 300 simulations is off by about 1/√300 = 0.06
    assert len(error) == 6
    assert error.mean() < 0.2
    assert regression[regression["metric"] == "score_error"]["reason"].tolist() == ["the method has no score"]
    assert (mine[mine["method"] == "dsm"]["status"] == "ok").all()

    found = re.findall(r"(\w+) \[(.*?), (.*?)\] exact \[(.*?), (.*?)\]", outputs["python items.py"])
    (_, *means), (_, *stds) = ([name, *map(float, numbers)] for name, *numbers in found)
    for i in range(2):
        assert abs(means[i] - means[i + 2]) < 0.5 * stds[i + 2]
        assert 0.8 < stds[i] / stds[i + 2] < 1.25

    found = re.findall(r"first step (.*), ESS/N (.*)", outputs["python grids.py"])
    assert [first for first, _ in found] == ["0.0200", "0.0004"]
    assert all(float(ess) > 0.8 for _, ess in found)

    found = re.findall(r"ESS/N (.*); exact", outputs["python scores.py"])
    assert len(found) == 4
    assert all(float(ess) > 0.5 for ess in found)

    shapes = re.findall(
        r"(a|length) = ([\d.]+), relative standard error ([\d.]+)", outputs["python shapes.py"]
    )
    assert [name for name, _, _ in shapes] == ["a", "length"]
    assert all(0 < float(error) < 0.5 for _, _, error in shapes)


def test_contributing(tmp_path: Path) -> None:
    (output,) = follow("CONTRIBUTING.md", tmp_path).values()
    found = verdicts(output)
    assert found["failed"] == []
    assert len(found["passed"]) > 10


def table_after(document: str, heading: str, header: str) -> list[list[str]]:
    """Return the cells of the first table below a heading whose header line begins as given."""
    section = read(document).split(f"\n{heading}\n", 1)[1]
    rows = section[section.index(f"\n{header}") :].split("\n\n", 1)[0].strip().splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_column(document: str, heading: str, header: str) -> list[str]:
    return [name for row in table_after(document, heading, header) for name in named(row[0])]


@pytest.mark.parametrize(
    ("document", "heading", "header", "names"),
    [
        ("methods/README.md", "## The methods", "| method", METHODS.table),
        ("methods/README.md", "## Gates", "| `gate`", [*GATES, AUTO]),
        ("methods/README.md", "## Checks", "| check", method_checks.CHECKS),
        ("tasks/README.md", "## Checks", "| check", conformance.CHECKS),
        ("tasks/README.md", "## The tasks", "| capability", CAPABILITIES),
        ("benchmark/README.md", "## Sweeps", "| key", Sweep.model_fields),
        ("benchmark/README.md", "## Runs", "| status", STATUSES),
        ("benchmark/README.md", "## Result folders", "| column", COLUMNS),
    ],
)
def test_tables_are_complete(document: str, heading: str, header: str, names: object) -> None:
    assert sorted(first_column(document, heading, header)) == sorted(names)


def test_the_table_of_metrics_has_their_records() -> None:
    rows = table_after("benchmark/README.md", "## Metrics", "| metric")
    assert [(*named(name), *rest) for name, *rest in rows] == [
        (metric.name, metric.definition, metric.floor or "empty") for metric in METRICS.values()
    ]


def test_the_table_of_tasks_has_each_with_the_kind_of_its_reference() -> None:
    listed = {
        name: kind
        for row in table_after("tasks/README.md", "## The tasks", "| task")
        for name in named(row[0])
        for kind in row[2:]
    }
    prefix = listed.pop("sbibm_*")
    for name in TASKS.table:
        task = get_task(name)
        kind = task.reference_kind if "reference" in task.capabilities else "none"
        assert kind == (prefix if name.startswith("sbibm_") else listed.pop(name)), name
    assert listed == {}


def test_the_table_of_structures_has_each_task_that_is_no_vector() -> None:
    def form(declared: structure.Structure) -> tuple[object, ...]:
        if isinstance(declared, structure.Items):
            return "items", declared.regressors is not None, form(declared.each)
        return type(declared), getattr(declared, "channels", declared.size)

    expected = {
        task: form(eval(named(row[0])[0], vars(structure)))
        for row in table_after("tasks/README.md", "## Structure", "| structure")
        for task in named(row[2])
    }
    structures = {name: get_task(name).structure for name in TASKS.table}
    found = {name: form(own) for name, own in structures.items() if not isinstance(own, structure.Vector)}
    assert found == expected


def test_the_table_of_methods_says_what_each_requires() -> None:
    words = {"joint score": {"joint_score"}, "marginal score": {"marginal_score"}, "the SDE": {"sde_path"}}
    for row in table_after("methods/README.md", "## The methods", "| method"):
        for name in named(row[0]):
            assert METHODS.get(name).requires == words.get(row[2], set()), name
            assert row[2] in (*words, "nothing")


def test_the_defaults_in_the_table_of_keys_are_those_of_a_sweep() -> None:
    words = {"required": ..., "all": None, "none": None, "simulations": "simulations"}
    for row in table_after("benchmark/README.md", "## Sweeps", "| key"):
        (key,), default = named(row[0]), row[2]
        field = Sweep.model_fields[key]
        stated = words[default] if default in words else int(default)
        assert (... if field.is_required() else field.default) == stated, key


def test_every_command_is_in_the_readme() -> None:
    listed = {name.split()[1] for name in first_column("README.md", "## Commands", "| command")}
    assert listed == set(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_the_main_documents_use_the_public_face_alone(document: str) -> None:
    assert imports_beyond_the_public_face(read(document)) == []


@pytest.mark.parametrize(
    ("document", "file"),
    [
        ("tasks/README.md", "use.py"),
        ("tasks/README.md", "reading.py"),
        ("tasks/README.md", "counts.py"),
        ("tasks/README.md", "groups.py"),
        ("tasks/README.md", "well.py"),
        ("methods/README.md", "neighbours.py"),
        ("methods/README.md", "regression.py"),
    ],
)
def test_so_do_the_examples_of_tasks_and_methods(document: str, file: str) -> None:
    (body,) = (body for _, title, body in BLOCK.findall(read(document)) if title == file)
    assert "from graybench import " in body
    assert imports_beyond_the_public_face(body) == []
    assert set(re.findall(r"\w+", body.split("from graybench import ")[1].splitlines()[0])) <= set(
        graybench.__all__
    )


def imports_beyond_the_public_face(text: str) -> list[str]:
    return re.findall(r"^ *(?:from graybench\.|import graybench).*$", text, re.MULTILINE)


def test_the_demo_names_a_figure_that_it_draws(tmp_path: Path) -> None:
    """With two replicates of DSM and MIX at the smaller budget."""
    (named,) = re.findall(r"runs/quick/figures/(\S+\.png)", read("Makefile"))
    sweep = Sweep.load(sweep_file(Path("quick"))).model_copy(
        update={"replicates": 2, "metrics": ["score_error"]}
    )
    frames = [run_cell(cell).rows for cell in sweep.select(methods=("dsm", "mix"), budgets=(100,))]
    drawn = {path.name for path in draw_all(pd.concat(frames), nothing(), tmp_path, "score_error")}
    assert named in drawn


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 200


def anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
    made: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        made.append(f"{slug}-{made.count(slug)}" if slug in made else slug)
    return set(made)


@pytest.mark.parametrize("document", PAGES)
def test_links_lead_to_files_and_headings(document: str) -> None:
    text = re.sub(r"^```.*?^```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT.resolve()))), target
