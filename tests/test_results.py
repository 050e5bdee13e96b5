"""The released tables hold numbers of today's tasks and methods, and pages show what is in them."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from graybench.benchmark.analysis.comparison_table import comparison_as_markdown
from graybench.benchmark.analysis.formats import as_markdown
from graybench.benchmark.metrics.catalogue import METRICS
from graybench.benchmark.papers.reproduce import PAPERS, write_page
from graybench.benchmark.running.rows import with_variants
from graybench.benchmark.running.table import read_table
from graybench.methods import get_method
from graybench.tasks import get_task

ROOT = Path(__file__).parent.parent
TABLES = sorted(ROOT.glob("results/**/table.parquet"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.parent.relative_to(ROOT / "results")))
def test_every_number_is_of_todays_version_of_its_task_and_method(path: Path) -> None:
    rows = pd.read_parquet(path)
    methods = rows[["method", "method_version"]].drop_duplicates().to_numpy()
    tasks = rows[["task", "task_version"]].drop_duplicates().to_numpy()
    old = [name for name, version in methods if get_method(name).version != version]
    old += [label for label, version in tasks if get_task(label.partition("(")[0]).version != version]
    assert not old


# pages of `graybench shapes`, which end with their files; results/trees says how they were made
GENERATED = {"trees/carnivores", "trees/papilio"}


@pytest.mark.parametrize(
    "folder", [str(page.parent.relative_to(ROOT / "results")) for page in ROOT.glob("results/*/**/README.md")]
)
def test_every_page_ends_with_how_it_was_made(folder: str) -> None:
    text = (ROOT / "results" / folder / "README.md").read_text("utf-8")
    *_, last = [line for line in text.splitlines() if line.startswith("#")]
    assert (last == "## How it was made") == (folder not in GENERATED), last


PAGES = [page for page in sorted(ROOT.glob("results/**/*.md")) if page.stem in METRICS]


NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")


def same(stored: str, now: str) -> None:
    """Numbers are equal but for a unit in the third digit, which sums in another order can change."""
    # the best is bold; of two with equal means it may be the other
    assert NUMBER.sub("", stored).replace("*", "") == NUMBER.sub("", now).replace("*", "")
    assert numbers_in(stored) == pytest.approx(numbers_in(now), rel=0.0101)


def numbers_in(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "results")))
def test_the_page_of_a_metric_is_that_of_the_table(page: Path) -> None:
    same(page.read_text("utf-8"), as_markdown(read_table(page.parent), page.stem) + "\n")


def lines_of_tables(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("folder", "metrics"),
    [("rivals", ["c2st_mlp"]), ("rivals/calibration", ["coverage", "expected_coverage"])],
)
def test_the_wide_tables_on_a_page_are_those_of_the_command(folder: str, metrics: list[str]) -> None:
    page, table = (
        (ROOT / "results" / folder / "README.md").read_text("utf-8"),
        read_table(ROOT / "results" / folder),
    )
    shown = lines_of_tables(page.partition("## At what cost")[0])
    now = [as_markdown(table, metric, wide=True).replace("\\_", "_") for metric in metrics]
    same("\n".join(shown), "\n".join(line for text in now for line in lines_of_tables(text)))


COMPARED = re.compile(r"Score error of `(.*?)` over that of `(.*?)`,.*\n\n((?:\|.*\n)+)")


@pytest.mark.parametrize("folder", ["gates", "suite"])
def test_the_ratios_on_a_page_are_those_of_the_command(folder: str) -> None:
    page, table = (
        (ROOT / "results" / folder / "README.md").read_text("utf-8"),
        read_table(ROOT / "results" / folder),
    )
    shown = COMPARED.findall(page)
    assert shown
    for method, baseline, stored in shown:
        now = comparison_as_markdown(table, "score_error", method, baseline).partition("\n\n")[2]
        now = now.replace("\\", "")
        same(stored, now)
        assert NUMBER.sub("", stored) == NUMBER.sub("", now)  # stars and pluses too


LINK = re.compile(r"\[([^\]]*)\]\(README\.md#[^)]*\)")


@pytest.mark.parametrize(("paper", "folder"), [("ltsm", "ltsm"), ("bridge", "bridge"), ("suite", "gates")])
def test_the_short_table_of_claims_is_that_of_the_tables(paper: str, folder: str, tmp_path: Path) -> None:
    whole = PAPERS[paper]
    bare = replace(whole, figures=tuple(replace(figure, pictures=()) for figure in whole.figures))
    write_page(bare, ROOT / "results", tmp_path, "")
    stored, now = (
        LINK.sub(r"\1", (own / "claims.md").read_text("utf-8"))
        for own in (ROOT / "results" / folder, tmp_path)
    )
    same(stored, now)


COUNTS = r"(\d+), (\d+) and (\d+)"
SENTENCES = {
    "mix(gate=auto)": f"`auto` has a lower score error than DSM beyond its interval on {COUNTS} of (\\d+)",
    "mix": f"With the scalar gate it is lower on {COUNTS}",
}


@pytest.mark.parametrize("method", SENTENCES)
def test_the_first_sentences_count_the_stars_of_the_tables(method: str) -> None:
    page = (ROOT / "results/suite/README.md").read_text("utf-8")
    (said,) = re.findall(SENTENCES[method], page)
    (table,) = [rows for own, _, rows in COMPARED.findall(page) if own == method]
    places = [line.split("|")[2:5] for line in table.splitlines()[2:]]
    stars = [sum("*" in place for place in column) for column in zip(*places, strict=True)]
    assert [int(count) for count in said] == [*stars, len(places)][: len(said)]
    assert "+" not in "".join(map("".join, places))  # "and a higher one on none"


LENSING = {
    "dsm": "dsm",
    "mix": "mix",
    "mix, auto": "mix(gate=auto)",
    "mix, learned": "mix(gate=learned)",
    "ltsm": "ltsm",
}
COLUMNS = [(metric, budget) for metric in ("c2st_mlp", "score_error") for budget in (1000, 10_000)]


def test_the_page_of_lensing_shows_the_means_of_suite_and_rivals() -> None:
    def means(folder: str, task: str, label: str, variant: str) -> list[float]:
        rows = with_variants(read_table(ROOT / "results" / folder))
        rows = rows[(rows["task"] == task) & (rows["label"] == label) & (rows["variant"] == variant)]
        rows = rows[rows["time"].isna()]
        return [rows.loc[(rows["metric"] == m) & (rows["budget"] == b), "value"].mean() for m, b in COLUMNS]

    page = (ROOT / "results/lensing/README.md").read_text("utf-8")
    raw, *lines = lines_of_tables(page.partition("## What was learned")[2])[2:]
    field, whitened = "lensing_lognormal", "lensing_lognormal(reading=whitened)"
    expected = [means("rivals", field, "dsm", "summaries=none")]
    expected += [means("suite", task, label, "") for task in (field, whitened) for label in LENSING.values()]
    for line, numbers in zip([raw, *lines], expected, strict=True):
        assert [float(cell) for cell in line.split("|")[2:6]] == pytest.approx(numbers, rel=0.005), line
    assert [line.split("|")[1].split(":")[-1].strip() for line in lines] == [*LENSING, *LENSING]
