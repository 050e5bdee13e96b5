"""Conformance of a task: checks that find a wrong joint score, simulator or reference before it is trusted.

Each check gives statistics that are standard normal for a correct task. One above 4.5 fails the check; this
happens to one in 150,000 statistics of correct tasks, so to one in 1,000 tasks with 150 statistics. A check
whose largest statistic would be that large in one of twenty correct tasks at most, but that does not fail, is
repeated on four times as many fresh simulations, and once more on sixteen times as many, so that a small
error is either seen or put to rest.
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
    "reference, calibration": reference_checks.calibration,
}


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        check: a key of `CHECKS`.
        verdict: "passed", "failed" or "skipped".
        n: simulations of the last stage.
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
    for name, check in CHECKS.items():
        try:
            yield _run(name, check, task, n, seed)
        except NotApplicableError as reason:
            yield Finding(name, "skipped", n, 0, None, f"{reason}.")
        except Exception as error:  # whatever a task raises is a finding about the task
            yield Finding(name, "failed", n, 0, None, f"It raised {type(error).__name__}: {error}")


def _run(name: str, check: Check, task: Task, n: int, seed: int) -> Finding:
    """Run one check in stages: until it fails, or nothing is doubtful, or the last stage is done."""
    for stage in range(STAGES):
        size = n * GROWTH**stage
        evidence = check(task, size, derive_seed(seed, "conformance", task.label, name, stage))
        worst = max(evidence.statistics, key=lambda s: math.inf if math.isnan(s.z) else abs(s.z))
        count = len(evidence.statistics)
        if not abs(worst.z) <= LIMIT:  # NaN fails as well
            return Finding(name, "failed", size, count, worst, evidence.diagnosis)
        if abs(worst.z) <= NormalDist().inv_cdf(1 - DOUBTFUL / (2 * count)):
            break
    return Finding(name, "passed", size, count, worst, "")


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
    for finding in findings:
        if finding.verdict == "failed":
            console.print(f"[red]{finding.check}:[/] {escape(finding.note)}", soft_wrap=True)
