"""`graybench reproduce`: a tiny sweep from end to end, and what the page says of what is missing."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from graybench.benchmark.analysis.statistics import Interval, exact
from graybench.benchmark.cli.main import app
from graybench.benchmark.papers import reproduce
from graybench.benchmark.papers.bridge.experiments import catalogue
from graybench.benchmark.papers.bridge.paper import BRIDGE
from graybench.benchmark.papers.findings import Finding
from graybench.benchmark.papers.ltsm import claims as ltsm_claims
from graybench.benchmark.papers.ltsm import figures as ltsm_figures
from graybench.benchmark.papers.ltsm import weights as weight_claims
from graybench.benchmark.papers.ltsm.paper import LTSM
from graybench.benchmark.papers.page import Held, Section, claims_of_the_paper, tally
from graybench.benchmark.papers.paper import Claim, PaperFigure, Results, Source
from graybench.tasks.errors import UserError

ROOT = Path(__file__).parents[3]
TINY = {
    "name": "galton",
    "tasks": ["galton"],
    "methods": [
        {"name": name, "recipe": "plain", "early_stopping": False, "steps": 3} for name in ("dsm", "mix")
    ],
    "budgets": [20],
    "replicates": 2,
    "observations": 2,
    "posterior_samples": 20,
    "metrics": ["mmd", "target_variance", "optimal_weight"],
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The paper with the Galton sweep alone, of two cells."""
    sweep = tmp_path / "tiny.yaml"
    sweep.write_text(yaml.safe_dump(TINY))
    source = Source("galton", ("run", str(sweep), "--workers", "1"), "table.parquet", "cells")
    monkeypatch.setitem(reproduce.PAPERS, "ltsm", replace(LTSM, sources=(source,)))
    setting = "early_stopping=false recipe=plain steps=3"
    monkeypatch.setattr(ltsm_figures, "PAPER", setting)
    for module in (ltsm_claims, weight_claims):
        monkeypatch.setattr(module, "SETTINGS", (setting,))
    return tmp_path / "out"


def test_a_sweep_is_run_once_and_its_page_has_every_figure_and_claim(tiny):
    def said():
        done = CliRunner().invoke(app, ["reproduce", "ltsm", "--out", str(tiny)])
        assert done.exit_code == 0, done.output
        return done.output

    assert "2 cells, 0 of them finished before" in said()
    made = {path.name: path.stat().st_mtime_ns for path in (tiny / "galton/cells").iterdir()}
    assert len(made) == 2
    assert "2 cells, 2 of them finished before" in said()
    assert {path.name: path.stat().st_mtime_ns for path in (tiny / "galton/cells").iterdir()} == made
    page = (tiny / "README.md").read_text()
    for figure in LTSM.figures:
        assert f"## {figure.title}\n" in page
        for claim in figure.claims:
            assert f"**{claim.text}: " in page
    drawn = re.findall(r"\]\((figures/.*?)\)", page)
    assert {path.name for path in (tiny / "figures").iterdir()} == {Path(file).name for file in drawn}
    assert {"figures/figure-1-galton.png", "figures/figure-3-board.png"} <= set(drawn)
    # the table of the other sweep is not there, and nothing of it is left out in silence
    suite = f"`{tiny}/suite/table.parquet` is not there."
    assert page.count(f"**Not drawn: {LTSM.figures[0].pictures[1].caption}** {suite}") == 1
    assert f"**Across tasks, variance improves consistently: no result.** {suite}" in page
    assert page.count("2 cells (2 ok)") == 1


def test_experiments_with_bridges_are_run_and_held(tmp_path, monkeypatch):
    def found():
        return rows

    rows = [{"sigma": 1.0, "what": "underflow", "dtype": "float32", "dim": 80, "log_sum_exp_error": -1e-6}]
    monkeypatch.setattr(catalogue, "EXPERIMENTS", {"naive_averaging": lambda: iter([partial(found)])})
    monkeypatch.setitem(reproduce.PAPERS, "bridge", replace(BRIDGE, sources=BRIDGE.sources[:1]))
    done = CliRunner().invoke(app, ["reproduce", "bridge", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "README.md").read_text()
    assert "**Log-sum-exp prevents underflow and overflow: holds.**" in page
    assert "| \\|error\\| in nats at D = 80, the first underflow of plain averaging | float32 |" in page
    assert "**Its minimiser is the score: no result.**" in page
    assert f"`{tmp_path}/bridges/objective_coefficients.csv` is not there; `graybench bridges --out" in page
    assert "**Not drawn: Outlines of swallowtails, eight specimens" in page


def test_results_made_elsewhere_are_taken_as_they_are(tiny):
    galton = tiny / "galton"
    galton.mkdir(parents=True)
    (galton / "table.parquet").touch()
    calls = []
    reproduce.run_missing(reproduce.PAPERS["ltsm"], tiny, calls.append)
    assert calls == []
    (galton / "cells").mkdir()
    reproduce.run_missing(reproduce.PAPERS["ltsm"], tiny, calls.append)
    assert [(call[0], call[-2:]) for call in calls] == [("run", ["--out", str(galton)])]


def test_the_commands_of_the_papers_name_what_is_shipped():
    for paper in reproduce.PAPERS.values():
        for source in paper.sources:
            for argument in source.command(Path("x")):
                assert not argument.endswith(".yaml") or Path(argument).exists()


def test_what_a_page_needs_is_made_by_a_command_of_its_paper():
    for paper in reproduce.PAPERS.values():
        for figure in paper.figures:
            for part in (*figure.pictures, *figure.claims):
                for need in part.needs:
                    assert any(f"{need}/".startswith(f"{s.folder}/") for s in paper.sources), need
            for claim in figure.claims:
                assert claim.find is not None or claim.reason
            assert figure.pictures or figure.reason


def test_a_mistake_is_said(tmp_path):
    for arguments, words in (
        (["lstm"], "there is no paper 'lstm'"),
        (["ltsm", "--from", str(tmp_path / "x")], "there is no such folder"),
    ):
        done = CliRunner().invoke(app, ["reproduce", *arguments, "--out", str(tmp_path / "out")])
        assert isinstance(done.exception, UserError)
        assert words in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_the_verdict_of_a_claim_counts_and_its_worst_finding_is_shown():
    def finding(value, low, high, **more):
        return Finding("c", "", 100, 1.0, Interval(value, low, high), **more)

    claim = Claim("c", find=lambda: ())
    good, bad = finding(0.5, 0.4, 0.6), finding(3.0, 2.0, 4.0)
    unsure, worse = finding(0.9, 0.8, 1.1), finding(5.0, 4.0, 6.0)
    assert Held(claim, (good, good)).verdict == "holds"
    held = Held(claim, (good, worse, unsure, bad))
    assert held.verdict == "holds in 1, open in 1, fails in 2"
    assert held.worst is worse
    least = [finding(v, v, v, at_least=True) for v in (0.5, 0.1, 2.0)]
    assert [f.verdict for f in least] == ["fails", "fails", "holds"]
    assert Held(claim, tuple(least)).worst is least[1]
    assert Held(claim, ()).verdict == "no result"
    assert Held(Claim("c", reason="why"), ()).verdict == "not tested"
    assert Finding("c", "", None, 1.0, exact(1.0), at_least=True).verdict == "holds"


def test_the_short_table_leaves_out_what_the_suite_adds():
    found = (Finding("bias", "", 100, 0.5, Interval(0.25, 0.125, 0.75)),)
    texts = ["First", "… elsewhere", "Suite: second", "… elsewhere too", "Third"]
    held = [Held(Claim(text, find=lambda: ()), found) for text in texts]
    held.append(Held(Claim("Fourth", reason="why"), ()))
    section = Section(PaperFigure("Figure 1", ""), (), tuple(held))
    number = "0.25 [0.125, 0.75] | ≤ 0.5"
    assert claims_of_the_paper([section], "P.md").splitlines()[2:] == [
        *(f"| [{text}](P.md#figure-1) | open | {number} |" for text in ("First", "… elsewhere", "Third")),
        "| [Fourth](P.md#figure-1) | not tested | — | — |",
    ]


def test_the_first_sentence_counts_claims_by_verdict():
    def held(*lows):
        found = [Finding("x", "", None, 1, Interval(low + 0.5, low, low + 1)) for low in lows]
        return Held(Claim("claim", find=lambda: ()), tuple(found))

    claims = [held(-1), held(-1, -2), held(2), held(-1, 2), held(0.5, 2), held(0.5), held()]
    claims.append(Held(Claim("claim", reason="why"), ()))
    counted = "2 held, 2 mixed, 1 open, 1 failed, 1 not tested, 1 without a result"
    assert tally(claims) == f"**Of 8 claims: {counted}.**"


def test_tables_are_found_by_name(tmp_path):
    results = Results(tmp_path)
    assert results.path("galton") == tmp_path / "galton/table.parquet"
    assert results.path("bridges/recovery") == tmp_path / "bridges/recovery.csv"
    assert results.missing(["galton"]) == [tmp_path / "galton/table.parquet"]
    (tmp_path / "bridges").mkdir()
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "bridges/recovery.csv", index=False)
    assert results.missing(["bridges/recovery"]) == []
    assert results.read("bridges/recovery")["a"].tolist() == [1]


@pytest.mark.parametrize("paper", [LTSM, BRIDGE], ids=lambda paper: paper.name)
def test_the_released_page_and_index_have_every_figure_and_claim(paper):
    folder = ROOT / "results" / paper.name
    page, index = (folder / "README.md").read_text(), (ROOT / "results/README.md").read_text()
    for figure in paper.figures:
        assert f"## {figure.title}\n" in page
        for picture in figure.pictures:
            assert f"](figures/{picture.name}.png)" in page
            assert (folder / f"figures/{picture.name}.png").exists()
        for claim in figure.claims:
            assert f"**{claim.text}: " in page
    (counts,) = re.findall(r"^\*\*Of \d+ claims: (.*)\.\*\*$", page, re.MULTILINE)
    assert f": {counts}. `graybench reproduce {paper.name}" in " ".join(index.split())
    for line in (folder / "claims.md").read_text().splitlines():
        assert line.replace("](README.md#", f"]({paper.name}/README.md#") in index
