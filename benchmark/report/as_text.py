"""The leaderboard as Markdown, for a README or a pull request, and as a LaTeX table, for a paper."""

from ..analysis.formats import booktabs, escape_latex, escape_markdown
from ..metrics.catalogue import record_of
from .leaderboard import PARTIAL, lines_of
from .numbers import MINUS
from .report import Report


def markdown(report: Report) -> str:
    """Return the leaderboard in GitHub's Markdown."""
    table = _table(report)
    head, *lines = [f"| {' | '.join(map(escape_markdown, line))} |" for line in table]
    rows = "\n".join([head, f"|{' --- |' * len(table[0])}", *lines])
    return f"{escape_markdown(_caption(report, table))}\n\n{rows}\n\nMade by `{report.command}`.\n"


def latex(report: Report) -> str:
    r"""Return the leaderboard in LaTeX, for a document with `\usepackage{booktabs}`."""
    table = _table(report)
    head, *lines = [[escape_latex(cell) for cell in line] for line in table]
    return f"% {report.command}\n" + booktabs(_caption(report, table), "l" * len(head), head, lines)


def _caption(report: Report, table: list[list[str]]) -> str:
    first = next(iter(report.board["metrics"]), "")
    caption = (
        f"Mean rank by {record_of(first).title} (1 is best), means, seconds per fit and failures, with 95 % "
        "intervals."
    )
    if any(PARTIAL.strip() in cell for line in table for cell in line):
        caption += (
            " † Results at less than half of the places: a mean is over those, perhaps the easy ones; "
            "compare ranks of methods with the same number of places."
        )
    return caption


def _table(report: Report) -> list[list[str]]:
    titles = [record_of(metric).title for metric in report.board["means"]]
    head = ["method", "rank", "places", *titles, "cost, s per fit", "failures"]
    rows = [
        [line["label"], line["rank"], line["ranked"], *line["means"], line["cost"], line["failures"]]
        for line in lines_of(report.board)
    ]
    return [head, *([cell.replace("\xa0", " ").replace(MINUS, "-") for cell in row] for row in rows)]
