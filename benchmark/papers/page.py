"""The page of a reproduction, in Markdown: every figure and every claim of a paper, with the findings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .findings import Finding
from .paper import Claim, Paper, PaperFigure, Picture

NOT_TESTED, MISSING = "not tested", "no result"
SUITE, GOES_ON = "Suite:", "…"  # begin the text of a claim that the suite adds, or that goes on

VERDICTS = {  # verdicts of all findings together, in the words of the page's first sentence
    "holds": "held",
    "mixed": "mixed",
    "open": "open",
    "fails": "failed",
    NOT_TESTED: NOT_TESTED,
    MISSING: "without a result",
}


@dataclass(frozen=True)
class Held:
    """A claim with its findings, or the reason why there are none."""

    claim: Claim
    findings: tuple[Finding, ...]
    absent: str = ""

    @property
    def verdict(self) -> str:
        """The verdict of all findings, or the number of each verdict if they differ."""
        if self.claim.find is None:
            return NOT_TESTED
        counts = Counter(finding.verdict for finding in self.findings)
        if not counts:
            return MISSING
        if len(counts) == 1:
            return next(iter(counts))
        order = ("holds", "open", "fails", MISSING)
        return ", ".join(f"{verdict} in {counts[verdict]}" for verdict in order if counts[verdict])

    @property
    def worst(self) -> Finding | None:
        """The finding with the worst verdict; among several, the one farthest from its target."""
        order = (MISSING, "fails", "open", "holds")

        def against(finding: Finding) -> tuple[int, float]:
            excess = (finding.found.value - finding.target) / (abs(finding.target) or 1)
            return -order.index(finding.verdict), -excess if finding.at_least else excess

        return max(self.findings, key=against, default=None)


@dataclass(frozen=True)
class Drawn:
    """A picture and its file, relative to the page; without a file, the reason."""

    picture: Picture
    file: str | None
    absent: str = ""


@dataclass(frozen=True)
class Section:
    """A figure of the paper with its drawings and findings."""

    figure: PaperFigure
    drawn: tuple[Drawn, ...]
    held: tuple[Held, ...]


@dataclass(frozen=True)
class Origin:
    """The origin of results: their folder, the command that makes them, and their state."""

    folder: Path
    command: str
    state: str


def page(paper: Paper, command: str, origins: Sequence[Origin], sections: Sequence[Section]) -> str:
    """Return the page of a paper."""
    parts = [
        f"# {paper.title}, reproduced",
        f"{paper.reference}.",
        tally([held for section in sections for held in section.held]),
        "A claim *holds* if the whole 95 % interval of a number is on the wanted side of its target, *fails* "
        "if the whole interval is on the other side, and is *open* otherwise. Counts and numbers that are "
        "computed without sampling have intervals without width, unless a part of them gave no result.",
        "## In short",
        summary(sections),
        *(_section(section) for section in sections),
        "## How it was made",
        f"**Command.** `{command}` wrote this page, its figures and [claims.md](claims.md); do not edit "
        f"them.",
        paper.note,
        _origins(origins),
    ]
    return "\n\n".join(parts) + "\n"


def tally(held: Sequence[Held]) -> str:
    """Return a sentence that counts claims by verdict; claims with several verdicts are mixed."""
    counts = Counter(claim.verdict if claim.verdict in VERDICTS else "mixed" for claim in held)
    parts = [f"{counts[verdict]} {words}" for verdict, words in VERDICTS.items() if counts[verdict]]
    return f"**Of {len(held)} claims: {', '.join(parts)}.**" if held else "**No claim is tested.**"


def summary(sections: Sequence[Section]) -> str:
    """Return a table with a row for each claim: its verdict, and its worst finding."""
    lines = ["| where | claim | found | verdict |", "|---|---|---|---|"]
    for section in sections:
        title = section.figure.title
        link = f"[{title}](#{_anchor(title)})"
        lines += [f"| {link} | {held.claim.text} | {_gist(held)} | {held.verdict} |" for held in section.held]
        if not section.held and not section.drawn:
            lines.append(f"| {link} | {section.figure.shows} | {section.figure.reason} | not reproduced |")
    return "\n".join(lines)


def claims_of_the_paper(sections: Sequence[Section], page: str) -> str:
    """Return a short table of the claims that the paper makes itself, without those that the suite adds.

    The number is that of the worst finding, which the page names.

    Args:
        sections: the sections of the page.
        page: the path of the page, for links.
    """
    lines, added = ["| claim | verdict | number | wanted |", "|---|---|---|---|"], False
    for section in sections:
        anchor = _anchor(section.figure.title)
        for held in section.held:
            text = held.claim.text
            added = text.startswith(SUITE) or (added and text.startswith(GOES_ON))
            if not added:
                lines.append(f"| [{text}]({page}#{anchor}) | {held.verdict} | {_short(held.worst)} |")
    return "\n".join(lines)


def _short(worst: Finding | None) -> str:
    return "— | —" if worst is None else f"{_number(worst)} | {_wanted(worst)}"


def _gist(held: Held) -> str:
    worst = held.worst
    if worst is None:
        gist = held.claim.reason if held.claim.find is None else held.absent
        return _escaped(gist or "the tables have no such rows")
    more = f", worst of {len(held.findings)}" if len(held.findings) > 1 else ""
    return f"{_escaped(worst.claim)}: {_number(worst)}, wanted {_wanted(worst)} ({_place(worst)}{more})"


def _section(section: Section) -> str:
    figure = section.figure
    parts = [f"## {figure.title}"]
    if figure.shows:
        parts.append(f"*In the paper:* {figure.shows}")
    if figure.reason:
        parts.append(figure.reason)
    if not section.drawn and not figure.pictures:
        parts.append("**Not drawn.**")
    for drawn in section.drawn:
        if drawn.file is None:
            parts.append(f"**Not drawn: {drawn.picture.caption}** {drawn.absent}")
        else:
            parts.append(f"![{figure.title}]({drawn.file})\n\n*{drawn.picture.caption}*")
    parts += [_held(held) for held in section.held]
    return "\n\n".join(parts)


def _held(held: Held) -> str:
    title = f"**{held.claim.text}: {held.verdict}.**"
    note = " ".join(text for text in (held.claim.reason, held.absent) if text)
    lines = [f"{title} {note}".rstrip()]
    if held.findings:
        lines += [
            "",
            "| number | setting | budget | wanted | found [95 % interval] | verdict |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {_escaped(f.claim)} | {_setting(f)} | {_budget(f)} | {_wanted(f)} | {_number(f)} | "
            f"{f.verdict} |"
            for f in held.findings
        ]
    return "\n".join(lines)


def _origins(origins: Sequence[Origin]) -> str:
    lines = ["| results | made by | what is there |", "|---|---|---|"]
    lines += [f"| `{origin.folder}` | `{origin.command}` | {origin.state} |" for origin in origins]
    return "\n".join(lines)


def _number(finding: Finding) -> str:
    value, low, high = finding.found
    if np.isnan(value):
        return "—"
    if low == value == high:
        return f"{value:.3g}"
    if np.isnan(low):
        return f"{value:.3g}, no interval"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _wanted(finding: Finding) -> str:
    return f"{'≥' if finding.at_least else '≤'} {finding.target:.3g}"


def _setting(finding: Finding) -> str:
    return finding.variant or "default"


def _budget(finding: Finding) -> str:
    return "" if finding.budget is None else f"{finding.budget:,}"


def _place(finding: Finding) -> str:
    return (
        _setting(finding)
        if finding.budget is None
        else f"{_setting(finding)}, {_budget(finding)} simulations"
    )


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -")
    return kept.replace(" ", "-")
