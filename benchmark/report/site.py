"""Write the static site of a report: pages, the rows behind each figure, and one copy of Vega's script.

    SITE/index.html, advice.html, tasks.html, methods.html, figures.html, failures.html, provenance.html
    SITE/leaderboard.md, leaderboard.tex   the leaderboard for a README and for a paper
    SITE/tasks/, methods/               a page each
    SITE/figures/                       charts, *.js, and the rows behind them, *.csv; a page each for ranks
                                        and figures over diffusion time
    SITE/assets/                        style sheet, scripts
    SITE/files.txt                      the files written, so that the next report can replace them

The site opens from disk and loads nothing from elsewhere.
"""

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.resources import files
from itertools import chain
from pathlib import Path

import altair as alt
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from ...tasks.errors import UserError
from ..running.writing import make_folder, write_text
from .as_text import latex, markdown
from .charts import Spec
from .numbers import FILTERS
from .pages import provenance
from .pages.figures import figure_files, rank_contexts, time_contexts
from .pages.methods import method_pages
from .pages.overview import Context, listings, overview
from .pages.tasks import task_page
from .parts import as_json, shared
from .report import Report

LIST = "files.txt"
OMISSIBLE = "</t[dhr]>"  # end tags that HTML does not require: a twentieth of a site
NAV = (
    ("index.html", "Overview"),
    ("advice.html", "Which method?"),
    ("tasks.html", "Tasks"),
    ("methods.html", "Methods"),
    ("figures.html", "Figures"),
    ("failures.html", "Failures"),
    ("provenance.html", "Provenance"),
)


def write_site(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write the report of result folders, in place of an earlier report in `out`; return the files written.

    Raises:
        UserError: a folder has no results; or `out` holds something else than a report, or cannot be written.
        StoreError: a table is damaged.
    """
    _require_own(out)
    report = Report(folders)
    make_folder(out)
    content = dict(_contents(report))
    _remove_earlier(out)
    for path, text in content.items():
        write_text(out / path, text)
    write_text(out / LIST, "".join(f"{path}\n" for path in content))
    return [out / path for path in content]


def _contents(report: Report) -> Iterator[tuple[str, str]]:
    """Yield path and content of each file."""
    templates = _Templates(report)
    specs: dict[str, list[Spec | None]] = {}
    index = overview(report)
    front = [task["chart"] for task in index["front"]["tasks"][:1]] if index["front"] else []
    yield "index.html", templates.render("index", "index.html", index, front)
    yield "leaderboard.md", markdown(report)
    yield "leaderboard.tex", latex(report)
    for path, context in listings(report).items():
        yield path, templates.render("listing", path, context)
    for label, path in report.task_pages.items():
        context = task_page(report, label)
        parts = [(part["chart"], part["time_page"].removesuffix(".html")) for part in context["parts"]]
        charts = [chart for pair in parts for chart in pair if chart]
        if context["specs"]:
            specs[report.task_chart(label)] = list(context["specs"].values())
            charts.insert(0, report.task_chart(label))
        yield path, templates.render("task", path, context, charts)
    for path, context in method_pages(report).items():
        yield path, templates.render("method", path, context)
    for chart, panels, csv in figure_files(report):
        yield f"{chart}.csv", csv
        specs[chart] = panels
    for path, context, csv in chain(rank_contexts(report), time_contexts(report)):
        chart = path.removesuffix(".html")
        context["csv"] = f"{chart.rpartition('/')[2]}.csv"
        yield path, templates.render("figure", path, context, [chart])
        yield f"{chart}.csv", csv
        specs[chart] = [panel["spec"] for panel in context["panels"]]
    yield from _chart_files(specs)
    yield "failures.html", templates.render("failures", "failures.html", provenance.failures(report))
    yield "provenance.html", templates.render("provenance", "provenance.html", provenance.provenance(report))
    for name in ("report.css", "report.js"):
        asset = files("graybench.benchmark.report").joinpath("assets", name)
        yield f"assets/{name}", asset.read_text(encoding="utf-8")
    yield "assets/vega.js", _vega()


def _chart_files(specs: dict[str, list[Spec | None]]) -> Iterator[tuple[str, str]]:
    """Yield path and content of a script for each figure, which several pages load, and of their parts."""
    charts, parts = shared(specs)
    for chart, panels in charts.items():
        yield f"{chart}.js", f"(window.charts ??= {{}})[{as_json(chart)}] = {as_json(panels)};\n"
    yield "assets/parts.js", f"window.parts = {as_json(parts)};\n"


def _vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that sets `vegaEmbed`."""
    snippet = "window.vegaEmbed = vegaEmbed;"
    return vl_convert.javascript_bundle(snippet, vl_version=alt.SCHEMA_VERSION.rpartition(".")[0])


class _Templates:
    """The templates, with the values that all pages share."""

    def __init__(self, report: Report) -> None:
        loader = PackageLoader("graybench.benchmark.report")
        self.environment = Environment(
            loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
        )
        self.environment.filters |= FILTERS
        # keep the order of the metrics, and write no spaces
        self.environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
        self.environment.tests["nan"] = lambda value: value != value
        self.environment.globals |= {
            "nav": NAV,
            "command": report.command,
            "version": version("graybench"),
            "commit": report.commit,
            "slugs": report.slugs,
            "task_pages": report.task_pages,
            "method_pages": report.method_pages,
        }

    def render(self, template: str, path: str, context: Context, charts: Sequence[str] = ()) -> str:
        folder, _, _ = path.rpartition("/")
        place = {
            "here": path,
            "section": f"{folder}.html" if folder else path,
            "root": "../" if folder else "",
            "charts": charts,
        }
        page = self.environment.get_template(f"{template}.html").render(context | place)
        return re.sub(OMISSIBLE, "", page)


def _require_own(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: this is not a folder; choose another --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / LIST).is_file():
        raise UserError(f"{out}: the folder is not empty and holds no report; choose another --out.")


def _remove_earlier(out: Path) -> None:
    if (out / LIST).is_file():
        for line in (out / LIST).read_text(encoding="utf-8").splitlines():
            if ".." not in Path(line).parts and not Path(line).is_absolute():
                (out / line).unlink(missing_ok=True)
