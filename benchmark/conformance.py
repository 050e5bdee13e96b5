"""Conformance of a task: checks that find a wrong joint score, simulator or reference before it is trusted.

Each check gives statistics that are standard normal for a correct task. One above 4.5 fails the check: of
correct tasks that happens to one statistic in 150,000, and the table says how often to a task with as many
statistics as it had. A check whose largest statistic would be that large in one of twenty correct tasks at
most, but that does not fail, is repeated on four times as many fresh simulations, and once more on sixteen
times as many, so that a small error is either seen or put to rest.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark import reference_checks, score_checks, simulator_checks
from benchmark.evidence import Evidence, NotApplicableError, Statistic
from tasks.seeding import derive_seed
from tasks.task import Task

LIMIT = 4.5
DOUBTFUL = 0.05
STAGES, GROWTH = 3, 4

FOUNDATIONS = ("prior", "random numbers", "finite", "rows", "company", "T0, fixed θ")

Check = Callable[[Task, int, int], Evidence]

CHECKS: dict[str, Check] = {
    "prior": simulator_checks.prior,
    "random numbers": simulator_checks.random_numbers,
    "observations": simulator_checks.observations,
    "finite": simulator_checks.finite,
    "rows": simulator_checks.rows,
    "company": simulator_checks.company,
    "T0, fixed θ": score_checks.at_fixed_theta,
    "T1, marginal score": score_checks.against_marginal,
    "T2, prior predictive": score_checks.against_prior,
    "differences": score_checks.differences,
    "information equality": score_checks.information,
    "reference, Stein": reference_checks.against_likelihood,
    "reference, diffused": reference_checks.diffused,
    "reference, density": reference_checks.density,
    "reference, calibration": reference_checks.calibration,
}


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        check: a key of `CHECKS`.
        verdict: "passed", "failed" or "skipped".
        n: simulations or draws of the last stage.
        statistics: how many there were.
        worst: the largest of them in absolute value; None if there are none.
        note: why it was skipped, or the diagnosis of a failure.
    """

    check: str
    verdict: str
    n: int
    statistics: int
    worst: Statistic | None
    note: str


def check_task(task: Task, n: int, seed: int) -> Iterator[Finding]:
    """Run every check on a task; yield findings as they are made.

    Args:
        task: the task.
        n: simulations of the first stage of each check, at least 1,000.
        seed: names the random stream.
    """
    broken: list[str] = []
    for name, check in CHECKS.items():
        finding = _finding(name, check, task, n, seed)
        if finding.verdict == "failed":
            if broken:
                finding = finding._replace(note=f"{finding.note} First see to: {'; '.join(broken)}.")
            if name in FOUNDATIONS:
                broken.append(name)
        yield finding


def _finding(name: str, check: Check, task: Task, n: int, seed: int) -> Finding:
    try:
        return _run(name, check, task, n, seed)
    except NotApplicableError as reason:
        return Finding(name, "skipped", 0, 0, None, f"{reason}.")
    except Exception as error:  # whatever a task raises is a finding about the task
        return Finding(name, "failed", 0, 0, None, f"It raised {type(error).__name__}: {error}")


def _run(name: str, check: Check, task: Task, n: int, seed: int) -> Finding:
    """Run one check in stages: until it fails, nothing is doubtful, or there is nothing fresh to look at."""
    for stage in range(STAGES):
        evidence = check(task, n * GROWTH**stage, derive_seed(seed, "conformance", task.label, name, stage))
        count = len(evidence.statistics)
        if not count:
            raise NotApplicableError("nothing varies enough to be tested")
        worst = max(evidence.statistics, key=lambda s: math.inf if math.isnan(s.z) else abs(s.z))
        if math.isnan(worst.z):
            note = f"{worst.name} is not a number: a score, data or a draw is not finite."
            return Finding(name, "failed", evidence.n, count, worst, note)
        if abs(worst.z) > LIMIT:
            return Finding(name, "failed", evidence.n, count, worst, evidence.diagnosis)
        if not evidence.fresh or abs(worst.z) <= NormalDist().inv_cdf(1 - DOUBTFUL / (2 * count)):
            break
    return Finding(name, "passed", evidence.n, count, worst, "")


def print_findings(task: Task, findings: Sequence[Finding], console: Console) -> None:
    """Print a table of the findings, and below it one sentence for each failure."""
    table = Table("check", "verdict", "n", "statistics", "worst |z|", "where", title=escape(task.label))
    colours = {"passed": "green", "failed": "red", "skipped": "dim"}
    for finding in findings:
        verdict = f"[{colours[finding.verdict]}]{finding.verdict}[/]"
        worst = finding.worst
        figures = ("", "", "", escape(finding.note if finding.verdict == "skipped" else ""))
        if worst is not None:
            figures = (f"{finding.n:,}", str(finding.statistics), f"{abs(worst.z):.1f}", escape(worst.name))
        table.add_row(finding.check, verdict, *figures)
    console.print(table)
    total = sum(finding.statistics for finding in findings)
    chance = total * 2 * NormalDist().cdf(-LIMIT)
    console.print(f"{total} statistics: a correct task fails with a probability of about {chance:.2g}.")
    for finding in findings:
        if finding.verdict == "failed":
            console.print(f"[red]{finding.check}:[/] {escape(finding.note)}", soft_wrap=True)
