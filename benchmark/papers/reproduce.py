"""Reproduce a paper: compute missing results, draw the figures, test the claims and write a page.

    OUT/<folder>/      the results of each command of the paper, unless they come from elsewhere
    OUT/figures/       every figure in the paper's arrangement, as PNG
    OUT/README.md      the page
    OUT/claims.md      a short table of the paper's own claims

Results are computed by the `graybench` commands that the page names; each can be stopped and resumed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ..figures.style import save_png
from ..running.rows import ending
from ..running.writing import make_folder, write_whole
from .bridge.paper import BRIDGE
from .commits import last_commit
from .ltsm.paper import LTSM
from .page import Drawn, Held, Origin, Section, claims_of_the_paper, page
from .paper import Claim, Paper, PaperFigure, Picture, Results, Source
from .suite import SUITE

PAPERS = {paper.name: paper for paper in (LTSM, BRIDGE, SUITE)}


def run_missing(paper: Paper, base: Path, graybench: Callable[[list[str]], object]) -> None:
    """Run every command of a paper, except where complete results below `base` were made elsewhere.

    Args:
        paper: the paper.
        base: the folder that holds the result folders.
        graybench: runs one command, given its arguments.
    """
    for source in paper.sources:
        if not source.is_given(base):
            graybench(source.command(base))


def write_page(paper: Paper, base: Path, out: Path, command: str) -> list[Path]:
    """Draw the figures and test the claims that the results below `base` allow, and write the page.

    Args:
        paper: the paper.
        base: the folder that holds the result folders.
        out: the folder for page and figures.
        command: the user's command, for the page.

    Returns:
        The files written.

    Raises:
        UserError: the folder cannot be made.
    """
    make_folder(out / "figures")
    results = Results(base)
    sections = [_section(figure, paper, results, out) for figure in paper.figures]
    origins = [_origin(source, base) for source in paper.sources]
    text = {
        "README.md": page(paper, command, origins, sections),
        "claims.md": claims_of_the_paper(sections, "README.md") + "\n",
    }
    for name, content in text.items():
        write_whole(out / name, content.encode())
    drawn = [out / d.file for section in sections for d in section.drawn if d.file is not None]
    return [*drawn, *(out / name for name in text)]


def _section(figure: PaperFigure, paper: Paper, results: Results, out: Path) -> Section:
    drawn = tuple(_draw(picture, paper, results, out) for picture in figure.pictures)
    return Section(figure, drawn, tuple(_hold(claim, paper, results) for claim in figure.claims))


def _draw(picture: Picture, paper: Paper, results: Results, out: Path) -> Drawn:
    absent = _absent(picture.needs, paper, results)
    if absent:
        return Drawn(picture, None, absent)
    figure = picture.draw(*map(results.read, picture.needs))
    if figure is None:
        return Drawn(picture, None, "The tables have no result to draw.")
    file = f"figures/{picture.name}.png"
    save_png(figure, out / file)
    return Drawn(picture, file)


def _hold(claim: Claim, paper: Paper, results: Results) -> Held:
    if claim.find is None:
        return Held(claim, ())
    absent = _absent(claim.needs, paper, results)
    return Held(claim, () if absent else tuple(claim.find(*map(results.read, claim.needs))), absent)


def _absent(needs: Sequence[str], paper: Paper, results: Results) -> str:
    """Return a sentence that names the first missing file and its command; empty if no file is missing."""
    missing = results.missing(needs)
    if not missing:
        return ""
    makers = [s for s in paper.sources if missing[0].is_relative_to(results.base / s.folder)]
    made = f"; `{_said(makers[-1], results.base)}` makes it" if makers else ""
    return f"`{missing[0]}` is not there{made}."


def _said(source: Source, base: Path) -> str:
    """Return a command as it is typed in a clone."""
    return " ".join(["graybench", *source.command(base, Path("benchmark/sweeps"))])


def _origin(source: Source, base: Path) -> Origin:
    folder = base / source.folder
    last = folder / source.last
    if not last.exists():
        return Origin(folder, _said(source, base), f"`{source.last}` is not there")
    commit = last_commit(folder, *folder.glob("*.csv"), *folder.glob("*.parquet"))
    committed = f"committed in {commit}" if commit else "not committed"
    state = "; ".join(filter(None, [_cells(source, base), committed]))
    return Origin(folder, _said(source, base), state)


def _cells(source: Source, base: Path) -> str:
    """Return the number of cells of a sweep, how they ended, and the versions that made them."""
    if source.last != "table.parquet":
        return ""
    table = Results(base).read(source.folder)
    ended = Counter(ending(rows).status for _, rows in table.groupby("cell"))
    counts = ", ".join(f"{count} {status}" for status, count in ended.most_common())
    made_by = table[["graybench", "torch"]].drop_duplicates().to_numpy().tolist()
    versions = " and ".join(f"graybench {own}, torch {torch}" for own, torch in made_by)
    return f"{ended.total()} cells ({counts}), {versions}"
