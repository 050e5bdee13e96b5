"""The contexts of the templates about failures, and about the origin of every number."""

from importlib.metadata import version
from typing import Any

import pandas as pd

from ...running.rows import TO_RETRY, ending
from ..numbers import whole
from ..points import records
from ..report import Report

Context = dict[str, Any]
PACKAGES = (
    "graybench",
    "numpy",
    "pandas",
    "scipy",
    "torch",
    "altair",
    "vl-convert-python",
)  # the packages behind the numbers


def failures(report: Report) -> Context:
    """Return every cell that failed or was skipped, with its reason, and the metrics that do not apply."""
    failed = _gathered(report.every[report.every["status"].isin(TO_RETRY)])
    odd = report.rows[report.rows["status"] == "skipped"]
    with_more = report.every.loc[report.every["status"] != "skipped", "cell"]
    whole_cell = ~odd["cell"].isin(with_more)
    by_label = {label: sum(line["label"] == label for line in failed) for label in report.method_pages}
    counted = odd[~whole_cell].groupby(["metric", "label", "reason"], sort=False)["cell"].nunique()
    return {
        "title": "Failures",
        "tally": [(label, _some(count)) for label, count in by_label.items()],
        "failed": sorted(failed, key=lambda line: line["label"]),
        "skipped": [line | {"metrics": "all"} for line in _gathered(odd[whole_cell])],
        "inapplicable": records(counted.reset_index(name="cells")),
    }


def _some(count: int) -> str:
    return f"{whole(count)} failed" if count else "nothing failed"


def _gathered(rows: pd.DataFrame) -> list[Context]:
    """Return one line for each cell, status and reason, with its metrics."""
    keys = ["label", "variant", "task", "budget", "status", "reason", "cell"]
    if rows.empty:
        return []
    metrics = rows.groupby(keys, sort=False)["metric"].unique().map(", ".join)
    return records(metrics.reset_index(name="metrics"))


def provenance(report: Report) -> Context:
    """Return the folders and the cells behind all numbers."""
    columns = [
        "task",
        "task_version",
        "label",
        "method_version",
        "variant",
        "budget",
        "root_seed",
        "graybench",
    ]
    groups = report.every.groupby("cell", sort=False)
    first = groups[[*columns, "torch", "folder"]].first()
    first["device"], first["replicates"] = groups["device"].max(), groups["replicate"].nunique()
    odd = report.every[report.every["cell"].isin(report.every.loc[report.every["status"] != "ok", "cell"])]
    endings = {cell: ending(rows).status for cell, rows in odd.groupby("cell", sort=False)}
    first["status"] = [endings.get(cell, "ok") for cell in first.index]
    cells = records(first.reset_index())
    versions = [(name, version(name)) for name in PACKAGES]
    return {"title": "Provenance", "sources": report.sources, "cells": cells, "versions": versions}
