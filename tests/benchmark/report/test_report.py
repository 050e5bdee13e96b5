"""The report's numbers are those of `analysis.statistics`, its links lead somewhere, nothing is hidden."""

import io
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

from graybench.benchmark.analysis.statistics import summarise
from graybench.benchmark.cli.report import report
from graybench.benchmark.report.numbers import number
from graybench.benchmark.report.pages.heat import ratios
from graybench.benchmark.report.parts import shared
from graybench.benchmark.report.report import slugs
from graybench.benchmark.report.site import write_site
from graybench.benchmark.running.kept import DTYPES as KEPT
from graybench.benchmark.running.rows import DTYPES, with_variants
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.conftest import METHODS, ODD, made_up, made_up_kept

RESULTS = Path(__file__).parents[3] / "results"
MOST_BYTES = 6_000_000


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


def table(page: Path, head: list[str]) -> dict[str, list[str]]:
    """The rows of the first table with a head, by their first cell."""
    rows = Page(page).rows
    first = rows.index(head) + 1
    return {row[0]: row[1:] for row in rows[first : rows.index([], first)]}


def test_the_numbers_of_a_figure_are_those_of_summarise(site: Path) -> None:
    rows = with_variants(made_up())
    rows = rows[(rows["metric"] == "score_error") & (rows["task"] == "galton") & rows["time"].isna()]
    shown = table(site / "tasks/galton.html", ["method", "100", "1,000"])
    summary = summarise(rows, ["label", "budget"])
    best = summary.groupby("budget")["value"].transform("min") == summary["value"]
    assert len(summary) == 7
    for line, mark in zip(summary.itertuples(), best, strict=True):
        expected = (
            f"{number(line.value)}{' best' if mark else ''} [{number(line.low)},\xa0{number(line.high)}]"
        )
        assert shown[line.label][[100, 1000].index(line.budget)] == expected
    assert shown["ltsm"][0] == f"not finite {ODD['ltsm', 'galton', 100][1]}"
    assert shown["floor"] == ["0.001", "0.001"]
    cells = rows.drop_duplicates("cell")["cell"]
    links = Page(site / "tasks/galton.html").links
    assert all(links.count(f"../provenance.html#{cell}") == 2 for cell in cells)  # once for each metric


def whole(value: Any, parts: list[Any]) -> Any:
    """Put back what charts share, as the page's script does."""
    if isinstance(value, dict):
        return parts[value["$"]] if "$" in value else {k: whole(inner, parts) for k, inner in value.items()}
    return [whole(inner, parts) for inner in value] if isinstance(value, list) else value


def drawn(site: Path, figure: str) -> pd.DataFrame:
    """The data of a figure's chart."""
    parts = json.loads((site / "assets/parts.js").read_text().partition("=")[2].rstrip(";\n"))
    text = (site / f"figures/{figure}.js").read_text()
    assert text.startswith(f'(window.charts ??= {{}})["figures/{figure}"] = ')
    (spec,) = whole(json.loads(text.partition("] = ")[2].rstrip(";\n")), parts)
    assert "://" not in json.dumps(spec)
    (data,) = spec["datasets"].values()
    return pd.read_csv(io.StringIO(data))


@pytest.mark.parametrize("along", ["budget", "time"])
def test_the_chart_draws_the_same_numbers(site: Path, along: str) -> None:
    rows = with_variants(made_up())
    rows = rows[
        (rows["metric"] == "score_error") & (rows["task"] == "linear_gaussian") & (rows["label"] == "dsm")
    ]
    if along == "budget":
        figure, rows = "score_error-linear_gaussian", rows[rows["time"].isna()]
    else:
        figure = "score_error-over-time-linear_gaussian"
        rows = rows[rows["time"].notna() & (rows["budget"] == 1000)]
    shown = drawn(site, figure).query("method == 'DSM'")
    summary = summarise(rows, [along])
    assert shown[along].tolist() == summary[along].tolist()
    # to three digits, so within half of the last of 100
    assert shown[["value", "low", "high"]].to_numpy() == pytest.approx(
        summary[["value", "low", "high"]].to_numpy(dtype=float), rel=0.005
    )


def test_what_charts_share_is_put_back() -> None:
    same = {"domain": ["dsm", "mix"], "range": ["#0072B2", "#D55E00"]}
    charts = {"a": [{"scale": same, "title": "A"}], "b": [{"scale": same, "title": "B"}, None]}
    without, parts = shared(charts)
    assert without["a"] == [{"scale": {"$": 0}, "title": "A"}]
    assert whole(without, parts) == charts


def test_the_rows_behind_a_figure_can_be_downloaded(site: Path) -> None:
    rows = made_up()
    rows = rows[(rows["metric"] == "mmd") & (rows["task"] == "galton") & (rows["status"] == "ok")]
    table = pd.read_csv(site / "figures/mmd-galton.csv", keep_default_na=False, na_values=[""])
    values = table[table["status"] == "ok"][["observation_0", "observation_1", "observation_2"]].to_numpy()
    assert values.ravel().tolist() == [float(f"{value:.3g}") for value in rows["value"]]
    assert "ltsm" in set(table["method"])


def test_every_link_leads_somewhere_inside_the_site(site: Path) -> None:
    found = pages(site)
    assert len(found) == 7 + 3 + 4 + 3 + 2
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


def test_a_cell_of_the_heat_map_is_the_mean_of_the_table(site: Path) -> None:
    rows = with_variants(made_up())
    rows = rows[(rows["metric"] == "score_error") & (rows["budget"] == 1000) & rows["time"].isna()]
    means = rows.groupby(["task", "label"])["value"].mean()
    page = (site / "index.html").read_text()
    assert "<caption>Score error with 1,000 simulations" in page
    table = Page(site / "index.html").rows
    (head,) = [row for row in table if row[:1] == ["task"]]
    found = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in table if len(row) == len(head) == 5}
    for task in ("galton", "linear_gaussian", "elsewhere"):
        best = min(METHODS, key=lambda label: means[task, label])
        for label in METHODS:
            assert found[task][label] == number(means[task, label]) + (" best" if label == best else "")
    assert page.count('href="tasks/galton.html#score_error"') == 4 + 1  # and below the figure in front
    assert '<h2 id="score_error">' in (site / "tasks/galton.html").read_text()


def test_a_task_has_the_seconds_of_the_methods_as_good_as_the_best(site: Path) -> None:
    rows = with_variants(made_up())
    rows = rows[(rows["metric"] == "mmd") & (rows["task"] == "galton") & (rows["status"] == "ok")]
    means = rows.groupby(["budget", "label"])["value"].mean()
    near = means[means <= means.groupby("budget").transform("min") + 0.02]
    found = Page(site / "tasks/galton.html").rows
    first = found.index(next(row for row in found if row[:3] == ["method", "budget", "seconds"])) + 1
    shown = {(row[1], row[0]): row[2:4] for row in found[first : found.index([], first)]}
    # two replicates took 10 seconds to fit and 1 to sample
    assert shown == {(f"{b:,}", label): ["5.5", number(value)] for (b, label), value in near.items()}
    assert 2 <= len(shown) < len(means)


def test_settings_other_than_the_defaults_are_named(tmp_path: Path) -> None:
    def write(methods: list[str]) -> None:
        for name, frame, dtypes in (("table", made_up(), DTYPES), ("kept", made_up_kept(), KEPT)):
            own = frame[frame["method"].isin(methods)].assign(method_settings="steps=300").astype(dtypes)
            own.to_parquet(tmp_path / f"{name}.parquet", index=False)
        write_site([tmp_path], tmp_path / "site")

    write(["dsm"])
    galton = (tmp_path / "site/tasks/galton.html").read_text()
    assert "methods, settings steps=300, replicate 0" in galton
    assert "over their level, settings steps=300." in galton
    assert '<table class="heat">' not in (tmp_path / "site/index.html").read_text()  # nobody to compare with
    write(["dsm", "ltsm"])
    assert (
        "with 1,000 simulations, settings steps=300</caption>" in (tmp_path / "site/index.html").read_text()
    )


def test_a_distance_from_the_best_has_a_colour_unless_it_is_below_the_floor() -> None:
    points = pd.DataFrame({"value": [0.01, 0.02, 0.05, 0.3, float("nan")], "floor": 0.02})
    assert ratios("mmd", points)[:4].tolist() == pytest.approx([1, 1, 2.5, 15])
    assert ratios("mmd", points.assign(floor=0.0))[:4].tolist() == pytest.approx([1, 2, 5, 30])
    coverage = pd.DataFrame({"value": [0.9, 0.88, 0.95], "floor": float("nan")})
    assert ratios("coverage", coverage).tolist() == [1, float("inf"), float("inf")]


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
    for absent in ("Its posterior", "Its observation", "Calibration"):
        assert absent not in (site / "tasks/elsewhere.html").read_text()
    galton = (site / "tasks/galton.html").read_text()
    assert "Its posterior" in galton
    assert "sin(πz_v)" in galton


def test_the_leaderboard_as_text(site: Path) -> None:
    lines = (site / "leaderboard.md").read_text().splitlines()
    assert lines[2].startswith("| method | rank | places | Score error | MMD |")
    assert len({line.count("|") for line in lines[2:8]}) == 1
    assert [line.split(" | ")[0] for line in lines[4:8]] == [
        "| mix",
        "| mix(gate=learned)",
        "| dsm",
        "| ltsm",
    ]
    latex = (site / "leaderboard.tex").read_text()
    assert latex.count(r" \\" + "\n") == 5
    assert r"\toprule" in latex


def test_a_method_at_few_places_comes_after_the_others_and_is_explained(tmp_path: Path) -> None:
    frame = made_up()
    first = frame["cell"][frame["method"] == "mix"].iloc[0]
    folder = tmp_path / "few"
    folder.mkdir()
    few = frame[(frame["method"] != "mix") | (frame["cell"] == first)]
    few.to_parquet(folder / "table.parquet", index=False)
    write_site([folder], tmp_path / "site")
    lines = (tmp_path / "site/leaderboard.md").read_text().splitlines()
    assert "† Results at less than half of the places" in lines[0]
    ranks = [line.split(" | ")[1] for line in lines[4:] if line.startswith("|")]
    assert [rank.endswith("†") for rank in ranks] == [False] * (len(ranks) - 1) + [True]
    assert float(ranks[-1].split()[0]) == 1


def test_the_same_results_make_the_same_bytes(site: Path, made_up_folder: Path, tmp_path: Path) -> None:
    write_site([made_up_folder], tmp_path / "elsewhere")
    again = {path.relative_to(tmp_path / "elsewhere"): path for path in (tmp_path / "elsewhere").rglob("*.*")}
    first = {path.relative_to(site): path for path in site.rglob("*.*")}
    assert first.keys() == again.keys()
    for name, path in first.items():
        assert path.read_bytes() == again[name].read_bytes(), name


def test_names_are_text_and_no_markup(made_up_folder: Path, tmp_path: Path) -> None:
    name = "<script>alert('x')</script>"
    frame = made_up()
    frame = frame.assign(task=frame["task"].replace("elsewhere", name), reason=frame["reason"] + "</script>")
    (tmp_path / "results").mkdir()
    frame.to_parquet(tmp_path / "results/table.parquet")
    for path in write_site([tmp_path / "results"], tmp_path / "site"):
        if path.suffix == ".html":
            assert name not in path.read_text(), path
            assert "reason</script>" not in path.read_text()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    for module in [name for name in sys.modules if name.startswith("graybench.benchmark.report.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(UserError, match=r"needs the package altair: pip install 'graybench\[report\]'"):
        report([tmp_path], tmp_path / "site")


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
        (2e-5, "2e−5"),
        (None, "–"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_released_site_is_whole_and_small() -> None:
    site = RESULTS / "site"
    listed = {*(site / "files.txt").read_text().splitlines(), "files.txt"}
    found = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    assert found.keys() == listed
    assert sum(path.stat().st_size for path in found.values()) < MOST_BYTES
