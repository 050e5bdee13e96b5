"""The leaderboard: one row for each method, for every selection of settings, task, capability and budget.

rank      the mean rank of `benchmark.analysis.ranking` over the places (task, settings, budget) selected.
means     the means of `benchmark.report.scores`, over the places where every method has a result. A method
          with results at less than half of the places does not count for this choice; its means are over its
          own places, and are marked.
cost      mean seconds to fit one replicate.
failures  the number of cells that failed, timed out or were not finite.

Every selection is computed here and written as text; the page's script looks it up.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.labels import task_of
from ..analysis.ranking import PLACE, Place, average_ranks
from ..metrics.catalogue import record_of
from ..running.rows import TO_RETRY
from .numbers import number, span
from .parts import as_json
from .points import records
from .scores import Key, Mean, Scores, costs_as_scores, key_of, means, scores_of

MEANS = ("score_error", "mmd", "c2st_mlp", "coverage")
PARTIAL = "\xa0†"
Test = Callable[[Key], bool]
Record = dict[str, Any]


def board_of(every: pd.DataFrame, costs: pd.DataFrame, places: dict[str, list[Place]]) -> Record:
    """Return everything that the leaderboard shows, as plain records that JSON can hold.

    Args:
        every: the rows of all cells.
        costs: the costs of `benchmark.report.points.costs_of`.
        places: the places where methods are ranked, by metric.

    Returns:
        methods: labels, in the order of the columns of texts.
        variants: settings, the defaults first; `tasks`, `budgets`, `capabilities`; `can`: capabilities by
            task.
        metrics: the metrics that can rank; `means`: the columns of means.
        selections: the index into `found` by variant, scope and budget. A scope is "", "task:NAME" or
            "can:CAPABILITY"; a budget is "" or a number.
        found: one record for each distinct selection. `places` is the number of places, and `methods` lists
            the indices of the methods that ran. Then come lists of texts in the order of `methods`, empty
            text for none: `rank` and `ranked` (the number of places) by metric, `means` by column, `cost`,
            `failures`.
    """
    metrics, rows = list(places), every[every["time"].isna()]
    tried = rows[rows["status"] != "skipped"]
    labels = [str(label) for label in rows["label"].unique()]
    can = {str(task): _capabilities(str(task)) for task in rows["task"].unique()}
    board: Record = {
        "methods": labels,
        "variants": sorted(map(str, tried["variant"].unique()), key=lambda variant: variant != ""),
        "tasks": list(can),
        "budgets": sorted(int(budget) for budget in rows["budget"].unique()),
        "capabilities": sorted({capability for each in can.values() for capability in each}),
        "can": can,
        "metrics": {m: {"title": record_of(m).title, "geometric": record_of(m).geometric} for m in metrics},
        "means": [metric for metric in MEANS if metric in metrics],
    }
    scores = {metric: scores_of(rows, labels, metric) for metric in board["means"]}
    cost, failures = costs_as_scores(costs, labels, "fit_seconds"), failures_of(every)
    selections: Record = {variant: {} for variant in board["variants"]}
    found: dict[str, int] = {}
    for variant, scope, budget, test in _selections(board):
        inside = {key: failed for key, failed in failures.items() if test(key[0])}
        if inside:
            texts = {
                **_ranks({m: [p for p in places[m] if test(key_of(p[:3]))] for m in metrics}, labels),
                "means": [_means(scores[m].select(test), m) for m in board["means"]],
                "cost": [_text(mean) for mean in means(cost.select(test), geometric=False)],
                "failures": [_failures([f for (_, at), f in inside.items() if at == x]) for x in labels],
            }
            methods = [k for k, label in enumerate(labels) if any(at == label for _, at in inside)]
            record = {"places": len({key for key, _ in inside}), "methods": methods, **_of(texts, methods)}
            selections[variant].setdefault(scope, {})[budget] = found.setdefault(as_json(record), len(found))
    return board | {"selections": selections, "found": [json.loads(text) for text in found]}


def _of(texts: Any, methods: list[int]) -> Any:
    """Return the texts of some methods, out of lists for all methods."""
    if isinstance(texts, dict):
        return {name: _of(inner, methods) for name, inner in texts.items()}
    if texts and isinstance(texts[0], list):
        return [_of(inner, methods) for inner in texts]
    return [texts[k] for k in methods] if texts else []


def failures_of(rows: pd.DataFrame) -> dict[tuple[Key, str], bool]:
    """Return for each place, and each method tried there, whether anything failed."""
    tried = rows[rows["status"] != "skipped"]
    failed = (
        tried["status"].isin(TO_RETRY).groupby([tried[key] for key in (*PLACE, "label")], sort=False).any()
    )
    keys = failed.index.to_frame().itertuples(index=False, name=None)
    return {(key_of(key[:3]), key[3]): bool(value) for key, value in zip(keys, failed, strict=True)}


def lines_of(board: Record) -> list[Record]:
    """Return the rows of the leaderboard as the page shows them at first: the defaults, best first.

    Methods with results at less than half of the places come next, methods without a rank last.
    """
    found, metric = first_selection(board), next(iter(board["metrics"]), "")
    lines = [
        {
            "label": label,
            "rank": text_of(board, found, label, "rank", metric),
            "ranked": text_of(board, found, label, "ranked", metric),
            "means": [text_of(board, found, label, "means", k) for k in range(len(board["means"]))],
            "cost": text_of(board, found, label, "cost"),
            "failures": text_of(board, found, label, "failures"),
        }
        for label in board["methods"]
    ]
    return sorted(lines, key=lambda line: _order(line["rank"]))


def _order(rank: str) -> tuple[bool, bool, float]:
    return rank == "", PARTIAL in rank, float(rank.split()[0]) if rank else 0.0


def first_selection(board: Record, budget: str = "") -> Record | None:
    """Return the selection of the first settings, all tasks, and one budget or all; None without cells."""
    at = board["selections"][board["variants"][0]].get("", {}).get(budget)
    return None if at is None else board["found"][at]


def text_of(board: Record, found: Record | None, label: str, *path: Any) -> str:
    """Return the text of a method in a selection, such as its "rank" by a metric; empty if there is none."""
    k = board["methods"].index(label)
    if found is None or k not in found["methods"]:
        return ""
    texts: Any = found
    for step in path:
        texts = texts.get(step) if isinstance(texts, dict) else texts[step]
    return str(texts[found["methods"].index(k)]) if texts else ""


def _selections(board: Record) -> Iterator[tuple[str, str, str, Test]]:
    """Yield variant, scope and budget of each selection, and a test for places inside it."""
    scopes = [("", set(board["tasks"]))]
    scopes += [(f"task:{task}", {task}) for task in board["tasks"]]
    for capability in board["capabilities"]:
        scopes.append(
            (f"can:{capability}", {t for t, all_of_it in board["can"].items() if capability in all_of_it})
        )
    for variant in board["variants"]:
        for scope, tasks in scopes:
            for budget in ("", *map(str, board["budgets"])):
                yield variant, scope, budget, _inside(variant, tasks, budget)


def _inside(variant: str, tasks: set[str], budget: str) -> Test:
    return lambda place: place[0] in tasks and place[1] == variant and budget in ("", str(place[2]))


def _ranks(places: dict[str, list[Place]], labels: list[str]) -> Record:
    found: Record = {"rank": {}, "ranked": {}}
    for metric, own in places.items():
        lines = {line["label"]: line for line in records(average_ranks(own))}
        most = max((line["places"] for line in lines.values()), default=0)
        texts = {
            label: _text(Mean(line["rank"], line["low"], line["high"], line["places"] < most / 2))
            for label, line in lines.items()
        }
        if texts:
            found["rank"][metric] = [texts.get(label, "") for label in labels]
            found["ranked"][metric] = [str(lines[x]["places"]) if x in lines else "" for x in labels]
    return found


def _means(scores: Scores, metric: str) -> list[str]:
    return [_text(mean) for mean in means(scores, geometric=record_of(metric).geometric)]


def _text(mean: Mean) -> str:
    if not np.isfinite(mean.value):
        return ""
    return number(mean.value) + span(mean[:3]) + (PARTIAL if mean.partial else "")


def _failures(failed: list[bool]) -> str:
    return f"{sum(failed)} of {len(failed)}" if failed else ""


def _capabilities(label: str) -> list[str]:
    task = task_of(label)
    return sorted(task.capabilities) if task else []
