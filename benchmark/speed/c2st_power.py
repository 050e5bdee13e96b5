"""The accuracy of each C2ST on pairs of laws with a known Bayes accuracy, beside its processor time.

The Bayes accuracy is the largest accuracy of any classifier. A C2ST with less misses part of the difference.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ...tasks.reference import GaussianReference, MixtureReference, Reference
from ..metrics.c2st import c2st_ensemble, c2st_mlp
from ..metrics.distance import Estimate
from ..running.writing import make_folder

SIZE, QUICK_SIZE = 1000, 200
REPEATS, QUICK_REPEATS = 5, 1
BAYES_DRAWS = 200_000
METRICS: dict[str, Callable[[Tensor, Tensor, int], Estimate]] = {
    "c2st_mlp": c2st_mlp,
    "c2st_ensemble": c2st_ensemble,
}


def laws(d: int) -> dict[str, Reference]:
    """Return laws in d dimensions, to be told from N(0, I). Shifts have the same length in each dimension."""
    one, eye = torch.ones(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64)
    correlation = 0.6 if d == 2 else 0.3
    axis, diagonal = eye[0], one / math.sqrt(d)
    return {
        "the same": GaussianReference(0 * one, eye),
        "shift by 0.3": GaussianReference(0.3 * diagonal, eye),
        "shift by 0.95": GaussianReference(0.95 * diagonal, eye),
        "1.2 times as wide": GaussianReference(0 * one, 1.44 * eye),
        f"correlations of {correlation}": GaussianReference(0 * one, correlation + (1 - correlation) * eye),
        "two modes on an axis": _two_modes(axis),
        "two modes on the diagonal": _two_modes(diagonal),
    }


def _two_modes(direction: Tensor) -> MixtureReference:
    """Return a mixture with the mean 0 and the covariance I, with modes at ±0.9 along a unit vector."""
    mode = 0.9 * direction
    covariance = torch.eye(len(mode), dtype=torch.float64) - torch.outer(mode, mode)
    return MixtureReference(torch.ones(2), [GaussianReference(m, covariance) for m in (mode, -mode)])


def bayes_accuracy(law: Reference, other: Reference) -> float:
    """Estimate the largest accuracy at telling two laws apart, from draws of each; a tie counts half."""

    def won(own: Reference, against: Reference, seed: int) -> float:
        u = own.sample(BAYES_DRAWS, seed)
        return float((own.log_prob(u) - against.log_prob(u)).sign().mean() + 1) / 2

    return (won(law, other, 1) + won(other, law, 2)) / 2


def store(quick: bool, folder: Path) -> pd.DataFrame:
    """Write `measured` to c2st_power.csv and, as a table for documents, to c2st_power.md."""
    make_folder(folder)
    found = measured(QUICK_SIZE if quick else SIZE, QUICK_REPEATS if quick else REPEATS)
    found.to_csv(folder / "c2st_power.csv", index=False)
    lines = ["| d | law | Bayes | " + " | ".join(f"`{name}`" for name in METRICS) + " |", "| --- " * 5 + "|"]
    for row in found.to_dict("records"):
        accuracies = [f"{row[of]:.3f}" for of in ("bayes", *METRICS)]
        lines.append(f"| {row['d']} | {row['law']} | {' | '.join(accuracies)} |")
    (folder / "c2st_power.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return found


def measured(n: int, repeats: int) -> pd.DataFrame:
    """Measure each C2ST on n draws of each law and n of N(0, I), averaged over repeats.

    The columns are `d`, `law`, `bayes`, the accuracy of each metric, and `<metric>_seconds` of one value.
    """
    rows = []
    for d in (2, 10):
        (standard, *_) = laws(d).values()
        for name, law in laws(d).items():
            row: dict[str, object] = {"d": d, "law": name, "bayes": bayes_accuracy(law, standard)}
            for metric, compute in METRICS.items():
                start = time.process_time()
                values = [
                    compute(law.sample(n, 2 * k), standard.sample(n, 2 * k + 1), k).value
                    for k in range(repeats)
                ]
                row[metric] = sum(values) / repeats
                row[f"{metric}_seconds"] = (time.process_time() - start) / repeats
            rows.append(row)
    return pd.DataFrame(rows)
