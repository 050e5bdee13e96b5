"""A small report, built once: its numbers are made up, and one method fails where another is skipped."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.report.site import write_site
from graybench.benchmark.running.kept import DTYPES as KEPT
from graybench.benchmark.running.rows import COLUMNS, DTYPES

METHODS = {"dsm": 1.0, "mix": 0.5, "mix(gate=learned)": 0.8, "ltsm": 3.0}
CELL = ["task", "method", "method_settings", "budget", "cell"]
TIMES = (0.01, 0.5, 1.0)
TASKS, BUDGETS = ("galton", "linear_gaussian", "elsewhere"), (100, 1000)
ODD = {
    ("ltsm", "galton", 100): ("not_finite", "the posterior's samples <or> scores are not finite"),
    ("mix", "elsewhere", 100): ("skipped", "mix requires joint_score, which elsewhere has not"),
}


def made_up() -> pd.DataFrame:
    """A result table of all methods, tasks and budgets."""
    random = np.random.default_rng(5)
    rows = []
    for k, (label, task, budget) in enumerate(product(METHODS, TASKS, BUDGETS)):
        name, _, settings = label.rstrip(")").partition("(")
        cell = {
            "task": task,
            "method": name,
            "method_settings": settings,
            "budget": budget,
            "cell": f"{k:016x}",
        }
        cell |= {"task_version": 1, "method_version": 1, "graybench": "0.1.0", "torch": "2", "root_seed": 1}
        for metric, place, time in (
            *product(("mmd", "score_error"), np.ndindex(2, 3), [np.nan]),
            *product(["score_error"], np.ndindex(2, 3), TIMES),
        ):
            value = METHODS[label] / budget**0.5 * random.lognormal(0, 0.3)
            here = {
                "metric": metric,
                "replicate": place[0],
                "observation": place[1],
                "floor": 0.001,
                "time": time,
            }
            costs = {
                "fit_seconds": 10.0,
                "sample_seconds": 1.0,
                "n_score_calls": 0,
                "n_network_evaluations": 80,
            }
            status, reason = ODD.get((label, task, budget), ("ok", ""))
            rows.append(cell | here | costs | {"value": value, "status": status, "reason": reason})
    frame = pd.DataFrame.from_records(rows, columns=list(COLUMNS))
    frame.loc[frame["status"] != "ok", "value"] = np.nan
    return frame.assign(device="cpu").astype(DTYPES)


def made_up_kept() -> pd.DataFrame:
    """What the cells of galton and linear_gaussian kept: 30 draws, 30 of the reference, 101 ranks each.

    The draws of ltsm diverge. The ranks of dsm are those of an exact posterior, all others are ½.
    """
    random = np.random.default_rng(6)
    found = []
    shown = made_up().query("task != 'elsewhere'").drop_duplicates("cell")
    for cell in shown[CELL].to_dict("records"):
        d = 1 if cell["task"] == "galton" else 2
        draws = random.normal(size=(30, d)) * (1e30 if cell["method"] == "ltsm" else 1.0)
        draws[0] = np.nan if cell["method"] == "ltsm" else 0.0
        ranks = np.arange(101) / 100 if cell["method"] == "dsm" else np.full(101, 0.5)
        kinds = {"draw": draws, "rank": np.repeat(ranks[:, None], d, 1)}
        if cell["method"] == "dsm" and cell["budget"] == 100:
            kinds["reference"] = random.normal(size=(30, d))
        for kind, values in kinds.items():
            index, parameter = map(np.ravel, np.indices(values.shape))
            table = pd.DataFrame({"index": index, "parameter": parameter, "value": values.ravel()})
            found.append(table.assign(kind=kind, replicate=0, **cell))
    return pd.concat(found, ignore_index=True)[list(KEPT)].astype(KEPT)


@pytest.fixture(scope="session")
def made_up_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made up")
    made_up().to_parquet(folder / "table.parquet")
    made_up_kept().to_parquet(folder / "kept.parquet")
    (folder / "sweep.yaml").write_text("name: made-up\n")
    return folder


@pytest.fixture(scope="session")
def site(made_up_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "site"
    write_site([made_up_folder], out)
    return out
