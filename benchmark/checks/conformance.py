"""Run the conformance checks of tasks and methods, and print their findings.

A check of a task returns statistics that are standard normal for a correct task, and fails if one exceeds a
limit in absolute value. The limit grows with the number of statistics, from 4.1 for one to 5.7 for 5,000, so
that a correct task fails one check in 20,000; the table states the probability for all checks together. A
check that passes, but with a largest statistic that only one in twenty correct tasks would reach, is repeated
on 4 and then on 16 times as many fresh simulations, so that small errors show. Checks of methods need
training and run once; those of accuracy are repeated with more simulations if they fail.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import NormalDist
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...methods.method import Method
from ...tasks.seeding import derive_seed
from ...tasks.task import Task
from . import diffusions, methods, references, scores, simulators, structures
from .bench import Bench
from .causes import likely_cause
from .evidence import Evidence, NotApplicableError, Statistic, limit

LIMIT = 4.5  # of methods
DOUBTFUL = 0.05
STAGES, GROWTH = 3, 4

FOUNDATIONS = ("prior", "random numbers", "finite", "rows", "company", "T0, fixed θ")
OF_SCORES = ("T0, fixed θ", "T1, marginal score", "T2, prior predictive")

Check = Callable[[Task, int, int], Evidence]

CHECKS: dict[str, Check] = {
    "prior": simulators.prior,
    "random numbers": simulators.random_numbers,
    "observations": simulators.observations,
    "finite": simulators.finite,
    "rows": simulators.rows,
    "company": simulators.company,
    "structure": structures.structure,
    "T0, fixed θ": scores.at_fixed_theta,
    "T1, marginal score": scores.against_marginal,
    "T2, prior predictive": scores.against_prior,
    "differences": scores.differences,
    "information equality": scores.information,
    "SDE coefficients": diffusions.coefficients,
    "reference, Stein": references.against_likelihood,
    "reference, diffused": references.diffused,
    "reference, density": references.density,
    "reference, calibration": references.calibration,
}


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        check: a key of `CHECKS`.
        verdict: "passed", "failed" or "skipped".
        n: number of simulations or draws in the last stage.
        statistics: number of statistics.
        worst: the statistic with the largest absolute value; None without statistics.
        note: the reason of a skip, or the diagnosis of a failure.
        limit: the |z| that fails.
    """

    check: str
    verdict: str
    n: int
    statistics: int
    worst: Statistic | None
    note: str
    limit: float = LIMIT


def check_task(task: Task, n: int, seed: int) -> Iterator[Finding]:
    """Run every check on a task.

    Args:
        task: the task.
        n: number of simulations in the first stage of each check, at least 1,000.
        seed: names the random stream.

    Yields:
        The finding of each check, as soon as it is known.
    """
    broken: list[str] = []
    cause = ""
    for name, check in CHECKS.items():
        finding = _guarded(name, partial(_run, name, check, task, n, seed))
        if finding.verdict == "failed":
            if name in OF_SCORES and not cause and "finite" not in broken:
                cause = _cause(task, n, derive_seed(seed, "cause"))
                finding = finding._replace(note=f"{finding.note} {cause}".strip())
            if broken:
                finding = finding._replace(note=f"{finding.note} Fix first: {'; '.join(broken)}.")
            if name in FOUNDATIONS:
                broken.append(name)
        yield finding


def _guarded(name: str, run: Callable[[], Finding]) -> Finding:
    try:
        return run()
    except NotApplicableError as reason:
        return Finding(name, "skipped", 0, 0, None, f"{reason}.")
    except Exception as error:  # any error of a plug-in is a finding
        return Finding(name, "failed", 0, 0, None, f"It raised {type(error).__name__}: {error}")


def _cause(task: Task, n: int, seed: int) -> str:
    try:
        return likely_cause(task, n, seed)
    except Exception:  # the failed check says what is known
        return ""


def _run(name: str, check: Check, task: Task, n: int, seed: int) -> Finding:
    """Run one check in stages: until it fails, is not doubtful, or has no fresh random numbers."""
    for stage in range(STAGES):
        evidence = check(task, n * GROWTH**stage, derive_seed(seed, "conformance", task.label, name, stage))
        count = len(evidence.statistics)
        if not count:
            raise NotApplicableError("nothing varies enough to be tested")
        worst = _worst(evidence)
        if math.isnan(worst.z):
            note = f"{worst.name} is not a number: a score, data or a draw is not finite."
            return Finding(name, "failed", evidence.n, count, worst, note)
        if abs(worst.z) > limit(count):
            return Finding(name, "failed", evidence.n, count, worst, evidence.diagnosis, limit(count))
        if not evidence.fresh or abs(worst.z) <= NormalDist().inv_cdf(1 - DOUBTFUL / (2 * count)):
            break
    return Finding(name, "passed", evidence.n, count, worst, "", limit(count))


def _worst(evidence: Evidence) -> Statistic:
    return max(evidence.statistics, key=lambda s: math.inf if math.isnan(s.z) else abs(s.z))


def check_method(method: Method, n: int, seed: int) -> Iterator[Finding]:
    """Run every check of `checks.methods` on a method.

    Args:
        method: the method, with its options.
        n: the number of simulations of most fits.
        seed: names the random streams.

    Yields:
        The finding of each check, as soon as it is known.
    """
    try:
        bench = Bench(method, n, derive_seed(seed, "conformance", method.label))
    except NotApplicableError as reason:
        yield from (Finding(name, "skipped", 0, 0, None, f"{reason}.") for name in methods.CHECKS)
        return
    for name, check in methods.CHECKS.items():
        yield _guarded(name, partial(_judge, name, check, bench))


def _judge(name: str, check: Callable[[Bench], Evidence], bench: Bench) -> Finding:
    evidence = check(bench)
    if name in methods.ACCURACY and not abs(_worst(evidence).z) <= LIMIT:
        evidence = check(bench.larger)
    worst = _worst(evidence)
    failed = not abs(worst.z) <= LIMIT
    note = evidence.diagnosis if failed else ""
    verdict = "failed" if failed else "passed"
    return Finding(name, verdict, evidence.n, len(evidence.statistics), worst, note)


def print_findings(label: str, findings: Sequence[Finding], console: Console) -> None:
    """Print a table of the findings, followed by one sentence for each failure."""
    table = Table("check", "verdict", "n", "statistics", "worst |z|", "where", title=escape(label))
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
    chance = sum(finding.statistics * 2 * NormalDist().cdf(-finding.limit) for finding in findings)
    console.print(f"{total} statistics: a correct plug-in fails with a probability of about {chance:.2g}.")
    for finding in findings:
        if finding.verdict == "failed":
            console.print(f"[red]{finding.check}:[/] {escape(finding.note)}", soft_wrap=True)
