"""Tables as LaTeX and Markdown: the same numbers as on the terminal, whole environments, specials escaped."""

import re
from collections.abc import Callable

import pandas as pd
import pytest

from graybench.benchmark.analysis.formats import as_latex, as_markdown, escape_latex, escape_markdown
from graybench.tests.benchmark.analysis.test_table import FRAME, failed, row, shown, table

TINY = table(
    *[
        row(method, 10, value * (1 + r), r)
        for method, value in (("dsm", 2e-7), ("mix", -0.5))
        for r in (0, 1)
    ],
    *[row("tsm", 10, 1234567.0, r, method_settings="early_stopping=false") for r in (0, 1)],
    failed("ltsm", 10, "not_finite"),
)


def latex_cells(text: str) -> dict[str, list[str]]:
    """The cells of the lines of a tabular, with the marks of mathematics, bold and italic taken off."""
    plain = re.sub(r" \\times 10\^\{(-?)(\d+)\}", lambda e: f"e{e[1] or '+'}{int(e[2]):02d}", text)
    plain = re.sub(r"\\text(?:bf|it)\{(?:\\boldmath)?([^}]*)\}", r"\1", plain).replace("$", "")
    lines = [line.removesuffix(r" \\").split(" & ") for line in plain.splitlines() if line.endswith(r" \\")]
    return {line[0].replace(r"\_", "_"): line[1:] for line in lines}


def markdown_cells(text: str) -> dict[str, list[str]]:
    lines = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("|")]
    plain = [[re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)\*", "", cell)) for cell in line] for line in lines]
    return {line[0]: line[1:] for line in plain if line[0] != "---"}


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("frame", [FRAME, TINY], ids=["frame", "tiny"])
@pytest.mark.parametrize(
    ("form", "cells"), [(as_latex, latex_cells), (as_markdown, markdown_cells)], ids=["latex", "markdown"]
)
def test_cells_are_those_of_the_terminal(
    frame: pd.DataFrame,
    form: Callable[[pd.DataFrame, str, bool], str],
    cells: Callable[[str], dict[str, list[str]]],
    wide: bool,
) -> None:
    terminal = {
        label: [cell.removesuffix(" *").replace("not\\_", "not_") for cell in line]
        for label, line in shown(frame, wide=wide).items()
    }
    found = {k: [cell.replace(r"\_", "_") for cell in v] for k, v in cells(form(frame, "mmd", wide)).items()}
    assert found == terminal
    assert len(found) > 4


def test_numbers_are_set_as_mathematics() -> None:
    text = as_latex(TINY, "mmd")
    assert r"\textbf{\boldmath$3 \times 10^{-7}$} [$2 \times 10^{-7}$, $4 \times 10^{-7}$]" in text
    assert r"$-0.75$ [$-1$, $-0.5$]" in text
    assert r"$1.23 \times 10^{6}$" in text
    assert r"\textit{not\_finite}" in text


def test_only_the_best_is_bold() -> None:
    assert re.findall(r"\\textbf\{\\boldmath\$(.*?)\$\}", as_latex(FRAME, "mmd")) == ["0.2", "0.05"]
    assert re.findall(r"\*\*(.*?)\*\*", as_markdown(FRAME, "mmd")) == [r"0.2 \[0.2, 0.2\]", "0.05"]


def test_latex_is_whole() -> None:
    two = pd.concat([FRAME, table(row("dsm", 100, 0.4, task="sbibm_sir(a=50%)", floor=float("nan")))])
    text = as_latex(two, "mmd")
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    assert text.count(r"\begin{tabular}") == text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.replace(r"\$", "").count("$") % 2 == 0
    assert r"\caption{sbibm\_sir(a=50\%): mmd, mean [95 \% interval], best in bold}" in text
    for tabular in re.findall(r"\\begin\{tabular\}\{(l\w+)\}(.*?)\\end", text, re.DOTALL):
        columns, body = tabular
        ends = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {line.replace(r"\&", "").count("&") for line in ends} == {len(columns) - 1}
    # outside mathematics every special is escaped
    words = re.sub(r"(?<!\\)\$.*?(?<!\\)\$", "", text)
    assert re.search(r"(?<!\\)[%#_^~]", words) is None


def test_specials_are_escaped() -> None:
    assert escape_latex(r"a_b 5% ±2 {x} \ & # $ ^ ~") == (
        r"a\_b 5\% $\pm$2 \{x\} \textbackslash{} \& \# \$ \textasciicircum{} \textasciitilde{}"
    )
    assert escape_markdown("a_b|*c* [d] <e>") == r"a\_b\|\*c\* \[d\] \<e\>"
