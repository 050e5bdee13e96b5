"""The report's numbers are those of `benchmark.statistics`, its links lead somewhere, nothing is hidden."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from benchmark.ranking import ranks
from benchmark.report.leaderboard import means
from benchmark.report.numbers import number
from benchmark.report.points import points_of, with_ranks
from benchmark.report.report import slugs
from benchmark.report.site import write_site
from benchmark.report.sources import read_sources
from benchmark.rows import with_variants
from benchmark.statistics import summarise
from tasks.errors import UserError
from tests.benchmark.conftest import METHODS, ODD, made_up

RESULTS = Path(__file__).parents[2] / "results"
MOST_BYTES = 5_000_000


class Page(HTMLParser):
    """The addresses, ids and texts of table cells of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.tables: list[set[str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a":
            self.links.append(given["href"] or "")
        else:
            self.loaded += [given[name] or "" for name in ("src", "href", "srcset", "data") if name in given]
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag == "tr":
            self.rows.append([])
        if tag == "table":
            self.tables.append(set())
        if tag == "caption" or (tag == "th" and "scope" in given):
            self.tables[-1].add(tag)
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_the_numbers_of_a_figure_are_those_of_summarise(site: Path) -> None:
    rows = with_variants(made_up())
    rows = rows[(rows["metric"] == "score_error") & (rows["task"] == "galton")]
    shown = {
        (line[0], line[1]): line[2:4]
        for line in Page(site / "figures/score_error-galton.html").rows
        if line and line[0] in METHODS
    }
    summary = summarise(rows, ["label", "budget"])
    assert len(summary) == 7
    for line in summary.itertuples():
        value, interval = shown[line.label, f"{line.budget:,}"]
        assert value == number(line.value)
        assert interval == f"[{number(line.low)}, {number(line.high)}]"
    assert shown["ltsm", "100"] == ["not finite", ODD["ltsm", "galton", 100][1]]


def test_the_chart_draws_the_same_numbers(site: Path) -> None:
    text = (site / "figures/mmd-linear_gaussian.html").read_text()
    spec = json.loads(re.search(r'class="spec">(.*?)</script>', text, re.DOTALL)[1])
    assert "https://" not in json.dumps(spec)
    rows = with_variants(made_up())
    rows = rows[(rows["metric"] == "mmd") & (rows["task"] == "linear_gaussian") & (rows["label"] == "dsm")]
    values = spec["layer"][0]["data"]["values"]
    drawn = [v for v in values if v["method"] == "DSM"]
    for record, line in zip(drawn, summarise(rows, ["budget"]).itertuples(), strict=True):
        assert record["budget"] == line.budget
        assert [record[name] for name in ("value", "low", "high")] == pytest.approx(
            [line.value, line.low, line.high], rel=1e-3
        )


def test_the_rows_behind_a_figure_can_be_downloaded(site: Path) -> None:
    rows = made_up()
    rows = rows[(rows["metric"] == "mmd") & (rows["task"] == "galton") & (rows["status"] == "ok")]
    table = pd.read_csv(site / "figures/mmd-galton.csv", keep_default_na=False, na_values=[""])
    values = table[table["status"] == "ok"][["observation_0", "observation_1", "observation_2"]].to_numpy()
    assert values.ravel() == pytest.approx(rows["value"].to_numpy(dtype=float), rel=1e-3)
    assert "ltsm" in set(table["method"])


def test_every_link_leads_somewhere_inside_the_site(site: Path) -> None:
    found = pages(site)
    assert len(found) == 6 + 3 + 4 + 2 * 3 + 2
    for path, page in found.items():
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            address, _, fragment = link.partition("#")
            target = (path.parent / unquote(address)).resolve() if address else path
            assert target.is_file(), f"{path}: {link}"
            assert not fragment or fragment in found[target].ids, f"{path}: {link}"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path, page in pages(site).items():
        assert page.loaded
        for address in page.loaded:
            assert address == "data:," or (path.parent / address).is_file(), f"{path}: {address}"
    style = (site / "assets/report.css").read_text()
    assert "url(" not in style
    assert "@import" not in style


def test_tables_have_captions_and_headers(site: Path) -> None:
    for path, page in pages(site).items():
        for table in page.tables:
            assert table == {"caption", "th"}, path


def test_failures_are_listed(site: Path) -> None:
    page = Page(site / "failures.html")
    (failed,) = [row for row in page.rows if "not finite" in row]
    assert failed[:5] == ["ltsm", "defaults", "galton", "100", "not finite"]
    assert failed[5:7] == [ODD["ltsm", "galton", 100][1], "mmd, score_error"]
    assert any(row[:5] == ["mix", "defaults", "elsewhere", "100", "skipped"] for row in page.rows if row)
    board = {row[0]: row[-1] for row in Page(site / "index.html").rows if row}
    assert board["ltsm"] == "1 of 6"
    assert board["mix"] == "0 of 5"


def test_a_task_that_is_not_installed_has_a_page_without_its_posterior(site: Path) -> None:
    assert "not installed" in (site / "tasks/elsewhere.html").read_text()
    assert "Its posterior" not in (site / "tasks/elsewhere.html").read_text()
    galton = (site / "tasks/galton.html").read_text()
    assert "Its posterior" in galton
    assert "sin(πz_v)" in galton


def test_ranks_at_places_average_to_the_mean_ranks() -> None:
    rows = with_variants(made_up()).assign(folder="made up")
    points = with_ranks(points_of(rows))
    for metric in ("mmd", "score_error"):
        own = points[points["metric"] == metric].groupby("label")["rank"].mean()
        ranked = ranks(made_up(), metric).set_index("label")["rank"]
        assert own.to_dict() == pytest.approx(ranked.to_dict())


def test_means_are_over_places_that_all_have() -> None:
    values = np.array([[1.0, 4.0, np.nan], [3.0, 16.0, 5.0], [7.0, np.nan, np.nan], [9.0, 1.0, np.nan]])
    found, partial = means(values, geometric=False)
    assert found == pytest.approx([13 / 3, 7, 5])
    assert partial.tolist() == [False, False, True]
    assert means(values, geometric=True)[0][1] == pytest.approx(4)


def test_a_result_that_two_folders_have_counts_once(made_up_folder: Path, tmp_path: Path) -> None:
    more = made_up().assign(value=99.0)
    more = pd.concat([more, more[more["metric"] == "mmd"].assign(metric="c2st_mlp")])
    more.to_parquet(tmp_path / "table.parquet")
    rows, sources = read_sources([made_up_folder, tmp_path])
    assert len(rows) == 1.5 * len(made_up())
    assert (rows.loc[rows["value"] == 99, "metric"] == "c2st_mlp").all()
    assert [source.left_out for source in sources] == [0, 48]


def test_a_report_replaces_an_earlier_one_and_nothing_else(made_up_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no report"):
        write_site([made_up_folder], tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match="no such folder"):
        write_site([tmp_path / "none"], tmp_path / "out")


def test_names_become_distinct_addresses() -> None:
    found = slugs(["mix(gate=learned)", "mix gate learned", "dsm", "dsm", "θ"])
    assert found == {"mix(gate=learned)": "mix-gate-learned", "mix gate learned": "mix-gate-learned-2"} | {
        "dsm": "dsm",
        "θ": "x",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00123456, "0.00123"),
        (12.34, "12.3"),
        (1234.5, "1230"),
        (1.5e6, "1.5e6"),
        (2e-5, "2e-5"),
        (None, "–"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_report_of_the_released_results_is_small(tmp_path: Path) -> None:
    written = write_site([RESULTS / "graybox", RESULTS / "galton"], tmp_path / "site")
    assert sum(path.stat().st_size for path in written) < MOST_BYTES
