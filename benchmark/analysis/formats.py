"""Result tables for papers and pages, in LaTeX with booktabs and in Markdown.

Numbers, intervals, floors and the mark of the best method are the same as in the terminal (`.table`).
"""

import re

import pandas as pd

from .table import Entry, Sheet, sheets_of

MARKDOWN_SPECIAL = re.compile(r"([\\`*_|<>\[\]#~])")
LATEX_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "·": r"$\cdot$",
        **{sign: rf"\{sign}" for sign in "$&#_%"},
    }
)


def as_markdown(frame: pd.DataFrame, metric: str, wide: bool = False) -> str:
    """Return the tables of `sheets_of` in GitHub's Markdown.

    Raises:
        UserError: the table has no such metric to average.
    """
    return "\n".join(_markdown(sheet) for sheet in sheets_of(frame, metric, wide))


def _markdown(sheet: Sheet) -> str:
    head = ["method", *map(escape_markdown, sheet.columns)]
    lines = [
        [escape_markdown(label), *map(_markdown_entry, entries)] for label, entries in sheet.lines.items()
    ]
    if any(sheet.floors):
        lines.append(["floor", *sheet.floors])
    return markdown_table(f"{sheet.name} · {sheet.caption('best in bold')}", head, lines)


def markdown_table(title: str, head: list[str], lines: list[list[str]]) -> str:
    """Return a table in GitHub's Markdown, the first column to the left and others to the right.

    Args:
        title: plain text.
        head, lines: cells in Markdown.
    """
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return f"{escape_markdown(title)}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _markdown_entry(entry: Entry) -> str:
    if entry.status:
        return f"*{escape_markdown(entry.status)}*"
    text = escape_markdown(str(entry))
    return f"**{text}**" if entry.best else text


def escape_markdown(text: str) -> str:
    """Put a backslash before every sign that has a meaning in Markdown."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", text)


def as_latex(frame: pd.DataFrame, metric: str, wide: bool = False) -> str:
    r"""Return the tables of `sheets_of`, for a document with `\usepackage{booktabs}`.

    Raises:
        UserError: the table has no such metric to average.
    """
    return "\n".join(_latex(sheet) for sheet in sheets_of(frame, metric, wide))


def _latex(sheet: Sheet) -> str:
    title = f"{sheet.name}: {sheet.caption('best in bold')}"
    head = ["method", *map(escape_latex, sheet.columns)]
    lines = [[escape_latex(label), *map(_latex_entry, entries)] for label, entries in sheet.lines.items()]
    floor = ["floor", *map(_latex_number, sheet.floors)] if any(sheet.floors) else None
    return booktabs(title, f"l{'r' * len(sheet.columns)}", head, lines, floor)


def booktabs(
    caption: str, columns: str, head: list[str], lines: list[list[str]], foot: list[str] | None = None
) -> str:
    """Return a LaTeX table with rules.

    Args:
        caption: plain text.
        columns: the column specification of `tabular`.
        head, lines, foot: cells in LaTeX; `foot` is a last row below a rule.
    """
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _latex_row(head),
            r"\midrule",
            *map(_latex_row, lines),
            *([r"\midrule", _latex_row(foot)] if foot else []),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_entry(entry: Entry) -> str:
    if not entry.value:
        return rf"\textit{{{escape_latex(entry.status)}}}" if entry.status else ""
    value = _latex_number(entry.value)
    text = rf"\textbf{{\boldmath{value}}}" if entry.best else value
    if entry.low:
        text += f" [{_latex_number(entry.low)}, {_latex_number(entry.high)}]"
    return text


def _latex_number(number: str) -> str:
    r"""Return a number in math mode: "-1.2e-05" becomes "$-1.2 \times 10^{-5}$"."""
    mantissa, _, exponent = number.partition("e")
    if not exponent:
        return f"${number}$" if number else ""
    return rf"${mantissa} \times 10^{{{int(exponent)}}}$"


def escape_latex(text: str) -> str:
    """Escape a text so that LaTeX prints it."""
    return text.translate(LATEX_SPECIAL)
